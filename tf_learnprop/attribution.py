"""How maps are computed with the classes that they explain, and put in the rows of a batch."""

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.backward.guidance import PREDICTED, Guided
from tf_learnprop.explanations import Attribution, Explanations
from tf_learnprop.graph.explained import Explained
from tf_learnprop.inputs import batches, checks
from tf_learnprop.targets import choosing
from tf_learnprop.targets.base import Target


def attribute(attributor: Guided, inputs: Any, target: Target = PREDICTED) -> Attribution:
    """Computes maps, classes and probabilities with one forward and one backward pass.

    Args:
        attributor: `Attributor` or `JointAttributor`.
        inputs: Tensors in the structure of the model's inputs.
        target: What is explained; its data are tensors `[n, ...]`.
    """
    maps, asked = attributor.maps_and_asked(inputs, target)
    return Attribution(maps, asked.class_ids(), tf.cast(asked.probabilities(), tf.float32))


def of_tensors(inputs: Any, targets: Any, explained: Explained) -> tuple[Any, Target]:
    """Checked tensors in the dtypes and the structure of the model's inputs, and what is explained of them.

    Raises:
        TypeError, ValueError: As `PropagationModel.attribute`.
    """
    graph = explained.graph
    inputs = checks.tensors(keras.tree.map_structure(tf.convert_to_tensor, inputs), graph)
    specs = keras.tree.flatten(graph.input)
    flat = [tf.cast(x, spec.dtype) for x, spec in zip(keras.tree.flatten(inputs), specs, strict=True)]
    inputs, first = keras.tree.pack_sequence_as(inputs, flat), flat[0]
    count = tf.shape(first)[0] if first.shape[0] is None else first.shape[0]
    return inputs, choosing.tensors(targets, explained, count)


def warn_if_meaningless(maps: np.ndarray) -> None:
    """Warns of maps `[n, ...]` with one value everywhere, or with NaN or infinity, which say nothing.

    Must be called by a generator that the user's call has made.
    """
    flat = maps.reshape(len(maps), -1)
    low, high = flat.min(1), flat.max(1)  # NaN if a value is
    broken = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high)))
    if len(broken):
        warnings.warn(
            f"The maps of {len(broken)} of {len(maps)} samples hold NaN or infinity (first sample "
            f"{broken[0]}). Likely causes: weights that are not finite, or gradients beyond the range of "
            "float16, as behind a large factor at the end of a model in mixed_float16. Build such a model "
            "with the policy mixed_bfloat16 or float32.",
            stacklevel=2,
        )
    constant = np.flatnonzero(low == high)
    if flat.shape[1] > 1 and len(constant):
        warnings.warn(
            f"The maps of {len(constant)} of {len(maps)} samples have one value everywhere (first sample "
            f"{constant[0]}): no gradient of the explained logit came back. Likely causes: saturated or dead "
            "activations, an input that the class does not depend on, or a rule that lets no negative signal "
            "pass. See 'The map is all zero' in the troubleshooting guide.",
            stacklevel=2,
        )


def explanations(
    stream: Iterable[batches.Batch], explain: Callable[[Any, Target], Attribution], none: Any
) -> Iterator[Explanations]:
    """Explains one batch after the other, and puts the results of its good samples in their rows.

    Args:
        stream: The batches.
        explain: From inputs and a target to an `Attribution` of arrays.
        none: The maps of no samples, `[0, ...]`, which tell the shape in a batch without good samples.
    """
    for batch in stream:
        result = explain(batch.inputs, batch.target) if len(batch.good) else _of_none(none)
        none = keras.tree.map_structure(lambda maps: maps[:0], result.maps)
        if batch.errors:
            rows = functools.partial(_in_rows, batch=batch)
            class_ids, probabilities = rows(result.class_ids, empty=-1), rows(result.probabilities)
            result = Attribution(keras.tree.map_structure(rows, result.maps), class_ids, probabilities)
        yield Explanations(*result, batch.extras, batch.errors)


def no_maps(explained: Explained) -> np.ndarray:
    """The maps of no samples, float32 `[0, ...]`."""
    return np.zeros((0, *(side or 0 for side in explained.map_shape)), np.float32)


def _of_none(maps: Any) -> Attribution:
    return Attribution(maps, np.zeros(0, np.int64), np.zeros(0, np.float32))


def _in_rows(values: np.ndarray, batch: batches.Batch, empty: float = np.nan) -> np.ndarray:
    """Values of the good samples of a batch in their rows, the others `empty`."""
    rows = np.full((batch.length, *values.shape[1:]), empty, values.dtype)
    rows[batch.good] = values
    return rows


def joined(results: Iterable[Any], count: int | None = None, verbose: int = 0) -> Any:
    """One array, or one structure of arrays, from those of the batches, with a progress bar for `count`."""
    progress = keras.utils.Progbar(count, verbose=verbose)
    parts: list[Any] = []
    for result in results:
        if parts:
            for now, first in zip(keras.tree.flatten(result), keras.tree.flatten(parts[0]), strict=True):
                _check_size(now, first, len(parts) + 1)
        parts.append(result)
        progress.update(len(parts))
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def _check_size(now: np.ndarray, first: np.ndarray, number: int) -> None:
    if now.shape[1:] != first.shape[1:]:
        raise ValueError(
            "All images must have the same size, as the results are returned in one array. Received: "
            f"batch {number} gives {now.shape[1:]}, and the ones before it {first.shape[1:]}"
        )
