"""Opens a layer whose `call` is Python code: finds the Keras operations that it runs, by running it.

The layer's own `call` runs once on KerasTensors, as when a Functional model is built. Whatever it computes
from anything else, such as its weights or constants, becomes a graph of its own (`Constants`), so that new
values of the weights count.
"""

import contextlib
import dataclasses
import fractions
import re

import keras
import tensorflow as tf

from tf_learnprop.backward import keras_internals
from tf_learnprop.backward.activations import is_opaque

#: Two sizes of a batch. What differs between runs with the one and with the other depends on the batch. Two
#: primes times a number that has many divisors, as some layers divide the batch into windows.
_BATCH_SIZES = (83 * 192, 89 * 192)


#: Reasons by what the error of Keras or TensorFlow says.
_KNOWN_ERRORS = {
    "cannot be used as input to a TensorFlow function": "it calls TensorFlow, not Keras operations",
    "cannot be used as a boolean": "what it computes depends on values",
    "cannot be iterated": "what it computes depends on values",
    "no attribute 'assign": "it changes its own variables",
}


class CannotOpen(Exception):
    """A layer whose `call` does not run on KerasTensors alone. The message says why."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation that an opened layer runs, with the attributes of a Keras node.

    Attributes:
        operation: Keras layer or operation.
        arguments: Keras' symbolic arguments.
        outputs: list of KerasTensors.
    """

    operation: object
    arguments: object
    outputs: list

    @property
    def input_tensors(self):
        """The KerasTensors among the arguments, in order."""
        return self.arguments.keras_tensors


@dataclasses.dataclass(frozen=True)
class Opened:
    """What the `call` of a layer runs.

    Attributes:
        inputs: list of KerasTensors, stand-ins for those among the arguments of the call.
        steps: list of `Step`, in an order in which they can run.
        outputs: list of KerasTensors.
        structure: the layer's outputs in its own structure, KerasTensors.
    """

    inputs: list
    steps: list
    outputs: list
    structure: object


class Constants(keras.Operation):
    """The values that an opened layer computes without its inputs: weights, and what is made of them.

    Args:
        function: TensorFlow function without arguments, which returns a list of tensors.
    """

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self):
        return self.function()


class BatchSize(keras.Operation):
    """The number of samples in a batch times a fraction, int32 scalar."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, x):
        return tf.shape(x)[0] * self.factor.numerator // self.factor.denominator


class WithAttributes(keras.Operation):
    """An operation, some attributes of which are tensors: `Reshape` to the size of the batch, for example."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def call(self, attributes, *args, **kwargs):
        return _twin(self.operation, attributes).call(*args, **kwargs)


def open_call(layer, args, kwargs):
    """Finds the operations of one call of a layer, without a change to the layer or to those inside it.

    Args:
        layer: built Keras layer or model.
        args, kwargs: the arguments of the call, with KerasTensors.

    Returns:
        `Opened`.

    Raises:
        CannotOpen: `call` does not run on KerasTensors.
    """
    if keras_internals.is_quantized(layer):
        raise CannotOpen("it is quantized")
    tensors = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, keras.KerasTensor)]
    if any(tensor.sparse or keras_internals.mask_of(tensor) is not None for tensor in tensors):
        raise CannotOpen("it takes a mask or sparse tensors")
    with tf.init_scope(), keras_internals.untouched(layer):
        try:
            return _checked(_Trace(layer, args, kwargs).opened())
        except Exception as error:
            first = error
        try:
            runs = [_Trace(layer, args, kwargs, size) for size in _BATCH_SIZES]
            return _checked(_for_any_batch(*runs))
        except Exception as error:
            raise CannotOpen(reason(error if isinstance(error, CannotOpen) else first)) from error


def _checked(opened):
    """The `Opened`, if TensorFlow can run its steps and gets what they promise."""

    def run(*inputs):
        values = dict(zip(map(id, opened.inputs), inputs, strict=True))
        for step in opened.steps:
            args, kwargs = keras_internals.fill_in(step, values)
            made = keras.tree.flatten(step.operation(*args, **kwargs))
            for symbol, tensor in zip(step.outputs, made, strict=True):
                if tensor is None:
                    continue
                if not tensor.shape.is_compatible_with(symbol.shape) or tensor.dtype != symbol.dtype:
                    raise CannotOpen(f"'{step.operation.name}' gives another shape or dtype than expected")
                values[id(symbol)] = tensor

    specs = [tf.TensorSpec(symbol.shape, symbol.dtype, name="x") for symbol in opened.inputs]
    tf.function(run, autograph=False).get_concrete_function(*specs)
    return opened


def reason(error):
    """One line on why a layer's `call` does not run on KerasTensors, from the error."""
    if isinstance(error, CannotOpen):
        return str(error)
    for part, known in _KNOWN_ERRORS.items():
        if part in str(error):
            return known
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = next(
        (line for line in lines if not line.startswith(("Exception encountered", "\x1b[1mCould not"))), ""
    )
    text = re.sub("\x1b\\[[0-9;]*m", "", text)  # Keras makes it bold
    return f"{type(error).__name__}: {text}"[:160]


