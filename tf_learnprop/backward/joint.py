"""Several inputs of one model, explained by one forward and one backward pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import readouts, relevance_sums
from tf_learnprop.backward.attributor import Attributor
from tf_learnprop.backward.guidance import PREDICTED, Answer, Guided, SelectTarget, tile
from tf_learnprop.backward.runner import GraphRunner, RuleLayers, Watch
from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.branches import BranchEnd, branch_ends
from tf_learnprop.graph.reader import Call
from tf_learnprop.targets.base import Asked, Outputs, Target

#: From maps in the order of the explained inputs to the structure in which users get them.
Pack = Callable[[list[Any]], Any]


class _Tensor(NamedTuple):
    """How `_JointRunner` names a tensor that it shows."""

    number: int


class _JointRunner(GraphRunner):
    """Runs a graph with the rules of several inputs, each in its own branch, and shared ones behind them.

    It shows the tensors that `tensors` holds, as `_Tensor`, and the ends of the branches, as `BranchEnd`.

    Args:
        parts: An `Attributor` for each input.
        tensors: Numbers of tensors.
        ends: The ends of all branches.
    """

    def __init__(self, parts: Sequence[Attributor], tensors: set[int], ends: Sequence[BranchEnd]):
        super().__init__(parts[0].explained, {}, kept=tensors | {end.tensor for end in ends})
        self._parts, self._tensors = parts, tensors
        self._ends = {call: [end for end in ends if end.call == call] for call, _ in ends}

    def _values(self, inputs: Any) -> dict[int, tf.Tensor]:
        values = super()._values(inputs)
        flat = keras.tree.flatten(inputs)
        pixels = (part.explained.input for part in self._parts if part.explained.has_integer_pixels)
        return values | {number: tf.cast(flat[number], tf.float32) for number in pixels}

    def _taken(self, number: int, values: dict[int, tf.Tensor], watch: Watch | None) -> dict[int, tf.Tensor]:
        taken = dict(values) if number in self._ends else values
        for end in self._ends.get(number, ()):
            # A copy, whose signal is that of this call alone.
            taken[end.tensor] = keras_internals.copy(values[end.tensor])
            if watch:
                watch(end, taken[end.tensor])
        return taken

    def _watch_given(self, call: Call, values: dict[int, tf.Tensor], watch: Watch) -> None:
        for number in self._tensors.intersection(call.outputs):
            watch(_Tensor(number), values[number])

    def _rule_layers_at(self, call: Call) -> RuleLayers:
        of_inputs = (part for part in self._parts if part.explained.reaches(call.outputs[0]))
        return next((part.runner.rule_layers for part in of_inputs), {})


class _Run(NamedTuple):
    """One forward pass with its tapes.

    Attributes:
        tensors: What the readouts read, by number of the tensor.
        masks: The masks that they carry.
        ends: What leaves the branches.
        tape: Has recorded what follows `tensors`.
        head_tape: Has recorded what follows the feature maps and the ends.
        outputs: What the model gave.
        target: The target, settled.
        asked: What it asks.
        scores: The scaled score, without and with its rivals taken away.
    """

    tensors: dict[int, tf.Tensor]
    masks: dict[int, tf.Tensor | None]
    ends: dict[BranchEnd, tf.Tensor]
    tape: tf.GradientTape
    head_tape: tf.GradientTape
    outputs: Outputs
    target: Target
    asked: Asked
    scores: tuple[tf.Tensor, tf.Tensor]


class JointAttributor(Guided):
    """Maps of several inputs on one scale: the absolute values of an input's map sum to its share.

    The share of an input is |C| over the sum of these of all explained inputs whose map is not 0 everywhere,
    with its contribution
    C = Σ (y − ȳ)·dy over the values y that leave its own branch, and their signals dy: relevance as
    layer-wise relevance propagation (Bach et al. 2015) and gradient × input have it. The signals are those of
    the score less the scores of its rivals, since what all classes get decides nothing.

    Args:
        parts: An `Attributor` for each explained input, of one graph and one output.
        pack: Puts the maps in their structure.
        centres: ȳ of each of the `ends`, float32 `[1, ...]`; none for 0.

    Attributes:
        ends: The ends of all branches.
    """

    def __init__(self, parts: Sequence[Attributor], pack: Pack, centres: Sequence[np.ndarray] = ()):
        self._parts, self._pack = parts, pack
        self._branches = [branch_ends(part.explained) for part in parts]
        self.ends = [end for branch in self._branches for end in branch]
        self._centres = dict(zip(self.ends, centres, strict=True)) if centres else {}
        self._feature_maps = {number for part in parts for number in part.competing_maps}
        self._read = {number for part in parts for number in _read(part)}
        runner = _JointRunner(parts, self._read | self._feature_maps, self.ends)
        super().__init__(parts[0].explained, runner)

    def ends_of(self, inputs: Any) -> list[tf.Tensor]:
        """What leaves the branches at the `ends`, float32 `[n, ...]`.

        Where the size of an input is not known, that is the mean over the places, `[n, 1, ..., c]`.
        """
        values: dict[Any, tf.Tensor] = {}
        self.runner(inputs, watch=values.__setitem__)
        shapes = (self.runner.graph.tensors[end.tensor].shape for end in self.ends)
        pairs = zip(self.ends, shapes, strict=True)
        return [_of_size(shape, tf.cast(values[end], tf.float32)) for end, shape in pairs]

    def maps_and_asked(self, inputs: Any, target: Target = PREDICTED) -> tuple[Any, Asked]:
        maps, run = self._maps(inputs, target)
        return self._pack(maps), run.asked

    def maps_to_compare(
        self, inputs: Any, target: Target = PREDICTED, select_target: SelectTarget | None = None
    ) -> tuple[list[tf.Tensor], Answer]:
        maps, run = self._maps(inputs, target, select_target)
        return maps, Answer.to(run.target, run.asked, select_target is not None)

    def masked(self, inputs: Any) -> tuple[list[tf.Tensor], Callable[..., Outputs]]:
        flat = [tf.convert_to_tensor(tensor) for tensor in keras.tree.flatten(inputs)]

        def run(copies: Sequence[tf.Tensor], count: int | tf.Tensor = 1) -> Outputs:
            tiled, replaced = [tile(tensor, count) for tensor in flat], {}
            for part, copies_of_part in zip(self._parts, copies, strict=True):
                number = part.explained.embedding
                if number is None:
                    tiled[part.explained.input] = copies_of_part
                else:
                    replaced[number] = copies_of_part
            packed = keras.tree.pack_sequence_as(inputs, tiled)
            return self._outputs(self.runner(packed, with_rules=False, replaced=replaced))

        return [part.masked(inputs)[0] for part in self._parts], run

    def _maps(
        self, inputs: Any, target: Target, select_target: SelectTarget | None = None
    ) -> tuple[list[tf.Tensor], _Run]:
        """The maps of the inputs in their order, and the run that gave them."""
        with relevance_sums.shared():
            run = self._run(inputs, target, select_target)
            maps = [
                part.rule_set.readout(signals)
                for part, signals in zip(self._parts, self._signals(run), strict=True)
            ]
        totals = tf.stack([tf.reduce_sum(tf.abs(of_input), _places(of_input)) for of_input in maps])
        # A map of zeros can't take a share, so the others take all.
        sizes = tf.where(totals > 0, tf.abs(self._contributions(run)), 0.0)
        shares = tf.math.divide_no_nan(sizes, tf.reduce_sum(sizes, 0))
        factors = tf.unstack(tf.math.divide_no_nan(shares, totals))
        return [_scaled(*pair) for pair in zip(maps, factors, strict=True)], run

    def _run(self, inputs: Any, target: Target, select_target: SelectTarget | None) -> _Run:
        flat = [tf.convert_to_tensor(tensor) for tensor in keras.tree.flatten(inputs)]
        for part in self._parts:
            flat[part.explained.input] = part.in_float(flat[part.explained.input])
        tensors: dict[int, tf.Tensor] = dict(enumerate(flat))
        masks: dict[int, tf.Tensor | None] = {}
        ends: dict[BranchEnd, tf.Tensor] = {}
        head_tape = tf.GradientTape(persistent=True, watch_accessed_variables=False)
        with head_tape, tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            for number in self._read & tensors.keys():
                tape.watch(tensors[number])

            def watch(name: Any, tensor: tf.Tensor) -> None:
                if isinstance(name, BranchEnd):
                    head_tape.watch(tensor)
                    ends[name] = tensor
                elif isinstance(name, _Tensor):
                    tensors[name.number] = tensor
                    masks[name.number] = keras_internals.mask_of(tensor)
                    if name.number in self._read:
                        tape.watch(tensor)
                    if name.number in self._feature_maps:
                        head_tape.watch(tensor)

            trace = self.runner(keras.tree.pack_sequence_as(inputs, flat), watch=watch)
            outputs, target, asked = self._ask(trace, target, select_target)
            scale = self._parts[0].scale
            scores = asked.score() * scale, asked.score(contrast=True) * scale
        return _Run(tensors, masks, ends, tape, head_tape, outputs, target, asked, scores)

    def _signals(self, run: _Run) -> list[readouts.Signals]:
        """The `Signals` for the readout of each input."""
        gradients = {}
        for contrast in {part.needs.contrast for part in self._parts}:
            parts = [part for part in self._parts if part.needs.contrast == contrast]
            sources = {number: run.tensors[number] for part in parts for number in _read(part)}
            gradients[contrast] = run.tape.gradient(run.scores[contrast], sources)
        self._parts[0].check_dependence(run.target, [g for of in gradients.values() for g in of.values()])
        return [self._signals_of(part, run, gradients[part.needs.contrast]) for part in self._parts]

    def _signals_of(
        self, part: Attributor, run: _Run, gradients: Mapping[int, tf.Tensor | None]
    ) -> readouts.Signals:
        number = part.explained.input
        tensors = [run.tensors[k] for k in _read(part)]
        signals = part.unscaled(tensors, [gradients[k] for k in _read(part)])
        signal_at = dict(zip(_read(part), signals, strict=True))
        read = part.rule_set.read
        numbers: list[Any] = [part.tensors[position] for position in read]
        maps = [run.tensors[k] for k in part.competing_maps]
        evidence = part.evidence(run.head_tape, maps, run.asked, run.outputs) if maps else []
        of_input = readouts.Signals(
            run.tensors[number],
            signal_at[number] if part.needs.input_signal else None,
            [tf.cast(run.tensors[k], tf.float32) for k in numbers],
            [signal_at[k] for k in numbers],
        )
        masks = {position: run.masks.get(k) for position, k in part.tensors.items()}
        return part.placed(of_input, evidence, read, masks)

    def _contributions(self, run: _Run) -> tf.Tensor:
        """C of each input, float32 `[inputs, n]`."""
        score = run.scores[not run.asked.independent]
        gradients = run.head_tape.gradient(score, run.ends)
        count = tf.shape(run.outputs.logits)[0]
        contributions = []
        for part, branch in zip(self._parts, self._branches, strict=True):
            terms = [tf.zeros([count])]
            for end in branch:
                (signal,) = part.unscaled([run.ends[end]], [gradients[end]])
                value = tf.cast(run.ends[end], tf.float32) - self._centres.get(end, 0.0)
                terms.append(tf.reduce_sum(tf.reshape(value * signal, [count, -1]), -1))
            contributions.append(tf.add_n(terms))
        return tf.stack(contributions)


def _read(part: Attributor) -> list[int]:
    """Numbers of the tensors that the readout of an input reads or needs the signal of."""
    numbers = [part.tensors[position] for position in part.rule_set.read if position != readouts.INPUT]
    if part.needs.input_signal or readouts.INPUT in part.rule_set.read:
        numbers.append(part.explained.input)
    return list(dict.fromkeys(numbers))


def _of_size(shape: Sequence[int | None], values: tf.Tensor) -> tf.Tensor:
    """Values `[n, ..., c]`, or their mean over the places if their shape is not the same for all samples."""
    if None not in shape[1:]:
        return values
    return tf.reduce_mean(values, list(range(1, values.shape.rank - 1)), keepdims=True)


def _places(maps: tf.Tensor) -> list[int]:
    return list(range(1, maps.shape.rank))


def _scaled(maps: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Maps times the factor of their sample, float32 `[n]`."""
    return maps * tf.reshape(factors, [-1] + [1] * (maps.shape.rank - 1))
