"""Maps with the classes that they explain, whoever has computed them.

The module loads neither TensorFlow nor Keras, so that workers load no modelling code with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import tensorflow as tf


class Explanations(NamedTuple):
    """Maps of a batch. Row k belongs to item k, whether it could be explained or not.

    `PropagationModel.explain_batches`, `serving.Explainer` and `scale.read_maps` return it.

    Attributes:
        maps: Maps `[n, *spatial]` or `[n, features]`: float32; from an exported model float32 or float16, as
            exported, and `[n, k, h, w]` if it was exported with `top_k`; from files float16. NaN for an item
            with an error. Of several inputs, a structure of these.
        class_ids: The explained classes, int64 `[n]`, or `[n, k]` with `top_k`. For targets that are weights,
            the class with the largest; for a token, its id. −1 for an item with an error, and for a score
            without classes, such as a value.
        probabilities: The probabilities of these classes, float32 `[n]`, or `[n, k]` with `top_k`; for a
            region or a box, the mean over it. NaN where the class is −1.
        extras: What came with the items: what the data of `explain_batches` yield beside the images of the
            batch, such as labels or file names, with tensors as NumPy arrays; `scale.MapExtras` from files;
            nothing from an exported model.
        errors: What is wrong with each item that could not be explained, by its row.
    """

    maps: Any  # an array, or a structure of arrays
    class_ids: np.ndarray
    probabilities: np.ndarray
    extras: Any  # a tuple
    errors: dict[int, str]


class Attribution(NamedTuple):
    """Maps of a batch as tensors, from `PropagationModel.attribute`, inside a graph or outside of one.

    Attributes:
        maps: float32 `[n, *spatial]` or `[n, features]`.
        class_ids: int64 `[n]`. The explained class, as in `Explanations`.
        probabilities: float32 `[n]`. Probability of that class, as in `Explanations`.
    """

    maps: tf.Tensor
    class_ids: tf.Tensor
    probabilities: tf.Tensor


def shares(maps: Any) -> Any:
    """Each input's share of the attribution: Σ|A| over its map A, as a part of that over all maps.

    The shares of MM-SHAP (Parcalabescu and Frank, ACL 2023), for maps on one scale.

    Args:
        maps: Of several inputs, arrays `[n, ...]` in a dict, a list or a tuple, such as those that `explain`
            returns for a model that was wrapped with `explained_input="all"`.

    Returns:
        float64 arrays `[n]` in the structure of `maps`. 0 for a sample whose maps are all zero, and NaN for
        one that could not be explained.
    """
    sizes = _over(maps, _size)
    leaves: list[np.ndarray] = []
    _over(sizes, leaves.append)
    total = sum(leaves)
    return _over(sizes, lambda size: size / np.where(total == 0.0, 1.0, total))


def _size(maps: npt.ArrayLike) -> np.ndarray:
    array = np.abs(np.asarray(maps, np.float64))
    return array.reshape(len(array), -1).sum(1)


def _over(structure: Any, function: Callable[[Any], Any]) -> Any:
    """A function of each leaf of dicts, lists and tuples."""
    if isinstance(structure, dict):
        return {key: _over(value, function) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)([_over(value, function) for value in structure])
    return function(structure)
