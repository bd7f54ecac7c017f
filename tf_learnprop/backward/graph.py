"""`ModelGraph`: the graph of a Keras model, read once and shared by all that needs it."""

import collections
import dataclasses

import keras

from tf_learnprop.backward import keras_internals
from tf_learnprop.backward.activations import (
    HEADS,
    activation_name,
    find_site,
    is_transparent,
    own_activation,
)
from tf_learnprop.backward.output_head import OutputHead


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer or operation. Tensors are known by their number in `ModelGraph.tensors`.

    Attributes:
        path: str, layer path of the operation.
        operation: the Keras layer or operation; for `enters`, the nested Functional model.
        node: Keras' node, which holds the call's arguments.
        inputs: tuple of ints, the tensors that it takes.
        outputs: tuple of ints, the tensors that it gives.
        enters: bool, whether this is where a nested model takes its inputs, before its own calls.
    """

    path: str
    operation: object
    node: object
    inputs: tuple
    outputs: tuple
    enters: bool = False

    def sources(self, number):
        """The tensors from which output `number` is made, tuple of ints."""
        if self.enters and len(self.inputs) == len(self.outputs):
            return (self.inputs[self.outputs.index(number)],)
        return self.inputs

    def arguments(self, values):
        """The call's (args, kwargs) in inference mode, from a dict {number of tensor: value}."""
        tensors = keras_internals.node_inputs(self.node)
        given = {id(tensor): values[number] for tensor, number in zip(tensors, self.inputs, strict=True)}
        args, kwargs = keras_internals.fill_in(self.node, given)
        if not self.enters and keras_internals.takes_training(self.operation):
            kwargs["training"] = False
        return args, kwargs


@dataclasses.dataclass(frozen=True)
class OutputEnd:
    """How one output of a model ends.

    Attributes:
        call: int, number of the call that makes the output, looking past casts and reshapes; None if the
            output is an input.
        after: tuple of ints, numbers of those casts and reshapes, in the order in which they run.
        activation: str, "softmax" or "sigmoid" if the output has passed one, else "".
        has_consumers: bool, whether the output is also used inside the model.
    """

    call: int | None
    after: tuple
    activation: str
    has_consumers: bool


