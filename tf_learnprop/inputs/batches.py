"""Batches of inputs and targets, from arrays or from anything that yields batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop.inputs import checks


def split(
    images: Any, targets: npt.ArrayLike | None, model: checks.HasInput, classes: int, batch_size: int
) -> tuple[int | None, Iterator[tuple[Any, np.ndarray | None]]]:
    """Cuts images and targets into checked batches.

    Args:
        images: Arrays in the structure of the model's inputs, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, or another iterable of batches. If it yields tuples (images, labels),
            the first entry is used.
        targets: As for `checks.targets`.
        model: `ModelGraph`, or a Functional `keras.Model`.
        classes: int. Number of classes.
        batch_size: int. Length of the batches that are cut from arrays.

    Returns:
        Number of batches (None if unknown), and an iterator over (inputs, class weights or None).

    Raises:
        TypeError, ValueError: As `checks.inputs` and `checks.targets`. Arrays are checked at once, and a
            stream batch by batch; the message then names the batch.
    """
    checks.whole_number("batch_size", batch_size, 1)
    if is_stream(images):
        if not isinstance(images, (Iterable, keras.utils.PyDataset)):
            raise TypeError(
                "`images` must be arrays, a dataset or an iterable of batches. "
                f"Received: {type(images).__name__}"
            )
        scalar = targets is None or np.ndim(targets) == 0
        weights = checks.targets(targets, 1 if scalar else None, classes)
        return length(images), _from_stream(images, weights, scalar, model)
    inputs = checks.inputs(images, model)
    total = len(keras.tree.flatten(inputs)[0])
    weights = checks.targets(targets, total, classes)
    return -(-total // batch_size), parts(inputs, weights, batch_size)


def is_stream(images: Any) -> bool:
    """Whether `images` yields batches, as opposed to arrays."""
    return not (isinstance(images, (list, tuple, dict)) or hasattr(images, "__array__"))


def length(stream: Any, name: str = "images") -> int | None:
    """Number of batches of a stream, None if unknown.

    Args:
        stream: `tf.data.Dataset`, `keras.utils.PyDataset` or another iterable.
        name: str. What the error calls it.

    Raises:
        ValueError: The stream is known to be infinite.
    """
    count: int | None
    if isinstance(stream, tf.data.Dataset):
        count = int(stream.cardinality())
        endless = count == tf.data.INFINITE_CARDINALITY
        count = count if count >= 0 else None
    elif isinstance(stream, keras.utils.PyDataset):
        count = stream.num_batches
        endless = count is None
    else:
        count, endless = len(stream) if hasattr(stream, "__len__") else None, False
    if endless:
        raise ValueError(f"`{name}` must come to an end. Received: an infinite dataset")
    return count


def parts(inputs: Any, weights: np.ndarray | None, size: int) -> Iterator[tuple[Any, np.ndarray | None]]:
    """Iterates over parts (inputs, class weights or None) of at most `size` samples, in order."""
    for start in range(0, len(keras.tree.flatten(inputs)[0]), size):
        part = slice(start, start + size)
        batch = keras.tree.map_structure(lambda array, part=part: array[part], inputs)
        yield batch, None if weights is None else weights[part]


def _from_stream(stream, weights, scalar, model):
    if isinstance(stream, keras.utils.PyDataset):
        stream = map(stream.__getitem__, range(stream.num_batches))
    start = 0
    for number, batch in enumerate(stream, 1):
        try:
            inputs = checks.inputs(_images_of(batch, model), model)
        except (TypeError, ValueError) as error:
            raise type(error)(f"Batch {number}: {error}") from error
        count = len(keras.tree.flatten(inputs)[0])
        if weights is None:
            yield inputs, None
        elif scalar:
            yield inputs, np.repeat(weights, count, 0)
        else:
            if start + count > len(weights):
                raise ValueError(
                    f"`targets` must be as long as the data. Received: {len(weights)} targets for more images"
                )
            yield inputs, weights[start : start + count]
        start += count
    if not start:
        raise ValueError("The data must hold at least one batch. Received: an empty stream")
    if weights is not None and not scalar and start != len(weights):
        raise ValueError(
            f"`targets` must be as long as the data. Received: {len(weights)} targets for {start} images"
        )


def _images_of(batch, model):
    """The images of a batch (images, labels), which some loaders yield as a list."""
    inputs = keras.tree.flatten(model.input)
    with_labels = isinstance(batch, tuple) or (
        isinstance(batch, list)
        and len(inputs) == 1
        and bool(batch)
        and np.ndim(batch[0]) == len(inputs[0].shape)
    )
    return batch[0] if with_labels else batch
