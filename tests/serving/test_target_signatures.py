"""Models that are exported with a target: through the C API they answer what `explain` gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tests.serving.serving_client import ask
from tests.targets import target_models
from tf_learnprop.targets import Anchors, Contrast, Detection, Pixel, Region, Similarity, Token, Value

IMAGES = toys.normal(4, 12, 12, 2)
TEXTS = toys.rng(1).integers(0, 11, (4, 7)).astype("int32")
MASKS = (toys.rng(2).uniform(size=(4, 12, 12)) > 0.6).astype("float32")
CLASSES = np.array([2, 0, 1, 2])
BOXES = np.array([[5.0, 5, 4, 4], [6, 6, 9, 9], [3, 7, 4, 6], [5, 5, 12, 12]], "float32")
REFERENCES = np.float32([0.5, -1, 0, 2])
EMBEDDINGS = toys.normal(4, 8)
NAMED = Anchors("boxes", box_format="center_xywh")


def detector():
    """With boxes that have an area and lie in the image."""
    model = target_models.detector()
    boxes, classes = model.output["boxes"], model.output["classes"]
    return keras.Model(model.input, {"boxes": keras.ops.sigmoid(boxes) * 8.0 + 1.0, "classes": classes})


#: The model, its default target, the signature of its kind with a request, and the target of that request.
KINDS = {
    "region": (
        target_models.unet,
        Region(),
        ("explain_region", {"masks": MASKS, "class_ids": CLASSES}),
        Region(MASKS, CLASSES),
    ),
    "pixel": (
        target_models.unet,
        Pixel(3, 4, 1),
        ("explain_pixel", {"rows": CLASSES, "columns": CLASSES + 5, "class_ids": CLASSES}),
        Pixel(CLASSES, CLASSES + 5, CLASSES),
    ),
    "detection": (
        detector,
        Detection(0, anchors=NAMED),
        ("explain_box", {"boxes": BOXES, "class_ids": CLASSES}),
        tlp.targets.Box(BOXES, CLASSES, NAMED),
    ),
    "value": (
        lambda: target_models.regressor(2),
        Value(1),
        ("explain_value", {"references": REFERENCES}),
        Value(1, REFERENCES),
    ),
    "similarity": (
        target_models.embedding,
        Similarity(np.arange(8.0), "dot"),
        ("explain_similarity", {"embeddings": EMBEDDINGS}),
        Similarity(EMBEDDINGS, "dot"),
    ),
    "token": (
        target_models.language_model,
        Token(),
        ("explain_token", {"positions": CLASSES, "tokens": CLASSES + 3}),
        Token(CLASSES, CLASSES + 3),
    ),
    "contrast": (lambda: target_models.regressor(3), Contrast(0, 1), None, None),
}


@pytest.mark.parametrize("name", KINDS)
def test_answers_are_those_of_explain(name, tmp_path):
    build, target, request, requested = KINDS[name]
    wrapped = tlp.wrap_model(build(), output="classes" if name == "detection" else 0)
    x = {"inputs": TEXTS} if name == "token" else {"images": IMAGES}
    path = wrapped.export(tmp_path / "1", target=target)
    requests, expected = [("serving_default", x)], [target]
    if request:
        requests.append((request[0], x | request[1]))
        expected.append(requested)
    for answer, explained in zip(ask(path, requests), expected, strict=True):
        assert not isinstance(answer, str), answer
        (batch,) = wrapped.explain_batches(next(iter(x.values())), explained)
        limit = 1e-5 * np.abs(batch.maps).max()
        np.testing.assert_allclose(answer["maps"], batch.maps, rtol=1e-4, atol=limit)
        np.testing.assert_array_equal(answer["class_ids"], batch.class_ids)
        np.testing.assert_allclose(answer["probabilities"], batch.probabilities, rtol=1e-4)
        scores = wrapped.scores(next(iter(x.values())), explained)
        np.testing.assert_allclose(answer["scores"], scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", [Region(class_id=1), Value(1)])
def test_encoded_photos(target, tmp_path):
    build, channels = (target_models.unet, 1) if isinstance(target, Region) else (target_models.regressor, 3)
    wrapped = tlp.wrap_model(build(3, channels=channels))
    path = wrapped.export(tmp_path / "1", target=target, preprocess=lambda x: x / 255.0)
    photos = toys.rng(3).integers(0, 256, (3, 12, 12, channels), dtype=np.uint8)
    files = np.array([tf.io.encode_png(photo).numpy() for photo in photos], object)
    (answer,) = ask(path, [("explain_encoded", {"encoded": files})])
    (batch,) = wrapped.explain_batches(photos / np.float32(255), target)
    np.testing.assert_allclose(answer["maps"], batch.maps, rtol=1e-3, atol=1e-4 * np.abs(batch.maps).max())
    np.testing.assert_array_equal(answer["class_ids"], batch.class_ids)
    np.testing.assert_allclose(answer["scores"], wrapped.scores(photos / np.float32(255), target), rtol=1e-4)
    drawn = [tf.io.decode_png(png).shape for png in answer["overlays_bytes"]]
    assert drawn == [(12, 12, 3)] * 3


def test_an_explainer_takes_what_the_signature_takes(tmp_path):
    wrapped = tlp.wrap_model(target_models.unet())
    explainer = tlp.serving.Explainer(wrapped.export(tmp_path / "1", target=Region()), "explain_region")
    found = explainer({"images": IMAGES, "masks": MASKS}, CLASSES)
    np.testing.assert_allclose(found.maps, wrapped.explain(IMAGES, Region(MASKS, CLASSES)), atol=1e-4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"class_ids": CLASSES + 1}, "`class_id` must be class ids in 0..2"),
        ({"masks": MASKS[:, 1:]}, r"mask"),
        ({"masks": MASKS * 0}, "`mask` must"),
        ({"masks": MASKS[:1]}, "`masks` must be as long as the batch"),
    ],
)
def test_bad_requests_get_an_error(change, message, tmp_path):
    wrapped = tlp.wrap_model(target_models.unet())
    path = wrapped.export(tmp_path / "1", target=Region())
    request = {"images": IMAGES, "masks": MASKS, "class_ids": CLASSES}
    bad, good = ask(path, [("explain_region", request | change), ("explain_region", request)])
    assert isinstance(bad, str) and message in bad
    assert good["maps"].shape == (4, 12, 12)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {},
            r"`export` without a `target` of `tlp.targets` needs an output \[n, classes\]. Received: out",
        ),
        ({"target": Region(MASKS)}, "`target` must be one target for all samples. Received: a target of 4"),
        ({"target": Value(7)}, "`index` must be an int in 0..2"),
        ({"target": Region(), "top_k": 2}, "`target` and `top_k` cannot be used together"),
    ],
)
def test_bad_options(options, message, tmp_path):
    wrapped = tlp.wrap_model(target_models.unet())
    with pytest.raises(ValueError, match=message):
        wrapped.export(tmp_path / "1", **options)
    assert not any(tmp_path.iterdir())
