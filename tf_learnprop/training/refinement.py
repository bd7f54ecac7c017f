"""Refinement: a coarse field that is added to each sample's map and trained by the objective."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import argument_checks, objectives, resampling, tracing
from tf_learnprop.backward.attributor import Answer
from tf_learnprop.inputs import batches
from tf_learnprop.targets.base import Target
from tf_learnprop.targets.by_kind import TracedByKind

#: Of Adam, as Keras has them: the decay rates of the two running means, and what is added to the denominator.
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7


class Refiner:
    """Trains maps a little further on the samples that are explained.

    The refined map is A + std(A)·F, where A is the map that the rules give and F a field of `CELLS` values
    along each side, resized to the map's size, that starts at zero. The rules and the model stay as they
    are, so a step needs no second derivative: it costs one forward and one backward pass over two images
    per mask. All samples of a batch share the random draws, and each has a loss of its own, so a map does
    not depend on the rest of the batch. Nothing is kept between calls, so threads may share a refiner.

    Args:
        model: The wrapped model.

    Attributes:
        compiled: The objective that the model was compiled with, or None.

    Raises:
        ValueError: If the explained input has no pixels.
    """

    #: Masks per sample and step. Each keeps another area, and they use the objective's fills in turn.
    MASKS = 8
    #: Side of the field. A field with one value per pixel would fit the fills, not the model.
    CELLS = 8

    def __init__(self, model: keras.Model) -> None:
        self.attributor = model.attributor
        self.compiled = model.objective
        objective = model.objective or objectives.AreaGuidance()
        # A copy starts from its seed, however far the training has moved the model's own objective.
        self.objective = type(objective).from_config(objective.get_config())
        self._random = [(variable, variable.numpy()) for variable in self.objective.variables]
        shape = model.explained.input_shape
        if len(shape) == 2:
            raise ValueError(
                "`refine_steps` needs an input with pixels, since it masks some of them. "
                f"Received: an input of shape {shape}"
            )
        self._run = TracedByKind(self._refined, tracing.for_batches(None, not model.graph.hides_code))

    def begin(self, steps: int, rate: float, batch_size: int) -> Callable[[Any, Target], np.ndarray]:
        """Makes a function that maps a batch to its refined maps.

        Args:
            steps: Number of gradient descent steps for each sample.
            rate: Learning rate of Adam; the field is in standard deviations of the map.
            batch_size: At most this many masked images run at once, but at least those of one sample.

        Returns:
            Function that takes (inputs, target) and returns float32 maps `[n, *spatial]`.

        Raises:
            ValueError: If `rate` is not a finite number above zero.
        """
        argument_checks.number("refine_rate", rate, above=0)
        together = max(1, batch_size // (2 * self.MASKS))
        schedule = tf.constant(steps), tf.constant(rate, tf.float32)

        def maps(inputs: Any, target: Target) -> np.ndarray:
            parts = batches.parts(inputs, target, together)
            return np.concatenate([self._run(*part, *schedule).numpy() for part in parts])

        return maps

    def _refined(self, inputs: Any, target: Target, steps: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        maps, answer = self.attributor.maps_to_compare(inputs, target)
        field = tf.zeros([tf.shape(maps)[0]] + [self.CELLS] * (maps.shape.rank - 1))

        def descend(
            step: tf.Tensor, seeds: list[tf.Tensor], field: tf.Tensor, first: tf.Tensor, second: tf.Tensor
        ) -> tuple:
            samples = inputs, maps, answer.tensors, field
            losses, gradients, seeds = tf.vectorized_map(
                lambda sample: self._loss_and_gradient(answer, sample, seeds), samples
            )
            move, *moments = adam(gradients, first, second, tf.cast(step + 1, tf.float32))
            axes = list(range(1, gradients.shape.rank))
            finite = tf.math.is_finite(losses) & tf.reduce_all(tf.math.is_finite(gradients), axes)
            finite = tf.reshape(finite, [-1] + [1] * len(axes))
            # A sample whose step is not finite stays as it is.
            pairs = zip((field - rate * move, *moments), (field, first, second), strict=True)
            state = (tf.where(finite, new, old) for new, old in pairs)
            return step + 1, [seed[0] for seed in seeds], *state

        seeds = [tf.constant(start) for _, start in self._random]
        _, _, field, *_ = tf.while_loop(
            lambda step, *_: step < steps,
            descend,
            (tf.constant(0), seeds, field, field, field),
            parallel_iterations=1,
        )
        return self._with_field(maps, field)

    def _loss_and_gradient(
        self, answer: Answer, sample: tuple, seeds: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Loss of one sample, its gradient with respect to the sample's field, and the seeds after it."""
        inputs, maps, tensors, field = keras.tree.map_structure(lambda tensor: tensor[None], sample)

        def repeat(tensor: tf.Tensor) -> tf.Tensor:
            return tf.repeat(tensor, self.MASKS, 0)

        variables = [variable for variable, _ in self._random]
        # The random state goes from step to step as a tensor: a variable would be shared with other threads.
        scope = keras.StatelessScope(list(zip(variables, seeds, strict=True)))
        with scope, tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(field)
            losses = self.attributor.loss_of_maps(
                keras.tree.map_structure(repeat, inputs),
                repeat(self._with_field(maps, field)),
                answer.with_tensors([*map(repeat, tensors)]),
                self.objective,
                training=True,
            )
            loss = tf.reduce_mean(losses["loss"])
        gradient = tape.gradient(loss, field, unconnected_gradients="zero")[0]
        return loss, gradient, [scope.get_current_value(variable) for variable in variables]

    def _with_field(self, maps: tf.Tensor, field: tf.Tensor) -> tf.Tensor:
        size = resampling.sides(maps, maps.shape.rank - 1)
        sigmas = resampling.scaled(1 / (2 * self.CELLS), size)
        spread = tf.math.reduce_std(maps, list(range(1, maps.shape.rank)), keepdims=True)
        return maps + spread * resampling.resize_and_blur(field, size, sigmas)


def adam(
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    step: float | tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Update direction of Adam (Kingma & Ba, ICLR 2015), as in `keras.optimizers.Adam`.

    Keras' optimizer keeps moments of a fixed shape, and the batches here have any length.

    Args:
        gradient: float32.
        first: float32, same shape. Running mean of the gradient, zero at the start.
        second: float32, same shape. Running mean of the squared gradient, zero at the start.
        step: Number of this step, from 1.

    Returns:
        The direction, to be multiplied by the learning rate and subtracted, and the two new means.
    """
    first = _BETA_1 * first + (1.0 - _BETA_1) * gradient
    second = _BETA_2 * second + (1.0 - _BETA_2) * tf.square(gradient)
    correction = tf.sqrt(1.0 - _BETA_2**step) / (1.0 - _BETA_1**step)
    return correction * first / (tf.sqrt(second) + _EPSILON), first, second
