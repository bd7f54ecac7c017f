"""`ExportOptions`: the arguments of `export`, checked against the model."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.targets import choosing
from tf_learnprop.targets.base import Target
from tf_learnprop.targets.fitting import check_classes

if TYPE_CHECKING:  # `model` imports this package
    from tf_learnprop.wrapped import WrappedModel

_MAP_DTYPES = ("float32", "float16")


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """The options of `export`, which documents them."""

    preprocess: Callable[[tf.Tensor], tf.Tensor] | None = None
    size: int | tuple[int, int] | None = None
    crop_to_aspect_ratio: bool = False
    target: int | Target | None = None
    top_k: int | None = None
    map_size: int | tuple[int, int] | None = None
    map_dtype: str = "float32"
    colormap: str = "inferno"
    alpha: float = 0.7

    @property
    def map_shape(self) -> tuple[int, int] | None:
        """`map_size` as (height, width)."""
        return None if self.map_size is None else _sides(self.map_size)

    def photo_shape(self, image: tf.TensorSpec) -> tuple[int, int, int]:
        """Height, width and channels of the photos that `preprocess` takes, for a model of these images."""
        height, width, channels = image.shape[1:]
        return (height, width, channels) if self.size is None else (*_sides(self.size), channels)

    def check(self, inputs: Sequence[tf.TensorSpec], model: "WrappedModel") -> None:
        """Checks every option against the model.

        Args:
            inputs: The model's inputs.
            model: The wrapped model.

        Raises:
            TypeError, ValueError: If an option is out of range, or does not fit the model.
        """
        explained = model.attributor.explained
        if self.target is not None and self.top_k is not None:
            raise ValueError(
                "`target` and `top_k` cannot be used together. "
                f"Received: target={self.target!r}, top_k={self.top_k!r}"
            )
        if isinstance(self.target, Target):
            choosing.check_shared("target", self.target, explained)
        else:
            check_classes(explained, "`export` without a `target` of `tlp.targets`")
            if self.target is not None:
                argument_checks.integer("target", self.target, 0, explained.head.class_count - 1)
        if self.top_k is not None:
            argument_checks.integer("top_k", self.top_k, 1, explained.head.class_count)
        if self.map_size is not None:
            if model.explains_several:
                raise ValueError(
                    "`map_size` must be None for a model with several explained inputs. "
                    f"Received: map_size={self.map_size!r}"
                )
            if inputs[explained.input].shape.rank != 4:
                raise ValueError(
                    "`map_size` requires an image input of shape [n, height, width, channels]. "
                    f"Received: input of shape {inputs[explained.input].shape}"
                )
            _check_sides("map_size", self.map_size)
        argument_checks.one_of("map_dtype", self.map_dtype, _MAP_DTYPES)
        rule = "be the name of a matplotlib colormap"
        argument_checks.one_of("colormap", self.colormap, matplotlib.colormaps, rule=rule)
        argument_checks.number("alpha", self.alpha, low=0, high=1)
        if self.preprocess is not None:
            self._check_preprocess(inputs)
        elif self.size is not None:
            raise ArgumentError("size", "be None without `preprocess`, which takes photos of it", self.size)

    def _check_preprocess(self, inputs: Sequence[tf.TensorSpec]) -> None:
        shapes = [tuple(spec.shape[1:]) for spec in inputs]
        if len(shapes) > 1 or len(shapes[0]) != 3 or shapes[0][-1] not in (1, 3):
            raise ValueError(
                "`preprocess` adds the signature `explain_encoded`, which requires a model with a single "
                "input [n, height, width, 1 or 3]. "
                f"Received: inputs of shapes {shapes}, without the batch axis"
            )
        if (self.size is None) == (None in shapes[0]):
            rule = "be given if the model's input has no fixed size, and only then"
            raise ArgumentError("size", rule, self.size, f"{self.size} for an input of shape {shapes[0]}")
        if self.size is not None:
            _check_sides("size", self.size)
        photos = self.photo_shape(inputs[0])
        if not inputs[0].shape[1:].is_compatible_with(photos):
            raise ArgumentError("size", f"fit the model's input of shape {shapes[0]}", self.size)
        if not callable(self.preprocess):
            rule = "be a function or a Keras layer that maps photos to the model's input"
            raise ArgumentError("preprocess", rule, self.preprocess)
        # This call is eager, so that a layer can create its weights, which it cannot do inside a graph.
        shape = tf.shape(self.preprocess(tf.zeros([2, *photos]))).numpy().tolist()
        if shape != [2, *photos]:
            raise ValueError(
                f"`preprocess` must keep the shape of the photos, (n, {', '.join(map(str, photos))}). "
                f"Received: shape {shape} for n = 2"
            )


def _check_sides(name: str, size: int | tuple[int, int]) -> None:
    if np.shape(size) not in ((), (2,)):
        raise ArgumentError(name, "be an int or (height, width)", size)
    for side in np.ravel(size).tolist():
        argument_checks.integer(name, side, 1)


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = np.broadcast_to(size, 2).tolist()
    return height, width
