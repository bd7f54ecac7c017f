"""Per-sample refinement: a coarse field, added to one sample's map and trained by the objective."""

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import checks, descent, graph, objectives, resampling


class Refiner:
    """Maps that were trained a little further on the very sample that is explained.

    A + std(A)·F: A is the map that the rules give, F a field of `CELLS` values a side, resized, which starts
    at zero. Neither the rules nor the model are changed, so a step needs no second derivative: it costs one
    forward and one backward pass of two images for each mask.

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
        self.engine = model.engine
        objective = model.objective or objectives.AreaGuidance()
        self.objective = type(objective).from_config(objective.get_config())  # its draws are its own
        image = graph.graph_of(model.source).inputs[model.input_index].shape
        if len(image) == 2:
            raise ValueError(
                "`refine_steps` needs an input with pixels, of which it makes fills for what it masks. "
                f"Received: an input of shape {tuple(image)}"
            )
        self.field = keras.Variable(np.zeros([1] + [self.CELLS] * (len(image) - 2), np.float32))
        self.optimizer = keras.optimizers.Adam()
        self.optimizer.build([self.field])
        self._state = [self.field, self.objective.seed_generator.state, *self.optimizer.variables]
        self._fresh = [variable.numpy() for variable in self._state]
        self._begin = tf.function(self._map_and_logits, autograph=False)
        self._step = tf.function(self._refine, autograph=False)
        self._end = tf.function(self._refined, autograph=False)

    def begin(self, steps, rate):
        """The function from a batch to its refined maps.

        Args:
            steps: int, optimizer steps for each sample.
            rate: float, Adam's learning rate; the field is in standard deviations of the map.

        Returns:
            Callable (inputs, class weights or None) that gives float32 `[n, *spatial]`, each sample refined
            by itself.

        Raises:
            ValueError: a rate that is not above zero.
        """
        checks.positive("refine_rate", rate)

        def maps(inputs, class_weights):
            samples = _one_by_one(inputs, class_weights)
            return np.concatenate([self._one(steps, rate, *sample) for sample in samples])

        return maps

    def _one(self, steps, rate, inputs, class_weights):
        for variable, value in zip(self._state, self._fresh, strict=True):
            variable.assign(value)
        self.optimizer.learning_rate.assign(rate)
        maps, logits = self._begin(inputs, class_weights)
        for _ in range(steps):
            self._step(inputs, maps, logits)
        return self._end(maps)

    def _map_and_logits(self, inputs, class_weights):
        def ask(logits):
            return objectives.lead(logits, tf.argmax(class_weights, -1))

        return self.engine.maps_and_logits(inputs, class_weights, None if class_weights is None else ask)

    def _refine(self, inputs, maps, logits):
        def repeat(tensor):
            return tf.repeat(tensor, self.MASKS, 0)

        def losses():
            return self.engine.judge(
                keras.tree.map_structure(repeat, inputs),
                repeat(self._refined(maps)),
                repeat(logits),
                self.objective,
                training=True,
            )

        descent.descend(self.optimizer, [self.field], losses)

    def _refined(self, maps):
        size = resampling.sides(maps, maps.shape.rank - 1)
        sigmas = [tf.cast(length, tf.float32) / (2 * self.CELLS) for length in size]
        field = resampling.resize_and_blur(tf.convert_to_tensor(self.field), size, sigmas)
        return maps + tf.math.reduce_std(maps) * field


def _one_by_one(inputs, class_weights):
    for index in range(len(keras.tree.flatten(inputs)[0])):
        one = slice(index, index + 1)
        sample = keras.tree.map_structure(lambda array, one=one: tf.convert_to_tensor(array[one]), inputs)
        yield sample, None if class_weights is None else tf.convert_to_tensor(class_weights[one])
