"""Maps with the classes that they explain, whoever has computed them.

The module loads neither TensorFlow nor Keras, so that workers load no modelling code with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


class Explanations(NamedTuple):
    """Maps of a batch. Row k belongs to item k, whether it could be explained or not.

    `PropagationModel.explain_batches`, `serving.Explainer` and `scale.read_maps` return it.

    Attributes:
        maps: Maps `[n, *spatial]` or `[n, features]`: float32; from an exported model float32 or float16, as
            exported, and `[n, k, h, w]` if it was exported with `top_k`; from files float16. NaN for an item
            with an error.
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

    maps: np.ndarray
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
