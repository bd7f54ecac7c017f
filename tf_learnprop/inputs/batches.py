"""Batches of inputs and targets, from arrays or from anything that yields batches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.inputs import checks, samples
from tf_learnprop.targets import class_weights


class Batch(NamedTuple):
    """A batch of samples that were checked.

    Attributes:
        inputs: The samples that fit the model, NumPy arrays in the structure of its inputs; None if no sample
            does.
        class_weights: float32 `[len(good), classes]`, or None for the predicted classes.
        extras: What the data yields beside the inputs, such as labels; tensors become NumPy arrays.
        good: Positions in the batch of the samples in `inputs`.
        errors: What is wrong with each of the other samples, by its position in the batch.
    """

    inputs: Any
    class_weights: np.ndarray | None
    extras: tuple
    good: np.ndarray
    errors: dict[int, str]

    @classmethod
    def of_good(cls, inputs: Any, class_weights: np.ndarray | None = None) -> "Batch":
        """Makes a batch of samples that all fit the model."""
        return cls(inputs, class_weights, (), np.arange(len(keras.tree.flatten(inputs)[0])), {})

    @property
    def length(self) -> int:
        """Number of samples, good and bad."""
        return len(self.good) + len(self.errors)


def stream(
    images: Any,
    targets: npt.ArrayLike | None,
    model: checks.HasInput,
    classes: int,
    batch_size: int,
    on_error: str = "raise",
    explained: int | None = None,
) -> tuple[int | None, Iterator[Batch]]:
    """Cuts images and targets into checked batches.

    Args:
        images: Arrays in the structure of the model's inputs, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, or another iterable of batches. If it yields tuples (images, labels),
            the first entry is used, and the others become `extras`.
        targets: As for `targets.class_weights`.
        model: `ModelGraph`, or a Functional `keras.Model`.
        classes: Number of classes.
        batch_size: Length of the batches that are cut from arrays.
        on_error: What to do about a sample that does not fit the model: "raise" an error, or "skip" it.
        explained: As for `checks.inputs`.

    Returns:
        Number of batches (None if unknown), and an iterator over `Batch`.

    Raises:
        TypeError, ValueError: As `checks.inputs` and `targets.class_weights`. Arrays are checked at once,
            and a stream batch by batch; the message then names the batch.
    """
    argument_checks.integer("batch_size", batch_size, 1)
    argument_checks.one_of("on_error", on_error, ("raise", "skip"))
    skip = on_error == "skip"
    if is_stream(images):
        if not isinstance(images, (Iterable, keras.utils.PyDataset)):
            raise TypeError(
                "`images` must be arrays, a dataset or an iterable of batches. "
                f"Received: {type(images).__name__}"
            )
        scalar = targets is None or np.ndim(targets) == 0
        weights = class_weights(targets, 1 if scalar else None, classes)
        return length(images), _from_stream(images, weights, scalar, model, skip, explained)
    if skip:
        total, cut = samples.cut(images, model, batch_size)
        weights = class_weights(targets, total, classes)
        return -(-total // batch_size), _from_stream(
            ((part,) for part in cut), weights, False, model, skip, explained
        )
    inputs = checks.inputs(images, model, explained)
    total = len(keras.tree.flatten(inputs)[0])
    weights = class_weights(targets, total, classes)
    return -(-total // batch_size), (Batch.of_good(*part) for part in parts(inputs, weights, batch_size))


def split(
    images: Any,
    targets: npt.ArrayLike | None,
    model: checks.HasInput,
    classes: int,
    batch_size: int,
    explained: int | None = None,
) -> tuple[int | None, Iterator[tuple[Any, np.ndarray | None]]]:
    """As `stream`, with an iterator over (inputs, class weights or None) of batches without errors."""
    count, checked = stream(images, targets, model, classes, batch_size, explained=explained)
    return count, ((batch.inputs, batch.class_weights) for batch in checked)


def is_stream(images: Any) -> bool:
    """Whether `images` yields batches, as opposed to arrays."""
    return not (isinstance(images, (list, tuple, dict)) or hasattr(images, "__array__"))


def length(stream: Any, name: str = "images") -> int | None:
    """Number of batches of a stream, None if unknown.

    Args:
        stream: `tf.data.Dataset`, `keras.utils.PyDataset` or another iterable.
        name: What the error calls it.

    Raises:
        ValueError: If the stream is known to be infinite.
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


def _from_stream(
    stream: Any,
    weights: np.ndarray | None,
    scalar: bool,
    model: checks.HasInput,
    skip: bool,
    explained: int | None,
) -> Iterator[Batch]:
    if isinstance(stream, keras.utils.PyDataset):
        stream = map(stream.__getitem__, range(stream.num_batches))
    start = 0
    for number, whole in enumerate(stream, 1):
        images, *extras = _with_extras(whole, model)
        try:
            if skip:
                inputs, good, errors = samples.sort_out(images, model, explained)
            else:
                inputs, _, _, good, errors = Batch.of_good(checks.inputs(images, model, explained))
        except (TypeError, ValueError) as error:
            raise type(error)(f"Batch {number}: {error}") from error
        batch = Batch(inputs, None, tuple(_arrays(extras)), good, errors)
        if weights is not None and scalar:
            batch = batch._replace(class_weights=np.repeat(weights, len(good), 0))
        elif weights is not None:
            if start + batch.length > len(weights):
                raise ValueError(
                    f"`targets` must be as long as the data. Received: {len(weights)} targets for more images"
                )
            batch = batch._replace(class_weights=weights[start : start + batch.length][good])
        yield batch
        start += batch.length
    if not start:
        raise ValueError("The data must hold at least one batch. Received: an empty stream")
    if weights is not None and not scalar and start != len(weights):
        raise ValueError(
            f"`targets` must be as long as the data. Received: {len(weights)} targets for {start} images"
        )


def _with_extras(batch: Any, model: checks.HasInput) -> Sequence:
    """A batch (images, labels, ...), which some loaders yield as a list, as a sequence; images come first."""
    inputs = keras.tree.flatten(model.input)
    with_labels = isinstance(batch, tuple) or (
        isinstance(batch, list)
        and len(inputs) == 1
        and bool(batch)
        and np.ndim(batch[0]) == len(inputs[0].shape)
    )
    return batch if with_labels else (batch,)


def _arrays(extras: list[Any]) -> list[Any]:
    """Extras with NumPy arrays for tensors."""
    return keras.tree.map_structure(lambda x: x.numpy() if tf.is_tensor(x) else x, extras)
