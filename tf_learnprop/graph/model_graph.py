"""`ModelGraph`: the graph of a Keras model, read once and shared by all that needs it."""

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import tracing
from tf_learnprop.graph import keras_internals, opening, verification
from tf_learnprop.graph.activations import activation_name, is_opaque
from tf_learnprop.graph.call_index import CallIndex
from tf_learnprop.graph.declared import check_uses
from tf_learnprop.graph.grouping import activations_as_calls, head_as_call
from tf_learnprop.graph.layer_kinds import ATTENTION_LAYERS
from tf_learnprop.graph.output_end import find_end, tail_of
from tf_learnprop.graph.output_head import OutputHead
from tf_learnprop.graph.reader import Call, Reader
from tf_learnprop.graph.sites import SiteFinder
from tf_learnprop.graph.steps import CannotOpen, Opened


class ModelGraph:
    """What the library knows of the graph of a model; nothing of the model is cloned or changed.

    Nested models are opened at any depth, and so are layers and models whose `call` is Python code, if it
    runs on KerasTensors. A layer whose `call` does not stays one call.

    Args:
        model: The model.
        inputs: KerasTensors in the structure of the model's inputs, for a model that defines its own `call`;
            None for those that it was built for.

    Raises:
        ValueError: If the model can't be read.

    Attributes:
        model: The model.
        input: The model's inputs, KerasTensors in its own structure.
        inputs, outputs: lists of KerasTensors.
        output_names: Names of the layers that make the outputs; in a model with its own `call`,
            the keys of a dict of outputs.
        output_keys: The keys of a dict of outputs; else empty.
        operations: Path and object of each layer and operation of the model, by depth. What an
            opened layer runs comes after it.
        calls: The calls, in the order in which they run.
        blocks: The opened layers.
        tensors: KerasTensors, by number, with the shapes at which the model calls its parts.
        masks: The mask of each tensor that may carry one, by the number of the tensor.
        output_structure: The model's outputs in its own structure, as numbers of tensors.
        ends: An `OutputEnd` for each output.
        activations: The sites, in the order of `operations`.
    """

    def __init__(self, model: keras.Model, inputs: Any = None):
        self.model = model
        reader = self._read(inputs, verification.Faults())
        if self.blocks or not keras_internals.functional_of(model):
            reader = self._verify(inputs, reader)
        check_uses(self.calls, self.tensors)
        self._join_what_is_written_out()
        index, outputs = self._index(), keras.tree.flatten(self.output_structure)
        self.ends = [find_end(index, self.tensors, number) for number in outputs]
        self.activations = SiteFinder(index, self.ends, reader).sites(self.operations)
        self._state = self._current_state()

    def _verify(self, inputs: Any, reader: Reader) -> Reader:
        """Closes opened layers again until the calls compute what the model does; the last `Reader`."""
        probe = verification.Probe(self.model, self.input)
        if probe.inputs is None:
            return reader
        run = verification.CheckedRun(self, probe)
        # Of a model that is random, nothing can be said.
        if run.passes() or not probe.repeats():
            return reader
        known = verification.Faults()
        while True:
            new = run.faults
            # What follows a mask that gets lost is wrong as well, but maybe not once the mask is known.
            if new.mask_ranks.keys() - known.mask_ranks.keys():
                known.mask_ranks.update(new.mask_ranks)
            elif new.closed:
                known.closed.update(new.closed)
            else:
                break
            reader = self._read(inputs, known)
            run = verification.CheckedRun(self, probe)
        verification.check_outputs(self, probe, run.values)
        return reader

    def _read(self, inputs: Any, faults: verification.Faults) -> Reader:
        reader = Reader(faults.closed, faults.mask_ranks)
        functional, model = keras_internals.functional_of(self.model), self.model
        if functional:
            self.input = functional.input
            self.inputs, self.outputs = list(functional.inputs), list(functional.outputs)
            reader.takes_sparse = any(tensor.sparse for tensor in self.inputs)
            output_numbers = reader.read_functional(functional, [*map(reader.number, self.inputs)])
            self.output_structure = keras_internals.pack_outputs(functional, output_numbers)
            self.output_names = list(functional.output_names)
            operations = list(reader.operations(functional))
        else:
            self.input, opened = _open_model(model, inputs)
            self.inputs, self.outputs = opened.inputs, opened.outputs
            self.output_names = _names_of_outputs(opened.structure)
            output_numbers = reader.read_opened(model, opened, [*map(reader.number, self.inputs)])
            self.output_structure = keras.tree.pack_sequence_as(opened.structure, output_numbers)
            operations = list(reader.operations_inside(model))
        self.calls, self.tensors = reader.calls, reader.tensors
        self.blocks, self.masks = reader.blocks, reader.masks
        self.operations = [(path, operation) for path, operation, _ in operations]
        self._inner = [inner for _, _, inner in operations]
        return reader

    def _join_what_is_written_out(self) -> None:
        """Makes each activation, normalisation or head that is written out one call."""
        self.calls = activations_as_calls(self._index(), self.tensors)
        for number in keras.tree.flatten(self.output_structure):
            index = self._index()
            self.calls = head_as_call(index, self.tensors, tail_of(index, number).tensor)

    def _index(self) -> CallIndex:
        inputs = [n for n, tensor in enumerate(self.tensors) if any(tensor is t for t in self.inputs)]
        return CallIndex(self.calls, inputs, keras.tree.flatten(self.output_structure))

    @property
    def hides_code(self) -> bool:
        """Whether a layer runs Python code that no graph shows, which may depend on the size of its input."""
        return any(not call.enters and is_opaque(call.operation) for call in self.calls)

    @property
    def traced(self) -> Callable[[Callable], Callable]:
        """How functions of the inputs are traced: for any length, or for the fixed one of their batches."""
        return tracing.for_batches(self.inputs[0].shape[0], not self.hides_code)

    def run(self, inputs: Any) -> Iterator[tuple[Call, list[tf.Tensor]]]:
        """Runs the calls one by one without rules, and yields each with its results, a flat list.

        Nothing that a layer assigns to its variables lasts.
        """
        values = dict(enumerate(self.standardized(inputs)))
        for call in self.calls:
            with keras.StatelessScope(), tf.name_scope("source"):
                results = keras.tree.flatten(call.run(values))
            values.update(zip(call.outputs, results, strict=True))
            yield call, results

    def standardized(self, inputs: Any) -> list[tf.Tensor]:
        """Inputs, tensors in the structure of the model's inputs, as the model takes them; a flat list."""
        functional = keras_internals.functional_of(self.model)
        if functional:
            return keras_internals.standardize_inputs(functional, inputs)
        flat = keras.tree.flatten(inputs)
        return [tf.cast(x, t.dtype) for x, t in zip(flat, self.inputs, strict=True)]

    def head(self, output: int) -> OutputHead:
        """How output number `output` is read as classes."""
        units = self.outputs[output].shape[1:][-1:] or (1,)
        return OutputHead(units[0], self.ends[output].head_activation)

    @property
    def output_keys(self) -> list[str]:
        return _keys(self.output_structure)

    @property
    def input_keys(self) -> list[str]:
        """The keys of a dict of inputs, in the order of `inputs`; else empty."""
        return _keys(self.input)

    @property
    def structure(self) -> list[list[str]]:
        """What a rule file must fit: list of [path, "Class(weight shapes) activation"], by depth.

        Two models match if the second entries agree. Names, which Keras counts up, don't matter, nor does
        the size of the input. The layers and activations that opened layers run come last.
        """
        return self._rows(inner=False) + self._rows(inner=True)

    def input_config(self) -> dict[str, Any]:
        """The inputs of a model with its own `call` as plain values, for `input_from_config`; else empty."""
        if keras_internals.functional_of(self.model):
            return {}
        specs = [[tensor.name, tensor.dtype, list(tensor.shape)] for tensor in self.inputs]
        structure = keras.tree.pack_sequence_as(self.input, list(range(len(specs))))
        return {"input_specs": specs, "input_structure": structure}

    def _rows(self, inner: bool) -> list[list[str]]:
        rows = []
        sites = {key for site in self.activations for key in (id(site.operation), site.path)}
        for (path, operation), is_inner in zip(self.operations, self._inner, strict=True):
            shapes = [list(w.shape) for w in getattr(operation, "weights", [])]
            name = activation_name(getattr(operation, "activation", None) or operation)
            layer_or_site = isinstance(operation, keras.layers.Layer) or sites & {id(operation), path}
            if is_inner == inner and (name or layer_or_site or not inner):
                rows.append([path, f"{type(operation).__name__}{shapes}" + (f" {name}" if name else "")])
        return rows

    @property
    def activation_runs(self) -> dict[str, int]:
        """How often each activation that can have a rule runs in a forward pass, dict {path: int}."""
        counts = collections.Counter(id(call.operation) for call in self.calls)
        return {site.path: counts[id(site.operation)] for site in self.activations if site.reachable}

    @property
    def attention_outputs(self) -> set[int]:
        """Numbers of the tensors that attention gives, a set."""
        layers = {id(site.operation) for site in self.activations if site.kind == "attention"}
        return {
            number
            for call in self.calls
            if id(call.operation) in layers or isinstance(call.operation, ATTENTION_LAYERS)
            for number in call.outputs
        }

    def computes_in(self, dtype: str) -> bool:
        """Whether any tensor is of a dtype."""
        return any(tensor.dtype == dtype for tensor in self.tensors)

    def is_current(self) -> bool:
        """Whether the model is still built as it was read.

        False after layers were added, an activation was replaced, or variables came or went, as
        `enable_lora` and `quantize` do. New values in the same variables change nothing.
        """
        now = self._current_state()
        return len(now) == len(self._state) and all(a is b for a, b in zip(now, self._state, strict=True))

    def _current_state(self) -> list[Any]:
        """Objects that stay the same ones for as long as the model stays as it is."""
        layers = keras_internals.sublayers(self.model)  # the model itself comes first
        state: list[Any] = [keras_internals.functional_of(layer) for layer in layers]
        if state[0] is None:
            state += layers
        for _, operation in self.operations:
            if isinstance(operation, keras.layers.Layer):
                for layer in keras_internals.sublayers(operation):
                    state += [layer, *keras_internals.own_variables(layer)]
                    state += [getattr(layer, "activation", None), getattr(layer, "quantization_mode", None)]
        return state


