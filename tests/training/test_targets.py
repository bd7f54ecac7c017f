"""Training and refinement for targets that are no classes of an output `[n, classes]`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy import special

import tf_learnprop as tlp
from tests import toys
from tests.targets import target_models
from tf_learnprop import objectives
from tf_learnprop.targets import Anchors, Contrast, Detection, Region, Similarity, Token, Value

IMAGES = toys.normal(4, 12, 12, 2)
IDS = toys.rng(1).integers(0, 11, (4, 7))


@keras.saving.register_keras_serializable("tests")
def brightness(outputs):
    """A score of a user's own."""
    return keras.ops.mean(outputs[..., 0], axis=(1, 2))


def text_classifier(mask_zero=False):
    keras.utils.set_random_seed(0)
    ids = keras.Input((7,), dtype="int32")
    x = layers.Embedding(11, 6, mask_zero=mask_zero)(ids)
    x = layers.Dense(8, "relu")(x)
    return keras.Model(ids, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(x)))


def detector():
    """With boxes that have an area."""
    model = target_models.detector()
    boxes, classes = model.output["boxes"], model.output["classes"]
    return keras.Model(model.input, {"boxes": keras.ops.abs(boxes) + 1.0, "classes": classes})


NAMED = Anchors("boxes", box_format="center_xywh")
KINDS = {
    "region": (target_models.unet, Region(), IMAGES),
    "region of a class": (target_models.unet, Region(class_id=1), IMAGES),
    "value": (lambda: target_models.regressor(2), Value(1), IMAGES),
    "value and reference": (target_models.flat_regressor, Value(reference=0.5), IMAGES),
    "similarity": (target_models.embedding, Similarity(np.arange(8.0)), IMAGES),
    "product": (target_models.embedding, Similarity(np.arange(8.0), "dot"), IMAGES),
    "two classes": (lambda: target_models.regressor(3), Contrast(0, 1), IMAGES),
    "score": (target_models.unet, brightness, IMAGES),
    "detection": (detector, Detection(0, anchors=NAMED), IMAGES),
    "text": (text_classifier, None, IDS),
    "token": (target_models.language_model, Token(), IDS),
}


class Spy(objectives.Objective):
    """Returns what it is given, and the answers to two copies of what is masked."""

    reported = ("original", "masked", "image", "maps")

    def call(self, image, maps, original, classify, training=False):
        masked = classify(tf.concat([image * 0.5, image * -1.0], 0))
        return {"image": image, "maps": maps, "original": original, "masked": masked}


def guidance(model, target, x, **arguments):
    wrapped = tlp.wrap_model(model, "learned", **arguments)
    wrapped.compile(objective=Spy(), targets=target)
    found = wrapped._guidance(tf.constant(x), training=False)
    return {name: value.numpy() for name, value in found.items()}


