"""Insertion and deletion for targets that are no classes, and for texts, against slow loops."""

import numpy as np
import pytest

import tf_learnprop as tlp
from tests import toys
from tests.targets import target_models
from tests.training.test_targets import IDS, text_classifier
from tf_learnprop import metrics
from tf_learnprop.targets import Region, Value

IMAGES = toys.normal(3, 12, 12, 2)
MAPS = toys.normal(3, 12, 12)


def deleted(images, maps, fill, step):
    """Yields the images with 0, step, 2·step … of their pixels replaced, those of the highest maps first."""
    flat = images.reshape(len(images), -1, images.shape[-1])
    order = np.argsort(-maps.reshape(len(maps), -1), 1)
    for count in [*range(0, flat.shape[1], step), flat.shape[1]]:
        copies = flat.copy()
        for row, pixels in zip(copies, order, strict=True):
            row[pixels[:count]] = fill
        yield copies.reshape(images.shape)


def test_of_a_value_the_curve_is_its_closeness():
    model = target_models.regressor(2)
    wrapped = tlp.wrap_model(model, "gradient")
    found = metrics.deletion(wrapped, IMAGES, MAPS, targets=Value(1), step=36)
    original = model(IMAGES).numpy()[:, 1]
    curves = []
    for images in deleted(IMAGES, MAPS, IMAGES.mean((0, 1, 2)), 36):
        distance = (model(images).numpy()[:, 1] - original) / (original.std() + 1e-6)
        curves.append(np.exp(-1e-3 - distance**2 / 2))
    np.testing.assert_allclose(found.curves, np.stack(curves, 1), atol=1e-4)


def test_of_a_region_it_is_the_mean_probability_in_batches_of_any_size():
    model = target_models.unet()
    wrapped = tlp.wrap_model(model, "gradient")
    masks = toys.rng(4).uniform(size=(3, 12, 12)) > 0.5
    classes = np.array([0, 2, 1])
    found = metrics.deletion(
        wrapped, IMAGES, MAPS, targets=Region(masks, classes), step=36, fill="mean", batch_size=2
    )
    curves = []
    for images in deleted(IMAGES, MAPS, IMAGES.mean((0, 1, 2)), 36):
        outputs = model(images).numpy()
        curves.append(
            [output[mask, k].mean() for output, mask, k in zip(outputs, masks, classes, strict=True)]
        )
    np.testing.assert_allclose(found.curves, np.stack(curves, 1), atol=1e-5)


@pytest.mark.parametrize("targets", [None, 1])
def test_of_a_text_the_embedding_is_deleted(targets):
    model = text_classifier()
    _, embed, dense, _, last = model.layers
    wrapped = tlp.wrap_model(model)
    maps = wrapped.explain(IDS, targets)
    found = metrics.deletion(wrapped, IDS, maps, targets=targets, step=2, fill="mean")
    vectors = embed(IDS).numpy()
    classes = model(IDS).numpy().argmax(1) if targets is None else np.full(4, targets)
    curves = [
        last(dense(copies).numpy().mean(1)).numpy()[np.arange(4), classes]
        for copies in deleted(vectors, maps, vectors.mean((0, 1)), 2)
    ]
    np.testing.assert_allclose(found.curves, np.stack(curves, 1), atol=1e-5)


def test_the_target_of_each_image_is_settled_on_the_image_itself():
    """Region() is where the model predicts the class in the whole image, also when parts are deleted."""
    model = target_models.unet()
    evaluation = metrics.Evaluation(tlp.wrap_model(model, "gradient"), IMAGES, Region())
    outputs = model(IMAGES).numpy()
    for image, output in enumerate(outputs):
        predicted = output.argmax(-1)
        counts = np.bincount(predicted.ravel(), minlength=3)
        class_id = 1 + counts[1:].argmax() if counts[1:].any() else 0
        expected = output[predicted == class_id][:, class_id].mean()
        np.testing.assert_allclose(evaluation.confidences[image], expected, atol=1e-5)
    fidelity = metrics.insertion_deletion(evaluation, MAPS, step=36)
    assert fidelity.scores.shape == (3,) and np.isfinite(fidelity.scores).all()


@pytest.mark.parametrize(
    "model, targets, error, message",
    [
        (target_models.unet, Region(), TypeError, "must be a wrapped model where `targets` is one"),
        (
            lambda: tlp.wrap_model(target_models.unet()),
            Value(9),
            ValueError,
            "`index` must be an int in 0..2",
        ),
    ],
)
def test_errors(model, targets, error, message):
    with pytest.raises(error, match=message):
        metrics.Evaluation(model(), IMAGES, targets)


def test_class_sensitivity_needs_classes():
    wrapped = tlp.wrap_model(target_models.unet(), "gradient")
    evaluation = metrics.Evaluation(wrapped, IMAGES, Region())
    with pytest.raises(ValueError, match="Class sensitivity needs classes"):
        metrics.class_sensitivity(evaluation, wrapped.explain)
