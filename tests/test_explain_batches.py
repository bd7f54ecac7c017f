"""Streams of maps: `explain_batches`, and `attribute` for graphs."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import models, toys

IMAGES = toys.images(10)
LABELS = np.arange(10) % 4
NAMES = np.array([f"{k}.png" for k in range(10)])


def off_start(source):
    """A model with rules and a readout off their start."""
    model = tlp.wrap_model(source, "channel_mixing")
    for variable in model.rule_set.weights:
        noise = toys.rng(len(variable.path)).normal(size=variable.shape)
        variable.assign_add(0.1 * noise.astype("float32"))
    return model


@pytest.fixture(scope="module")
def wrapped():
    keras.utils.set_random_seed(1)
    return off_start(toys.small_cnn())


def joined(batches):
    maps, class_ids, probabilities, _, errors = zip(*batches, strict=True)
    assert not any(errors)
    return np.concatenate(maps), np.concatenate(class_ids), np.concatenate(probabilities)


def assert_explains(results, wrapped, targets=None, images=IMAGES):
    """Compares with `explain` and with Keras' own outputs."""
    maps, class_ids, probabilities = (np.asarray(result) for result in results)
    expected = wrapped.explain(images, targets)
    np.testing.assert_allclose(maps, expected, atol=1e-5 * np.abs(expected).max())
    outputs = wrapped.source.predict(images, verbose=0)
    ids = outputs.argmax(-1) if targets is None else np.broadcast_to(targets, len(images))
    assert class_ids.dtype == np.int64 and probabilities.dtype == np.float32
    np.testing.assert_array_equal(class_ids, ids)
    np.testing.assert_allclose(probabilities, outputs[np.arange(len(images)), ids], rtol=1e-4)


class TestExplainBatches:
    @pytest.mark.parametrize("targets", [None, 2, LABELS])
    @pytest.mark.parametrize("on_error", ["raise", "skip"])
    def test_is_explain_with_classes_and_probabilities(self, wrapped, targets, on_error):
        batches = list(wrapped.explain_batches(IMAGES, targets, batch_size=4, on_error=on_error))
        assert [len(batch.maps) for batch in batches] == [4, 4, 2]
        assert all(batch.extras == () for batch in batches)
        assert_explains(joined(batches), wrapped, targets)

    def test_weights_of_classes(self, wrapped):
        weights = toys.rng().normal(size=(10, 4)).astype("float32")
        maps, class_ids, _ = joined(wrapped.explain_batches(IMAGES, weights, batch_size=4))
        np.testing.assert_allclose(maps, wrapped.explain(IMAGES, weights), atol=1e-5)
        np.testing.assert_array_equal(class_ids, weights.argmax(-1))

    def test_extras_stay_with_their_batch(self, wrapped):
        slices = tf.data.Dataset.from_tensor_slices
        batches = list(wrapped.explain_batches(slices((IMAGES, LABELS, NAMES)).batch(4)))
        assert_explains(joined(batches), wrapped)
        labels, names = zip(*(batch.extras for batch in batches), strict=True)
        np.testing.assert_array_equal(np.concatenate(labels), LABELS)
        assert [name.decode() for name in np.concatenate(names)] == NAMES.tolist()
        (only,) = wrapped.explain_batches(iter([(IMAGES, {"names": list(NAMES)})]))
        assert only.extras == ({"names": list(NAMES)},)

    def test_one_batch_is_read_at_a_time(self, wrapped):
        read = []

        def stream():
            for number in range(3):
                read.append(number)
                yield IMAGES

        batches = wrapped.explain_batches(stream())
        assert read == []
        next(batches)
        assert read == [0]
        next(batches)
        assert read == [0, 1]

    def test_the_head_is_read_as_everywhere(self):
        """A single unit stands for two classes, and independent labels have a sigmoid each."""
        for units in (1, 3):
            source = toys.small_cnn(units, activation="sigmoid")
            outputs = source.predict(IMAGES, verbose=0)
            (batch,) = tlp.wrap_model(source, "gradient").explain_batches(IMAGES, 1)
            np.testing.assert_allclose(batch.probabilities, outputs[:, units // 2], rtol=1e-4)

    def test_refinement(self, wrapped):
        expected = wrapped.explain(IMAGES[:2], refine_steps=2)
        (batch,) = wrapped.explain_batches(IMAGES[:2], refine_steps=2)
        np.testing.assert_allclose(batch.maps, expected, atol=1e-5)
        assert np.abs(batch.maps - wrapped.explain(IMAGES[:2])).max() > 1e-4
        assert batch.probabilities.shape == (2,)

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"on_error": "ignore"}, r"`on_error` must be one of \['raise', 'skip'\]"),
            ({"batch_size": 0}, "`batch_size` must be"),
            ({"targets": 4}, "class ids in"),
            ({"targets": [1, 2], "on_error": "skip"}, "of length 10"),
            ({"data": IMAGES[0], "on_error": "skip"}, "has no batch axis"),
            ({"refine_steps": -1}, "`refine_steps` must be"),
        ],
    )
    def test_bad_arguments_are_errors_before_the_first_batch(self, wrapped, arguments, match):
        with pytest.raises(ValueError, match=match):
            wrapped.explain_batches(**{"data": IMAGES, **arguments})

    def test_traces_once_for_all_lengths(self, wrapped):
        fresh = tlp.PropagationModel(wrapped.source, wrapped.rule_set)
        bad = IMAGES.copy()
        bad[[1, 5, 6]] = np.nan
        for length in (7, 1, 4):
            list(fresh.explain_batches(IMAGES, batch_size=length))
            list(fresh.explain_batches(bad, batch_size=length, on_error="skip"))
            list(fresh.explain_batches(tf.data.Dataset.from_tensor_slices(IMAGES).batch(length)))
        fresh.explain(IMAGES)
        assert toys.traces(fresh._maps) == 1


