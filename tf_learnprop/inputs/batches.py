"""Batches of inputs and targets, from arrays or from anything that yields batches."""

from collections import abc

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.inputs import checks


def split(images, targets, model, classes, batch_size):
    """Cuts what a user passed into checked batches.

    Args:
        images: arrays in the structure of the model's inputs, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, or another iterable of batches; of a tuple (images, labels) that it
            yields, the first entry is taken.
        targets: as for `checks.targets`.
        model: Functional `keras.Model` whose inputs are fed, or the graph of a Sequential one.
        classes: int, number of classes.
        batch_size: int, length of the batches made of arrays.

    Returns:
        Number of batches or None if it can't be known, and an iterator over (inputs, class weights or None).

    Raises:
        TypeError, ValueError: as `checks.inputs` and `checks.targets`; for arrays before anything is
            returned, for streams at the batch that is wrong.
    """
    checks.whole_number("batch_size", batch_size, 1)
    if is_stream(images):
        if not isinstance(images, (abc.Iterable, keras.utils.PyDataset)):
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


def is_stream(images):
    """Whether images come in batches, and not as arrays."""
    return not (isinstance(images, (list, tuple, dict)) or hasattr(images, "__array__"))


def length(stream, name="images"):
    """Number of batches of a stream, None if it can't be known; ValueError if it has no end."""
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
        raise ValueError(f"`{name}` must come to an end. Received: a dataset without end")
    return count


def parts(inputs, weights, size):
    """Parts of at most `size` samples, in order: an iterator over (inputs, class weights or None)."""
    for start in range(0, len(keras.tree.flatten(inputs)[0]), size):
        part = slice(start, start + size)
        batch = keras.tree.map_structure(lambda array, part=part: array[part], inputs)
        yield batch, None if weights is None else weights[part]


def _from_stream(stream, weights, scalar, model):
    if isinstance(stream, keras.utils.PyDataset):
        stream = map(stream.__getitem__, range(stream.num_batches))
    start = 0
    for batch in stream:
        inputs = checks.inputs(_images_of(batch, model), model)
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
    """The first entry of (images, labels), which a loader may give as a list."""
    inputs = keras.tree.flatten(model.input)
    with_labels = isinstance(batch, tuple) or (
        isinstance(batch, list)
        and len(inputs) == 1
        and bool(batch)
        and np.ndim(batch[0]) == len(inputs[0].shape)
    )
    return batch[0] if with_labels else batch
