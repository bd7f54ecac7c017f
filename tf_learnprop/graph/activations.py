"""Which activations a model has, and which of them a rule can stand behind."""

import dataclasses

import keras

from tf_learnprop.graph import keras_internals

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
#: Activations that close a classifier. The score that is explained is taken before them.
HEADS = ("softmax", "sigmoid")

#: Reason to skip an activation that only its layer's own Python code reaches.
OPAQUE = "inside the layer's own call"
#: Start of the reason to skip what a layer that can't be opened holds.
CLOSED = "its call can't be opened"

_UNSEEN = {
    "layer": "a custom layer: what its call computes can't be seen",
    "loop": "a loop or branch: what it runs can't be seen",
}
_REASONS = {
    "sigmoid": "a gate",
    "hard_sigmoid": "a gate",
    "softmax": "attention weights",
}
#: Names of all activations by the class of their layer or operation, in lower case.
_NAME_OF_CLASS = {name.replace("_", ""): name for name in {*SWAPPABLE, *HEADS, *dir(keras.activations)}}
#: Layers and operations whose output holds the values of their input, in another shape or dtype at most.
_TRANSPARENT = ("Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze")
#: Operations that run a Python function.
_CONTROL_FLOW = ("AssociativeScan", "Cond", "ForiLoop", "Map", "Scan", "Switch", "VectorizedMap", "WhileLoop")
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
        activation: str, name of the activation; "?" if it can't be seen.
        fused: bool, whether it is the `activation` argument of a convolution or dense layer.
        skip_reason: str, why it gets no rule by default; "" if it gets one.
        reachable: bool, whether a rule could be put behind it at all.
        kind: str, "activation"; or "attention", "normalization" or "product", see `operation_sites`.
    """

    path: str
    operation: object
    activation: str
    fused: bool = False
    skip_reason: str = ""
    reachable: bool = True
    kind: str = "activation"

    @property
    def at_zero(self) -> float:
        """σ(0), in absolute value, of an activation."""
        activation = self.operation.activation if self.fused else self.operation
        run = activation.call if isinstance(activation, keras.Operation) else activation
        return float(keras.ops.max(keras.ops.abs(run(keras.ops.zeros((1, 1))))))

    @property
    def layer_class(self) -> str:
        """Class of the layer or operation."""
        return type(self.operation).__name__


def activation_name(activation):
    """Name of an activation function, layer or operation; None for anything else."""
    if isinstance(activation, keras.layers.Activation):
        return activation_name(activation.activation)
    if isinstance(activation, keras.Operation):
        classes = type(activation).__mro__
        owner = next((cls for cls in classes if keras_internals.is_keras_class(cls)), classes[0])
        return _NAME_OF_CLASS.get(owner.__name__.lower())
    name = getattr(activation, "__name__", "?")
    return None if name == "linear" else name


def own_activation(operation):
    """Name of the activation that an operation is, or that is fused into it; None without one."""
    if not is_fused(operation):
        return activation_name(operation)
    activation = operation.activation
    return activation_name(activation) or ("?" if activation != keras.activations.linear else None)


def is_fused(operation) -> bool:
    """Whether an operation is a convolution or dense layer, which may have an activation fused into it."""
    return isinstance(operation, _FUSED_LAYERS)


def is_transparent(operation) -> bool:
    """Whether an operation passes on the values of its input, in another shape or dtype at most."""
    if isinstance(operation, keras.layers.Activation):
        return activation_name(operation) is None
    return keras_internals.is_keras_class(type(operation)) and type(operation).__name__ in _TRANSPARENT


def is_opaque(operation) -> bool:
    """Whether an operation is a layer whose `call` is Python code that no graph shows."""
    if not isinstance(operation, keras.layers.Layer):
        return False
    if isinstance(operation, keras.layers.Lambda):
        return True
    own_call = not keras_internals.is_keras_class(keras_internals.owner_of_call(operation))
    return own_call and (is_fused(operation) or activation_name(operation) is None)


def runs_a_function(operation) -> bool:
    """Whether an operation is an `Activation` layer with a function of no known name, such as a lambda."""
    return (
        isinstance(operation, keras.layers.Activation)
        and not is_opaque(operation)
        and activation_name(operation) not in {None, *_NAME_OF_CLASS.values()}
    )


def find_site(path, operation, is_output, why_closed=""):
    """The `ActivationSite` of an operation, or None if it holds no activation.

    Args:
        path: str, its layer path.
        operation: Keras layer or operation.
        is_output: bool, whether its activation is that of the model's output.
        why_closed: str, why a layer that `is_opaque` could not be opened.
    """
    if is_opaque(operation) or why_closed:
        return _opaque(path, operation, f"{CLOSED} ({why_closed})" if why_closed else "")
    name = own_activation(operation)
    if name is None:
        return None if is_fused(operation) else _opaque(path, operation)
    fused = is_fused(operation)
    if is_output:
        return ActivationSite(path, operation, name, fused, "the output's own activation", False)
    if name in SWAPPABLE:
        return ActivationSite(path, operation, name, fused)
    return ActivationSite(path, operation, name, fused, _REASONS.get(name, "not a known activation"))


def _opaque(path, operation, reason=""):
    """Site of a layer or operation that runs Python code which no graph shows; None if it can hold none."""
    if not isinstance(operation, keras.layers.Layer):
        if type(operation).__name__ not in _CONTROL_FLOW:
            return None
        return ActivationSite(path, operation, "?", False, _UNSEEN["loop"], False)
    inner = {
        activation_name(part if activation_name(part) else getattr(part, "activation", None))
        for part in keras_internals.sublayers(operation)
    }
    swappable = sorted(inner & set(SWAPPABLE))
    if swappable:
        return ActivationSite(path, operation, ", ".join(swappable), False, reason or OPAQUE, False)
    if "softmax" in inner or isinstance(operation, keras.layers.Attention):
        return ActivationSite(path, operation, "softmax", False, reason or _REASONS["softmax"], False)
    if is_opaque(operation):
        return ActivationSite(path, operation, "?", False, reason or _UNSEEN["layer"], False)
    return None
