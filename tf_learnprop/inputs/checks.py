"""Checks of what users pass. Each error states the rule and what was received."""

import contextlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import _keras_backend  # noqa: F401

#: Name of the operation that checks input number k when a graph runs.
_CHECKED_INPUT = "checked_input_{}"
#: TensorFlow's error of that operation: the received shape, then k.
_SHAPE_ERROR = re.compile(
    r"Shape of tensor \S+ \[([\d,]*)\] is not compatible.*" + _CHECKED_INPUT.format(r"(\d+)"), re.DOTALL
)


#: Number of an input, or numbers of several; None for all.
Explained: TypeAlias = int | Sequence[int] | None


class HasInput(Protocol):
    """A `ModelGraph` or a Functional `keras.Model`."""

    #: KerasTensors in the structure of the model's inputs.
    input: Any


def warn_of_preprocessor(model: keras.Model) -> None:
    """Warns if a model preprocesses the inputs of its own `predict`, as KerasHub's tasks do.

    `model(x)` takes preprocessed inputs even there, and so does the wrapped model in all its methods.
    Must be called by the function that the user calls.
    """
    if hasattr(model, "preprocess_samples") and getattr(model, "preprocessor", None) is not None:
        warnings.warn(
            f"Model '{model.name}' has a preprocessor, which its own `predict` and `fit` apply and the "
            "wrapped model does not. Pass preprocessed inputs, `model.preprocessor(images)`, to the wrapped "
            "model. To preprocess in another way, set `model.preprocessor = None` before `wrap_model`, which "
            "also silences this warning.",
            stacklevel=3,
        )


def inputs(value: Any, model: HasInput, explained: Explained = None) -> Any:
    """Checks a batch of inputs and casts it to the dtypes of the model's inputs.

    Args:
        value: Arrays or tensors in the structure of the model's inputs.
        model: `ModelGraph`, or a Functional `keras.Model`.
        explained: Numbers of the inputs that must be finite, since others may hold NaN for what is missing
            or −inf in a mask. None for all.

    Returns:
        NumPy arrays in the structure of the model's inputs.

    Raises:
        TypeError: If `value` does not hold numbers.
        ValueError: If the structure or a shape is wrong, or the values are empty or not finite.
    """
    value = by_name(value, model)
    specs = keras.tree.flatten(model.input)
    arrays = keras.tree.flatten(value)
    if len(specs) == 1 and is_list_of_samples(value, specs[0]):
        arrays = [_stacked(value)]
    check_count(arrays, specs)
    checked = [
        _input(array, spec, explained is None or k in np.atleast_1d(explained))
        for k, (array, spec) in enumerate(zip(arrays, specs, strict=True))
    ]
    check_lengths(checked)
    return _packed(checked, value, model)


def by_name(value: Any, model: HasInput) -> Any:
    """The inputs in a dict of them, by their names or keys, in the model's structure; else `value` itself.

    Keras reads a dict so, too, whatever else stands in it. Flattened, it would be in the order of the names.

    Args:
        value: As for `inputs`. For a single input, a dict of one entry may have any key.
        model: `ModelGraph`, or a Functional `keras.Model`.

    Raises:
        ValueError: If the dict lacks a name, or stands in a list.
    """
    specs = model.input
    is_single = isinstance(specs, keras.KerasTensor)
    parts = [specs] if is_single else list(specs.values() if isinstance(specs, Mapping) else specs)
    has_one = len(parts) == 1
    if not all(isinstance(part, keras.KerasTensor) for part in parts):
        return value
    names = list(specs) if isinstance(specs, Mapping) else [part.name for part in parts]
    if not has_one and isinstance(value, (list, tuple)) and any(isinstance(part, Mapping) for part in value):
        raise ValueError(
            f"The inputs {names} must be arrays in a list or in a dict. Received: a list with a dict; "
            "batches come from a generator or a dataset"
        )
    if not isinstance(value, Mapping) or has_one and len(value) == 1:
        return value
    if not set(names) <= set(value):
        raise ValueError(f"A dict of inputs must have the keys {names}. Received: the keys {list(value)}")
    if has_one:
        return value[names[0]]
    named = {name: value[name] for name in names}
    return named if isinstance(specs, Mapping) else list(named.values())


def check_lengths(arrays: Iterable[Any]) -> None:
    """Raises ValueError unless arrays `[n, ...]` have the same length."""
    lengths = {len(array) for array in arrays}
    if len(lengths) > 1:
        raise ValueError(f"All inputs must have the same length. Received: {sorted(lengths)}")


def tensors(value: Any, model: HasInput) -> Any:
    """Checks the shapes of a batch of tensors, in a graph or outside of one.

    A shape that is only known when the graph runs is checked then, see `plain_shape_errors`.

    Args:
        value: Tensors in the structure of the model's inputs.
        model: `ModelGraph`, or a Functional `keras.Model`.

    Returns:
        The tensors in the structure of the model's inputs.

    Raises:
        ValueError: If the structure or a shape is wrong.
    """
    value = by_name(value, model)
    specs = keras.tree.flatten(model.input)
    leaves = keras.tree.flatten(value)
    check_count(leaves, specs)
    checked = [_tensor(tensor, spec, k) for k, (tensor, spec) in enumerate(zip(leaves, specs, strict=True))]
    return _packed(checked, value, model)