def input_from_config(specs: Sequence[Sequence] | None, structure: Any) -> Any:
    """KerasTensors as `ModelGraph.input`, from its `input_config`; None from None."""
    if specs is None:
        return None
    tensors = [keras.KerasTensor(shape, dtype, name=name) for name, dtype, shape in specs]
    return keras.tree.map_structure(tensors.__getitem__, structure)


def _open_model(model: keras.Model, inputs: Any) -> tuple[Any, Opened]:
    """The inputs of a model that defines its own `call`, in their structure, and its `Opened`."""
    name = f"Model '{model.name}' ({type(model).__name__})"
    inputs = keras_internals.inputs_of(model) if inputs is None else inputs
    if inputs is None:
        raise ValueError(
            f"{name} defines its own `call` and is not built, so the shape of its input is not known. Give "
            "it: `wrap_model(model, inputs=keras.Input(shape))`, or call the model once on data."
        )
    if not model.built:
        try:
            keras_internals.build(model, inputs)
        except Exception as error:
            raise ValueError(
                f"{name} can't be built for `inputs` ({opening.reason(error)}). Call the model once on data."
            ) from error
    try:
        opened = opening.open_call(model, (inputs,), {"training": False})
    except CannotOpen as error:
        raise ValueError(
            f"{name} defines its own `call`, which does not run on symbolic tensors ({error}). Write it with "
            "Keras layers and `keras.ops`, or build the model as `keras.Model(inputs, outputs)`."
        ) from error
    return keras.tree.pack_sequence_as(inputs, opened.inputs), opened


def _keys(structure: Any) -> list[str]:
    """The keys of a dict of tensors, in the order in which it is flattened; none of anything else."""
    is_flat = isinstance(structure, dict) and len(structure) == len(keras.tree.flatten(structure))
    return sorted(structure) if is_flat else []


def _names_of_outputs(structure: Any) -> list[str]:
    return _keys(structure) or [f"output_{k}" for k in range(len(keras.tree.flatten(structure)))]
