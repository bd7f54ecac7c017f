"""The network that computes the weights of the universal rule."""

import functools
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NoReturn

import keras
import tensorflow as tf

from tf_learnprop import readouts, rules
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.rules import relevance

#: Number of features in `position_features`.
_FEATURES = 7
#: And in `size_features`.
_SIZE_FEATURES = 3

Shape = Sequence[int | None]
#: Variables of rules, each with its value.
Pairs = list[tuple[keras.Variable, tf.Tensor]]

_WEIGHTS = pathlib.Path(__file__).with_name("universal.weights.h5")


@keras.saving.register_keras_serializable("tf_learnprop")
class HyperNetwork(keras.Model):
    """Computes weights for the rules and the readout of a model. Its own weights fit any model.

    All `RelevanceRule`s get the same kernels, and so do all `LearnedSplitRule`s. Their biases, the share of a
    `BlendedRule`, and the w and β of the readout come from a network with one hidden layer (tanh) that takes
    the position of a layer; see `position_features`. Its last weights start at zero, so an untrained
    hypernetwork gives the plain gradient, LibraGrad's rules at operations, and equal layer weights. The κ of
    the readout's focus is linear in the model's size; see `size_features`.

    Args:
        hidden: Width of the hidden layer of the rules.
        width: Width of the hidden layer of the hypernetwork.
        seed: Seed of the initial weights.
    """

    def __init__(self, hidden: int = 8, width: int = 16, seed: int = 0, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.hidden, self.width, self.seed = hidden, width, seed
        glorot = keras.initializers.GlorotUniform(seed=seed)
        normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed + 1)
        self.feature_kernel = self.add_weight(
            name="feature_kernel", shape=(relevance.FEATURES, hidden), initializer=glorot
        )
        self.gate_kernel = self.add_weight(name="gate_kernel", shape=(hidden, 1), initializer="zeros")
        self.place_kernel = self.add_weight(name="place_kernel", shape=(_FEATURES, width), initializer=normal)
        self.place_bias = self.add_weight(name="place_bias", shape=(width,), initializer="zeros")
        self.place_output = self.add_weight(
            name="place_output", shape=(width, hidden + 3), initializer="zeros"
        )
        self.split_kernel = self.add_weight(
            name="split_kernel",
            shape=(relevance.FEATURES, hidden),
            initializer=keras.initializers.GlorotUniform(seed=seed + 2),
        )
        self.split_gate_kernel = self.add_weight(
            name="split_gate_kernel", shape=(hidden, 1), initializer="zeros"
        )
        self.split_output = self.add_weight(
            name="split_output", shape=(width, hidden + 2), initializer="zeros"
        )
        self.focus_kernel = self.add_weight(name="focus_kernel", shape=(_SIZE_FEATURES,), initializer="zeros")
        self.built = True

    def call(self, inputs: Any) -> NoReturn:
        raise NotImplementedError("A `HyperNetwork` makes weights; it computes nothing by itself.")

    def get_config(self) -> dict:
        return {"name": self.name, "hidden": self.hidden, "width": self.width, "seed": self.seed}

    def weights_for(
        self, rule_set: RuleSet, read_shapes: Sequence[Shape], classes: int
    ) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Computes weights for the rules and the readout of a model.

        Args:
            rule_set: The rules of the model, and its readout.
            read_shapes: Shapes `[n, ..., c]`, those of the tensors that its readout reads.
            classes: Number of classes of the model.

        Returns:
            Pairs of a variable of the rule set and a float32 tensor of the same shape. Only rules whose
            weights start as the universal ones, and a `MultiLayerReadout`, get weights.
        """
        at_activations, at_operations = [], []
        for rule, shape in zip(rule_set.rules, rule_set.shapes, strict=True):
            (at_operations if isinstance(rule, rules.SplitRule) else at_activations).append((rule, shape))
        pairs = self._for_activations(at_activations)
        pairs += self._for_operations([rule for rule, _ in at_operations])
        if isinstance(rule_set.readout, readouts.MultiLayerReadout):
            at_input = [position == readouts.INPUT for position in rule_set.read]
            hidden = self._at_positions(position_features(read_shapes, at_input))
            raw = tf.transpose((hidden @ tf.convert_to_tensor(self.place_output))[:, :2])
            pairs.append((rule_set.readout.raw_weights, raw / 2.0))
            if rule_set.readout.focus:
                size = size_features(read_shapes, classes)
                pairs.append((rule_set.readout.raw_focus, tf.tensordot(size, self.focus_kernel, 1)))
        return pairs

    def _for_activations(self, entries: Sequence[tuple[rules.PropagationRule, Shape]]) -> Pairs:
        pairs = []
        positions = position_features([shape for _, shape in entries], [False] * len(entries))
        rows = self._at_positions(positions) @ tf.convert_to_tensor(self.place_output)
        for (rule, _), row in zip(entries, tf.unstack(rows), strict=True):
            if rule.initial == "universal":
                kernels = (self.feature_kernel, self.gate_kernel)
                pairs += _relevance_weights(rule, kernels, hidden=row[3:], gate=row[2:3])
        return pairs

    def _for_operations(self, entries: Sequence[rules.PropagationRule]) -> Pairs:
        pairs = []
        positions = position_features([(None, None)] * len(entries), [False] * len(entries))  # of no size
        rows = self._at_positions(positions) @ tf.convert_to_tensor(self.split_output)
        for rule, row in zip(entries, tf.unstack(rows), strict=True):
            if rule.initial != "universal":
                continue
            if isinstance(rule, rules.LearnedSplitRule):
                kernels = (self.split_kernel, self.split_gate_kernel)
                pairs += _relevance_weights(rule, kernels, hidden=row[2:], gate=row[1:2])
            else:
                pairs.append((rule.raw_share, row[0]))
        return pairs

    def _at_positions(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.tanh(rows @ tf.convert_to_tensor(self.place_kernel) + self.place_bias)


def _relevance_weights(
    rule: Any, kernels: tuple[keras.Variable, keras.Variable], hidden: tf.Tensor, gate: tf.Tensor
) -> Pairs:
    """Pairs of the variables of a rule like `RelevanceRule` and their values."""
    feature_kernel, gate_kernel = map(tf.convert_to_tensor, kernels)
    return [
        (rule.feature_kernel, feature_kernel),
        (rule.feature_bias, hidden),
        (rule.gate_kernel, gate_kernel),
        (rule.gate_bias, gate),
    ]


def position_features(shapes: Sequence[Shape], at_input: Sequence[bool]) -> tf.Tensor:
    """Describes the position of each layer in its model by numbers.

    Args:
        shapes: Shapes `[n, ..., c]`, in the order of execution, with None for unknown sizes.
        at_input: Whether the layer is the model's input.

    Returns:
        float32 `[len(shapes), 7]`. With layer k of n, from 1, and the side s_k of its maps, the features
        are k/n, (k/n)², exp(−(n − k)/2), log2(s_k/s_n)/3, whether s_k = s_n, whether the layer is the
        input, and log(n)/3.
    """
    count = len(shapes)
    sides = [_side(shape) for shape in shapes]
    rows = []
    for number, (side, is_input) in enumerate(zip(sides, at_input, strict=True)):
        depth = (number + 1) / count
        level = math.log2(side / sides[-1]) / 3
        above = math.exp(-(count - 1 - number) / 2)
        rows.append([depth, depth**2, above, level, float(level == 0), float(is_input), math.log(count) / 3])
    return tf.reshape(tf.constant(rows, tf.float32), [count, _FEATURES])


def size_features(read_shapes: Sequence[Shape], classes: int) -> tf.Tensor:
    """Describes the size of a model by numbers.

    Args:
        read_shapes: Shapes `[n, ..., c]`, those of the tensors that its readout reads.
        classes: Number of classes.

    Returns:
        float32 `[3]`: 1, log2(s)/50, where s is the side of the first tensor that is read, and
        log2(classes)/50.
    """
    return tf.constant([1.0, math.log2(_side(read_shapes[0])) / 50, math.log2(classes) / 50], tf.float32)


def _side(shape: Shape) -> float:
    """Geometric mean of the spatial sizes of a layer; 1 if it has none, or if they are not known."""
    sides = [side for side in shape[1:-1] if side is not None]
    return math.prod(sides) ** (1 / len(sides)) if sides and len(sides) == len(shape[1:-1]) else 1.0


def load() -> HyperNetwork:
    """Loads the hypernetwork that comes with the package."""
    hypernetwork = HyperNetwork(name="hypernetwork")
    hypernetwork.load_weights(_WEIGHTS)
    return hypernetwork


_shared = functools.cache(load)


def initialise(
    rule_set: RuleSet,
    read_shapes: Sequence[Shape],
    classes: int,
    hypernetwork: HyperNetwork | None = None,
) -> None:
    """Sets the weights of the rules that start as the universal ones, and of a `MultiLayerReadout`.

    Args:
        rule_set: The rules of the model, and its readout.
        read_shapes: As for `HyperNetwork.weights_for`.
        classes: The same.
        hypernetwork: By default the one that comes with the package.
    """
    for variable, value in (hypernetwork or _shared()).weights_for(rule_set, read_shapes, classes):
        variable.assign(value)
