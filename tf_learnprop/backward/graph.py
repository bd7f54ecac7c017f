"""Walks the graph of a built Keras model: finds its activations, runs it with some of them swapped.

Nothing of the user's model is cloned or changed. The graph is run operation by operation; a
swapped activation is left out of its layer's call and its `RuleActivation` is called instead. The
private names of Keras that this needs are used in this file alone:
`Functional._run_through_graph`, `._standardize_inputs`, `._nodes_by_depth`, `Sequential._functional`,
`Layer._flatten_layers`, `._call_has_training_arg`, `KerasTensor._keras_history`,
`Operation._inbound_nodes` and `._outbound_nodes`.
"""

import collections
import dataclasses
import itertools

import keras
import tensorflow as tf

#: Activations that a rule can stand behind.
SWAPPABLE = (
    "relu",
    "relu6",
    "leaky_relu",
    "prelu",
    "elu",
    "selu",
    "silu",
    "gelu",
    "hard_silu",
    "mish",
    "softplus",
    "tanh",
)
#: Activations that close a classifier; the score that is explained is taken before them.
HEADS = ("softmax", "sigmoid")

#: Obstacle of an activation that only the layer's own Python code reaches.
OPAQUE = "inside the layer's own call"

_REASONS = {
    "sigmoid": "a gate",
    "hard_sigmoid": "a gate",
    "softmax": "attention weights",
}
#: Names of all activations by the class of their layer or operation, in lower case.
_NAME_OF_CLASS = {name.replace("_", ""): name for name in {*SWAPPABLE, *HEADS, *dir(keras.activations)}}
#: Layers and operations that hand on what they get, in another shape or dtype at most.
_TRANSPARENT = ("Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze")
_FUSED_LAYERS = tuple(
    getattr(keras.layers, name)
    for name in (
        "Dense EinsumDense Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose "
        "SeparableConv1D SeparableConv2D DepthwiseConv1D DepthwiseConv2D"
    ).split()
)


@dataclasses.dataclass(frozen=True)
class ActivationSite:
    """One activation of a model.

    Attributes:
        path: str, layer names from the outermost model inwards, joined by "/".
        operation: the Keras layer or operation.
        activation: str, name of the activation ("?" where it can't be seen).
        fused: bool, whether it is the `activation` of a convolution or dense layer.
        skip_reason: str, why it is left alone by default; "" if it can be swapped.
        reachable: bool, whether a rule could be put behind it at all.
    """

    path: str
    operation: object
    activation: str
    fused: bool = False
    skip_reason: str = ""
    reachable: bool = True

    @property
    def layer_class(self):
        """str, class of the layer or operation."""
        return type(self.operation).__name__


@dataclasses.dataclass
class Trace:
    """What one run of the graph gave.

    Attributes:
        outputs: the model's outputs.
        logits: the explained output before its head's activation, float32.
        activations: list of (path, tensor), outputs of the swapped activations as they ran.
    """

    outputs: object = None
    logits: object = None
    activations: list = dataclasses.field(default_factory=list)


def _is_keras(cls):
    return cls.__module__.startswith("keras.")


def graph_of(model):
    """The functional graph of a Functional or built Sequential model, or None if it has none."""
    if not isinstance(model, keras.Model) or not _is_keras(_owner_of_call(model)):
        return None
    if isinstance(model, keras.Sequential):
        return model._functional
    return model if hasattr(model, "_run_through_graph") else None


def _owner_of_call(layer):
    return next(cls for cls in type(layer).__mro__ if "call" in vars(cls))


def activation_name(activation):
    """Name of an activation function, layer or operation; None for anything else."""
    if isinstance(activation, keras.layers.Activation):
        return activation_name(activation.activation)
    if isinstance(activation, keras.Operation):
        owner = next((cls for cls in type(activation).__mro__ if _is_keras(cls)), type(activation))
        return _NAME_OF_CLASS.get(owner.__name__.lower())
    name = getattr(activation, "__name__", "?")
    return None if name == "linear" else name


