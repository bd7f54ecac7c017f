"""`ExportOptions`: the arguments of `export`, checked against the model."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

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
        if self.map_size is None:
            return None
        height, width = np.broadcast_to(self.map_size, 2).tolist()
        return height, width

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
            _check_map_size(self.map_size, inputs[explained.input])
        argument_checks.one_of("map_dtype", self.map_dtype, _MAP_DTYPES)
        rule = "be the name of a matplotlib colormap"
        argument_checks.one_of("colormap", self.colormap, matplotlib.colormaps, rule=rule)
        argument_checks.number("alpha", self.alpha, low=0, high=1)
        if self.preprocess is not None:
            _check_preprocess(self.preprocess, inputs)


def _check_map_size(map_size: int | tuple[int, int], explained: tf.TensorSpec) -> None:
    if explained.shape.rank != 4:
        raise ValueError(
            "`map_size` requires an image input of shape [n, height, width, channels]. "
            f"Received: input of shape {explained.shape}"
        )
    if np.shape(map_size) not in ((), (2,)):
        raise ArgumentError("map_size", "be an int or (height, width)", map_size)
    for side in np.ravel(map_size).tolist():
        argument_checks.integer("map_size", side, 1)


def _check_preprocess(preprocess: Any, inputs: Sequence[tf.TensorSpec]) -> None:
    shapes = [tuple(spec.shape[1:]) for spec in inputs]
    if len(shapes) > 1 or len(shapes[0]) != 3 or None in shapes[0] or shapes[0][-1] not in (1, 3):
        raise ValueError(
            "`preprocess` adds the signature `explain_encoded`, which requires a model with a single input "
            "[n, height, width, 1 or 3] of fixed height and width. "
            f"Received: inputs of shapes {shapes}, without the batch axis"
        )
    if not callable(preprocess):
        rule = "be a function or a Keras layer that maps photos to the model's input"
        raise ArgumentError("preprocess", rule, preprocess)
    # This call is eager, so that a layer can create its weights, which it cannot do inside a graph.
    shape = tf.shape(preprocess(tf.zeros([2, *shapes[0]]))).numpy().tolist()
    if shape != [2, *shapes[0]]:
        raise ValueError(
            f"`preprocess` must keep the shape of the photos, (n, {', '.join(map(str, shapes[0]))}). "
            f"Received: shape {shape} for n = 2"
        )
