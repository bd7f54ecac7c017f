"""Checks that the calls of an opened model compute what the model does, on a small random batch.

What a layer does when it runs is not always what its run on KerasTensors shows. A mask that it attaches to
its output in its own `call` is one such thing.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.opening import reason
from tf_learnprop.graph.reader import Block, Call

if TYPE_CHECKING:
    from tf_learnprop.graph.model_graph import ModelGraph

#: Lengths of the axes that are free, the first of which the model can run on is taken.
_FREE_LENGTHS = (32, 8, 5, 3, 64, 224)
#: Largest difference that counts as rounding, as a share of the largest value.
_ROUNDING = {"float16": 5e-2, "bfloat16": 1e-1}
_FLOAT32_ROUNDING = 1e-3


@dataclasses.dataclass
class Faults:
    """Where the calls of a graph do something else than its model.

    Attributes:
        closed: Why layers are to be kept closed, by their ids.
        mask_ranks: Number of axes of the mask that a layer attaches to its output when it runs, which the
            graph does not know of; by the id of the layer.
    """

    closed: dict[int, str] = dataclasses.field(default_factory=dict)
    mask_ranks: dict[int, int] = dataclasses.field(default_factory=dict)


class Probe:
    """A small random batch on which a model runs, and what the model says of it.

    Args:
        model: Built model.
        specs: KerasTensors in the structure of its inputs.

    Attributes:
        inputs: Tensors in the structure of the inputs; None if the model runs on none that was tried.
        outputs: The model's outputs for them, a flat list.
    """

    def __init__(self, model: keras.Model, specs: Any):
        self._model = model
        self.inputs, self.outputs = None, []
        for length in _FREE_LENGTHS:
            try:
                inputs = keras.tree.map_structure(lambda spec, n=length: _sample(spec, n), specs)
                self.outputs = _flat_outputs(model, inputs)
            except Exception:  # whatever a model raises for values or sizes that it can't take
                continue
            self.inputs = inputs
            return

    def repeats(self) -> bool:
        """Whether the model says the same again. It is only asked if something differs, to save a run."""
        return _all_equal(self.outputs, _flat_outputs(self._model, self.inputs))


class CheckedRun:
    """The calls of a `ModelGraph`, run on a `Probe` beside the opened layers for which they stand.

    Args:
        graph: The graph.
        probe: A probe with inputs.

    Attributes:
        faults: Where the calls do something else than the layers.
        values: All tensors by number, those behind a call that failed left out.
    """

    def __init__(self, graph: "ModelGraph", probe: Probe):
        self.faults = Faults()
        self.values = dict(enumerate(graph.standardized(probe.inputs)))
        self._graph, self._probe = graph, probe
        self._own_runs: dict[int, _OwnRun] = {}  # by number of block
        with keras.StatelessScope() as scope:
            for number in range(len(graph.calls)):
                self._leave_blocks(number)
                self._enter_blocks(number, scope)
                if not self._run_call(number):
                    return
            self._leave_blocks(len(graph.calls))

    def passes(self) -> bool:
        """Whether the calls do what the layers and the model do."""
        if self.faults.closed or self.faults.mask_ranks:
            return False
        numbers = keras.tree.flatten(self._graph.output_structure)
        return _all_equal(self._probe.outputs, [self.values[number] for number in numbers])

    def _enter_blocks(self, number: int, scope: keras.StatelessScope) -> None:
        """Runs the layers whose calls begin with this one."""
        for k, block in enumerate(self._graph.blocks):
            if block.start == number < block.stop:
                self._own_runs[k] = _OwnRun(block.call, self.values, scope)

    def _leave_blocks(self, number: int) -> None:
        """Compares the layers whose last call is the one before this."""
        for k, block in enumerate(self._graph.blocks):
            if block.stop == number and k in self._own_runs:
                _compare(block, self._own_runs.pop(k), self.values, self.faults)

    def _run_call(self, number: int) -> bool:
        """Whether a call runs; if it does not, the layer around it is to be closed."""
        call = self._graph.calls[number]
        try:
            results = keras.tree.flatten(call.run(self.values))
        except Exception as error:
            around = [block for block in self._graph.blocks if block.start <= number < block.stop]
            if not around:
                raise
            self.faults.closed[id(around[-1].call.operation)] = reason(error)
            return False
        self.values.update(zip(call.outputs, results, strict=True))
        _note_masks(call, results, self._graph, self.faults)
        return True


def check_outputs(graph: "ModelGraph", probe: Probe, values: dict[int, tf.Tensor]) -> None:
    """Raises ValueError unless the calls of a `ModelGraph` give the model's own outputs for a `Probe`.

    Args:
        graph: The graph.
        probe: The probe.
        values: What the calls give for it.
    """
    numbers = keras.tree.flatten(graph.output_structure)
    for name, number, expected in zip(graph.output_names, numbers, probe.outputs, strict=True):
        if not _are_equal(expected, values[number]):
            raise ValueError(
                f"Output '{name}' of model '{graph.model.name}' must be the same if its layers are run one "
                "by one. Received: a difference of up to "
                f"{_difference(expected, values[number]):.1%} of the largest value. Build the model as "
                "`keras.Model(inputs, outputs)` of Keras layers."
            )


class _OwnRun:
    """What an opened layer itself gives for the inputs of a call."""

    def __init__(self, call: Call, values: dict[int, tf.Tensor], scope: keras.StatelessScope):
        self._call = call
        self._values = {number: keras_internals.copy(values[number]) for number in call.inputs}
        self._state = dict(scope.state_mapping)
        self.outputs = self.repeat()

    def repeat(self) -> list[tf.Tensor]:
        """Runs the layer, once more with the same inputs, masks and variables."""
        values = {number: keras_internals.copy(tensor) for number, tensor in self._values.items()}
        with keras.StatelessScope() as scope, keras_internals.untouched(self._call.operation):
            scope.state_mapping.update(self._state)
            return keras.tree.flatten(self._call.run(values))


def _compare(block: Block, own_run: _OwnRun, values: dict[int, tf.Tensor], faults: Faults) -> None:
    tensors = [values[number] for number in block.call.outputs]
    if _all_equal(own_run.outputs, tensors) and all(map(_have_equal_masks, own_run.outputs, tensors)):
        return
    if _all_equal(own_run.outputs, own_run.repeat()):  # else it is random
        faults.closed[id(block.call.operation)] = "its operations run one by one give something else"


def _note_masks(call: Call, outputs: Sequence[tf.Tensor], graph: "ModelGraph", faults: Faults) -> None:
    """Notes the masks that a layer attached to its outputs though the graph knows of none."""
    if isinstance(call.operation, keras.layers.Layer):
        for number, tensor in zip(call.outputs, outputs, strict=True):
            mask = keras_internals.mask_of(tensor)
            if mask is not None and number not in graph.masks:
                faults.mask_ranks[id(call.operation)] = mask.shape.rank


def _sample(spec: keras.KerasTensor, length: int) -> tf.Tensor:
    """Two samples: numbers from 0 to 1 of either sign; ones and zeros for integers, with zeros at the end."""
    count, *sides = spec.shape if spec.shape else (None,)
    shape = (2 if count is None else count, *(length if side is None else side for side in sides))
    generator = np.random.default_rng(0)
    if keras.backend.is_float_dtype(spec.dtype):
        return tf.cast(generator.uniform(-1, 1, shape), spec.dtype)
    ones = generator.integers(0, 2, shape)
    if len(shape) > 1:
        ones[..., 0] = 1
        ones[0, ..., shape[-1] - shape[-1] // 3 :] = 0
    return tf.cast(ones, spec.dtype)


def _flat_outputs(model: keras.Model, inputs: Any) -> list[tf.Tensor]:
    with keras.StatelessScope(), keras_internals.untouched(model):
        return keras.tree.flatten(model(keras.tree.map_structure(tf.identity, inputs), training=False))


def _all_equal(expected: Sequence[tf.Tensor | None], tensors: Sequence[tf.Tensor]) -> bool:
    # The graph holds a constant in the place of a None, which nothing uses.
    pairs = zip(expected, tensors, strict=True)
    return all(own is None or _are_equal(own, tensor) for own, tensor in pairs)


def _are_equal(expected: tf.Tensor, tensor: tf.Tensor) -> bool:
    rounding = _ROUNDING.get(tensor.dtype.name, _FLOAT32_ROUNDING)
    return expected.shape == tensor.shape and _difference(expected, tensor) <= rounding


def _difference(expected: tf.Tensor, tensor: tf.Tensor) -> float:
    """Largest difference where both are finite, as a share of the largest value."""
    expected, tensor = (np.asarray(tf.cast(x, tf.float64)) for x in (expected, tensor))
    finite = np.isfinite(expected) & np.isfinite(tensor)
    difference = np.abs(expected - tensor)[finite].max(initial=0.0)
    return difference / (np.abs(expected[finite]).max(initial=0.0) + 1e-12)


def _have_equal_masks(expected: tf.Tensor, tensor: tf.Tensor) -> bool:
    """Whether two tensors carry the same mask. One that is true everywhere is as good as none."""
    first, second = (
        True if mask is None else np.asarray(mask)
        for mask in map(keras_internals.mask_of, (expected, tensor))
    )
    return bool(np.all(np.equal(first, second)))
