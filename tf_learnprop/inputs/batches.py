"""Batches of inputs and targets, from arrays or from anything that yields batches."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.inputs import checks, samples
from tf_learnprop.targets.base import Target


class Batch(NamedTuple):
    """A batch of samples that were checked.

    Attributes:
        inputs: The samples that fit the model, NumPy arrays in the structure of its inputs; None if no sample
            does.
        target: What is explained of them, with arrays `[len(good), ...]`.
        extras: What the data yields beside the inputs, such as labels; tensors become NumPy arrays.
        good: Positions in the batch of the samples in `inputs`.
        errors: What is wrong with each of the other samples, by its position in the batch.
    """

    inputs: Any
    target: Target
    extras: tuple
    good: np.ndarray
    errors: dict[int, str]

    @classmethod
    def of_good(cls, inputs: Any, target: Target) -> "Batch":
        """Makes a batch of samples that all fit the model."""
        return cls(inputs, target, (), np.arange(len(keras.tree.flatten(inputs)[0])), {})

    @property
    def length(self) -> int:
        """Number of samples, good and bad."""
        return len(self.good) + len(self.errors)


def stream(
    images: Any,
    target: Target,
    model: checks.HasInput,
    batch_size: int,
    on_error: str = "raise",
    explained: checks.Explained = None,
) -> tuple[int | None, Iterator[Batch]]:
    """Cuts images and what is explained of them into checked batches.

    Args:
        images: Arrays in the structure of the model's inputs, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, or another iterable of batches. If it yields tuples (images, labels),
            the first entry is used, and the others become `extras`.
        target: What is explained, checked.
        model: `ModelGraph`, or a Functional `keras.Model`.
        batch_size: Length of the batches that are cut from arrays.
        on_error: What to do about a sample that does not fit the model: "raise" an error, or "skip" it.
        explained: As for `checks.inputs`.

    Returns:
        Number of batches (None if unknown), and an iterator over `Batch`.

    Raises:
        TypeError, ValueError: As `checks.inputs`, or if the target is for another number of samples. Arrays
            are checked at once, and a stream batch by batch; the message then names the batch.
    """
    argument_checks.integer("batch_size", batch_size, 1)
    argument_checks.one_of("on_error", on_error, ("raise", "skip"))
    skip = on_error == "skip"
    if is_stream(images):
        if isinstance(images, str) or not isinstance(images, (Iterable, keras.utils.PyDataset)):
            raise TypeError(
                "`images` must be arrays, a dataset or an iterable of batches. `tlp.data.from_folder` reads "
                f"files. Received: {type(images).__name__}"
            )
        return length(images), _from_stream(images, target, model, skip, explained)
    if skip:
        total, cut = samples.cut(images, model, batch_size)
        target.for_samples(total)  # raises an error at once if it is for another number
        return -(-total // batch_size), _from_stream(
            ((part,) for part in cut), target, model, skip, explained
        )
    inputs = checks.inputs(images, model, explained)
    total = len(keras.tree.flatten(inputs)[0])
    target = target.for_samples(total)
    return -(-total // batch_size), (Batch.of_good(*part) for part in parts(inputs, target, batch_size))


def split(
    images: Any,
    target: Target,
    model: checks.HasInput,
    batch_size: int,
    explained: checks.Explained = None,
) -> tuple[int | None, Iterator[tuple[Any, Target]]]:
    """As `stream`, with an iterator over (inputs, target) of batches without errors."""
    count, checked = stream(images, target, model, batch_size, explained=explained)
    return count, ((batch.inputs, batch.target) for batch in checked)


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


def parts(inputs: Any, target: Target, size: int) -> Iterator[tuple[Any, Target]]:
    """Iterates over parts (inputs, target) of at most `size` samples, in order."""
    for start in range(0, len(keras.tree.flatten(inputs)[0]), size):
        part = slice(start, start + size)
        batch = keras.tree.map_structure(lambda array, part=part: array[part], inputs)
        yield batch, target.cut(part)


def _from_stream(
    stream: Any, target: Target, model: checks.HasInput, skip: bool, explained: checks.Explained
) -> Iterator[Batch]:
    if isinstance(stream, tf.data.Dataset):
        stream = released_at_once(stream)
    elif isinstance(stream, keras.utils.PyDataset):
        stream = map(stream.__getitem__, range(stream.num_batches))
    wanted, start = target.length, 0
    whole_target = target if wanted is None else target.for_samples(wanted)
    for number, whole in enumerate(stream, 1):
        images, *extras = _with_extras(whole, model)
        try:
            if skip:
                inputs, good, errors = samples.sort_out(images, model, explained)
            else:
                inputs = checks.inputs(images, model, explained)
                good, errors = np.arange(len(keras.tree.flatten(inputs)[0])), {}
        except (TypeError, ValueError) as error:
            raise type(error)(f"Batch {number}: {error}") from error
        end = start + len(good) + len(errors)
        if wanted is None:
            part = target.for_samples(len(good))
        elif end > wanted:
            raise ValueError(
                f"`targets` must be as long as the data. Received: {wanted} targets for more images"
            )
        else:
            part = whole_target.cut(slice(start, end)).cut(good)
        yield Batch(inputs, part, tuple(_arrays(extras)), good, errors)
        start = end
    if not start:
        raise ValueError("The data must hold at least one batch. Received: an empty stream")
    if wanted is not None and start != wanted:
        raise ValueError(
            f"`targets` must be as long as the data. Received: {wanted} targets for {start} images"
        )


def released_at_once(stream: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without `tf.data`'s autotuning, unless its options ask for it.

    Otherwise the end of a loop over it may wait for the next turn of the autotuning, which comes after 10 ms,
    20 ms, 40 ms and so on, up to a minute. `tf.data.AUTOTUNE` then means as many calls as there are cores.
    """
    if stream.options().autotune.enabled is not None:
        return stream
    options = tf.data.Options()
    options.autotune.enabled = False
    return stream.with_options(options)


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
