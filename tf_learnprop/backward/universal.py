"""The universal rule: one small set of weights that gives rules and readout to any model, untrained.

The weights of a rule and of a readout are made from the place of their layer in the model: how deep it lies,
how large its maps are. What comes out are ordinary `RelevanceRule`s and an ordinary `MultiLayerReadout`,
which can be trained further.
"""

import functools
import math
import pathlib

import keras
import tensorflow as tf

from tf_learnprop.backward import readouts, rules

_WEIGHTS = pathlib.Path(__file__).with_name("universal.weights.h5")


@keras.saving.register_keras_serializable("tf_learnprop")
class HyperNetwork(keras.Model):
    """Makes weights for the rules and the readout of a model; no shape in it depends on the model.

    All `RelevanceRule`s get the same kernels. Their biases, and the readout's w and β, come from a network of
    one hidden layer (tanh) over the layer's place, see `position_features`. Its last weights start at zero,
    so that it begins with the plain gradient and equal weights. The readout's focus keeps its own start.

    Args:
        hidden: int, width of the rules' hidden layer.
        width: int, width of the hidden layer over the place.
        seed: int.
    """

    def __init__(self, hidden=8, width=16, seed=0, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.hidden, self.width, self.seed = hidden, width, seed
        glorot = keras.initializers.GlorotUniform(seed=seed)
        normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed + 1)
        self.feature_kernel = self.add_weight(
            name="feature_kernel", shape=(rules.RelevanceRule.FEATURES, hidden), initializer=glorot
        )
        self.gate_kernel = self.add_weight(name="gate_kernel", shape=(hidden, 1), initializer="zeros")
        self.place_kernel = self.add_weight(name="place_kernel", shape=(PLACE, width), initializer=normal)
        self.place_bias = self.add_weight(name="place_bias", shape=(width,), initializer="zeros")
        self.place_output = self.add_weight(
            name="place_output", shape=(width, hidden + 3), initializer="zeros"
        )
        self.built = True

    def call(self, inputs):
        raise NotImplementedError("A `HyperNetwork` makes weights; it computes nothing by itself.")

    def get_config(self):
        return {"name": self.name, "hidden": self.hidden, "width": self.width, "seed": self.seed}

    def weights_for(self, rule_set, read_shapes):
        """Weights for a model's rules and its readout.

        Args:
            rule_set: `RuleSet`.
            read_shapes: list of the shapes `[n, ..., c]` of what its readout reads, in that order.

        Returns:
            list of (Keras variable of the rule set, float32 tensor of its shape); rules that are not
            `RelevanceRule`s and readouts that are not `MultiLayerReadout`s have none.
        """
        pairs = []
        of_rules = self._of_places(position_features(rule_set.shapes, [False] * len(rule_set.shapes)))
        for rule, row in zip(rule_set.rules, tf.unstack(of_rules), strict=True):
            if isinstance(rule, rules.RelevanceRule):
                pairs += [
                    (rule.feature_kernel, tf.convert_to_tensor(self.feature_kernel)),
                    (rule.feature_bias, row[3:]),
                    (rule.gate_kernel, tf.convert_to_tensor(self.gate_kernel)),
                    (rule.gate_bias, row[2:3]),
                ]
        if isinstance(rule_set.readout, readouts.MultiLayerReadout):
            at_input = [position == readouts.INPUT for position in rule_set.read]
            raw = tf.transpose(self._of_places(position_features(read_shapes, at_input))[:, :2])
            pairs.append((rule_set.readout.raw_weights, raw / 2.0))
        return pairs

    def _of_places(self, rows):
        hidden = tf.tanh(rows @ tf.convert_to_tensor(self.place_kernel) + self.place_bias)
        return hidden @ tf.convert_to_tensor(self.place_output)


#: Numbers that describe a place.
PLACE = 7


def position_features(shapes, at_input):
    """Where layers stand in their model.

    Args:
        shapes: list of tuples `[n, ..., c]`, in the order of execution; None for what is not known.
        at_input: list of bool, whether it is the model's input.

    Returns:
        float32 `[len(shapes), 7]`: depth from 0 to 1, its square, exp(−layers above/2), log2 of the side over
        the last one's, divided by 3; whether the two are equal; whether it is the input; log(layers)/3.
    """
    count = len(shapes)
    sides = [_side(shape) for shape in shapes]
    rows = []
    for number, (side, is_input) in enumerate(zip(sides, at_input, strict=True)):
        depth = (number + 1) / count
        level = math.log2(side / sides[-1]) / 3
        above = math.exp(-(count - 1 - number) / 2)
        rows.append([depth, depth**2, above, level, float(level == 0), float(is_input), math.log(count) / 3])
    return tf.constant(rows, tf.float32)


def _side(shape):
    """Geometric mean of a layer's spatial sizes; 1 if it has none, or they are not known."""
    sides = shape[1:-1]
    return 1.0 if not sides or None in sides else math.prod(sides) ** (1 / len(sides))


def load():
    """The generator that comes with the package."""
    hypernetwork = HyperNetwork(name="hypernetwork")
    hypernetwork.load_weights(_WEIGHTS)
    return hypernetwork


_shared = functools.cache(load)


def initialise(rule_set, read_shapes, generator=None):
    """Gives a rule set the universal weights.

    Args:
        rule_set: `RuleSet`.
        read_shapes: as for `HyperNetwork.weights_for`.
        generator: `HyperNetwork`; default is the one that comes with the package.
    """
    for variable, value in (generator or _shared()).weights_for(rule_set, read_shapes):
        variable.assign(value)