class ModelGraph:
    """What the library knows of the graph of a model; nothing of the model is cloned or changed.

    Nested models are opened at any depth.

    Args:
        model: Functional or built Sequential `keras.Model`.

    Attributes:
        model: the model.
        input: the model's inputs, KerasTensors in its own structure.
        inputs, outputs: lists of KerasTensors.
        output_names: list of str.
        operations: list of (path, operation), each layer and operation of the model, by depth.
        calls: list of `Call`, in the order in which they run.
        tensors: list of KerasTensors, by number.
        output_structure: the model's outputs in its own structure, as numbers of tensors.
        ends: list of `OutputEnd`, one for each output.
        activations: list of `ActivationSite`, in the order of `operations`.
        exact_shapes: bool, False if a nested model is called on another shape than it was built for, so that
            the shapes of `tensors` inside it may be less exact than what it computes.
    """

    def __init__(self, model):
        functional = keras_internals.functional_of(model)
        self.model = model
        self.input = functional.input
        self.inputs, self.outputs = list(functional.inputs), list(functional.outputs)
        self.output_names = list(functional.output_names)
        self.operations = list(_operations(functional))
        self.calls, self.tensors = [], []
        self.exact_shapes = True
        numbers = {id(tensor): self._number(tensor) for tensor in self.inputs}
        output_numbers = self._read(functional, numbers, "")
        self.output_structure = keras_internals.pack_outputs(functional, output_numbers)
        self._maker = {number: k for k, call in enumerate(self.calls) for number in call.outputs}
        self.ends = [self._end(number) for number in output_numbers]
        self.activations = self._find_activations()
        self._state = self._current_state()

    def head(self, output) -> OutputHead:
        """How output number `output` is read as classes."""
        return OutputHead(self.outputs[output].shape[-1], self.ends[output].activation)

    @property
    def structure(self):
        """What a rule file must fit: list of [path, "Class(weight shapes) activation"], by depth.

        Two models match if the second entries agree. Names, which Keras counts up, don't matter, nor does
        the size of the input.
        """
        rows = []
        for path, operation in self.operations:
            shapes = [list(w.shape) for w in getattr(operation, "weights", [])]
            name = activation_name(getattr(operation, "activation", None) or operation)
            rows.append([path, f"{type(operation).__name__}{shapes}" + (f" {name}" if name else "")])
        return rows

    @property
    def activation_runs(self):
        """How often each activation that can have a rule runs in a forward pass, dict {path: int}."""
        counts = collections.Counter(id(call.operation) for call in self.calls)
        return {site.path: counts[id(site.operation)] for site in self.activations if site.reachable}

    def is_current(self) -> bool:
        """Whether the model is still built as it was read.

        False after layers were added, an activation was replaced, or variables came or went, as
        `enable_lora` and `quantize` do. New values in the same variables change nothing.
        """
        now = self._current_state()
        return len(now) == len(self._state) and all(a is b for a, b in zip(now, self._state, strict=True))

    def _current_state(self):
        """Objects that stay the same ones for as long as the model stays as it is."""
        state = [keras_internals.functional_of(self.model)]
        for _, operation in self.operations:
            if isinstance(operation, keras.layers.Layer):
                for layer in keras_internals.sublayers(operation):
                    state += keras_internals.own_variables(layer)
                    state += [getattr(layer, "activation", None), getattr(layer, "quantization_mode", None)]
        return state

    def _number(self, tensor):
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _read(self, functional, numbers, prefix):
        """Adds the calls of a Functional model; `numbers` has those of its inputs by the tensors' `id`.

        Returns:
            list of ints, the numbers of its outputs.
        """
        numbers = dict(numbers)
        for node in keras_internals.nodes(functional):
            operation, given = node.operation, keras_internals.node_inputs(node)
            if any(id(tensor) not in numbers for tensor in given):
                continue  # it does not depend on the inputs alone
            path = prefix + operation.name
            inputs = tuple(numbers[id(tensor)] for tensor in given)
            made = keras_internals.node_outputs(node)
            nested = keras_internals.functional_of(operation)
            if nested is None:
                outputs = tuple(self._number(tensor) for tensor in made)
                self.calls.append(Call(path, operation, node, inputs, outputs))
            else:
                entered = tuple(self._number(tensor) for tensor in nested.inputs)
                self.calls.append(Call(path, nested, node, inputs, entered, enters=True))
                built_for = [tuple(tensor.shape) for tensor in nested.inputs]
                self.exact_shapes &= built_for == [tuple(self.tensors[k].shape) for k in inputs]
                ids = [id(tensor) for tensor in nested.inputs]
                outputs = self._read(nested, dict(zip(ids, entered, strict=True)), path + "/")
            numbers.update(zip(map(id, made), outputs, strict=True))
        return [numbers[id(tensor)] for tensor in functional.outputs]

    def _end(self, number):
        after, passed = [], [number]
        while (k := self._maker.get(number)) is not None and self._passes_on(self.calls[k]):
            after.insert(0, k)
            number = self.calls[k].sources(number)[0]
            passed.append(number)
        name = own_activation(self.calls[k].operation) if k is not None else None
        users = [j for j, call in enumerate(self.calls) if set(passed) & set(call.inputs)]
        has_consumers = bool(set(users) - set(after))
        return OutputEnd(k, tuple(after), name if name in HEADS else "", has_consumers)

    def _passes_on(self, call):
        return call.enters or is_transparent(call.operation)

    def _find_activations(self):
        at_output = {
            id(self.calls[end.call].operation)
            for end in self.ends
            if end.call is not None and (end.activation or not end.has_consumers)
        }
        sites, seen = [], set()
        for path, operation in self.operations:
            if id(operation) not in seen:
                seen.add(id(operation))
                sites.append(find_site(path, operation, id(operation) in at_output))
        return [site for site in sites if site]


def _operations(functional, prefix=""):
    """Yields (path, operation), nested models opened."""
    for operation in functional.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        path = prefix + operation.name
        nested = keras_internals.functional_of(operation)
        if nested:
            yield from _operations(nested, path + "/")
        else:
            yield path, operation
