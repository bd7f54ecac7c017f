"""Checks of what users pass, each with one error that states the rule and what came."""

import keras
import numpy as np


def whole_number(name, value, minimum):
    """Raises ValueError unless `value` is an int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"`{name}` must be an int >= {minimum}. Received: {name}={value!r}")


def positive(name, value):
    """Raises ValueError unless `value` is a finite number above zero."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 < value < np.inf:
        raise ValueError(f"`{name}` must be a number > 0. Received: {name}={value!r}")


def inputs(value, model):
    """A batch of inputs in the structure, rank and dtype of the model's.

    Args:
        value: arrays or tensors in the structure of the model's inputs.
        model: Functional `keras.Model`, or the graph of a Sequential one.

    Returns:
        The same structure of arrays or tensors; NumPy arrays are cast to the inputs' dtypes.

    Raises:
        TypeError: not numbers.
        ValueError: another structure or shape, empty, or not finite.
    """
    specs = keras.tree.flatten(model.input)
    given = keras.tree.flatten(value)
    if len(specs) == 1 and _is_list_of_samples(value, specs[0]):
        given = [_stacked(value)]
    _check_count(given, specs)
    checked = [_input(array, spec) for array, spec in zip(given, specs, strict=True)]
    lengths = {len(array) for array in checked}
    if len(lengths) > 1:
        raise ValueError(f"All inputs must have the same length. Received: {sorted(lengths)}")
    # A single input may come bare, in a list or in a dict: the model gets what it was built with.
    return keras.tree.pack_sequence_as(model.input if len(specs) == 1 else value, checked)


def tensors(value, model):
    """As `inputs` for tensors in a graph, whose shapes alone can be checked."""
    specs = keras.tree.flatten(model.input)
    given = keras.tree.flatten(value)
    _check_count(given, specs)
    for tensor, spec in zip(given, specs, strict=True):
        _check_shape(tensor.shape, spec)
    return keras.tree.pack_sequence_as(model.input if len(specs) == 1 else value, given)


def _is_list_of_samples(value, spec):
    """Whether a value for a single input is a list of samples, not a list with a batch in it."""
    if not isinstance(value, (list, tuple)):
        return False
    parts = keras.tree.flatten(value)
    return len(parts) != 1 or np.ndim(parts[0]) < len(spec.shape)


def _stacked(value):
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"All samples must have the same shape ({error}).") from error


def _check_count(given, specs):
    if len(given) != len(specs):
        raise ValueError(f"The model has {len(specs)} inputs. Received: {len(given)} arrays.")


def _check_shape(shape, spec):
    if getattr(shape, "rank", 0) is None:  # a tensor in a graph, of which nothing is known
        return
    wanted, shape = tuple(spec.shape), tuple(shape)
    fits = len(shape) == len(wanted) and all(
        None in (want, have) or want == have for want, have in zip(wanted[1:], shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"input '{spec.name}' must have shape {wanted} (None is any length). Received: shape={shape}"
        )


def _input(array, spec):
    array = np.asarray(array)
    name = f"input '{spec.name}'"
    if array.dtype.kind not in "iuf" and str(array.dtype) != "bfloat16":
        raise TypeError(f"{name} must hold numbers. Received: dtype={array.dtype}")
    _check_shape(array.shape, spec)
    if array.shape[0] == 0:
        raise ValueError(f"{name} must hold at least one sample. Received: shape={array.shape}")
    with np.errstate(all="ignore"):  # what is too large for the dtype becomes infinite
        cast = array.astype(spec.dtype, copy=False)
    finite = np.isfinite(array) & np.isfinite(cast)
    if not finite.all():
        bad = np.flatnonzero(~finite.reshape(len(array), -1).all(1))
        raise ValueError(f"{name} must be finite. Received: NaN or infinity in samples {bad[:10]}")
    return cast


def targets(value, count, classes):
    """Weights of the classes' logits, float32 `[n, classes]`; None stays None.

    Args:
        value: None, int, ids `[n]`, or weights `[n, classes]`.
        count: int or None, n; None skips the check of the length (of a stream).
        classes: int.

    Raises:
        TypeError: another form.
        ValueError: out of range, not finite, or of the wrong length.
    """
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.dtype.kind == "f" and array.ndim != 2:
        raise TypeError(
            "`targets` must be None, an int class id, int ids [n], or weights [n, classes]. "
            f"Received: shape={array.shape}, dtype={array.dtype}"
        )
    if array.ndim == 0:
        array = np.broadcast_to(array, (1 if count is None else count,))
    if array.ndim > 2 or count is not None and len(array) != count:
        raise ValueError(f"`targets` must be of length {count}. Received: shape={array.shape}")
    if array.ndim == 1:
        if array.size and (array.min() < 0 or array.max() >= classes):
            raise ValueError(
                f"`targets` must be class ids in 0..{classes - 1}. "
                f"Received: ids from {array.min()} to {array.max()}"
            )
        return np.eye(classes, dtype=np.float32)[array]
    if array.shape[1] != classes or not np.isfinite(array).all():
        raise ValueError(
            f"`targets` of two axes must be finite weights [n, {classes}]. Received: shape={array.shape}"
        )
    return array.astype(np.float32)
