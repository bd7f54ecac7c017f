"""The samples of a batch one by one, to find the bad ones."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tf_learnprop.inputs import checks


def sort_out(
    value: Any, model: checks.HasInput, explained: checks.Explained = None
) -> tuple[Any, np.ndarray, dict[int, str]]:
    """Checks a batch, and leaves out the samples that do not fit the model.

    Args:
        value: Arrays, tensors or a list of samples, as for `checks.inputs`.
        model: `ModelGraph`, or a Functional `keras.Model`.
        explained: As for `checks.inputs`.

    Returns:
        The good samples, NumPy arrays in the structure of the model's inputs, or None if there are none;
        their positions in the batch, int64; and the error of each of the others, by position.

    Raises:
        TypeError, ValueError: If the batch can't be divided into samples.
    """
    value = checks.by_name(value, model)
    try:
        inputs = checks.inputs(value, model, explained)
        return inputs, np.arange(len(keras.tree.flatten(inputs)[0])), {}
    except (TypeError, ValueError):
        columns = _columns(value, model)
    good: dict[int, Any] = {}
    errors = {}
    sizes: Any = None
    for position, sample in enumerate(zip(*columns, strict=True)):
        try:
            parts = [np.asarray(part)[None] for part in sample]
            checked = checks.inputs(_packed(parts, value), model, explained)
        except (TypeError, ValueError) as error:
            errors[position] = str(error).replace(" in samples [0]", "")
            continue
        shapes = [array.shape[1:] for array in keras.tree.flatten(checked)]
        sizes = sizes or shapes
        if shapes == sizes:
            good[position] = checked
        else:
            errors[position] = f"All samples of a batch must have shapes {sizes}. Received: {shapes}"
    samples = list(good.values())
    inputs = keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *samples) if samples else None
    return inputs, np.fromiter(good, np.int64), errors


def cut(value: Any, model: checks.HasInput, size: int) -> tuple[int, Iterator[Any]]:
    """Cuts what `sort_out` takes into parts.

    Args:
        value: As for `sort_out`.
        model: `ModelGraph`, or a Functional `keras.Model`.
        size: Largest number of samples in a part.

    Returns:
        Number of samples, and an iterator over the parts, which are not checked.

    Raises:
        TypeError, ValueError: As `sort_out`.
    """
    value = checks.by_name(value, model)
    columns = _columns(value, model)
    total = len(columns[0])
    starts = range(0, total, size)
    return total, (_packed([c[start : start + size] for c in columns], value) for start in starts)


def _columns(value: Any, model: checks.HasInput) -> list[Any]:
    """The samples of each input, arrays or lists of one length."""
    specs = keras.tree.flatten(model.input)
    if len(specs) == 1 and checks.is_list_of_samples(value, specs[0]):
        columns = [list(value)]
    else:
        columns = [np.asarray(array) for array in keras.tree.flatten(value)]
        checks.check_count(columns, specs)
        for column, spec in zip(columns, specs, strict=True):
            # Without these axes there is no telling what a sample is.
            if column.ndim != len(spec.shape):
                checks.check_shape(column.shape, spec)
    lengths = sorted({len(column) for column in columns})
    if len(lengths) > 1 or not lengths[0]:
        raise ValueError(
            f"All inputs must have the same length, and hold at least one sample. Received: {lengths}"
        )
    return columns


def _packed(columns: list[Any], value: Any) -> Any:
    return columns[0] if len(columns) == 1 else keras.tree.pack_sequence_as(value, columns)