class TestErrors:
    def bad(self):
        images = IMAGES.copy()
        images[2] = np.nan
        images[[8, 9]] = np.inf
        return images

    def check(self, wrapped, batches, bad=(2, 8, 9), targets=None):
        """The bad samples alone have no map, and the others have that of `explain`."""
        start = 0
        expected = wrapped.explain(IMAGES, targets)
        for batch in batches:
            rows = range(len(batch.maps))
            assert sorted(batch.errors) == [row for row in rows if start + row in bad]
            for row in rows:
                if row in batch.errors:
                    assert np.isnan(batch.maps[row]).all() and np.isnan(batch.probabilities[row])
                    assert batch.class_ids[row] == -1
                else:
                    np.testing.assert_allclose(batch.maps[row], expected[start + row], atol=1e-4)
                    if targets is not None:
                        assert batch.class_ids[row] == targets[start + row]
            start += len(rows)
        assert start == 10

    @pytest.mark.parametrize("targets", [None, LABELS])
    @pytest.mark.parametrize("batch_size", [1, 4, 10])
    def test_arrays(self, wrapped, targets, batch_size):
        options = {"batch_size": batch_size, "on_error": "skip"}
        batches = list(wrapped.explain_batches(self.bad(), targets, **options))
        self.check(wrapped, batches, targets=targets)
        messages = [message for batch in batches for message in batch.errors.values()]
        assert all("must be finite. Received: NaN or infinity" in message for message in messages)

    def test_a_dataset_keeps_the_extras_of_bad_samples(self, wrapped):
        data = tf.data.Dataset.from_tensor_slices((self.bad(), NAMES)).batch(4)
        batches = list(wrapped.explain_batches(data, LABELS, on_error="skip"))
        self.check(wrapped, batches, targets=LABELS)
        bad = [batch.extras[0][row].decode() for batch in batches for row in sorted(batch.errors)]
        assert bad == ["2.png", "8.png", "9.png"]

    def test_wrong_sizes_and_samples_that_are_none(self, wrapped):
        samples = list(IMAGES)
        samples[0], samples[3], samples[5] = IMAGES[0, :5], None, "a file that can't be read"
        parts = [samples[:4], samples[4:8], samples[8:]]
        batches = list(wrapped.explain_batches(((part, "x") for part in parts), on_error="skip"))
        self.check(wrapped, batches, bad=(0, 3, 5))
        assert "Received: shape=(1, 5, 16, 3)" in batches[0].errors[0]
        assert "must hold numbers" in batches[0].errors[3]
        self.check(wrapped, wrapped.explain_batches(samples, batch_size=3, on_error="skip"), bad=(0, 3, 5))

    def test_a_batch_without_a_good_sample(self, wrapped):
        first, *rest = wrapped.explain_batches(iter([IMAGES[:, :5], IMAGES]), on_error="skip")
        assert sorted(first.errors) == list(range(10)) and first.maps.shape == (10, 16, 16)
        self.check(wrapped, rest, bad=())

    def test_raise_is_the_default(self, wrapped):
        with pytest.raises(ValueError, match=r"samples \[2 8 9\]"):
            wrapped.explain_batches(self.bad())
        batches = wrapped.explain_batches(iter([IMAGES, self.bad()]))
        next(batches)
        with pytest.raises(ValueError, match=r"^Batch 2: .*samples \[2 8 9\]"):
            next(batches)

    def test_an_error_of_the_data_is_raised(self, wrapped):
        def stream():
            yield IMAGES
            raise OSError("the disk is gone")

        batches = wrapped.explain_batches(stream(), on_error="skip")
        next(batches)
        with pytest.raises(OSError, match="the disk is gone"):
            next(batches)

    def test_what_is_no_batch_of_samples_is_raised(self, wrapped):
        batches = wrapped.explain_batches(iter([IMAGES, IMAGES[0]]), on_error="skip")
        next(batches)
        with pytest.raises(ValueError, match="^Batch 2: .*has no batch axis"):
            next(batches)


