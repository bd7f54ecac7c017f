"""What all methods have in common: names, inputs, targets, batches, and clear errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import token_models, toys
from tf_learnprop import methods

SIDE = toys.SIDE
#: Cheap options of methods that have any.
OPTIONS = {
    "integrated_gradients": {"steps": 5},
    "smoothgrad": {"samples": 5},
    "smoothgrad_squared": {"samples": 5},
    "vargrad": {"samples": 5},
    "rise": {"masks": 6, "cells": 4},
    "occlusion": {"patch": 8},
}
LOOPED = [name for name in methods.names() if isinstance(methods.get(name), methods.LoopedMethod)]
ON_IMAGES = [name for name in methods.names() if "attention" not in name and name != "learned"]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return toys.small_cnn()


@pytest.fixture(scope="module")
def images():
    return toys.images(5)


def test_names():
    own = "tf_learnprop."  # others are those that tests and pages register
    assert [name for name in methods.names() if type(methods.get(name)).__module__.startswith(own)] == (
        "universal learned saliency gradient_x_input guided_backprop deconvnet libra grad_cam grad_cam_pp "
        "layer_cam hires_cam names integrated_gradients smoothgrad smoothgrad_squared vargrad occlusion rise "
        "score_cam attention_rollout gradient_x_attention"
    ).split()
    for name in methods.names():
        method = methods.get(name)
        assert method.name == name and methods.get(method) == method
        assert method.label and method.cost


@pytest.mark.parametrize("name", ON_IMAGES)
class TestOnImages:
    def test_a_map_for_each_image(self, model, images, name):
        found = tlp.explain(model, images, [1, 0, 3, 2, 1], method=name, **OPTIONS.get(name, {}))
        assert found.shape == (5, SIDE, SIDE) and found.dtype == np.float32
        assert np.isfinite(found).all()
        if not methods.get(name).signed:
            assert found.min() >= 0

    def test_a_map_does_not_depend_on_its_batch(self, model, images, name):
        explainer = methods.make(model, name, **OPTIONS.get(name, {}))
        whole = explainer.explain(images)
        for part in (explainer.explain(images, batch_size=2), explainer.explain(images, batch_size=17)):
            np.testing.assert_allclose(part, whole, rtol=1e-3, atol=1e-5 * np.abs(whole).max())
        alone = np.concatenate([explainer.explain(image[None]) for image in images])
        np.testing.assert_allclose(alone, whole, rtol=1e-3, atol=1e-5 * np.abs(whole).max())

    def test_passes_are_those_that_run(self, model, images, name):
        method = methods.get(name, **OPTIONS.get(name, {}))
        explainer = method.on(model)
        if not isinstance(explainer, methods.LoopedExplainer):
            assert method.passes(explainer.explained) == 2
            return
        made = []
        list(explainer._over(images, None, 4, "raise", made.append))
        assert sum(made) == 5 * method.passes(explainer.explained)


class TestNames:
    def test_the_universal_rule_with_another_readout(self, model, images):
        readout = tlp.readouts.MultiLayerReadout(contrast="names")
        expected = tlp.wrap_model(model, readout=readout).explain(images, 2)
        np.testing.assert_allclose(tlp.explain(model, images, 2, method="names"), expected, rtol=1e-6)
        assert np.abs(expected - tlp.explain(model, images, 2)).max() > 0.01 * np.abs(expected).max()

    @pytest.mark.parametrize("contrast", ["objects", "names", None])
    def test_a_wrapped_model_keeps_its_weights(self, model, images, contrast):
        def wrapped(contrast):
            readout = tlp.readouts.MultiLayerReadout(contrast=contrast, region=1.0)
            made = tlp.wrap_model(model, rule="learned", readout=readout)
            generator = np.random.default_rng(0)
            for weight in made.trainable_weights:
                if weight.name != "raw_focus":  # which one without competition does not have
                    weight.assign(generator.normal(0, 0.1, weight.shape))
            return made

        expected = wrapped("names").explain(images, 2)
        found = wrapped(contrast).explain(images, 2, method="names")
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())

    def test_a_wrapped_model_without_layers_has_the_universal_rule(self, model, images):
        wrapped = tlp.wrap_model(model, "gradient", readout="saliency")
        expected = tlp.explain(model, images, 2, method="names")
        np.testing.assert_allclose(wrapped.explain(images, 2, method="names"), expected, rtol=1e-6)

    def test_refused_for_a_table(self):
        table = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu")])
        with pytest.raises(ValueError, match="'names' needs several classes that compete in a feature map"):
            tlp.explain(table, np.ones((2, 4)), method="names")


class TestInputs:
    @pytest.mark.parametrize("name", ["saliency", "rise"])
    def test_streams_and_what_comes_with_them(self, model, images, name):
        explainer = methods.make(model, name, **OPTIONS.get(name, {}))
        batches = [(images[:2], np.array([7, 8])), (images[2:], np.array([9, 10, 11]))]
        results = list(explainer.explain_batches(iter(batches), 1))
        np.testing.assert_allclose(
            np.concatenate([result.maps for result in results]),
            explainer.explain(images, 1),
            rtol=1e-5,
            atol=1e-7,
        )
        assert np.concatenate([result.extras[0] for result in results]).tolist() == [7, 8, 9, 10, 11]
        assert np.concatenate([result.class_ids for result in results]).tolist() == [1] * 5

    def test_a_bad_sample_is_skipped(self, model, images):
        bad = images.copy()
        bad[1, 0, 0, 0] = np.nan
        explainer = methods.make(model, "occlusion", patch=8)
        (result,) = explainer.explain_batches(bad, on_error="skip")
        assert list(result.errors) == [1] and np.isnan(result.maps[1]).all()
        good = [0, 2, 3, 4]
        np.testing.assert_allclose(result.maps[good], explainer.explain(images)[good], rtol=1e-4, atol=1e-6)

    def test_another_input_stays_with_its_sample(self):
        keras.utils.set_random_seed(1)
        photo, age = keras.Input((8, 8, 1), name="photo"), keras.Input((3,), name="age")
        x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(photo))
        x = keras.layers.Dense(6, activation="tanh")(keras.layers.concatenate([x, age]))
        model = keras.Model([photo, age], keras.layers.Dense(3)(x))
        inputs = [toys.images(3, (8, 8, 1)), toys.normal(3, 3, seed=4)]
        explainer = methods.make(model, "rise", masks=9)
        alone = [explainer.explain([part[k : k + 1] for part in inputs], 1) for k in range(3)]
        np.testing.assert_allclose(explainer.explain(inputs, 1), np.concatenate(alone), rtol=1e-3, atol=1e-6)

    def test_pixels_of_an_integer_dtype(self):
        keras.utils.set_random_seed(0)
        image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
        x = keras.layers.Conv2D(4, 3, activation="tanh")(keras.layers.Rescaling(1 / 127.5, -1)(image))
        model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
        pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
        found = tlp.explain(model, pixels, 1, method="integrated_gradients", steps=50)
        rise = (model(pixels) - model(np.zeros_like(pixels))).numpy()[:, 1]
        np.testing.assert_allclose(found.sum((1, 2)), rise, rtol=1e-3)

    def test_weights_of_classes(self, model, images):
        weights = np.zeros((5, 4), np.float32)
        weights[:, 0], weights[:, 2] = 1, -1
        explainer = methods.make(model, "integrated_gradients", steps=5)
        expected = explainer.explain(images, 0) - explainer.explain(images, 2)
        np.testing.assert_allclose(explainer.explain(images, weights), expected, rtol=1e-4, atol=1e-6)

    def test_the_predicted_class_is_that_of_the_whole_image(self, model, images):
        explainer = methods.make(model, "rise", masks=6, cells=4)
        predicted = model(images).numpy().argmax(1)
        np.testing.assert_array_equal(explainer.explain(images), explainer.explain(images, predicted))

    def test_batches_of_a_fixed_length(self):
        keras.utils.set_random_seed(0)
        series = keras.Input((6, 2), batch_size=2)
        model = keras.Model(series, keras.layers.Dense(3)(keras.layers.LSTM(4, stateful=True)(series)))
        samples = toys.normal(3, 6, 2)
        found = tlp.explain(model, samples, 1, method="integrated_gradients", steps=30)
        assert found.shape == (3, 6)
        padded = np.concatenate([samples, samples[-1:]])

        def logits(values):
            outputs = []
            for k in (0, 2):
                model.layers[1].reset_states()
                outputs.append(model(values[k : k + 2]).numpy())
            return np.concatenate(outputs)[:3, 1]

        np.testing.assert_allclose(
            found.sum(1), logits(padded) - logits(np.zeros_like(padded)), rtol=1e-2, atol=1e-3
        )


class TestWrapped:
    def test_the_default_is_the_wrapped_models_own_map(self, model, images):
        wrapped = toys.jolt(tlp.wrap_model(model, "learned"))
        np.testing.assert_array_equal(tlp.explain(wrapped, images), wrapped.explain(images))
        assert methods.make(wrapped, "learned") is wrapped

    def test_the_default_of_a_keras_model_is_the_universal_rule(self, model, images):
        np.testing.assert_allclose(
            tlp.explain(model, images), tlp.wrap_model(model).explain(images), rtol=1e-5, atol=1e-7
        )

    def test_other_methods_explain_the_source(self, model, images):
        wrapped = tlp.wrap_model(model, "guided_backprop", readout="grad_cam")
        np.testing.assert_allclose(
            tlp.explain(wrapped, images, method="saliency"),
            tlp.explain(model, images, method="saliency"),
            rtol=1e-5,
        )

    def test_a_rule_file(self, model, images, tmp_path):
        wrapped = toys.jolt(tlp.wrap_model(model, "learned"))
        wrapped.save_rules(tmp_path / "rules.keras")
        found = tlp.explain(model, images, method="learned", rules=str(tmp_path / "rules.keras"))
        np.testing.assert_array_equal(found, wrapped.explain(images))

    def test_the_output_and_the_input_of_the_wrapped_model(self):
        keras.utils.set_random_seed(0)
        image = keras.Input((SIDE, SIDE, 3))
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
        model = keras.Model(image, [keras.layers.Dense(n, name=f"of_{n}")(x) for n in (2, 5)])
        wrapped = tlp.wrap_model(model, output="of_5")
        samples = toys.images(2)
        np.testing.assert_array_equal(
            tlp.explain(wrapped, samples, 4, method="occlusion", patch=8),
            tlp.explain(model, samples, 4, method="occlusion", patch=8, output="of_5"),
        )

    def test_a_model_that_changes(self, images):
        model = toys.small_cnn()
        explainer = methods.make(model, "vargrad", samples=3)
        before = explainer.explain(images, 0)
        model.layers[-1].activation = keras.activations.linear
        model.layers[2].activation = keras.activations.tanh
        model.layers[5].activation = keras.activations.tanh
        after = explainer.explain(images, 0)
        assert np.abs(after - before).max() > 1e-3 * np.abs(before).max()
        np.testing.assert_array_equal(after, methods.make(model, "vargrad", samples=3).explain(images, 0))


class TestExport:
    @pytest.mark.parametrize("name", ["layer_cam", "guided_backprop", "gradient_x_input"])
    def test_of_methods_of_one_pass(self, model, images, tmp_path, name):
        path = tlp.wrap_model(model).export(tmp_path / "1", method=name)
        served = tf.saved_model.load(path).signatures["explain_class"]
        ids = [1, 0, 3, 2, 1]
        found = served(images=tf.constant(images), class_ids=tf.constant(ids, tf.int64))["maps"]
        expected = tlp.explain(model, images, ids, method=name)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())

    def test_of_a_keras_model(self, model, tmp_path):
        assert tlp.serving.export(model, tmp_path / "1", method="hires_cam").is_dir()

    @pytest.mark.parametrize(
        "name", ["integrated_gradients", "smoothgrad", "vargrad", "occlusion", "rise", "score_cam"]
    )
    def test_a_loop_can_not_be_exported(self, model, tmp_path, name):
        message = (
            f"`method` must be one of one forward and one backward pass. Received: '{name}', which runs a"
        )
        with pytest.raises(ValueError, match=message):
            tlp.wrap_model(model, "gradient").export(tmp_path / "1", method=name)
        assert not list(tmp_path.iterdir())


class TestSeeds:
    @pytest.mark.parametrize("name", ["rise", "smoothgrad"])
    def test_decide(self, model, images, name):
        first, again, other = (
            tlp.explain(model, images, 0, method=name, seed=seed, **OPTIONS[name]) for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 0.01 * np.abs(first).max()


def test_progress_counts_passes(model, images, capsys):
    tlp.explain(model, images, method="rise", masks=11, cells=4, verbose=1)
    assert "60/60" in capsys.readouterr().out


def table_model():
    inputs = keras.Input((7,))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dense(5, activation="relu")(inputs)))


BAD = {
    "unknown name": (toys.small_cnn, "lime", {}, "`method` must be one of 'universal', 'learned'"),
    "no name": (toys.small_cnn, 3, {}, "`method` must be a name or a `Method`"),
    "unknown option": (
        toys.small_cnn,
        "rise",
        {"steps": 3},
        "of method 'rise' are baseline, masks, .*steps=3",
    ),
    "no options": (toys.small_cnn, "saliency", {"steps": 3}, "options of method 'saliency' are none"),
    "pixels of a table": (table_model, "rise", {}, "'rise' needs an input with places.*shape \\(None, 7\\)"),
    "feature map of a table": (table_model, "layer_cam", {}, "'layer_cam' needs a feature map"),
    "gradient of ids": (token_models.text, "saliency", {}, "needs an input with a gradient"),
    "gradients of ids": (token_models.text, "smoothgrad", {}, "needs an input with a gradient"),
    "masks of ids": (token_models.text, "rise", {}, "needs an input with places"),
    "attention of a CNN": (toys.small_cnn, "attention_rollout", {}, "needs attention that can be read"),
    "no such layer": (
        toys.small_cnn,
        "grad_cam",
        {"layer": "nowhere"},
        "`layer` must be the name or the path",
    ),
    "a layer without places": (toys.small_cnn, "score_cam", {"layer": "dense"}, "`layer` must be"),
    "rules of a Keras model": (toys.small_cnn, "learned", {}, "needs a wrapped model, or a rule file"),
    "a baseline of another shape": (
        toys.small_cnn,
        "integrated_gradients",
        {"baseline": np.zeros((8, 8, 3))},
        r"`baseline` must be .*of shape \(16, 16, 3\). Received: an array of shape \(8, 8, 3\)",
    ),
    "a baseline for many samples": (
        toys.small_cnn,
        "occlusion",
        {"baseline": np.zeros((2, 16, 16, 3))},
        "`baseline` must be",
    ),
    "a baseline of words": (toys.small_cnn, "rise", {"baseline": "black"}, "`baseline` must be .*'black'"),
    "an infinite baseline": (toys.small_cnn, "rise", {"baseline": np.inf}, "`baseline` must be a finite"),
    "no step": (toys.small_cnn, "integrated_gradients", {"steps": 0}, "`steps` must be an int >= 1"),
    "one step of a trapezoid": (
        toys.small_cnn,
        "integrated_gradients",
        {"steps": 1, "quadrature": "trapezoid"},
        "`steps` must be an int >= 2",
    ),
    "quadrature": (
        toys.small_cnn,
        "integrated_gradients",
        {"quadrature": "simpson"},
        "`quadrature` must be one of",
    ),
    "no sample": (toys.small_cnn, "vargrad", {"samples": 0}, "`samples` must be an int >= 1"),
    "noise": (toys.small_cnn, "smoothgrad", {"noise": -0.1}, "`noise` must be a number >= 0"),
    "no mask": (toys.small_cnn, "rise", {"masks": 0}, "`masks` must be an int >= 1"),
    "many cells": (toys.small_cnn, "rise", {"cells": 17}, "`cells` must be an int in 1..16"),
    "all cells": (toys.small_cnn, "rise", {"keep": 1.0}, "`keep` must be"),
    "a large patch": (toys.small_cnn, "occlusion", {"patch": 17}, "`patch` must be an int in 1..16"),
    "patches of three sides": (toys.small_cnn, "occlusion", {"patch": (2, 2, 2)}, "one for each of 2 sides"),
    "no stride": (toys.small_cnn, "occlusion", {"stride": 0}, "`stride` must be an int >= 1"),
    "a readout of layers": (
        toys.small_cnn,
        "smoothgrad",
        {"readout": "grad_cam"},
        "must be one of the input",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    build, method, options, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        methods.make(build(), method, **options)
    assert "\n" not in str(error.value)


def test_a_wrapped_model_has_its_ends():
    with pytest.raises(ValueError, match="has its output and its input. Received: output"):
        methods.make(tlp.wrap_model(toys.small_cnn()), "saliency", output=0)


class TestTable:
    def test_of_all_methods(self):
        lines = methods.table().splitlines()
        assert len(lines) == 1 + len(methods.names())
        (rise,) = (line for line in lines if line.startswith("rise "))
        assert "1 + masks" in rise and "pixels" in rise and "1806.07421" in rise

    def test_of_a_model(self):
        rows = {line.split()[0]: line.split()[1] for line in methods.table(table_model()).splitlines()}
        assert rows["saliency"] == "2" and rows["rise"] == "–" and rows["integrated_gradients"] == "101"
        rows = {line.split()[0]: line.split()[1] for line in methods.table(toys.small_cnn()).splitlines()}
        assert rows["score_cam"] == "10" and rows["attention_rollout"] == "–" and rows["rise"] == "2001"


def test_a_method_of_your_own(model, images):
    from tests.methods import brightness

    assert "brightness" in methods.names()
    found = tlp.explain(model, images, method="brightness", power=2)
    np.testing.assert_allclose(found, images.sum(-1) ** 2, rtol=1e-5, atol=1e-6)
    assert isinstance(methods.get("brightness"), brightness.Brightness)


class TestOfAWrappedModel:
    def test_a_method_explains_its_source(self, model, images):
        wrapped = tlp.wrap_model(model, "learned")
        found = wrapped.explain(images, 2, method="rise", masks=6, cells=4, batch_size=3)
        expected = tlp.explain(model, images, 2, method="rise", masks=6, cells=4)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        own = wrapped.explain(images, method=methods.get("learned"))
        np.testing.assert_allclose(own, wrapped.explain(images), atol=1e-6)

    def test_options_need_a_method(self, model, images):
        wrapped = tlp.wrap_model(model, "gradient")
        with pytest.raises(TypeError, match="`explain` has no argument 'masks', 'steps'"):
            wrapped.explain(images, steps=3, masks=2)
        with pytest.raises(ValueError, match="can't be used with `method`. Received: refine_steps=2"):
            wrapped.explain(images, method="saliency", refine_steps=2)
