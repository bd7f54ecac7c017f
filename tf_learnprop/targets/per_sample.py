"""What a target says of single samples: `PerSample`, and the checks of its forms.

Each check takes an array or a tensor. What is wrong with the values of a tensor is an error when it runs.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

Shape = Sequence[int | None]


@dataclasses.dataclass(frozen=True, eq=False)
class PerSample:
    """Values of a target: one for each sample, or one for all.

    Attributes:
        name: Name of the argument that they come from.
        values: Array or tensor, `[n, ...]`; without the axis of samples if they are shared.
        shared: Whether one value is for all samples.
    """

    name: str
    values: Any
    shared: bool = False

    @classmethod
    def each(cls, values: Any, name: str = "targets") -> "PerSample":
        """Values for each sample, array-like or a tensor `[n, ...]`."""
        return cls(name, values if tf.is_tensor(values) else np.asarray(values))

    @property
    def length(self) -> int | None:
        """Number of samples of an array; None if its values are shared."""
        return None if self.shared else len(self.values)

    def rows(self, count: Any) -> Any:
        """Values for `count` samples.

        Args:
            count: int, or for tensors an int scalar tensor.

        Raises:
            ValueError: If these are values for another number of samples; for tensors InvalidArgumentError
                when they run, if their number is not known before.
        """
        values = self.values
        if not tf.is_tensor(values):
            if not self.shared and len(values) != count:
                hint = (
                    ". What is the same for all samples comes without this axis" if len(values) == 1 else ""
                )
                raise ValueError(
                    f"`{self.name}` must be of length {count}. Received: length {len(values)}{hint}"
                )
            return np.broadcast_to(values, (count, *values.shape)) if self.shared else values
        if self.shared:
            return tf.broadcast_to(values, tf.concat([[count], tf.shape(values)], 0))
        as_long, known = (
            f"`{self.name}` must be as long as the inputs",
            count if isinstance(count, int) else None,
        )
        if not tf.executing_eagerly() and known is not None and values.shape[0] not in (known, None):
            raise ValueError(f"{as_long}. Received: {values.shape[0]} for {known} inputs")
        with tf.control_dependencies(_ops(tf.debugging.assert_equal(tf.shape(values)[0], count, as_long))):
            return tf.identity(values)


def class_ids(name: str, value: Any, classes: int, term: str = "class id") -> PerSample:
    """Class ids: an int for all samples, or ints `[n]`.

    Args:
        name: Name of the argument.
        value: The ids.
        classes: Number of classes.
        term: What an id is called.

    Returns:
        int64.

    Raises:
        TypeError: If they are no ints.
        ValueError: If they have more axes, or one is not in 0..classes − 1.
    """
    rule = f"`{name}` must be {term}s in 0..{classes - 1}"
    if tf.is_tensor(value):
        if not value.dtype.is_integer or value.shape.rank not in (0, 1):
            raise _wrong_ids(name, term, value.shape, value.dtype.name)
        ids = ids_in_range(tf.cast(value, tf.int64), classes, rule)
        return PerSample(name, ids, ids.shape.rank == 0)
    ids = np.asarray(value)
    if ids.dtype.kind not in "iu" or ids.ndim > 1:
        raise _wrong_ids(name, term, ids.shape, ids.dtype)
    check_range(ids, classes, rule)
    return PerSample(name, ids.astype(np.int64), ids.ndim == 0)


def check_range(ids: np.ndarray, classes: int, rule: str) -> None:
    """Raises ValueError unless all ids are in 0..classes − 1."""
    if ids.size and (ids.min() < 0 or ids.max() >= classes):
        raise ValueError(f"{rule}. Received: ids from {ids.min()} to {ids.max()}")


def ids_in_range(ids: tf.Tensor, classes: int, rule: str) -> tf.Tensor:
    """Class ids, int64 `[n]`, with an operation that raises InvalidArgumentError if one is out of range.

    Args:
        ids: The class ids.
        classes: Number of classes.
        rule: The error's message.
    """
    checks = [
        tf.debugging.assert_non_negative(ids, rule),
        tf.debugging.assert_less(ids, tf.constant(classes, tf.int64), rule),
    ]
    with tf.control_dependencies(_ops(*checks)):
        return tf.identity(ids)


def numbers(name: str, value: Any, shape: Shape) -> PerSample:
    """Finite numbers of a shape for all samples, or `[n, *shape]`.

    Args:
        name: Name of the argument.
        value: The numbers.
        shape: Their shape for one sample; None is any length.

    Returns:
        float32.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If they have another shape or are not finite.
    """
    is_tensor = tf.is_tensor(value)
    array = value if is_tensor else np.asarray(value)
    kind = kind_of(array)
    if kind not in "iufb":
        raise TypeError(f"`{name}` must hold numbers. Received: dtype={array.dtype}")
    rank = len(array.shape)
    each = rank == len(shape) + 1
    if not (each or rank == len(shape)) or not _fits(array.shape[each:], shape):
        raise ValueError(
            f"`{name}` must have shape {_text(shape)} or {_text(['n', *shape])}. "
            f"Received: shape={tuple(array.shape)}"
        )
    if is_tensor:
        array = tf.ensure_shape(tf.cast(array, tf.float32), [*[None] * each, *shape])
    else:
        array = array.astype(np.float32)
    finite = tf.math.is_finite(array) if is_tensor else np.isfinite(array)
    return PerSample(name, required(array, finite, f"`{name}` must be finite"), not each)


def vectors(name: str, value: Any, length: int | None) -> PerSample:
    """Vectors of a length that are not all zero, one for all samples or `[n, length]`.

    Returns:
        float32.

    Raises:
        TypeError, ValueError: If they are none, or a vector is zero.
    """
    found = numbers(name, value, [length])
    values = found.values
    other = tf.reduce_any(values != 0, -1) if tf.is_tensor(values) else (values != 0).any(-1)
    rule = f"`{name}` must be other than 0 somewhere"
    return PerSample(name, required(values, other, rule), found.shared)


def masks(name: str, value: Any, places: int) -> PerSample:
    """Masks over places: numbers >= 0 that are not all zero.

    Args:
        name: Name of the argument.
        value: The masks, with an axis for each side, and for the samples if each has its own.
        places: Number of sides.

    Returns:
        float32.

    Raises:
        TypeError, ValueError: If they are none, or a mask is empty.
    """
    found = numbers(name, value, [None] * places)
    array = required(found.values, found.values >= 0, f"`{name}` must be >= 0")
    axes = tuple(range(-places, 0))
    area = tf.reduce_sum(array, axes) if tf.is_tensor(array) else array.sum(axes)
    return PerSample(name, required(array, area > 0, f"`{name}` must be above 0 somewhere"), found.shared)


def broken_rule(error: tf.errors.InvalidArgumentError) -> str | None:
    """The rule of `required` that an error is about, None if it is about another."""
    match = re.search(r"assertion failed: \[(`[^\]]*)\]", error.message)
    return match[1] if match else None


def kind_of(values: Any) -> str:
    """NumPy's letter for the dtype of an array or tensor."""
    dtype: Any = values.dtype
    return np.dtype(dtype.as_numpy_dtype if tf.is_tensor(values) else dtype).kind