class TestAttribute:
    @pytest.mark.parametrize("targets", [None, 2, LABELS])
    def test_eager(self, wrapped, targets):
        assert_explains(wrapped.attribute(IMAGES, targets), wrapped, targets)

    @pytest.mark.parametrize("targets", [None, 2, LABELS])
    def test_inside_a_function(self, wrapped, targets):
        function = tf.function(wrapped.attribute, reduce_retracing=True)
        assert_explains(function(tf.constant(IMAGES), targets), wrapped, targets)

    def test_autograph_leaves_its_code_as_it_is(self, wrapped):
        seen = []

        def first_logit(outputs):
            seen.append(tf.__internal__.autograph.control_status_ctx().status.name)
            return outputs[:, 0]

        maps = tf.function(lambda images: wrapped.attribute(images, first_logit).maps)(IMAGES)
        assert set(seen) == {"DISABLED"}
        np.testing.assert_allclose(maps, wrapped.explain(IMAGES, first_logit), atol=1e-5)

    def test_inside_a_data_set(self, wrapped):
        data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
        count = []

        def explain(images, labels):
            count.append(1)
            return wrapped.attribute(images)

        results = list(data.map(explain, num_parallel_calls=2))
        assert [len(result.maps) for result in results] == [4, 4, 2] and len(count) == 1
        assert_explains([np.concatenate(parts) for parts in zip(*results, strict=True)], wrapped)
        results = list(data.map(wrapped.attribute))  # images and labels are inputs and targets
        assert_explains([np.concatenate(parts) for parts in zip(*results, strict=True)], wrapped, LABELS)

    def test_pixels_as_bytes(self, wrapped):
        pixels = toys.rng().integers(0, 255, (3, 16, 16, 3)).astype("uint8")
        np.testing.assert_allclose(
            wrapped.attribute(pixels).maps, wrapped.explain(pixels), rtol=1e-4, atol=1e-4
        )

    def test_weights_of_classes(self, wrapped):
        weights = toys.rng().normal(size=(10, 4)).astype("float32")
        maps, class_ids, _ = wrapped.attribute(IMAGES, weights)
        np.testing.assert_allclose(maps, wrapped.explain(IMAGES, weights), atol=1e-5)
        np.testing.assert_array_equal(class_ids, weights.argmax(-1))

    def test_several_inputs(self):
        source, _ = models.CASES["dict_inputs"].models()
        wrapped = tlp.wrap_model(source, "gradient", explained_input="photo")
        inputs = models.sample(source)
        np.testing.assert_allclose(wrapped.attribute(inputs).maps, wrapped.explain(inputs), atol=1e-5)

    @pytest.mark.parametrize(
        ("inputs", "targets", "error", "match"),
        [
            (IMAGES[0], None, ValueError, "must have shape"),
            (IMAGES[:, :5], None, ValueError, "must have shape"),
            (IMAGES, 4, tf.errors.InvalidArgumentError, r"class ids in 0\.\.3"),
            (IMAGES, [-1] * 10, tf.errors.InvalidArgumentError, r"class ids in 0\.\.3"),
            (IMAGES, [1, 2], tf.errors.InvalidArgumentError, "as long as the inputs"),
            (IMAGES, np.full((10, 4), np.nan), tf.errors.InvalidArgumentError, "must be finite"),
            (IMAGES, np.zeros(10), TypeError, "`targets` must be None, an int"),
            (IMAGES, "cat", TypeError, "`targets` must be None, an int"),
        ],
    )
    def test_bad_arguments(self, wrapped, inputs, targets, error, match):
        with pytest.raises(error, match=match):
            wrapped.attribute(inputs, targets)

    def test_targets_are_checked_when_a_graph_runs(self, wrapped):
        data = tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(10))).batch(5)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"class ids in 0\.\.3"):
            list(data.map(wrapped.attribute))


def test_memory_does_not_grow_with_the_data():
    """In a process of its own, whose peak nothing else has raised: 1,950 more batches are 500 MB of data."""
    program = """
        import resource, keras, numpy as np, tensorflow as tf
        import tf_learnprop as tlp

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        image = keras.Input((32, 32, 3))
        x = keras.layers.ReLU()(keras.layers.Conv2D(2, 3, strides=4)(image))
        source = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
        wrapped = tlp.wrap_model(source, "gradient")
        images = np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype("float32")

        def explain(count):
            data = ((images + number, [f"{number}.png"] * 16) for number in range(count))
            return sum(len(batch.maps) for batch in wrapped.explain_batches(data, on_error="skip"))

        assert explain(50) == 50 * 16
        before = peak()
        assert explain(2000) == 2000 * 16
        print(peak() - before)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert float(run.stdout.split()[-1]) < 30
