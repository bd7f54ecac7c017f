"""`Box` and `Detection`: a class in a box of a detector; `Anchors` says how its outputs are read."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.output_head import OutputHead
from tf_learnprop.targets import per_sample
from tf_learnprop.targets.base import Asked, Outputs, Target
from tf_learnprop.targets.fitting import check_output, name_of_output
from tf_learnprop.targets.per_sample import PerSample, required
from tf_learnprop.targets.regions import ask_at_places, mean_over

#: From four numbers of a box to those of its corners, as columns of x₀, y₀, x₁, y₁.
_CORNERS: dict[str, Callable[[Any, Any, Any, Any], list[Any]]] = {
    "xyxy": lambda x0, y0, x1, y1: [x0, y0, x1, y1],
    "yxyx": lambda y0, x0, y1, x1: [x0, y0, x1, y1],
    "xywh": lambda x, y, w, h: [x, y, x + w, y + h],
    "center_xywh": lambda x, y, w, h: [x - w / 2, y - h / 2, x + w / 2, y + h / 2],
}
#: Smallest distance of a probability from 0 and 1 where its logarithm is taken, and smallest area.
_SMALLEST = 1e-7


@dataclasses.dataclass(frozen=True)
class Anchors:
    """How the outputs of a detector are read. The explained output is `[n, anchors, columns]`.

    Attributes:
        boxes: Where the box of each anchor is: the first of its four columns in the explained output, the
            name of another output `[n, anchors, 4]`, or a function of all outputs, in their structure, that
            returns boxes `[n, anchors, 4]`.
        classes: The first of the columns of the explained output with a score for each class; the others
            follow. None: 4 if `boxes` is 0, else 0.
        box_format: What the four numbers of a box are: "xyxy" or "yxyx" for two corners, "xywh" for a corner
            and the size, "center_xywh" for the centre and the size.
        independent: Whether each class has a probability of its own, as with a sigmoid. None: as the output
            ends.
        probabilities: Whether the scores are probabilities in 0..1 that no activation at the end of the model
            gives, so that their logits are not known. Their log-odds are then explained, or the logarithms if
            they are not independent.
        background: The class that stands for no object, if there is one.
    """

    boxes: int | str | Callable[[Any], Any] = 0
    classes: int | None = None
    box_format: str = "xyxy"
    independent: bool | None = None
    probabilities: bool = False
    background: int | None = None

    def __post_init__(self) -> None:
        if self.box_format.removeprefix("rel_") not in _CORNERS:
            raise ValueError(
                f"`box_format` must be one of {', '.join(map(repr, _CORNERS))}. "
                f"Received: box_format={self.box_format!r}"
            )

    @property
    def first_class(self) -> int:
        """Column of the first class."""
        return (4 if self.boxes == 0 else 0) if self.classes is None else self.classes

    def head(self, outputs: OutputHead) -> OutputHead:
        """How the classes are read in outputs that are read as another head says."""
        labels = outputs.activation == "sigmoid" if self.independent is None else self.independent
        return OutputHead(outputs.units - self.first_class, "sigmoid" if labels else "")

    def class_logits(self, outputs: Outputs) -> tf.Tensor:
        """Logits of the classes, float32 `[n, anchors, classes]`."""
        logits, head = outputs.logits[..., self.first_class :], self.head(outputs.head)
        if self.probabilities:
            values = tf.clip_by_value(logits, _SMALLEST, 1 - _SMALLEST)
            is_label = head.units == 1 or head.multi_label
            logits = tf.math.log(values) - (tf.math.log1p(-values) if is_label else 0.0)
        return head.class_logits(logits)

    def corners(self, outputs: Outputs) -> tf.Tensor:
        """Boxes as x₀, y₀, x₁, y₁, float32 `[n, anchors, 4]`, without gradient."""
        if isinstance(self.boxes, int):
            boxes = outputs.explained[..., self.boxes : self.boxes + 4]
        elif isinstance(self.boxes, str):
            boxes = outputs.everything[self.boxes]
        else:
            boxes = self.boxes(outputs.everything)
        if not boxes.shape[1:].is_compatible_with([outputs.logits.shape[1], 4]):
            raise ValueError(
                f"`boxes` must have shape [n, {outputs.logits.shape[1]}, 4]. Received: {tuple(boxes.shape)}"
            )
        return self.to_corners(tf.stop_gradient(tf.cast(boxes, tf.float32)))

    def to_corners(self, boxes: tf.Tensor) -> tf.Tensor:
        """x₀, y₀, x₁, y₁ of boxes, in the last axis of float32 `[..., 4]`."""
        return tf.stack(self.sides(boxes), -1)

    def sides(self, boxes: Any) -> list[Any]:
        """x₀, y₀, x₁, y₁ of boxes `[..., 4]`, an array or tensor, each `[...]`."""
        return _CORNERS[self.box_format.removeprefix("rel_")](*(boxes[..., k] for k in range(4)))

    def checked(self, target: str, explained: Explained) -> "Anchors":
        """Checks that an output can be read so."""
        shape = explained.output_tensor.shape
        check_output(explained, target, "[n, anchors, columns]", len(shape) == 3 and shape[-1] is not None)
        names = explained.graph.output_keys
        if isinstance(self.boxes, str) and self.boxes not in names:
            raise ValueError(
                "`boxes` must be the name of an output in a dict of outputs. "
                f"Received: boxes={self.boxes!r}, and outputs {names}"
            )
        if shape[-1] <= self.first_class:
            raise ValueError(
                f"`classes` must be a column of {name_of_output(explained)}. Received: classes="
                f"{self.first_class}"
            )
        return self


#: Four columns for the corners of a box, and one for each class.
COLUMNS = Anchors()


@keras.saving.register_keras_serializable("tf_learnprop")
class Box(Target):
    """The mean logit of a class over the anchors of a detector whose boxes overlap a box.

    An anchor counts by its overlap, the intersection over union of its box and this one, if that is at least
    `overlap`, or the largest that there is. Who competes are the classes at the same anchors.

    Args:
        box: Four numbers for all samples, or `[n, 4]`, in the format and the units of the model's boxes.
        class_id: An int, or ints `[n]`. None: the class with the largest mean logit.
        anchors: How the outputs are read.
        overlap: Smallest overlap of an anchor that counts.
    """

    per_sample = ("box", "class_id")

    def __init__(self, box: Any, class_id: Any = None, anchors: Anchors = COLUMNS, overlap: float = 0.5):
        self.box = box
        self.class_id = class_id
        self.anchors = anchors
        self.overlap = overlap

    def checked(self, explained: Explained) -> "Box":
        classes = self.anchors.checked("`Box`", explained).head(explained.head).class_count
        box = per_sample.numbers("box", self.box, [4])
        left, top, right, bottom = self.anchors.sides(box.values)
        rule = f"`box` must have a width and a height above 0, in the format '{self.anchors.box_format}'"
        values = required(box.values, (right > left) & (bottom > top), rule)
        data: dict[str, Any] = {"box": PerSample("box", values, box.shared)}
        if self.class_id is not None:
            data["class_id"] = per_sample.class_ids("class_id", self.class_id, classes)
        return self.with_data(data)  # type: ignore[return-value]

    def settled(self, outputs: Outputs) -> "AnchorRegion":
        return self._at_anchors(outputs, self.anchors.to_corners(self.box), self.class_id)

    def _at_anchors(self, outputs: Outputs, corners: tf.Tensor, class_id: tf.Tensor | None) -> "AnchorRegion":
        found = overlaps(self.anchors.corners(outputs), corners)
        largest = tf.reduce_max(found, -1, keepdims=True)
        found = required(found, largest > 0.0, "`box` must overlap a box that the model gives")
        mask = tf.where(found >= tf.minimum(largest, self.overlap), found, 0.0)
        if class_id is None:
            class_id = tf.argmax(mean_over(mask, self.anchors.class_logits(outputs)), -1)
        return AnchorRegion(self.anchors, mask, class_id)


class AnchorRegion(Target):
    """The mean logit of a class over anchors: a settled `Box`.

    Args:
        anchors: How the outputs are read.
        mask: float32 `[n, anchors]`, how much each anchor counts.
        class_id: int `[n]`.
    """

    per_sample = ("mask", "class_id")

    def __init__(self, anchors: Anchors, mask: tf.Tensor, class_id: tf.Tensor):
        self.anchors = anchors
        self.mask = mask
        self.class_id = class_id

    def ask(self, outputs: Outputs) -> Asked:
        logits = self.anchors.class_logits(outputs)
        return ask_at_places(logits, self.mask, self.class_id, self.anchors.head(outputs.head))


@keras.saving.register_keras_serializable("tf_learnprop")
class Detection(Box):
    """The model's own detection number k, as `Box` with its box and class.

    Detections are the anchors in the order of their best class's score, less those that overlap a better one
    of the same class by more than `suppression`.

    Args:
        number: An int, or ints `[n]`: 0 for the best detection.
        class_id: An int, or ints `[n]`. None: the detection's class.
        anchors: As for `Box`.
        overlap: As for `Box`.
        suppression: Largest overlap of two detections of a class.
    """

    per_sample = ("number", "class_id")

    def __init__(
        self,
        number: Any = 0,
        class_id: Any = None,
        anchors: Anchors = COLUMNS,
        overlap: float = 0.5,
        suppression: float = 0.5,
    ):
        self.number = number
        self.class_id = class_id
        self.anchors = anchors
        self.overlap = overlap
        self.suppression = suppression

    def checked(self, explained: Explained) -> "Detection":
        classes = self.anchors.checked("`Detection`", explained).head(explained.head).class_count
        count = explained.output_tensor.shape[1] or np.iinfo(np.int32).max
        data = {"number": per_sample.class_ids("number", self.number, count, "detection")}
        if self.class_id is not None:
            data["class_id"] = per_sample.class_ids("class_id", self.class_id, classes)
        return self.with_data(data)  # type: ignore[return-value]

    def settled(self, outputs: Outputs) -> "AnchorRegion":
        box, class_id = self.detected(outputs)
        return self._at_anchors(outputs, box, class_id if self.class_id is None else self.class_id)

    def detected(self, outputs: Outputs) -> tuple[tf.Tensor, tf.Tensor]:
        """Corners x₀, y₀, x₁, y₁ of the detections, float32 `[n, 4]`, and their classes, int64 `[n]`."""
        most = tf.cast(tf.reduce_max(self.number) + 1, tf.int32)
        boxes, _, class_ids, counts = self.best(outputs, most)
        rule = "`number` must be that of a detection that the model makes"
        number = required(self.number, self.number < tf.cast(counts, tf.int64), rule)
        box, class_id = (tf.gather(found, number, batch_dims=1) for found in (boxes, class_ids))
        return box, tf.cast(class_id, tf.int64)

    def best(self, outputs: Outputs, most: int | tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The best detections, in their order.

        Returns:
            Corners x₀, y₀, x₁, y₁, float32 `[n, most, 4]`; the score of each, float32 `[n, most]`; its class,
            float32 `[n, most]`; and how many there are, int32 `[n]`, behind which all are 0.
        """
        logits = tf.stop_gradient(self.anchors.class_logits(outputs))
        head = self.anchors.head(outputs.head)
        scores = tf.sigmoid(logits) if head.multi_label else tf.nn.softmax(logits)
        background = 0 if head.units == 1 else self.anchors.background
        if background is not None:
            scores *= 1.0 - tf.one_hot(background, logits.shape[-1])
        return tf.image.combined_non_max_suppression(
            self.anchors.corners(outputs)[:, :, None],
            scores,
            max_output_size_per_class=most,
            max_total_size=most,
            iou_threshold=self.suppression,
            score_threshold=0.0,
            clip_boxes=False,
        )


def overlaps(boxes: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Intersection over union of boxes `[n, anchors, 4]` with one box of each sample `[n, 4]`, by corners."""
    box = box[:, None]
    sides = tf.minimum(boxes[..., 2:], box[..., 2:]) - tf.maximum(boxes[..., :2], box[..., :2])
    shared = tf.reduce_prod(tf.maximum(sides, 0.0), -1)
    areas = [tf.reduce_prod(tf.maximum(one[..., 2:] - one[..., :2], 0.0), -1) for one in (boxes, box)]
    return shared / tf.maximum(areas[0] + areas[1] - shared, _SMALLEST)
