"""`Options`: what an exported model is asked and how it answers."""

import dataclasses
from collections.abc import Callable

import matplotlib
import tensorflow as tf

from tf_learnprop.inputs import checks

_MAP_DTYPES = ("float32", "float16")


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of `export`, which says what they mean; `map_size` is a pair or None."""

    preprocess: Callable | None = None
    crop_to_aspect_ratio: bool = False
    target: int | None = None
    top_k: int | None = None
    map_size: tuple | None = None
    map_dtype: str = "float32"
    colormap: str = "inferno"
    alpha: float = 0.7

    def check(self, inputs, explained, classes):
        """Raises ValueError for an option that is out of range or that the model can't fulfil.

        Args:
            inputs: list of `tf.TensorSpec`, the model's.
            explained: `tf.TensorSpec`, the one of them that is explained.
            classes: int, number of classes.
        """
        if self.target is not None and self.top_k is not None:
            raise ValueError(
                "`target` and `top_k` exclude each other. "
                f"Received: target={self.target!r}, top_k={self.top_k!r}"
            )
        if self.target is not None:
            _whole_number("target", self.target, 0, classes - 1)
        if self.top_k is not None:
            _whole_number("top_k", self.top_k, 1, classes)
        if self.map_size is not None:
            if explained.shape.rank != 4:
                raise ValueError(
                    f"`map_size` is for maps of images. Received: input of shape {explained.shape}"
                )
            if len(self.map_size) != 2:
                raise ValueError(
                    f"`map_size` must be an int or (height, width). Received: map_size={self.map_size!r}"
                )
            for side in self.map_size:
                checks.whole_number("map_size", side, 1)
        if self.map_dtype not in _MAP_DTYPES:
            raise ValueError(
                f"`map_dtype` must be one of {_MAP_DTYPES}. Received: map_dtype={self.map_dtype!r}"
            )
        if self.colormap not in matplotlib.colormaps:
            raise ValueError(f"`colormap` must be one of matplotlib's. Received: colormap={self.colormap!r}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"`alpha` must be in 0..1. Received: alpha={self.alpha!r}")
        if self.preprocess is not None:
            _check_preprocess(self.preprocess, inputs)


def _whole_number(name, value, low, high):
    checks.whole_number(name, value, low)
    if value > high:
        raise ValueError(f"`{name}` must be in {low}..{high}. Received: {name}={value}")


def _check_preprocess(preprocess, inputs):
    shapes = [tuple(spec.shape[1:]) for spec in inputs]
    if len(shapes) > 1 or len(shapes[0]) != 3 or None in shapes[0] or shapes[0][-1] not in (1, 3):
        raise ValueError(
            "`preprocess` makes the signature `explain_encoded`, which is for models of one input "
            f"[n, height, width, 1 or 3] of known size. Received: inputs of shapes {shapes} after the batch"
        )
    if not callable(preprocess):
        raise ValueError(
            "`preprocess` must be a function or a Keras layer from photos to the model's input. "
            f"Received: preprocess={preprocess!r}"
        )
    # Outside of any graph, where a layer may make its weights.
    made = tf.shape(preprocess(tf.zeros([2, *shapes[0]]))).numpy().tolist()
    if made != [2, *shapes[0]]:
        raise ValueError(
            f"`preprocess` must keep the shape of photos, (n, {', '.join(map(str, shapes[0]))}). "
            f"Received: shape {made} for n = 2"
        )
