"""Boxes and detections of a detector, against NumPy loops and a gradient tape."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

import tf_learnprop as tlp
from tests import toys
from tests.targets import target_models
from tests.targets.test_by_value import check
from tf_learnprop.targets import Anchors, Box, Detection

IMAGES = toys.normal(3, 12, 12, 2)
IDS = np.array([2, 0, 1])
NAMED = Anchors("boxes", box_format="center_xywh")


def overlap(one, other):
    """Intersection over union of two boxes x₀, y₀, x₁, y₁."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (one, other)]
    return shared / (sum(areas) - shared)


def corners(boxes):
    x, y, w, h = np.moveaxis(np.asarray(boxes, "float64"), -1, 0)
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)


@pytest.fixture(scope="module")
def detector():
    """Nine anchors, three by three, each with a box of side 4 around it, a little shifted by the image."""
    model = target_models.detector()
    centres = np.stack(np.meshgrid(2 + 4 * np.arange(3), 2 + 4 * np.arange(3)), -1).reshape(9, 2)
    sizes = np.full((9, 2), 5.0)
    shift = np.concatenate([centres, sizes], -1)[None].astype("float32")
    boxes = model.output["boxes"] * 0.2 + keras.ops.convert_to_tensor(shift)
    return keras.Model(model.input, {"boxes": boxes, "classes": model.output["classes"]})


def log_odds(values):
    return tf.math.log(values) - tf.math.log1p(-values)


def weights_for(detector, boxes, least=0.5):
    """How much each anchor counts for one box of each image."""
    rows = []
    for own, box in zip(corners(detector(IMAGES)["boxes"]), corners(boxes), strict=True):
        found = np.array([overlap(one, box) for one in own])
        rows.append(np.where(found >= min(least, found.max()), found, 0))
    return np.stack(rows)


def score_of(weights, ids):
    def score(outputs):
        logits = log_odds(outputs["classes"])
        means = tf.reduce_sum(logits * weights[..., None], 1) / weights.sum(1)[:, None]
        return tf.gather(means, ids, batch_dims=1)

    return score


BOXES = np.float32([[4, 4, 6, 6], [10, 2, 5, 4], [1, 9, 3, 3]])


class TestBox:
    def test_boxes_and_classes(self, detector):
        weights = weights_for(detector, BOXES, least=0.2)
        assert (weights > 0).any(1).all() and (weights > 0).sum() > 3
        target = Box(BOXES, IDS, NAMED, overlap=0.2)
        batch = check(detector, target, score_of(weights, IDS), IMAGES, output="classes")
        np.testing.assert_array_equal(batch.class_ids, IDS)
        classes = detector(IMAGES)["classes"].numpy()[range(3), :, IDS]
        np.testing.assert_allclose(
            batch.probabilities, (classes * weights).sum(1) / weights.sum(1), rtol=1e-4
        )

    def test_the_class_with_the_largest_mean(self, detector):
        weights = weights_for(detector, BOXES, least=0.1)
        means = (log_odds(detector(IMAGES)["classes"]).numpy() * weights[..., None]).sum(1)
        ids = (means / weights.sum(1)[:, None]).argmax(1)
        target = Box(BOXES, anchors=NAMED, overlap=0.1)
        batch = check(detector, target, score_of(weights, ids), IMAGES, output="classes")
        np.testing.assert_array_equal(batch.class_ids, ids)

    def test_a_box_that_fits_no_anchor_well(self, detector):
        small = np.float32([[4, 4, 1, 1]] * 3)
        weights = weights_for(detector, small)
        assert ((weights > 0).sum(1) == 1).all() and weights.max() < 0.5
        check(detector, Box(small[0], IDS, NAMED), score_of(weights, IDS), IMAGES, output="classes")

    @pytest.mark.parametrize("probabilities", [False, True])
    def test_columns_of_one_output(self, detector, probabilities):
        """Four columns of a box, then the classes, which may have passed a sigmoid."""
        x0, y0, x1, y1 = (corners_of(detector)[..., k : k + 1] for k in range(4))
        classes = detector.output["classes"] if probabilities else keras.ops.sin(detector.output["classes"])
        model = keras.Model(detector.input, keras.ops.concatenate([y0, x0, y1, x1, classes], -1))
        anchors = Anchors(box_format="yxyx", probabilities=probabilities, independent=True)
        weights = weights_for(detector, BOXES)

        def score(outputs):
            values = outputs[..., 4:]
            logits = log_odds(values) if probabilities else values
            means = tf.reduce_sum(logits * weights[..., None], 1) / weights.sum(1)[:, None]
            return tf.gather(means, IDS, batch_dims=1)

        box = corners(BOXES)[:, [1, 0, 3, 2]]
        check(model, Box(box, IDS, anchors), score, IMAGES)

    def test_a_function_for_boxes(self, detector):
        twice = Anchors(lambda outputs: outputs["boxes"] * 2, box_format="center_xywh")
        weights = weights_for(detector, BOXES)
        check(detector, Box(BOXES * 2, IDS, twice), score_of(weights, IDS), IMAGES, output="classes")