def find_activations(model):
    """Every activation of a model, in the order of execution.

    Args:
        model: Functional or built Sequential `keras.Model`.

    Returns:
        list of `ActivationSite`.
    """
    heads = [head(model, index) for index in range(len(graph_of(model).outputs))]
    outputs = {id(end.operation) for end in heads if end.activation or not end.has_consumers}
    sites, seen = [], set()
    for path, operation in operations(model):
        if id(operation) not in seen:
            seen.add(id(operation))
            site = _site(path, operation, id(operation) in outputs)
            if site:
                sites.append(site)
    return sites


def operations(model, prefix=""):
    """Yields (path, operation) in the order of execution, nested models opened."""
    for operation in graph_of(model).operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        path = prefix + operation.name
        if graph_of(operation):
            yield from operations(operation, path + "/")
        else:
            yield path, operation


def structure(model):
    """A model's structure: list of [path, "Class(weight shapes)"] in the order of execution.

    Two models match if the second entries agree; names, which Keras counts up, don't matter, nor does the
    input's size.
    """
    rows = []
    for path, operation in operations(model):
        shapes = [list(w.shape) for w in getattr(operation, "weights", [])]
        name = activation_name(getattr(operation, "activation", None) or operation)
        rows.append([path, f"{type(operation).__name__}{shapes}" + (f" {name}" if name else "")])
    return rows


def activation_runs(model):
    """How often each activation that can have a rule runs in one forward pass.

    Returns:
        dict {path: int}.
    """
    counts = collections.Counter(_ids_of_calls(graph_of(model)))
    return {site.path: counts[id(site.operation)] for site in find_activations(model) if site.reachable}


def _ids_of_calls(functional):
    for node in itertools.chain(*functional._nodes_by_depth.values()):
        if graph_of(node.operation):
            yield from _ids_of_calls(graph_of(node.operation))
        else:
            yield id(node.operation)


def _site(path, operation, is_output):
    fused = isinstance(operation, _FUSED_LAYERS)
    if fused and not _is_keras(_owner_of_call(operation)):
        return _opaque(path, operation)
    name = _own_activation(operation)
    if name is None:
        return None if fused else _opaque(path, operation)
    if is_output:
        return ActivationSite(path, operation, name, fused, "the output's own activation", False)
    if name in SWAPPABLE:
        return ActivationSite(path, operation, name, fused)
    return ActivationSite(path, operation, name, fused, _REASONS.get(name, "not a known activation"))


def _opaque(path, operation):
    """Site of a layer whose `call` is Python code that no graph shows; None if it can hold none."""
    if not isinstance(operation, keras.layers.Layer):
        return None
    inner = {
        activation_name(part if activation_name(part) else getattr(part, "activation", None))
        for part in operation._flatten_layers()
    }
    swappable = sorted(inner & set(SWAPPABLE))
    if swappable:
        return ActivationSite(path, operation, ", ".join(swappable), False, OPAQUE, False)
    if "softmax" in inner or isinstance(operation, keras.layers.Attention):
        return ActivationSite(path, operation, "softmax", False, _REASONS["softmax"], False)
    if not _is_keras(type(operation)) or isinstance(operation, keras.layers.Lambda):
        skip_reason = "a custom layer: what its call computes can't be seen"
        return ActivationSite(path, operation, "?", False, skip_reason, False)
    return None


def _own_activation(operation):
    """Name of the activation that an operation is, or that is fused into it; None without one."""
    if not isinstance(operation, _FUSED_LAYERS):
        return activation_name(operation)
    activation = operation.activation
    return activation_name(activation) or ("?" if activation != keras.activations.linear else None)


@dataclasses.dataclass(frozen=True)
class Head:
    """What makes one output of a model.

    Attributes:
        operation: the Keras layer or operation.
        activation: str, "softmax" or "sigmoid" if the output has passed one, else "".
        fused: bool, whether that is the `activation` of a convolution or dense layer.
        has_consumers: bool, whether the output is also used inside the model.
    """

    operation: object
    activation: str = ""
    fused: bool = False
    has_consumers: bool = False


def head(model, index):
    """The `Head` of output number `index`; looks into nested models and past casts and reshapes."""
    return _head_of(graph_of(model).outputs[index])


