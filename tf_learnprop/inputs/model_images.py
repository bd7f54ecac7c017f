"""The images that a model takes."""

import keras

from tf_learnprop import argument_checks
from tf_learnprop.model import PropagationModel


def image_shape(model: keras.Model | None, size: int | tuple[int, int] | None = None) -> tuple[int, int, int]:
    """Returns height, width and channels of the images that a model takes.

    Args:
        model: A model, or None.
        size: Side or (height, width), instead of the model's.

    Raises:
        ValueError: If the size is unknown, or if the model does not take images with 1 or 3 channels.
        TypeError: If `model` is no model.
    """
    model = model.source if isinstance(model, PropagationModel) else model
    height = width = None
    channels = 3
    if isinstance(model, keras.Model):
        shape = model.inputs[0].shape
        if len(shape) != 4 or shape[-1] not in (1, 3):
            raise ValueError(
                f"`model` must take images [n, h, w, 1] or [n, h, w, 3]. Received: an input of shape {shape}"
            )
        _, height, width, channels = shape
    elif model is not None:
        raise TypeError(f"`model` must be a Keras model or None. Received: {type(model).__name__}")
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
    if height is None or width is None:
        raise ValueError(
            "`size` must be given if there is no model or its input has no fixed size. Received: size=None"
        )
    argument_checks.integer("size", height, 1)
    argument_checks.integer("size", width, 1)
    return height, width, channels
