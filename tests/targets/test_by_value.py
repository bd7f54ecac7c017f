"""Each kind of target against a gradient tape on its score, written out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

import tf_learnprop as tlp
from tests import toys
from tests.targets import target_models
from tf_learnprop import targets
from tf_learnprop.targets import Contrast, Pixel, Region, Similarity, Token, Value

IMAGES = toys.normal(4, 12, 12, 2)
MASKS = np.zeros((4, 12, 12))
MASKS[0, :3], MASKS[1, 4:9, 2:7], MASKS[2, 11, 11], MASKS[3] = 1, 2, 1, toys.rng(3).uniform(size=(12, 12))
IDS = np.array([2, 0, 1, 2])


def without_activation(model):
    """The same model up to its last layer, which gives logits."""
    last = model.layers[-1]
    twin = type(last).from_config(last.get_config() | {"activation": None})
    logits = twin(last.input)
    twin.set_weights(last.get_weights())
    return keras.Model(model.input, logits)


def gradient(model, x, score):
    """∂Σs/∂x of scores `[n]` that a function makes of the model's outputs; and the scores."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        scores = score(model(x))
        total = tf.reduce_sum(scores)
    return tape.gradient(total, x).numpy(), scores.numpy()


def check(model, target, score, x=IMAGES, logit_model=None, **arguments):
    """`input_signal` and `scores`, in batches and one by one, are those of the score by hand."""
    wrapped = tlp.wrap_model(model, "gradient", readout=tlp.readouts.InputReadout(blur=0), **arguments)
    signal, scores = gradient(logit_model or model, x, score)
    limit = 1e-5 * np.abs(signal).max()
    assert limit > 0
    np.testing.assert_allclose(wrapped.input_signal(x, target, batch_size=3), signal, rtol=1e-4, atol=limit)
    np.testing.assert_allclose(wrapped.scores(x, target), scores, rtol=1e-4, atol=1e-5)
    batch = next(wrapped.explain_batches(x, target))
    np.testing.assert_allclose(batch.maps, (x * signal).sum(-1), rtol=1e-3, atol=1e-4)
    return batch


def mean_logit(logits, mask, class_id):
    """The mean logit of one sample over a mask, a float32 scalar."""
    mask = tf.constant(mask, tf.float32)
    return tf.reduce_sum(mask * logits[..., class_id]) / tf.reduce_sum(mask)


def each(function, *columns):
    """A score `[n]` from the outputs of one sample and its entries in the columns."""
    return lambda outputs: tf.stack(
        [function(outputs[k], *row) for k, row in enumerate(zip(*columns, strict=True))]
    )