def corners_of(detector):
    boxes = detector.output["boxes"]
    return keras.ops.concatenate(
        [boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1
    )


def detections(boxes, scores, most=0.5):
    """Non-maximum suppression in each class by a slow loop: (anchor, class), best first."""
    order = sorted(np.ndindex(scores.shape), key=lambda place: -scores[place])
    kept = []
    for anchor, class_id in order:
        if all(k != class_id or overlap(boxes[anchor], boxes[a]) <= most for a, k in kept):
            kept.append((anchor, class_id))
    return kept


class TestDetection:
    @pytest.mark.parametrize("number", [0, 3, np.array([2, 0, 5])])
    def test_is_the_box_of_the_detection(self, detector, number):
        outputs = {name: value.numpy() for name, value in detector(IMAGES).items()}
        found = []
        for boxes, scores, k in zip(
            corners(outputs["boxes"]), outputs["classes"], np.broadcast_to(number, 3), strict=True
        ):
            found.append(detections(boxes, scores)[k])
        anchors, ids = np.transpose(found)
        boxes = outputs["boxes"][range(3), anchors]
        weights = weights_for(detector, boxes)
        target = Detection(number, anchors=NAMED)
        batch = check(detector, target, score_of(weights, ids), IMAGES, output="classes")
        np.testing.assert_array_equal(batch.class_ids, ids)

    def test_a_detection_that_is_not_there(self, detector):
        wrapped = tlp.wrap_model(detector, "gradient", output="classes")
        with pytest.raises(ValueError, match="^`number` must be that of a detection that the model makes$"):
            wrapped.scores(IMAGES, Detection(8, anchors=NAMED, suppression=0.0))


class TestErrors:
    @pytest.mark.parametrize(
        ("target", "text"),
        [
            (
                Box([0, 0, -1, 1], anchors=NAMED),
                "`box` must have a width and a height above 0, in the format 'center_xywh'",
            ),
            (Box([0, 0, 1], anchors=NAMED), r"`box` must have shape \[4\] or \[n, 4\]"),
            (Box([50, 50, 2, 2], anchors=NAMED), "^`box` must overlap a box that the model gives$"),
            (Box(BOXES[0], 3, NAMED), r"`class_id` must be class ids in 0\.\.2"),
            (Box(BOXES[0], anchors=Anchors("box")), "`boxes` must be the name of an output.*boxes='box'"),
            (Box(BOXES[0]), r"`classes` must be a column of output 'classes'.*classes=4"),
            (Box(BOXES[0], anchors=Anchors(lambda y: y["classes"])), r"`boxes` must have shape \[n, 9, 4\]"),
            (Detection(9, anchors=NAMED), r"`number` must be detections in 0\.\.8"),
        ],
    )
    def test_bad_boxes(self, target, text, detector):
        wrapped = tlp.wrap_model(detector, "gradient", output="classes", readout="input")
        with pytest.raises(ValueError, match=text):
            wrapped.explain(IMAGES, target)

    def test_box_of_a_classifier(self):
        with pytest.raises(ValueError, match=r"`Box` needs an output \[n, anchors, columns\]"):
            tlp.wrap_model(toys.small_cnn(), "gradient").explain(toys.images(1), Box([0, 0, 1, 1]))

    def test_unknown_format(self):
        with pytest.raises(ValueError, match="`box_format` must be one of 'xyxy'.*'corners'"):
            Anchors(box_format="corners")


def test_retina_net():
    """The adapter decodes boxes as KerasHub's detector does, and its detections are explained."""
    pytest.importorskip("keras_hub")
    from tests import hub_models

    detector = hub_models.retina_net()
    anchors = tlp.targets.retina_net(detector)
    images = toys.normal(2, 64, 64, 3)
    outputs = detector(images)
    expected = {}

    class Spy(keras.layers.Layer):
        bounding_box_format = "yxyx"

        def call(self, boxes, logits, images):
            expected["boxes"] = boxes
            return {"boxes": boxes}

    detector._prediction_decoder = Spy()
    detector.decode_predictions(outputs, images)
    np.testing.assert_allclose(anchors.boxes(outputs), expected["boxes"], rtol=1e-5, atol=1e-4)

    wrapped = tlp.wrap_model(detector, "gradient", output="cls_logits", readout="input")
    batch = next(wrapped.explain_batches(images, Detection(anchors=anchors)))
    scores = special.expit(outputs["cls_logits"].numpy())
    best = scores.reshape(2, -1).argmax(1)
    np.testing.assert_array_equal(batch.class_ids, best % 2)
    boxes = expected["boxes"].numpy()[range(2), best // 2]
    np.testing.assert_allclose(
        batch.maps, wrapped.explain(images, Box(boxes, best % 2, anchors)), rtol=1e-3, atol=1e-6
    )
