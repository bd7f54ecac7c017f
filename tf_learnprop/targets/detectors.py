"""Detectors of known families: which output is explained, and how the boxes are read."""

from typing import Any

import keras
import numpy as np

from tf_learnprop.targets.boxes import COLUMNS, Anchors


def known(detector: keras.Model, image_size: tuple[int, int]) -> tuple[int | str, Anchors]:
    """The output of a detector that is explained, 0 for its first, and how its outputs are read.

    KerasHub's RetinaNet is known by the name of its class, as KerasHub need not be there. Any other detector
    is read as one with columns for the corners of a box and for each class.

    Args:
        detector: The detector.
        image_size: Height and width of the images.
    """
    if type(detector).__name__ == "RetinaNetObjectDetector":
        return "cls_logits", retina_net(detector, image_size)
    return 0, COLUMNS


def retina_net(detector: keras.Model, image_size: tuple[int, int] | None = None) -> Anchors:
    """How the outputs of KerasHub's `RetinaNetObjectDetector` are read, of which "cls_logits" is explained.

    Args:
        detector: The detector.
        image_size: Height and width of the images, for a detector that takes any.

    Raises:
        ValueError: If the size of the images is not known.
    """
    size = image_size or tuple(detector.input_shape[1:3])
    if None in size:
        raise ValueError(
            f"`image_size` must be given for images of any size. Received: image_size={image_size}"
        )
    levels = detector.anchor_generator(np.zeros((1, *size, 3), np.float32))
    anchors = np.concatenate([np.asarray(boxes) for boxes in levels.values()])

    def boxes(outputs: dict[str, Any]) -> Any:
        return keras.utils.bounding_boxes.decode_deltas_to_boxes(
            anchors=anchors,
            boxes_delta=outputs["bbox_regression"],
            encoded_format="center_xywh",
            anchor_format=detector.anchor_generator.bounding_box_format,
            box_format=detector.bounding_box_format,
            image_shape=(*size, 3),
        )

    return Anchors(boxes, box_format=detector.bounding_box_format, independent=True)
