"""How maps are computed with the classes that they explain, and put in the rows of a batch."""

import warnings
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.backward.attributor import PREDICTED, Attributor
from tf_learnprop.explanations import Attribution, Explanations
from tf_learnprop.inputs import batches
from tf_learnprop.targets.base import Target


def attribute(attributor: Attributor, inputs: Any, target: Target = PREDICTED) -> Attribution:
    """Computes maps, classes and probabilities with one forward and one backward pass.

    Args:
        attributor: `Attributor`.
        inputs: Tensors in the structure of the model's inputs.
        target: What is explained; its data are tensors `[n, ...]`.
    """
    maps, asked = attributor.maps_and_asked(inputs, target)
    return Attribution(maps, asked.class_ids(), tf.cast(asked.probabilities(), tf.float32))


def warn_if_constant(maps: np.ndarray) -> None:
    """Warns of maps `[n, ...]` with one value everywhere, which say nothing.

    Must be called by a generator that the user's call has made.
    """
    flat = maps.reshape(len(maps), -1)
    constant = np.flatnonzero(flat.max(1) == flat.min(1))
    if flat.shape[1] > 1 and len(constant):
        warnings.warn(
            f"The maps of {len(constant)} of {len(maps)} samples have one value everywhere (first sample "
            f"{constant[0]}): no gradient of the explained logit came back. Likely causes: saturated or dead "
            "activations, an input that the class does not depend on, or a rule that lets no negative signal "
            "pass. See 'The map is all zero' in the troubleshooting guide.",
            stacklevel=2,
        )


def with_errors(attribution: Attribution | None, batch: batches.Batch, shape: tuple) -> Explanations:
    """Puts the results of the good samples of a batch in their rows.

    Args:
        attribution: Of the good samples, arrays; None if there are none.
        batch: The batch that they come from.
        shape: Shape of a map, for a batch without good samples.
    """
    if attribution is not None and not batch.errors:
        return Explanations(*attribution, batch.extras, {})
    shape = shape if attribution is None else attribution.maps.shape[1:]
    maps = np.full((batch.length, *shape), np.nan, np.float32)
    class_ids = np.full(batch.length, -1, np.int64)
    probabilities = np.full(batch.length, np.nan, np.float32)
    if attribution is not None:
        maps[batch.good] = attribution.maps
        class_ids[batch.good] = attribution.class_ids
        probabilities[batch.good] = attribution.probabilities
    return Explanations(maps, class_ids, probabilities, batch.extras, batch.errors)


def joined(results: Iterable[np.ndarray], count: int | None = None, verbose: int = 0) -> np.ndarray:
    """One array from those of the batches, with a progress bar for `count` of them."""
    progress = keras.utils.Progbar(count, verbose=verbose)
    arrays: list[np.ndarray] = []
    for result in results:
        if arrays and result.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                "All images must have the same size, as the results are returned in one array. Received: "
                f"batch {len(arrays) + 1} gives {result.shape[1:]}, and the ones before it "
                f"{arrays[0].shape[1:]}"
            )
        arrays.append(result)
        progress.update(len(arrays))
    return np.concatenate(arrays)
