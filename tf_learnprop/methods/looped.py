"""Methods that run a model many times for each sample."""

import abc
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import attribution
from tf_learnprop.explanations import Attribution, Explanations
from tf_learnprop.graph.explained import Explained
from tf_learnprop.inputs import batches
from tf_learnprop.methods.base import Method
from tf_learnprop.methods.passes import Passes, Samples
from tf_learnprop.targets import choosing
from tf_learnprop.targets.base import Target


class LoopedMethod(Method):
    """A method that runs a model many times. Subclass it and write `maps_of`."""

    @abc.abstractmethod
    def maps_of(self, explained: Explained) -> Callable[[Samples], tf.Tensor]:
        """Returns a function from samples to maps, float32 `[n, *spatial]`."""

    def on_explained(self, explained: Explained) -> "LoopedExplainer":
        return LoopedExplainer(self, explained)


class LoopedExplainer:
    """A looped method on one model.

    Args:
        method: The method.
        explained: What is explained.
    """

    def __init__(self, method: LoopedMethod, explained: Explained):
        self.method = method
        self._bind(explained)

    def _bind(self, explained: Explained) -> None:
        self.explained = explained
        self._passes, self._maps = Passes(explained), self.method.maps_of(explained)

    def explain(
        self, images: Any, targets: Any = None, *, batch_size: int = 32, verbose: int = 0
    ) -> np.ndarray:
        """Computes attribution maps.

        Args:
            images: As for `PropagationModel.explain`.
            targets: As for `PropagationModel.explain`.
            batch_size: Most samples and changed copies of samples that run at once. Batches of a stream
                stay whole, however long they are.
            verbose: 0 is silent, 1 shows Keras' progress bar, which counts passes.

        Returns:
            float32 NumPy array `[n, h, w]` (in general `[n, *spatial]` or `[n, features]`).

        Raises:
            TypeError, ValueError: As `PropagationModel.explain`.
        """
        progress = keras.utils.Progbar(self._expected(images), verbose=verbose, unit_name="pass")
        results = self._over(images, targets, batch_size, "raise", progress.add)
        return attribution.joined(result.maps for result in results)

    def explain_batches(
        self, data: Any, targets: Any = None, *, batch_size: int = 32, on_error: str = "raise"
    ) -> Iterator[Explanations]:
        """Explains one batch after the other; see `PropagationModel.explain_batches`."""
        return self._over(data, targets, batch_size, on_error, lambda count: None)

    def _expected(self, images: Any) -> int | None:
        """Number of passes for all samples, None if unknown."""
        passes = self.method.passes(self.explained)
        if passes is None or batches.is_stream(images):
            return None
        return passes * len(keras.tree.flatten(images)[0])

    def _over(
        self, data: Any, targets: Any, batch_size: int, on_error: str, report: Callable[[int], None]
    ) -> Iterator[Explanations]:
        if not self.explained.graph.is_current():
            self._bind(self.explained.of(self.explained.graph.model))
        explained = self.explained
        target = choosing.arrays(targets, explained)
        _, stream = batches.stream(data, target, explained.graph, batch_size, on_error, explained.input)
        return self._over_stream(stream, batch_size, report)

    def _over_stream(
        self, stream: Iterator[batches.Batch], size: int, report: Callable[[int], None]
    ) -> Iterator[Explanations]:
        def explain(inputs: Any, target: Target) -> Attribution:
            target, *about = self._passes.settle(inputs, target)
            report(len(keras.tree.flatten(inputs)[0]))
            samples = Samples(self._passes, inputs, target, size, report)
            return Attribution(*map(np.asarray, (self._maps(samples), *about)))

        return attribution.explanations(stream, explain, attribution.no_maps(self.explained))