def _head_of(tensor):
    operation, node, position = tensor._keras_history
    has_consumers = bool(operation._outbound_nodes)
    if graph_of(operation):
        inner = head(operation, position)
        return dataclasses.replace(inner, has_consumers=has_consumers or inner.has_consumers)
    if _is_transparent(operation):
        return _head_of(operation._inbound_nodes[node].input_tensors[0])
    name = _own_activation(operation)
    fused = isinstance(operation, _FUSED_LAYERS)
    return Head(operation, name if name in HEADS else "", fused, has_consumers)


def _is_transparent(operation):
    if isinstance(operation, keras.layers.Activation):
        return activation_name(operation) is None
    return _is_keras(type(operation)) and type(operation).__name__ in _TRANSPARENT


class GraphRunner:
    """Runs a model's graph with rules behind some activations, always in inference mode.

    Args:
        model: Functional or built Sequential `keras.Model`.
        rule_layers: dict from the `id` of an operation to (path, `RuleActivation`).
        output: int, which of the model's outputs is explained.
    """

    def __init__(self, model, rule_layers, output=0):
        self.model = model
        self.rule_layers = rule_layers
        self.output = output
        self.head = head(model, output)

    @tf.autograph.experimental.do_not_convert  # no branch here depends on a tensor's values
    def __call__(self, inputs, swap=True, watch=None):
        """One forward pass.

        Args:
            inputs: tensors in the structure of the model's inputs.
            swap: bool, False runs the model with its own backward pass.
            watch: callable or None, called with (position, tensor) for each swapped activation's
                output before anything else uses it.

        Returns:
            `Trace`.
        """
        trace = Trace()
        # By `id` of the tensor: an operation used twice has as many results. Each entry holds the
        # tensor too, lest its `id` be given to another.
        logits_of = {}

        def apply(operation, args, kwargs):
            x = _first(args, kwargs)
            if operation is self.head.operation and self.head.activation:
                if self.head.fused:
                    x = _linear_twin(operation)(*args, **kwargs)
                    y = operation.activation(x)
                else:
                    y = _call(operation, args, kwargs)
                logits_of[id(y)] = y, x
                return y
            if id(x) in logits_of and _is_transparent(operation):
                y = _call(operation, args, kwargs)
                logits_of[id(y)] = y, operation(logits_of[id(x)][1])
                return y
            if not swap or id(operation) not in self.rule_layers:
                return _call(operation, args, kwargs)
            path, rule_activation = self.rule_layers[id(operation)]
            if isinstance(operation, _FUSED_LAYERS):
                x = _linear_twin(operation)(*args, **kwargs)
            y = rule_activation(x)
            if watch:
                watch(len(trace.activations), y)
            trace.activations.append((path, y))
            return y

        trace.outputs = _run(self.model, inputs, apply)
        output = keras.tree.flatten(trace.outputs)[self.output]
        _, logits = logits_of.get(id(output), (output, output))
        trace.logits = tf.cast(logits, tf.float32)
        return trace


def _run(model, inputs, apply):
    graph = graph_of(model)

    def operation_fn(operation):
        def call(*args, **kwargs):
            if graph_of(operation):
                return _run(operation, _first(args, kwargs), apply)
            if getattr(operation, "_call_has_training_arg", False):
                kwargs["training"] = False
            return apply(operation, args, kwargs)

        return call

    outputs = graph._run_through_graph(graph._standardize_inputs(inputs), operation_fn)
    return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs


def _first(args, kwargs):
    """The first argument of a call; an operation may have been called by keyword alone."""
    return args[0] if args else next(iter(kwargs.values()))


def _call(operation, args, kwargs):
    """Calls an operation, without the loss that an `activity_regularizer` would leave in it."""
    if getattr(operation, "activity_regularizer", None) is not None:
        operation = _twin(operation)
    return operation(*args, **kwargs)


def _linear_twin(layer):
    """The same layer with a linear activation."""
    return _twin(layer, activation=keras.activations.linear)


def _twin(layer, **changes):
    """A second object with the attributes of a layer, weights shared, but for some.

    The user's layer itself is never touched, not even for the time of a call, so that other threads
    may use it.
    """
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__, activity_regularizer=None, **changes)
    return twin