class _Trace:
    """One run of a layer's `call` on KerasTensors.

    Args:
        layer, args, kwargs: as in `open_call`.
        batch_size: int or None, the size of the batch in the run, where it is free.
    """

    def __init__(self, layer, args, kwargs, batch_size=None):
        self.inputs, self.nodes, self.steps, self.outputs, self.structure = [], [], [], [], None
        self._constants = {}  # {id of a leaf: (leaf, KerasTensor, value)}
        self._nothing = []  # KerasTensors where a layer returns None

        def stand_in(leaf):
            if not isinstance(leaf, keras.KerasTensor):
                return leaf
            shape = leaf.shape
            if batch_size and shape and shape[0] is None:
                shape = (batch_size, *shape[1:])
            self.inputs.append(keras.KerasTensor(shape, leaf.dtype, name=leaf.name))
            return self.inputs[-1]

        args, kwargs = keras.tree.map_structure(stand_in, (args, kwargs))
        twin = _twin(layer)

        def symbolic_call(*args, **kwargs):
            # Keras calls this within the scopes of the layer, which cast the weights that it reads.
            keras_internals.map_attributes(twin, self._symbolic_weights)
            self.structure = twin.call(*args, **kwargs)
            self._read()
            return self.structure

        vars(twin)["symbolic_call"] = symbolic_call

        def values():
            with self._nones_as_tensors(layer):
                twin(*args, **kwargs)
            return [value for _, _, value in self._constants.values()]

        self.function = tf.function(values, autograph=False).get_concrete_function()

    @contextlib.contextmanager
    def _nones_as_tensors(self, layer):
        """Lets layers inside `layer` return None beside tensors, which a Keras node can't have as an output."""
        parts = [part for part in keras_internals.sublayers(layer)[1:] if is_opaque(part)]

        def stand_in(leaf):
            if leaf is None:
                self._nothing.append(keras.KerasTensor(()))
            return self._nothing[-1] if leaf is None else leaf

        def with_stand_ins(symbolic_call):
            return lambda *args, **kwargs: keras.tree.map_structure(stand_in, symbolic_call(*args, **kwargs))

        for part in parts:
            vars(part)["symbolic_call"] = with_stand_ins(part.symbolic_call)
        try:
            yield
        finally:
            for part in parts:
                del vars(part)["symbolic_call"]

    @property
    def constants(self):
        """The KerasTensors that `function` returns the values of."""
        return [symbol for _, symbol, _ in self._constants.values()]

    def _symbolic_weights(self, value):
        """An attribute of the layer with KerasTensors in place of variables, alone or in a list."""
        if isinstance(value, keras.Variable):
            return self._constant(value)
        if isinstance(value, (list, tuple)) and value and all(isinstance(v, keras.Variable) for v in value):
            return [self._constant(v) for v in value]
        return value

    def _constant(self, leaf):
        """The KerasTensor that stands for a variable or tensor that does not depend on the inputs."""
        if id(leaf) not in self._constants:
            value = tf.identity(leaf.value if isinstance(leaf, keras.Variable) else leaf)
            self._constants[id(leaf)] = leaf, keras.KerasTensor(value.shape, value.dtype.name), value
        return self._constants[id(leaf)][1]

    def _read(self):
        self.structure = keras.tree.map_structure(
            lambda leaf: self._constant(tf.zeros(())) if leaf is None else self._symbolic(leaf),
            self.structure,
        )
        self.outputs = keras.tree.flatten(self.structure)
        if not all(isinstance(tensor, keras.KerasTensor) for tensor in self.outputs):
            raise CannotOpen("it returns other things than tensors")
        self.nodes = keras_internals.nodes_before(self.outputs)
        taken = self.outputs + [tensor for node in self.nodes for tensor in node.input_tensors]
        if {*map(id, taken)} & {*map(id, self._nothing)}:
            raise CannotOpen("it uses what a layer inside it returns as None")
        for node in self.nodes:
            keras_internals.forget(node)
        for node in self.nodes:
            if node.is_input:
                raise CannotOpen("it uses a tensor of another model")
            args, kwargs = keras_internals.node_arguments(node)
            if keras_internals.functional_of(node.operation) and kwargs.get("training"):
                raise CannotOpen(f"it runs '{node.operation.name}' in training mode")
            args, kwargs = keras.tree.map_structure(self._symbolic, (args, kwargs))
            attributes = {} if isinstance(node.operation, keras.layers.Layer) else _settings(node.operation)
            symbolic = keras.tree.map_structure(self._symbolic, attributes)
            changed = {name: symbolic[name] for name in symbolic if _holds_tensors(symbolic[name])}
            self.steps.append((node, args, kwargs, changed))
        self._keep_used_constants()

    def _keep_used_constants(self):
        used = [self.outputs, [step[1:] for step in self.steps]]
        ids = {id(leaf) for leaf in keras.tree.flatten(used)}
        self._constants = {key: kept for key, kept in self._constants.items() if id(kept[1]) in ids}

    def _symbolic(self, leaf):
        return self._constant(leaf) if isinstance(leaf, (keras.Variable, tf.Tensor)) else leaf

    def opened(self, replace=lambda tensor: tensor, batch_attributes=None, more_steps=()):
        """The `Opened`.

        Args:
            replace: function from a KerasTensor of this run to the one that takes its place.
            batch_attributes: dict {number of step: attributes that depend on the batch}.
            more_steps: steps that these attributes need.
        """

        def fill(structure):
            return keras.tree.map_structure(
                lambda leaf: replace(leaf) if isinstance(leaf, keras.KerasTensor) else leaf, structure
            )

        steps = []
        if self.constants:
            steps.append(_step(Constants(self.function), (), {}, self.constants))
        steps += more_steps
        for k, (node, args, kwargs, attributes) in enumerate(self.steps):
            operation, outputs = node.operation, [replace(tensor) for tensor in node.outputs]
            args, kwargs, attributes = fill((args, kwargs, attributes))
            attributes = {**attributes, **(batch_attributes or {}).get(k, {})}
            if attributes:
                operation, args = WithAttributes(operation), (attributes, *args)
            steps.append(_step(operation, args, kwargs, outputs))
        structure = fill(self.structure)
        return Opened([*map(replace, self.inputs)], steps, keras.tree.flatten(structure), structure)