class TestAnswers:
    """What an objective is given, by hand."""

    def assert_answers(self, found, probability):
        """`probability` gives the answers to images, of which the first is that to the images themselves."""
        original, *masked = (np.asarray(probability(x), "float64") for x in (IMAGES, IMAGES / 2, -IMAGES))
        for name, p in {"original": original, "masked": np.concatenate(masked)}.items():
            np.testing.assert_allclose(np.exp(found[name]), np.stack([1 - p, p], 1), atol=2e-5)

    def test_of_a_value_it_is_a_kernel_as_wide_as_the_batch(self):
        model = target_models.regressor(2)
        original = model(IMAGES).numpy()[:, 1]

        def probability(x):
            distance = (model(x).numpy()[:, 1] - original) / (original.std() + 1e-6)
            return np.exp(-1e-3 - distance**2 / 2)

        self.assert_answers(guidance(model, Value(1), IMAGES), probability)

    def test_of_one_value_the_kernel_is_half_as_wide_as_the_value(self):
        model = target_models.regressor()
        value, half = model(IMAGES[:1]).numpy()[0, 0], model(IMAGES[:1] / 2).numpy()[0, 0]
        found = guidance(model, Value(), IMAGES[:1])
        expected = -1e-3 - ((half - value) / (abs(value) / 2 + 1e-6)) ** 2 / 2
        np.testing.assert_allclose(found["masked"][0, 1], expected, rtol=1e-4)

    def test_of_a_similarity_it_is_the_cosine(self):
        model, to = target_models.embedding(), np.arange(8.0)
        found = guidance(model, Similarity(to), IMAGES)
        self.assert_answers(found, lambda x: (1 + model(x).numpy() @ to / np.linalg.norm(to)) / 2)

    def test_of_two_classes_it_is_their_softmax(self):
        model = target_models.regressor(3)

        def probability(x):
            logits = model(x).numpy()
            return special.expit(logits[:, 0] - logits[:, 1])

        self.assert_answers(guidance(model, Contrast(0, 1), IMAGES), probability)

    def test_of_a_region_it_is_the_mean_probability_there(self):
        model = target_models.unet()
        mask = np.zeros((12, 12))
        mask[2:5, 6:] = 1
        found = guidance(model, Region(mask, 1), IMAGES)
        original, masked = (
            model(x).numpy()[:, 2:5, 6:].mean((1, 2)) for x in (IMAGES, np.concatenate([IMAGES / 2, -IMAGES]))
        )
        np.testing.assert_allclose(np.exp(found["masked"])[:, 1], masked[:, 1], atol=2e-5)
        # The class that is asked for changes places with the likeliest, as for classes of an output.
        np.testing.assert_allclose(np.exp(found["original"])[:, 1], original.max(-1), atol=2e-5)

    @pytest.mark.parametrize("mask_zero", [False, True])
    def test_of_texts_the_embedding_is_masked(self, mask_zero):
        model = text_classifier(mask_zero)
        embed, *rest = model.layers[1:]
        found = guidance(model, None, IDS)
        vectors = embed(IDS).numpy()
        np.testing.assert_allclose(found["image"], vectors, atol=1e-6)
        assert found["maps"].shape == IDS.shape
        hidden = rest[0](np.concatenate([vectors / 2, -vectors])).numpy()
        counts = np.tile(IDS > 0 if mask_zero else np.ones_like(IDS), (2, 1))[..., None]
        mean = (hidden * counts).sum(1) / counts.sum(1)
        np.testing.assert_allclose(np.exp(found["masked"]), rest[-1](mean), atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_training_moves_the_rules_and_nothing_else(name):
    build, target, x = KINDS[name]
    model = build()
    before = [value.copy() for value in model.get_weights()]
    wrapped = tlp.wrap_model(model, "learned", output="classes" if name == "detection" else 0)
    wrapped.compile(keras.optimizers.Adam(1e-2), targets=target)
    rules = wrapped.rule_set.get_weights()
    losses = wrapped.fit(x, batch_size=4, epochs=3, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(rules, wrapped.rule_set.get_weights(), strict=True))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(wrapped.explain(x, target)).all()
    assert np.isfinite(wrapped.evaluate(x, verbose=0, return_dict=True)["loss"])


def test_rules_of_a_text_learn_where_the_answer_is():
    """One word decides; the map of trained rules keeps the answer, and what it leaves out does not."""
    model = text_classifier()
    wrapped = tlp.wrap_model(model, "learned")
    wrapped.compile(keras.optimizers.Adam(1e-2), objectives.AreaGuidance(fills=("mean", "shift")))
    ids = toys.rng(2).integers(0, 11, (32, 7))
    first = wrapped.evaluate(ids, batch_size=32, verbose=0, return_dict=True)["loss"]
    wrapped.fit(ids, batch_size=16, epochs=15, verbose=0)
    assert wrapped.evaluate(ids, batch_size=32, verbose=0, return_dict=True)["loss"] < first


@pytest.mark.parametrize("name", ["value", "similarity", "two classes", "score", "region of a class"])
def test_saving_keeps_the_target(name, tmp_path):
    build, target, x = KINDS[name]
    wrapped = tlp.wrap_model(build(), "learned")
    wrapped.compile(targets=target, run_eagerly=True)
    wrapped.fit(x, batch_size=4, verbose=0)
    wrapped.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for model in (wrapped, again):
        model.fit(x, batch_size=4, verbose=0)
    np.testing.assert_allclose(again.explain(x, target), wrapped.explain(x, target), atol=1e-5)


def test_refinement_of_a_value():
    wrapped = tlp.wrap_model(target_models.regressor())
    maps, refined = (wrapped.explain(IMAGES, Value(), refine_steps=steps) for steps in (0, 3))
    assert refined.shape == maps.shape and np.isfinite(refined).all()
    assert np.abs(refined - maps).max() > 1e-3


def test_one_target_for_all_samples():
    wrapped = tlp.wrap_model(target_models.unet())
    with pytest.raises(ValueError, match="one target for all samples.*Received: a target of 4 samples"):
        wrapped.compile(targets=Region(np.ones((4, 12, 12))))


def test_the_target_must_fit_the_output():
    with pytest.raises(ValueError, match=r"A class needs an output \[n, classes\].*targets.Region"):
        tlp.wrap_model(target_models.unet()).compile()
