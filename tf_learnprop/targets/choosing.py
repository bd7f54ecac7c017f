"""What stands where targets are asked for becomes a `Target`: None, ids, weights, functions, targets."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_learnprop.graph.explained import Explained
from tf_learnprop.targets.base import Target
from tf_learnprop.targets.classes import Classes
from tf_learnprop.targets.values import Score


def as_target(value: Any) -> Target:
    """The target that a value stands for: itself, `Score` of a function, or `Classes` of anything else.

    Raises:
        TypeError: If it is a dict.
    """
    if isinstance(value, Mapping):
        raise TypeError(
            "`targets` must be None, an int class id, int ids [n], weights [n, classes], a target or a "
            f"function. Received: {type(value).__name__} with the keys {list(value)!r:.200}"
        )
    if isinstance(value, Target):
        return value
    return Score(value) if callable(value) else Classes(value)


def arrays(value: Any, explained: Explained) -> Target:
    """A checked target of arrays.

    Args:
        value: What `as_target` takes.
        explained: What is explained.

    Raises:
        TypeError, ValueError: If it does not fit the output, or its arrays are not of one length.
    """
    target = as_target(value).map(_array).checked(explained)
    if target.length is not None:
        target.for_samples(target.length)
    return target


def check_shared(name: str, value: Any, explained: Explained) -> None:
    """Checks a target that is for any number of samples.

    Args:
        name: Name of the argument.
        value: What `as_target` takes.
        explained: What is explained.

    Raises:
        TypeError, ValueError: As `arrays`; or if it is for single samples.
    """
    length = arrays(value, explained).length
    if length is not None:
        raise ValueError(
            f"`{name}` must be one target for all samples. Received: a target of {length} samples"
        )


def tensors(value: Any, explained: Explained, count: int | tf.Tensor) -> Target:
    """A target of tensors for `count` samples, with operations that check their values when they run.

    Args:
        value: What `as_target` takes, with tensors or arrays.
        explained: What is explained.
        count: int, or an int scalar tensor.

    Raises:
        TypeError, ValueError: If it does not fit the output.
    """
    return as_target(value).map(tf.convert_to_tensor).checked(explained).for_samples(count)


def _array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(
            "A target must hold arrays, or lists whose rows have the same shape. "
            f"Received: {type(value).__name__} of {len(value)} that differ in shape"
        ) from None
