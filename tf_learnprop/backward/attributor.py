"""The computation behind a map: forward pass, backward pass under the rules, readout.

All functions here work on tensors and are meant to run inside a `tf.function`.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import placing, readouts, relevance_sums
from tf_learnprop.backward.guidance import PREDICTED, Answer, Guided, SelectTarget, tile
from tf_learnprop.backward.runner import GraphRunner, rule_layers
from tf_learnprop.graph import geometry, keras_internals
from tf_learnprop.graph.explained import Explained
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.targets.base import Asked, Outputs, Target
from tf_learnprop.targets.classes import Classes

#: Evidence below this share of the terms of which it is the sum is rounding.
_LEAST_EVIDENCE = 1e-3
#: Largest number of rivals whose evidence takes more than one product.
_MOST_PASSES = 8


class Attributor(Guided):
    """A source model with its rules in place.

    Args:
        explained: The output and the input of the source model.
        rule_set: The rules of the model, and the readout.

    Attributes:
        head: How the explained output is read as classes.
        scale: By which scores are multiplied before a backward pass, for gradients in float16.
        tensors: Number of the tensor at each position that can be read. A feature map is among them if there
            is one and it is needed.
        needs: What the readout needs of a backward pass.
        competing_maps: Numbers of the feature maps at which classes compete.
    """

    def __init__(self, explained: Explained, rule_set: RuleSet):
        self.rule_set = rule_set
        rules = dict(zip(rule_set.paths, rule_set.rules, strict=True))
        needs = rule_set.readout.needs
        needs_map = needs.rivals or readouts.FEATURE_MAP in rule_set.read
        feature_map = explained.feature_map if needs_map else None
        self.competing_maps = explained.competing_maps if needs.rivals else ()
        # A gradient in float16 is zero below 6e-8, as means over many pixels are, and infinite above 65,504.
        # 1,024 overflowed in a transformer of KerasHub, and 32 lost precision behind a mean over 96².
        self.scale = 256.0 if explained.graph.computes_in("float16") else 1.0
        if not self.competing_maps:
            needs = dataclasses.replace(needs, rivals=0)  # there is no place where classes could compete
        runs = explained.run_tensors(rule_set.paths)
        self.tensors: dict[readouts.Position, int] = {readouts.INPUT: explained.input}
        if feature_map is not None:
            self.tensors[readouts.FEATURE_MAP] = feature_map
        self.tensors |= enumerate(runs)
        self.needs = needs
        watched = self.competing_maps if feature_map is None else {feature_map}
        super().__init__(explained, GraphRunner(explained, rule_layers(explained.graph, rules), watched))

    def maps(self, inputs: Any, target: Target = PREDICTED) -> tf.Tensor:
        """The maps of `maps_and_asked`, float32 `[n, *spatial]`."""
        return self.maps_and_asked(inputs, target)[0]

    def maps_and_asked(self, inputs: Any, target: Target = PREDICTED) -> tuple[tf.Tensor, Asked]:
        with relevance_sums.shared():
            signals, asked, _ = self._backward(inputs, target, self.needs, frozenset(self.rule_set.read))
            return self.rule_set.readout(signals), asked

    def maps_to_compare(
        self, inputs: Any, target: Target = PREDICTED, select_target: SelectTarget | None = None
    ) -> tuple[tf.Tensor, Answer]:
        read = frozenset(self.rule_set.read)
        with relevance_sums.shared():
            signals, asked, target = self._backward(inputs, target, self.needs, read, select_target)
            maps = self.rule_set.readout(signals)
        return maps, Answer.to(target, asked, select_target is not None)

    def input_signal(self, inputs: Any, target: Target = PREDICTED) -> tf.Tensor:
        """∂s/∂x under the rules, s the explained score; float32, the shape of the explained input."""
        needs = readouts.Needs(input_signal=True)
        return self._backward(inputs, target, needs, frozenset())[0].input_signal

    def masked(self, inputs: Any) -> tuple[tf.Tensor, Callable[..., Outputs]]:
        number = self.explained.embedding
        if number is None:
            image, with_image = self._explained(inputs)
            return image, lambda copies, count=1: self.read(with_image(copies, count))

        def run(copies: tf.Tensor, count: int | tf.Tensor = 1) -> Outputs:
            tiled = keras.tree.map_structure(lambda tensor: tile(tensor, count), inputs)
            return self._outputs(self.runner(tiled, with_rules=False, replaced={number: copies}))

        embedding = tf.cast(self.runner.tensor(inputs, number), tf.float32)
        return tf.identity(embedding), run  # without the mask that Keras attached to it

    def _backward(
        self,
        inputs: Any,
        target: Target,
        needs: readouts.Needs,
        read: Collection[readouts.Position],
        select_target: SelectTarget | None = None,
    ) -> tuple[readouts.Signals, Asked, Target]:
        """The `Signals` that `needs` and `read` ask for, what is asked, and the settled target."""
        image, with_image = self._explained(inputs)
        positions: list[readouts.Position] = [readouts.INPUT] if readouts.INPUT in read else []
        activations = [image] if positions else []
        competing = []
        masks: dict[readouts.Position, tf.Tensor | None] = {}
        # Records what follows the feature map alone: each of its gradients is a pass through the head.
        head_tape = tf.GradientTape(persistent=True, watch_accessed_variables=False)
        with head_tape, tf.GradientTape(watch_accessed_variables=False) as tape:
            if needs.input_signal or activations:
                tape.watch(image)

            def watch(position: readouts.Position, tensor: tf.Tensor) -> None:
                # Read at once, as attention takes the masks of its inputs away.
                masks[position] = keras_internals.mask_of(tensor)
                if position in read:
                    tape.watch(tensor)
                    positions.append(position)
                    activations.append(tensor)
                if position == readouts.FEATURE_MAP and needs.rivals:
                    head_tape.watch(tensor)
                    competing.append(tensor)

            trace = self.runner(with_image(image), watch=watch)
            outputs, target, asked = self._ask(trace, target, select_target)
            score = asked.score(needs.contrast) * self.scale
        sources = [image] * needs.input_signal + activations
        signals = tape.gradient(score, sources)
        self.check_dependence(target, signals)
        signals = self.unscaled(sources, signals)
        evidence = self.evidence(head_tape, competing, asked, outputs) if needs.rivals else []
        input_signal = signals.pop(0) if needs.input_signal else None
        activations = [tf.cast(tensor, tf.float32) for tensor in activations]
        signals = readouts.Signals(image, input_signal, activations, signals)
        return self.placed(signals, evidence, positions, masks), asked, target

    def check_dependence(self, target: Target, gradients: Sequence[tf.Tensor | None]) -> None:
        """Raises ValueError if the score of a target has no gradient at all that is read."""
        is_own = not isinstance(target, Classes) and self.explained.has_gradient
        if is_own and all(dx is None for dx in gradients):
            raise ValueError(
                "The target's score must depend on what the map is read from. Received: a score without a "
                "gradient there"
            )

    def unscaled(
        self, sources: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor | None]
    ) -> list[tf.Tensor]:
        """Gradients of the scaled score as signals at their sources, float32; zeros without a gradient."""
        pairs = zip(sources, gradients, strict=True)
        signals = [tf.cast(tf.zeros_like(x) if dx is None else dx, tf.float32) for x, dx in pairs]
        return signals if self.scale == 1.0 else [signal / self.scale for signal in signals]

    def placed(
        self,
        signals: readouts.Signals,
        evidence: Sequence[tf.Tensor],
        positions: Sequence[readouts.Position],
        masks: Mapping[readouts.Position, tf.Tensor | None],
    ) -> readouts.Signals:
        """Signals with maps in the order of the input's sides, where their places lie, and which are read.

        Args:
            signals: Signals without evidence, places and masks.
            evidence: R_k at each of the maps where classes compete; none if they don't.
            positions: The positions of its activations.
            masks: The masks that Keras attached to them and to the feature map.
        """
        masked = [(masks.get(k), signal) for k, signal in zip(positions, signals.signals, strict=True)]
        if evidence:
            masked.append((masks.get(readouts.FEATURE_MAP), evidence[-1]))
        signals = signals._replace(mask=_places_read(masked, signals.inputs))
        numbers = [*map(self.tensors.__getitem__, positions), *self.competing_maps]
        found = self.explained.map_placements(numbers, signals.inputs)
        placements, of_evidence = found[: len(positions)], found[len(positions) :]
        signals = signals._replace(
            activations=list(map(_on_sides, placements, signals.activations)),
            signals=list(map(_on_sides, placements, signals.signals)),
            places=list(map(_places_of, placements)),
        )
        if not evidence:
            return signals
        together, places = self._together(list(map(_on_sides, of_evidence, evidence)), of_evidence)
        mask = _places_read(masked[-1:], together)
        return signals._replace(evidence=together, evidence_places=places, evidence_mask=mask)

    def _together(
        self, evidence: Sequence[tf.Tensor], placements: Sequence[geometry.Placement | None]
    ) -> tuple[tf.Tensor, placing.Places | None]:
        """The evidence of all maps at the places of one that covers them, and where these lie."""
        if len(evidence) == 1:
            return evidence[0], _places_of(placements[0])
        number = self.competing_maps.index(self.explained.covering_map(self.competing_maps))
        target, like = _places_of(placements[number]), evidence[number]
        moved = [
            one if k == number else _at_places(one, _places_of(placement), like, target)
            for k, (one, placement) in enumerate(zip(evidence, placements, strict=True))
        ]
        return tf.add_n(moved), target

    def evidence(
        self, head_tape: tf.GradientTape, maps: Sequence[tf.Tensor], asked: Asked, outputs: Outputs
    ) -> list[tf.Tensor]:
        """How much each place of the maps speaks for the asked class and for its rivals.

        R_k = Σ_c a_c·∂s_k/∂a_c, s_k the logit of class k. The rivals are the classes with the largest logits
        that are not asked for. An independent label, or a score, has one rival, its own absence. R is 0 for a
        sample in which it is nothing but rounding, as before a normalisation of each place.

        Args:
            head_tape: Has recorded what follows the maps.
            maps: a, float32 `[n, *places, c]`, the maps at which classes compete.
            asked: The asked class.
            outputs: What the model gave.

        Returns:
            float32 `[n, *places, 1 + rivals]` for each map, the asked class first.
        """
        features = [tf.cast(one, tf.float32) for one in maps]

        def terms_for(weights: tf.Tensor) -> list[tf.Tensor]:
            signals = head_tape.gradient(
                asked.class_logits, maps, weights * self.scale, unconnected_gradients="zero"
            )
            return [a * tf.cast(da, tf.float32) / self.scale for a, da in zip(features, signals, strict=True)]

        count = min(self.needs.rivals, asked.class_logits.shape[-1] - 1)
        of_output = asked.class_logits is outputs.logits and not asked.independent
        head = self.explained.dense_head if of_output else None
        if head:  # there is one map
            ids = asked.rivals(count if head.is_linear else min(count, _MOST_PASSES))
            return [head.evidence(features[0], asked.weights, ids, self.runner.activation_of)]
        terms = [terms_for(asked.weights)]
        if not asked.independent:
            ids = asked.rivals(min(count, _MOST_PASSES))
            terms += map(terms_for, tf.unstack(tf.one_hot(ids, asked.class_logits.shape[-1]), axis=1))
        evidence = [_summed(of_map) for of_map in zip(*terms, strict=True)]
        if asked.independent:
            return [tf.concat([one / 2.0, -one / 2.0], -1) for one in evidence]
        return evidence

    def _explained(self, inputs: Any) -> tuple[tf.Tensor, Callable[..., Any]]:
        """The explained input, and a function that gives all inputs with another in its place.

        The input is in float32, unless it holds ids.
        """
        flat = [tf.convert_to_tensor(tensor) for tensor in keras.tree.flatten(inputs)]

        def with_image(images: tf.Tensor, repeats: int | tf.Tensor = 1) -> Any:
            # Masked copies come one batch behind the other, and so do the other inputs.
            tiled = [
                images if index == self.explained.input else tile(tensor, repeats)
                for index, tensor in enumerate(flat)
            ]
            return keras.tree.pack_sequence_as(inputs, tiled)

        image = flat[self.explained.input]
        return self.in_float(image), with_image


def _places_read(masked: Iterable[tuple[tf.Tensor | None, tf.Tensor]], tensor: tf.Tensor) -> tf.Tensor | None:
    """The places of a tensor that the model reads, by the first mask that has these places.

    A masked place to which a signal comes back is read, too: a layer further on has lost the mask.

    Args:
        masked: Pairs of a mask, bool, or None, and the signal at what carries it, float32 `[n, ..., c]`.
        tensor: `[n, *places, c]`, or ids `[n, tokens]`.

    Returns:
        bool `[n, *places]`; None if no mask has them.
    """
    places = list(tensor.shape[1:2] if tensor.shape.rank == 2 else tensor.shape[1:-1])
    for mask, signal in masked:
        if mask is not None and list(mask.shape[1:]) == places:
            return mask | tf.reduce_any(signal != 0.0, -1)
    return None


def _at_places(
    evidence: tf.Tensor, source: placing.Places | None, like: tf.Tensor, target: placing.Places | None
) -> tf.Tensor:
    """Evidence `[n, *places, classes]` at the places of another, of which it has about the same sum."""
    of_classes = zip(tf.unstack(evidence, axis=-1), tf.unstack(like, axis=-1), strict=True)
    return tf.stack([placing.sums_to_places(one, source, other, target) for one, other in of_classes], -1)


def _summed(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """Terms `[n, *places, c]` of each class summed over the channels, float32 `[n, *places, classes]`.

    A sample whose sums cancel to next to nothing, at all places of all classes, gets zeros: the rest is
    rounding.
    """
    sums = tf.stack([tf.reduce_sum(of_class, -1) for of_class in terms], -1)
    sizes = tf.stack([tf.reduce_sum(tf.abs(of_class), -1) for of_class in terms], -1)
    axes = list(range(1, sums.shape.rank))
    largest = tf.reduce_max(tf.abs(sums), axes, keepdims=True)
    counts = largest > _LEAST_EVIDENCE * tf.reduce_max(sizes, axes, keepdims=True)
    return tf.where(counts, sums, tf.zeros_like(sums))


def _on_sides(placement: geometry.Placement | None, tensor: tf.Tensor) -> tf.Tensor:
    return tensor if placement is None else geometry.on_sides(placement, tensor)


def _places_of(placement: geometry.Placement | None) -> geometry.Places | None:
    return None if placement is None else geometry.places_of(placement)
