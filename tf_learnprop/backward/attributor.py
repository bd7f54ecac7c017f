"""The computation behind a map: forward pass, backward pass under the rules, readout, guidance.

All functions here work on tensors and are meant to run inside a `tf.function`.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import readouts, targets
from tf_learnprop.backward.runner import GraphRunner, rule_layers
from tf_learnprop.graph import geometry
from tf_learnprop.graph.explained import Explained
from tf_learnprop.objectives import Objective
from tf_learnprop.rule_files.rule_set import RuleSet

#: From logits to others, the largest of which is that of the class to explain.
SelectTarget = Callable[[tf.Tensor], tf.Tensor]

#: Largest number of rivals whose evidence takes a backward pass each.
_MOST_PASSES = 8


class Attributor:
    """A source model with its rules in place.

    Args:
        explained: The output and the input of the source model.
        rule_set: The rules of the model, and the readout.

    Attributes:
        head: How the explained output is read as classes.
    """

    def __init__(self, explained: Explained, rule_set: RuleSet):
        self.rule_set = rule_set
        self.explained = explained
        rules = dict(zip(rule_set.paths, rule_set.rules, strict=True))
        self.head = explained.head
        rivals = min(rule_set.readout.needs.rivals, self.head.class_count - 1)
        needs_map = rivals or readouts.FEATURE_MAP in rule_set.read
        feature_map = explained.feature_map if needs_map else None
        # A gradient in float16 is zero below 6e-8, as means over many pixels are, and infinite above 65,504.
        self._scale = 32.0 if explained.graph.computes_in("float16") else 1.0
        if feature_map is None or not explained.has_channels_last(feature_map):
            rivals = 0  # there is no place where classes could compete
        exclusive = self.head.units > 1 and not self.head.multi_label
        self._linear_head = explained.linear_head if rivals and exclusive else None
        if not self._linear_head:
            rivals = min(rivals, _MOST_PASSES)
        runs = explained.run_tensors(rule_set.paths)
        self._tensors: dict[readouts.Position, int | None] = {
            readouts.FEATURE_MAP: feature_map,
            **dict(enumerate(runs)),
        }
        self.needs = dataclasses.replace(rule_set.readout.needs, rivals=rivals)
        self.runner = GraphRunner(explained, rule_layers(explained.graph, rules), feature_map)

    def outputs(self, inputs: Any) -> Any:
        """The model's outputs; a tape around this call gets the rules' backward pass."""
        return self.runner(inputs).outputs

    def logits(self, inputs: Any) -> tf.Tensor:
        """The explained output before its final softmax or sigmoid, float32 `[n, units]`."""
        return self.runner(inputs, with_rules=False).logits

    def maps(self, inputs: Any, class_weights: tf.Tensor | None = None) -> tf.Tensor:
        """Attribution maps.

        Args:
            inputs: tensors in the structure of the model's inputs.
            class_weights: float32 `[n, classes]`, or None for the predicted class.

        Returns:
            float32 `[n, *spatial]`.
        """
        return self.maps_and_logits(inputs, class_weights)[0]

    def maps_and_logits(
        self, inputs: Any, class_weights: tf.Tensor | None = None, select_target: SelectTarget | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `maps`, with the logits of the same forward pass, float32 `[n, units]`.

        `select_target`, if given, maps these logits to others, whose largest entry is the class that is
        explained; then those are returned.
        """
        read = frozenset(self.rule_set.read)
        signals, logits = self._backward(inputs, class_weights, self.needs, read, select_target)
        return self.rule_set.readout(signals), logits

    def input_signal(self, inputs: Any, class_weights: tf.Tensor | None = None) -> tf.Tensor:
        """∂s/∂x under the rules, s the explained logit; float32, the shape of the explained input."""
        needs = readouts.Needs(input_signal=True)
        return self._backward(inputs, class_weights, needs, frozenset())[0].input_signal

    def guidance(self, inputs: Any, objective: Objective, training: bool) -> dict[str, tf.Tensor]:
        """The objective's losses for a batch, dict of float32 `[n]`."""
        image, with_image = self._explained(inputs)
        # Another image beside inputs that belong to this one would be no sample of the data.
        if training and len(keras.tree.flatten(inputs)) == 1:
            inputs = with_image(objective.augment(image))
        maps, logits = self.maps_and_logits(
            inputs, select_target=objective.select_target if training else None
        )
        return self.loss_of_maps(inputs, maps, logits, objective, training)

    def loss_of_maps(
        self, inputs: Any, maps: tf.Tensor, logits: tf.Tensor, objective: Objective, training: bool
    ) -> dict[str, tf.Tensor]:
        """The objective's losses for given maps of a batch; the class explained has the largest logit."""
        logits = tf.stop_gradient(logits)
        image, with_image = self._explained(inputs)
        labels = tf.argmax(logits, -1)

        def classify(images: tf.Tensor) -> tf.Tensor:
            repeats = tf.shape(images)[0] // tf.shape(image)[0]
            masked = self.logits(with_image(images, repeats))
            return self.head.log_probabilities(masked, tf.tile(labels, [repeats]))

        original = self.head.log_probabilities(logits, labels)
        return objective(image, maps, original, classify=classify, training=training)

    def _backward(
        self,
        inputs: Any,
        class_weights: tf.Tensor | None,
        needs: readouts.Needs,
        read: Collection[readouts.Position],
        select_target: SelectTarget | None = None,
    ) -> tuple[readouts.Signals, tf.Tensor]:
        """The `Signals` that `needs` and `read` ask for, and the logits."""
        image, with_image = self._explained(inputs)
        positions: list[readouts.Position] = [readouts.INPUT] if readouts.INPUT in read else []
        activations = [image] if positions else []
        feature_map = []
        # Records what follows the feature map alone: each of its gradients is a pass through the head.
        head_tape = tf.GradientTape(persistent=True, watch_accessed_variables=False)
        with head_tape, tf.GradientTape(watch_accessed_variables=False) as tape:
            if needs.input_signal or activations:
                tape.watch(image)

            def watch(position: readouts.Position, tensor: tf.Tensor) -> None:
                if position in read:
                    tape.watch(tensor)
                    positions.append(position)
                    activations.append(tensor)
                if position == readouts.FEATURE_MAP and needs.rivals:
                    head_tape.watch(tensor)
                    feature_map.append(tensor)

            own_logits = self.runner(with_image(image), watch=watch).logits
            logits = select_target(own_logits) if select_target else own_logits
            asked = targets.ask(self.head, own_logits, class_weights, chooser=logits)
            score = asked.score(needs.contrast) * self._scale
        sources = [image] * needs.input_signal + activations
        signals = tape.gradient(score, sources, unconnected_gradients="zero")
        signals = [tf.cast(signal, tf.float32) / self._scale for signal in signals]
        evidence = self._evidence(head_tape, feature_map[0], asked) if needs.rivals else None
        input_signal = signals.pop(0) if needs.input_signal else None
        activations = [tf.cast(tensor, tf.float32) for tensor in activations]
        signals = readouts.Signals(image, input_signal, activations, signals, evidence)
        return self._placed(signals, positions), logits

    def _placed(self, signals: readouts.Signals, positions: list[readouts.Position]) -> readouts.Signals:
        """Signals with maps in the order of the input's sides, and where their places lie."""
        shape = tuple(signals.inputs.shape)
        placements = [self._placement(position, shape) for position in positions]
        signals = signals._replace(
            activations=list(map(_on_sides, placements, signals.activations)),
            signals=list(map(_on_sides, placements, signals.signals)),
            places=list(map(_places_of, placements)),
        )
        if signals.evidence is None:
            return signals
        placement = self._placement(readouts.FEATURE_MAP, shape)
        return signals._replace(
            evidence=_on_sides(placement, signals.evidence), evidence_places=_places_of(placement)
        )

    def _placement(
        self, position: readouts.Position, shape: tuple[int | None, ...]
    ) -> geometry.Placement | None:
        """Where the places of what is read at a position lie in an input of some shape, None if unknown."""
        number = self._tensors.get(position)
        return None if number is None else self.explained.map_placement(number, shape)

    def _evidence(
        self, head_tape: tf.GradientTape, feature_map: tf.Tensor, asked: targets.Asked
    ) -> tf.Tensor:
        """How much each place of the feature map a speaks for the asked class and for its rivals.

        R_k = Σ_c a_c·∂s_k/∂a_c, s_k the logit of class k. The rivals are the classes with the largest logits
        that are not asked for. An independent label has one rival, its own absence.

        Returns:
            float32 `[n, *places, 1 + rivals]`, the asked class first.
        """
        features = tf.cast(feature_map, tf.float32)

        def evidence_for(weights: tf.Tensor) -> tf.Tensor:
            signal = head_tape.gradient(
                asked.class_logits, feature_map, weights * self._scale, unconnected_gradients="zero"
            )
            return tf.reduce_sum(features * tf.cast(signal, tf.float32), -1) / self._scale

        if self._linear_head:
            rivals = asked.rivals(self.needs.rivals)
            return self._linear_head.evidence(features, asked.weights, rivals)
        own = evidence_for(asked.weights)
        if asked.independent:
            return tf.stack([own / 2.0, -own / 2.0], -1)
        rivals = tf.unstack(tf.one_hot(asked.rivals(self.needs.rivals), self.head.class_count), axis=1)
        return tf.stack([own, *map(evidence_for, rivals)], -1)

    def _explained(self, inputs: Any) -> tuple[tf.Tensor, Callable[..., Any]]:
        """The explained input, and a function that gives all inputs with another in its place.

        The input is in float32, unless it holds ids.
        """
        flat = [tf.convert_to_tensor(tensor) for tensor in keras.tree.flatten(inputs)]

        def with_image(images: tf.Tensor, repeats: int | tf.Tensor = 1) -> Any:
            # Masked copies come one batch behind the other, and so do the other inputs.
            tiled = [
                images if index == self.explained.input else _tile(tensor, repeats)
                for index, tensor in enumerate(flat)
            ]
            return keras.tree.pack_sequence_as(inputs, tiled)

        image = flat[self.explained.input]
        return image if self.explained.holds_ids else tf.cast(image, tf.float32), with_image


def _on_sides(placement: geometry.Placement | None, tensor: tf.Tensor) -> tf.Tensor:
    return tensor if placement is None else geometry.on_sides(placement, tensor)


def _places_of(placement: geometry.Placement | None) -> geometry.Places | None:
    return None if placement is None else geometry.places_of(placement)


def _tile(tensor: tf.Tensor, repeats: int | tf.Tensor) -> tf.Tensor:
    return tf.tile(tensor, [repeats] + [1] * (tensor.shape.rank - 1))
