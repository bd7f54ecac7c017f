"""Per-sample refinement: a coarse field, added to each sample's map and trained by the objective."""

import functools

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.backward import resampling, tracing
from tf_learnprop.inputs import batches, checks
from tf_learnprop.training import objectives


class Refiner:
    """Maps that were trained a little further on the very samples that are explained.

    A + std(A)·F: A is the map that the rules give, F a field of `CELLS` values a side, resized, which starts
    at zero. Neither the rules nor the model are changed, so a step needs no second derivative: it costs one
    forward and one backward pass of two images for each mask. Samples are refined side by side, each by the
    same draws and a loss of its own, so that a map does not depend on what else is in the batch.

    Args:
        model: `PropagationModel`.

    Raises:
        ValueError: an input without pixels.
    """

    #: Masks of a sample in one step, of as many areas; the objective's fills in turn.
    MASKS = 8
    #: Side of the field. A field with a value for each pixel fits the fills, not the model.
    CELLS = 8

    def __init__(self, model):
        self.attributor = model.attributor
        objective = model.objective or objectives.AreaGuidance()
        self.objective = type(objective).from_config(objective.get_config())  # its draws are its own
        self._fresh = self.objective.seed_generator.state.numpy()
        image = model.graph.inputs[model.input_index].shape
        if len(image) == 2:
            raise ValueError(
                "`refine_steps` needs an input with pixels, of which it makes fills for what it masks. "
                f"Received: an input of shape {tuple(image)}"
            )
        self._run = tracing.for_any_length(self._refined)

    def begin(self, steps, rate, batch_size):
        """The function from a batch to its refined maps.

        Args:
            steps: int, steps of gradient descent for each sample.
            rate: float, Adam's learning rate; the field is in standard deviations of the map.
            batch_size: int, masked images that the model sees at once, at most; at least those of a sample.

        Returns:
            Callable (inputs, class weights or None) that gives float32 `[n, *spatial]`.

        Raises:
            ValueError: a rate that is not above zero.
        """
        checks.positive("refine_rate", rate)
        together = max(1, batch_size // (2 * self.MASKS))
        schedule = tf.constant(steps), tf.constant(rate, tf.float32)

        def maps(inputs, class_weights):
            refined = []
            for part in batches.parts(inputs, class_weights, together):
                self.objective.seed_generator.state.assign(self._fresh)
                refined.append(self._run(*part, *schedule).numpy())
            return np.concatenate(refined)

        return maps

    def _refined(self, inputs, class_weights, steps, rate):
        select_target = None
        if class_weights is not None:
            select_target = functools.partial(
                self.attributor.head.promote_class, classes=tf.argmax(class_weights, -1)
            )
        maps, logits = self.attributor.maps_and_logits(inputs, class_weights, select_target)
        field = tf.zeros([tf.shape(maps)[0]] + [self.CELLS] * (maps.shape.rank - 1))

        def descend(step, *state):
            losses, gradients = tf.vectorized_map(self._loss_and_gradient, (inputs, maps, logits, state[0]))
            move, *moments = adam(gradients, *state[1:], tf.cast(step + 1, tf.float32))
            axes = list(range(1, gradients.shape.rank))
            finite = tf.math.is_finite(losses) & tf.reduce_all(tf.math.is_finite(gradients), axes)
            finite = tf.reshape(finite, [-1] + [1] * len(axes))
            # A sample whose step is not finite stays as it is.
            moved = zip((state[0] - rate * move, *moments), state, strict=True)
            return step + 1, *(tf.where(finite, new, old) for new, old in moved)

        start = (tf.constant(0), field, field, field)
        _, field, *_ = tf.while_loop(lambda step, *_: step < steps, descend, start, parallel_iterations=1)
        return self._with_field(maps, field)

    def _loss_and_gradient(self, sample):
        """The loss of one sample, and its gradient by the sample's field."""
        inputs, maps, logits, field = keras.tree.map_structure(lambda tensor: tensor[None], sample)

        def repeat(tensor):
            return tf.repeat(tensor, self.MASKS, 0)

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(field)
            losses = self.attributor.loss_of_maps(
                keras.tree.map_structure(repeat, inputs),
                repeat(self._with_field(maps, field)),
                repeat(logits),
                self.objective,
                training=True,
            )
            loss = tf.reduce_mean(losses["loss"])
        return loss, tape.gradient(loss, field, unconnected_gradients="zero")[0]

    def _with_field(self, maps, field):
        size = resampling.sides(maps, maps.shape.rank - 1)
        sigmas = resampling.scaled(1 / (2 * self.CELLS), size)
        spread = tf.math.reduce_std(maps, list(range(1, maps.shape.rank)), keepdims=True)
        return maps + spread * resampling.resize_and_blur(field, size, sigmas)


def adam(gradient, first, second, step, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Adam's direction of descent (Kingma & Ba, ICLR 2015), as in `keras.optimizers.Adam`.

    Written out since that one holds moments of a fixed shape, and batches are of any length.

    Args:
        gradient: float32.
        first: float32 of its shape, the mean so far, 0 at the start.
        second: the same of the squares.
        step: float scalar, counts from 1.
        beta_1: float, share of `first` that is kept.
        beta_2: float, that of `second`.
        epsilon: float, added to the root of the squares.

    Returns:
        The direction, which is to be subtracted times the rate, and both moments.
    """
    first = beta_1 * first + (1.0 - beta_1) * gradient
    second = beta_2 * second + (1.0 - beta_2) * tf.square(gradient)
    correction = tf.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
    return correction * first / (tf.sqrt(second) + epsilon), first, second