@contextlib.contextmanager
def plain_shape_errors(model: HasInput) -> Iterator[None]:
    """Turns what TensorFlow raises for a shape that `tensors` could not see into the usual ValueError.

    Args:
        model: As for `tensors`.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        match = _SHAPE_ERROR.search(error.message)
        if match:
            shape = [int(side) for side in match[1].split(",") if side]
            try:
                check_shape(shape, keras.tree.flatten(model.input)[int(match[2])])
            except ValueError as plain:
                raise plain from None
        raise


def is_list_of_samples(value: Any, spec: keras.KerasTensor) -> bool:
    """Whether a value for a single input is a list of samples, not a list that holds one batch."""
    if not isinstance(value, (list, tuple)):
        return False
    parts = keras.tree.flatten(value)
    return len(parts) != 1 or np.ndim(parts[0]) < len(spec.shape)


def _stacked(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"All samples must have the same shape ({error}).") from error


def _packed(flat: list[Any], value: Any, model: HasInput) -> Any:
    # A single input may come bare, in a list or in a dict; the model gets the structure it was built with.
    return keras.tree.pack_sequence_as(model.input if len(flat) == 1 else value, flat)


def check_count(arrays: Sequence, specs: Sequence) -> None:
    """Raises ValueError unless there is one array for each input."""
    if len(arrays) != len(specs):
        raise ValueError(f"The model has {len(specs)} inputs. Received: {len(arrays)} arrays.")


def check_shape(shape: Sequence[int | None], spec: keras.KerasTensor) -> None:
    """Raises ValueError unless `shape` fits the input `spec`; None in either is any length."""
    wanted, shape = tuple(spec.shape), tuple(shape)
    if shape and _fits(shape[1:], wanted[1:]):
        return
    hint = ""
    if _fits(shape, wanted[1:]):
        hint = ", which has no batch axis: use `dataset.batch(size)`, or `image[None]` for a single image"
    raise ValueError(
        f"input '{spec.name}' must have shape {wanted} (None is any length). Received: shape={shape}{hint}"
    )


def _fits(shape: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        None in (want, have) or want == have for want, have in zip(wanted, shape, strict=True)
    )


def _tensor(tensor: tf.Tensor, spec: keras.KerasTensor, number: int) -> tf.Tensor:
    wanted, shape = (None, *spec.shape[1:]), tf.TensorShape(tensor.shape)
    if shape.rank is not None:
        check_shape(shape, spec)
        if all(want is None or have is not None for want, have in zip(wanted, shape, strict=True)):
            return tensor
    return tf.ensure_shape(tensor, wanted, name=_CHECKED_INPUT.format(number))


def _input(array: Any, spec: keras.KerasTensor, must_be_finite: bool) -> np.ndarray:
    array = np.asarray(array)
    name = f"input '{spec.name}'"
    if spec.dtype == "string":
        return _strings(array, spec, name)
    kinds = "iufb" if spec.dtype == "bool" else "iuf"
    if array.dtype.kind not in kinds and str(array.dtype) != "bfloat16":
        raise TypeError(f"{name} must hold numbers. Received: dtype={array.dtype}")
    _check_length(array, spec, name)
    if keras.backend.is_int_dtype(spec.dtype) and not np.can_cast(array.dtype, spec.dtype):
        _check_range(array, spec, name)
    with np.errstate(all="ignore"):  # a value that is too large for the dtype becomes infinite
        cast = array.astype(spec.dtype, copy=False)
    finite = np.isfinite(array) & np.isfinite(cast)
    if must_be_finite and not finite.all():
        bad = np.flatnonzero(~finite.reshape(len(array), -1).all(1))
        raise ValueError(f"{name} must be finite. Received: NaN or infinity in samples {bad[:10]}")
    return cast


def _check_range(array: np.ndarray, spec: keras.KerasTensor, name: str) -> None:
    # Too large an integer would come back as another one. NaN has an error of its own.
    low, high = np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max
    if (array <= low - 1).any() or (array >= high + 1).any():
        raise ValueError(
            f"{name} must be in {low}..{high}, as it is {spec.dtype}. "
            f"Received: {array.min()} to {array.max()}"
        )


def _strings(array: np.ndarray, spec: keras.KerasTensor, name: str) -> np.ndarray:
    if array.dtype.kind not in "OSU":
        raise TypeError(f"{name} must hold strings. Received: dtype={array.dtype}")
    _check_length(array, spec, name)
    return array.astype(object)


def _check_length(array: np.ndarray, spec: keras.KerasTensor, name: str) -> None:
    check_shape(array.shape, spec)
    if array.shape[0] == 0:
        raise ValueError(f"{name} must hold at least one sample. Received: shape={array.shape}")