@pytest.mark.parametrize(
    "target",
    [
        Region(MASKS, IDS),
        Region(),
        Region(MASKS[1], tf.constant(1)),
        Pixel(3, [1, 2, 3, 4]),
        Value(reference=tf.constant([0.1, 0.9, 0.2, 0.3])),
        Contrast(Region(MASKS, 1), lambda y: tf.reduce_max(y, [1, 2, 3])),
    ],
)
def test_inside_of_a_graph(target, unet):
    """`attribute` gives what `explain_batches` does, with tensors as with arrays."""
    wrapped = tlp.wrap_model(unet, "gradient")
    batch = next(wrapped.explain_batches(IMAGES, target))
    inside = tf.function(lambda images: wrapped.attribute(images, target))(tf.constant(IMAGES))
    np.testing.assert_allclose(inside.maps, batch.maps, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(inside.class_ids, batch.class_ids)
    np.testing.assert_allclose(inside.probabilities, batch.probabilities, rtol=1e-5)


@pytest.fixture(scope="module")
def unet():
    return target_models.unet()


class TestRegion:
    def test_masks_and_classes(self, unet):
        batch = check(
            unet, Region(MASKS, IDS), each(mean_logit, MASKS, IDS), logit_model=without_activation(unet)
        )
        np.testing.assert_array_equal(batch.class_ids, IDS)
        outputs = unet(IMAGES).numpy()
        expected = [(m * y[..., k]).sum() / m.sum() for m, y, k in zip(MASKS, outputs, IDS, strict=True)]
        np.testing.assert_allclose(batch.probabilities, expected, rtol=1e-4)

    def test_one_mask_and_one_class_for_all(self, unet):
        score = each(mean_logit, [MASKS[1]] * 4, [1] * 4)
        check(unet, Region(MASKS[1], 1), score, logit_model=without_activation(unet))

    def test_with_a_mask_the_class_with_the_largest_mean(self, unet):
        logits = without_activation(unet)
        means = [(m[..., None] * z).sum((0, 1)) for m, z in zip(MASKS, logits(IMAGES).numpy(), strict=True)]
        ids = np.argmax(means, 1)
        assert len(set(ids)) > 1
        batch = check(unet, Region(MASKS), each(mean_logit, MASKS, ids), logit_model=logits)
        np.testing.assert_array_equal(batch.class_ids, ids)

    def test_without_a_mask_where_the_class_is_predicted(self, unet):
        logits = without_activation(unet)
        masks = logits(IMAGES).numpy().argmax(-1) == 2
        assert masks.any((1, 2)).all() and not masks.all()
        check(unet, Region(class_id=2), each(mean_logit, masks, [2] * 4), logit_model=logits)

    @pytest.mark.parametrize("background", [None, 0, 1, 2])
    def test_alone_the_class_of_most_places(self, unet, background):
        logits = without_activation(unet)
        predicted = logits(IMAGES).numpy().argmax(-1)
        counts = np.stack([np.bincount(p.ravel(), minlength=3) for p in predicted])
        if background is not None:
            counts[:, background] = 0
        ids = counts.argmax(1)
        masks = [p == k for p, k in zip(predicted, ids, strict=True)]
        target = Region(background=background)
        batch = check(unet, target, each(mean_logit, masks, ids), logit_model=logits)
        np.testing.assert_array_equal(batch.class_ids, ids)

    def test_a_class_that_is_predicted_nowhere(self):
        """The place where its logit comes nearest to the largest of the others."""
        model = target_models.unet(activation=None)
        bias = model.layers[-1].bias
        bias.assign([0.0, 0.0, -20.0])
        logits = model(IMAGES).numpy()
        margins = logits[..., 2] - logits[..., :2].max(-1)
        assert margins.max() < 0
        masks = margins == margins.max((1, 2), keepdims=True)
        check(model, Region(class_id=2), each(mean_logit, masks, [2] * 4))

    def test_a_single_unit_is_no_and_yes(self):
        model = target_models.unet(1, "sigmoid")
        score = each(lambda z, m: mean_logit(z, m, 0) / 2, MASKS)
        batch = check(model, Region(MASKS, 1), score, logit_model=without_activation(model))
        assert (batch.class_ids == 1).all()
        check(
            model,
            Region(MASKS, 0),
            each(lambda z, m: -mean_logit(z, m, 0) / 2, MASKS),
            logit_model=without_activation(model),
        )

    def test_labels_that_exclude_nothing(self):
        model = target_models.unet(3, "sigmoid")
        logits = without_activation(model)
        masks = logits(IMAGES).numpy()[..., 1] > 0
        assert masks.any((1, 2)).all() and not masks.all()
        batch = check(model, Region(class_id=1), each(mean_logit, masks, [1] * 4), logit_model=logits)
        outputs = model(IMAGES).numpy()[..., 1]
        expected = [y[m].mean() for y, m in zip(outputs, masks, strict=True)]
        np.testing.assert_allclose(batch.probabilities, expected, rtol=1e-4)

    def test_a_mask_of_the_inputs_size(self):
        model = target_models.coarse_segmenter()
        small = MASKS.reshape(4, 6, 2, 6, 2).mean((2, 4))
        check(model, Region(MASKS, IDS), each(mean_logit, small, IDS))
        check(model, Region(small, IDS), each(mean_logit, small, IDS))

    @pytest.mark.parametrize("build", [target_models.volume_segmenter, target_models.series_segmenter])
    def test_volumes_and_series(self, build):
        model = build()
        x = toys.normal(4, *model.input_shape[1:])
        masks = toys.rng(5).uniform(size=x.shape[:-1]) > 0.6
        logits = without_activation(model)
        check(model, Region(masks, IDS), each(mean_logit, masks, IDS), x, logits)

    def test_a_batch_gives_the_maps_of_its_samples(self, unet):
        wrapped = tlp.wrap_model(unet)
        together = wrapped.explain(IMAGES, Region(MASKS, IDS))
        for k, alone in enumerate(together):
            np.testing.assert_allclose(
                wrapped.explain(IMAGES[k : k + 1], Region(MASKS[k], int(IDS[k])))[0],
                alone,
                rtol=1e-3,
                atol=1e-4,
            )


class TestPixel:
    def test_pixels(self, unet):
        masks = np.zeros((4, 12, 12))
        rows, columns = [0, 3, 11, 5], [2, 7, 0, 5]
        masks[range(4), rows, columns] = 1
        logits = without_activation(unet)
        check(unet, Pixel(rows, columns, IDS), each(mean_logit, masks, IDS), logit_model=logits)
        ids = logits(IMAGES).numpy()[range(4), rows, columns].argmax(-1)
        batch = check(unet, Pixel(rows, columns), each(mean_logit, masks, ids), logit_model=logits)
        np.testing.assert_array_equal(batch.class_ids, ids)

    def test_one_for_all(self, unet):
        masks = np.zeros((4, 12, 12))
        masks[:, 4, 9] = 1
        score = each(mean_logit, masks, [1] * 4)
        check(unet, Pixel(4, 9, 1), score, logit_model=without_activation(unet))


class TestValue:
    @pytest.mark.parametrize("model", [target_models.regressor(), target_models.flat_regressor()])
    def test_one_value_whatever_its_sign(self, model):
        batch = check(model, Value(), lambda y: tf.reshape(y, [-1]))
        assert (batch.class_ids == -1).all() and np.isnan(batch.probabilities).all()

    def test_one_of_several(self):
        for index in (2, np.int64(2)):
            check(target_models.regressor(3), Value(index), lambda y: y[:, 2])

    def test_before_a_sigmoid(self):
        model = target_models.regressor(2, "sigmoid")
        check(model, Value(1), lambda y: y[:, 1], logit_model=without_activation(model))

    @pytest.mark.parametrize("reference", [0.1, np.array([-9.0, 9.0, 9.0, -9.0])])
    def test_from_a_reference(self, reference):
        check(target_models.regressor(), Value(reference=reference), lambda y: tf.abs(y[:, 0] - reference))

    def test_the_mean_of_places(self):
        check(target_models.coarse_segmenter(), Value(1), lambda y: tf.reduce_mean(y[..., 1], [1, 2]))


class TestSimilarity:
    TO = toys.normal(4, 8, seed=9)

    def test_cosine(self):
        def score(y):
            return tf.stack(
                [tf.tensordot(v, t / np.linalg.norm(t), 1) for v, t in zip(y, self.TO, strict=True)]
            )

        check(target_models.embedding(), Similarity(self.TO), score)

    def test_cosine_of_vectors_of_any_length(self):
        def score(y):
            return tf.tensordot(y, self.TO[0] / np.linalg.norm(self.TO[0]), 1) / tf.norm(y, axis=-1)

        check(target_models.regressor(8), Similarity(self.TO[0]), score)

    def test_dot_product(self):
        check(
            target_models.regressor(8), Similarity(self.TO, "dot"), lambda y: tf.reduce_sum(y * self.TO, -1)
        )


class TestContrast:
    def test_of_classes(self):
        model = target_models.regressor(5, "softmax")
        check(
            model,
            Contrast(IDS, 4),
            lambda y: tf.gather(y, IDS, batch_dims=1) - y[:, 4],
            logit_model=without_activation(model),
        )

    def test_of_regions(self, unet):
        score = each(lambda z, m: mean_logit(z, m, 1) - mean_logit(z, MASKS[1], 2), MASKS)
        check(
            unet, Contrast(Region(MASKS, 1), Region(MASKS[1], 2)), score, logit_model=without_activation(unet)
        )

    def test_of_functions(self):
        check(
            target_models.regressor(3),
            Contrast(lambda y: y[:, 0] ** 2, Value(1)),
            lambda y: y[:, 0] ** 2 - y[:, 1],
        )


class TestFunction:
    def test_in_tensorflow_and_keras(self, unet):
        check(unet, lambda y: tf.reduce_max(y[..., 1], [1, 2]), lambda y: tf.reduce_max(y[..., 1], [1, 2]))
        check(
            unet,
            lambda y: keras.ops.mean(y[:, 2, :, 0] ** 2, -1),
            lambda y: tf.reduce_mean(y[:, 2, :, 0] ** 2, -1),
        )

    def test_of_several_outputs(self):
        model = target_models.detector()

        def score(outputs):
            return tf.reduce_sum(outputs["boxes"][:, 3] ** 2, -1) + outputs["classes"][:, 2, 1]

        check(model, score, score, output="classes")


class TestOwn:
    class Above(targets.Target):
        """How far the logits of a class lie above a height of each sample, in a power."""

        per_sample = ("height",)

        def __init__(self, height, power):
            self.height, self.power = height, power

        def ask(self, outputs):
            return targets.Asked.of_score((outputs.logits[:, 0] - self.height) ** self.power)

    def test_a_target_of_ones_own(self):
        height = toys.normal(4, seed=2)
        for power in 2, 3:
            check(
                target_models.regressor(),
                self.Above(height, power),
                lambda y, power=power: (y[:, 0] - height) ** power,
            )

    def test_options_must_be_hashable(self):
        wrapped = tlp.wrap_model(target_models.regressor(), "gradient")
        with pytest.raises(TypeError, match=r"must be hashable.*Above.power"):
            wrapped.explain(IMAGES, self.Above(toys.normal(4), [2]))


class Product(tlp.readouts.Readout):
    """Σ_c y·dy of the last feature map."""

    needs = tlp.readouts.Needs(feature_map=True)

    def call(self, signals):
        return tf.reduce_sum(signals.activations[0] * signals.signals[0], -1)


class TestToken:
    IDS = toys.rng(1).integers(0, 11, (4, 7))

    def signal(self, score):
        """Embedding times gradient for each token, by hand."""
        model = target_models.language_model()
        logits = without_activation(model)
        vectors = logits.layers[1](self.IDS)
        rest = keras.Model(logits.layers[1].output, logits.output)
        gradients, scores = gradient(rest, vectors, score)
        return (vectors.numpy() * gradients).sum(-1), scores

    def check(self, target, score):
        wrapped = tlp.wrap_model(target_models.language_model(), "gradient", readout=Product())
        maps, scores = self.signal(score)
        np.testing.assert_allclose(wrapped.scores(self.IDS, target), scores, rtol=1e-4, atol=1e-5)
        batch = next(wrapped.explain_batches(self.IDS, target))
        np.testing.assert_allclose(batch.maps, maps, rtol=1e-3, atol=1e-5)
        return batch

    def test_the_predicted_token(self):
        model = target_models.language_model()
        outputs = model(self.IDS).numpy()[:, -1]
        tokens = outputs.argmax(1)
        batch = self.check(Token(), lambda z: tf.gather(z[:, -1], tokens, batch_dims=1))
        np.testing.assert_array_equal(batch.class_ids, tokens)
        np.testing.assert_allclose(batch.probabilities, outputs.max(1), rtol=1e-4)

    def test_positions_and_tokens(self):
        at, tokens = [0, 3, -2, -7], [1, 5, 9, 0]
        self.check(Token(at, tokens), lambda z: tf.stack([z[k, at[k], tokens[k]] for k in range(4)]))

    def test_what_follows_says_nothing(self):
        batch = self.check(Token(2, 4), lambda z: z[:, 2, 4])
        assert np.all(batch.maps[:, 3:] == 0) and np.abs(batch.maps[:, :3]).min() > 0

    def test_rather_than(self):
        batch = self.check(Token(4, 3, rather_than=8), lambda z: z[:, 4, 3] - z[:, 4, 8])
        assert (batch.class_ids == 3).all()


def test_probabilities_of_a_region_are_means():
    """The answer's logits give the mean probability over the region, as `log_probabilities` does."""
    model = target_models.unet(3, "sigmoid")
    logits = without_activation(model)(IMAGES).numpy()
    outputs = targets.Outputs(
        tf.constant(logits), tf.constant(logits), 0, tlp.wrap_model(model).attributor.head
    )
    asked = Region(tf.constant(MASKS, tf.float32), tf.constant(IDS)).ask(outputs)
    expected = [
        (m * special.expit(z[..., k])).sum() / m.sum() for m, z, k in zip(MASKS, logits, IDS, strict=True)
    ]
    np.testing.assert_allclose(np.exp(asked.log_probabilities(IDS))[:, 1], expected, rtol=1e-4)
