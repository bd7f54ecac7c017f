"""Per-sample refinement: the rules are adapted to one sample at a time, by the training objective."""

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import attribution, checks, descent, objectives


class Refiner:
    """Maps from rules that were trained a little further on the very sample that is explained.

    It works on a copy of the rules; those of the model stay as they are.

    Args:
        model: `PropagationModel`.
    """

    #: Masks of each sample in one step: as many areas, the objective's fills in turn.
    MASKS = 16

    def __init__(self, model):
        self.rule_set = model.rule_set.copy()
        if not self.rule_set.trainable_variables:
            raise RuntimeError(
                "`refine_steps` adapts learned rules and readouts, and this model has none: wrap it "
                "with rule='learned'."
            )
        self.engine = attribution.Engine(model.source, self.rule_set, model.output_index, model.input_index)
        self.objective = model.objective or objectives.AreaGuidance()
        self.optimizer = keras.optimizers.Adam(global_clipnorm=1.0)
        self.optimizer.build(self.rule_set.trainable_variables)
        self._fresh = [v.numpy() for v in self.optimizer.variables]
        self._maps = tf.function(self.engine.maps)
        self._step = tf.function(self._refine)

    def begin(self, rule_set, steps, rate):
        """The function from a batch to its maps that starts from the rules as they are now.

        Args:
            rule_set: `RuleSet`, the trained rules.
            steps: int, optimizer steps for each sample.
            rate: float, Adam's learning rate.

        Returns:
            Callable (inputs, class weights or None) that gives float32 `[n, *spatial]`, each sample refined
            by itself.

        Raises:
            ValueError: a rate that is not above zero.
        """
        checks.positive("refine_rate", rate)
        trained = rule_set.get_weights()

        def maps(inputs, class_weights):
            samples = _one_by_one(inputs, class_weights)
            return np.concatenate([self._refined(trained, steps, rate, *pair) for pair in samples])

        return maps

    def _refined(self, trained, steps, rate, inputs, class_weights):
        self.rule_set.set_weights(trained)
        for variable, value in zip(self.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        self.optimizer.learning_rate.assign(rate)
        for _ in range(steps):
            self._step(inputs)
        return self._maps(inputs, class_weights)

    def _refine(self, inputs):
        def repeat(tensor):
            return tf.repeat(tensor, self.MASKS, 0)

        def losses():
            maps, logits = self.engine.maps_and_logits(inputs)
            return self.engine.judge(
                keras.tree.map_structure(repeat, inputs),
                repeat(maps),
                repeat(logits),
                self.objective,
                training=False,
            )

        descent.descend(self.optimizer, self.rule_set.trainable_variables, losses)


def _one_by_one(inputs, class_weights):
    for index in range(len(keras.tree.flatten(inputs)[0])):
        one = slice(index, index + 1)
        sample = keras.tree.map_structure(lambda array, one=one: array[one], inputs)
        yield sample, None if class_weights is None else class_weights[one]