def _step(operation, args, kwargs, outputs):
    return Step(operation, keras_internals.symbolic_arguments(*args, **kwargs), outputs)


def _for_any_batch(first, second):
    """The `Opened` of two runs that differ only in the size of the batch."""
    if [type(node.operation) for node in first.nodes] != [type(node.operation) for node in second.nodes]:
        raise CannotOpen("what it runs depends on the size of the batch")
    if [constant.shape for constant in first.constants] != [constant.shape for constant in second.constants]:
        raise CannotOpen("it computes constants of the size of the batch")
    replacement = {}

    def pair(tensors, others):
        for a, b in zip(tensors, others, strict=True):
            shape = [n if n == m else None for n, m in zip(a.shape, b.shape, strict=True)]
            replacement[id(a)] = keras.KerasTensor(shape, a.dtype, name=a.name)

    pair(first.inputs, second.inputs)
    for a, b in zip(first.nodes, second.nodes, strict=True):
        pair(a.outputs, b.outputs)

    def replace(tensor):
        return replacement.get(id(tensor), tensor)

    free = [replace(a) for a, b in zip(first.inputs, second.inputs, strict=True) if a.shape != b.shape]
    sizes, more_steps, batch_attributes = {}, [], {}

    def size(value):
        factor = fractions.Fraction(value, _BATCH_SIZES[0])
        if factor not in sizes:
            sizes[factor] = keras.KerasTensor((), "int32")
            more_steps.append(_step(BatchSize(factor), (free[0],), {}, [sizes[factor]]))
        return sizes[factor]

    for k, ((a, args, kwargs, _), (b, other_args, other_kwargs, _)) in enumerate(
        zip(first.steps, second.steps, strict=True)
    ):
        if _numbers((args, kwargs)) != _numbers((other_args, other_kwargs)):
            raise CannotOpen("it passes the size of the batch on to its layers")
        if isinstance(a.operation, keras.layers.Layer):
            continue
        ours, theirs = _settings(a.operation), _settings(b.operation)
        changed = {
            n: _merged(ours[n], theirs[n], size) for n in ours if _numbers(ours[n]) != _numbers(theirs[n])
        }
        if changed:
            batch_attributes[k] = changed
    return first.opened(replace, batch_attributes, more_steps)


def _merged(ours, theirs, size):
    def one(a, b):
        if not _is_number(a) or a == b:
            return a
        if a * _BATCH_SIZES[1] != b * _BATCH_SIZES[0]:
            raise CannotOpen("it computes with the size of the batch")
        return size(a)

    return keras.tree.map_structure(one, ours, theirs)


def _settings(operation):
    """The attributes of an operation, without those that every operation has."""
    return {name: value for name, value in vars(operation).items() if name not in _COMMON}


_COMMON = frozenset({*vars(keras.Operation(name="any")), "_auto_config"})


def _is_number(leaf):
    return isinstance(leaf, int) and not isinstance(leaf, bool)


def _numbers(structure):
    return [leaf for leaf in keras.tree.flatten(structure) if _is_number(leaf)]


def _holds_tensors(structure):
    return any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(structure))


def _twin(operation, attributes=None):
    """A second object with the attributes of an operation, but for some of them."""
    twin = object.__new__(type(operation))
    twin.__dict__.update(operation.__dict__, **(attributes or {}))
    if isinstance(operation, keras.layers.Layer):
        keras_internals.give_own_nodes(twin)
    return twin