def required(values: Any, condition: Any, rule: str) -> Any:
    """Values, with an error unless a condition holds everywhere; for tensors it comes when they run.

    Args:
        values: Array or tensor.
        condition: bool, array or tensor.
        rule: The error's message.

    Raises:
        ValueError: If it does not hold for arrays.
    """
    if not tf.is_tensor(values):
        if not np.all(condition):
            samples = f" in samples {np.flatnonzero(~condition)[:10]}" if np.ndim(condition) == 1 else ""
            raise ValueError(f"{rule}. Received: one that is not{samples}")
        return values
    with tf.control_dependencies(_ops(tf.debugging.Assert(tf.reduce_all(condition), [rule]))):
        return tf.identity(values)


def _ops(*checks: Any) -> list[Any]:
    """The operations of checks; outside of a graph there are none."""
    return [check for check in checks if check is not None]


def _fits(shape: Shape, wanted: Shape) -> bool:
    return all(None in (have, want) or have == want for have, want in zip(shape, wanted, strict=True))


def _text(shape: Sequence[Any]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def _wrong_ids(name: str, term: str, shape: Any, dtype: Any) -> TypeError:
    return TypeError(
        f"`{name}` must be None, an int {term} or int {term}s [n]. Received: shape={shape}, dtype={dtype}"
    )
