"""Which activations a model has, and which of them a rule can stand behind."""

import dataclasses
import enum
from typing import Any

import keras

from tf_learnprop.graph import keras_internals, known_functions
from tf_learnprop.graph.declared import registered_name
from tf_learnprop.graph.layer_kinds import (
    ACTIVATION_OF_CLASS,
    ATTENTION_LAYERS,
    CONTROL_FLOW,
    FUSED_LAYERS,
    GATES,
    SWAPPABLE,
    TRANSPARENT,
    is_one_of,
)
from tf_learnprop.graph.recurrence import is_recurrent, why_not_held
from tf_learnprop.graph.written_out import WrittenOut


class SkipReason(enum.Enum):
    """Why an activation gets no rule by default. The value is the text, with a place for details."""

    OPAQUE = "inside the layer's own call"
    CLOSED = "its call can't be opened ({})"
    UNSEEN = "a custom layer: what its call computes can't be seen"
    RECURRENT = "keeps its gradient: {}"
    LOOP = "a loop or branch: what it runs can't be seen"
    GATE = "a gate"
    ATTENTION = "attention weights"
    OUTPUT = "the output's own activation"
    NOT_INVERTIBLE = "can't be undone at the output: the logarithm of the model's probability is explained"
    UNKNOWN = "not a known activation"


@dataclasses.dataclass(frozen=True)
class ActivationSite:
    """One activation of a model.

    Attributes:
        path: Layer names from the outermost model inwards, joined by "/".
        operation: The Keras layer or operation.
        activation: Name of the activation; "?" if it can't be seen.
        fused: Whether it is the `activation` argument of a convolution or dense layer.
        skip_reason: Why it gets no rule by default; None if it gets one.
        reachable: Whether a rule could be put behind it at all.
        kind: "activation"; or "attention", "normalization", "product" or "recurrence", see `operation_sites`.
        detail: What the text of the reason leaves open.
    """

    path: str
    operation: Any
    activation: str
    fused: bool = False
    skip_reason: SkipReason | None = None
    reachable: bool = True
    kind: str = "activation"
    detail: str = ""

    @property
    def at_zero(self) -> float:
        """σ(0), in absolute value, of an activation."""
        activation = self.operation.activation if self.fused else self.operation
        run = activation.call if isinstance(activation, keras.Operation) else activation
        return float(keras.ops.max(keras.ops.abs(run(keras.ops.zeros((1, 1))))))

    @property
    def layer_class(self) -> str:
        """Class of the layer or operation; of what is written out, that of its last step."""
        is_written_out = isinstance(self.operation, WrittenOut)
        return type(self.operation.last if is_written_out else self.operation).__name__

    @property
    def reason(self) -> str:
        """Text of the reason why it gets no rule by default; "" if it gets one."""
        return self.skip_reason.value.format(self.detail) if self.skip_reason else ""


def activation_name(activation: Any) -> str | None:
    """Name of an activation function, layer or operation; None for anything else."""
    registered = registered_name(activation)
    if registered:
        return registered
    if isinstance(activation, keras.layers.Activation):
        return activation_name(activation.activation)
    if isinstance(activation, WrittenOut):
        return activation.activation
    if isinstance(activation, keras.Operation):
        classes = type(activation).__mro__
        owner = next((cls for cls in classes if keras_internals.is_keras_class(cls)), classes[0])
        return ACTIVATION_OF_CLASS.get(owner.__name__.lower())
    name = getattr(activation, "__name__", "?")
    return None if name == "linear" else name


def own_activation(operation: Any) -> str | None:
    """Name of the activation that an operation is, or that is fused into it; None without one.

    A function of no known name is recognised by what it computes.
    """
    if is_fused(operation):
        activation = operation.activation
        name = activation_name(activation) or ("?" if activation != keras.activations.linear else None)
    else:
        activation, name = getattr(operation, "activation", None), activation_name(operation)
    is_known = _is_known(name) and not runs_own_function(operation)
    if name is None or is_known or registered_name(operation) or not callable(activation):
        return name
    return registered_name(activation) or known_functions.name_of(activation) or name


def runs_own_function(operation: Any) -> bool:
    """Whether the activation of an operation is a function of a user, whatever its name is."""
    activation = getattr(operation, "activation", None)
    is_function = callable(activation) and not isinstance(activation, keras.Operation)
    return is_function and not getattr(activation, "__module__", "").startswith("keras.")


def is_fused(operation: Any) -> bool:
    """Whether an operation is a convolution or dense layer, which may have an activation fused into it."""
    return isinstance(operation, FUSED_LAYERS)


def is_transparent(operation: Any) -> bool:
    """Whether an operation passes on the values of its input, in another shape or dtype at most."""
    if isinstance(operation, keras.layers.Activation):
        return activation_name(operation) is None
    return is_one_of(operation, TRANSPARENT)


def is_opaque(operation: Any) -> bool:
    """Whether an operation is a layer whose `call` is Python code that no graph shows."""
    if not isinstance(operation, keras.layers.Layer) or registered_name(operation):
        return False
    if isinstance(operation, (keras.layers.Lambda, keras.layers.TFSMLayer)):
        return True
    own_call = not keras_internals.has_keras_call(operation)
    return own_call and (is_fused(operation) or activation_name(operation) is None)


def runs_a_function(operation: Any) -> bool:
    """Whether an operation is an `Activation` layer with a function of no known name, such as a lambda."""
    return (
        isinstance(operation, keras.layers.Activation)
        and not is_opaque(operation)
        and not registered_name(operation)
        and not _is_known(activation_name(operation))
    )


def _is_known(name: str | None) -> bool:
    return name is None or name in ACTIVATION_OF_CLASS.values()


def find_site(path: str, operation: Any, is_output: bool, why_closed: str = "") -> ActivationSite | None:
    """The `ActivationSite` of an operation, or None if it holds no activation.

    Args:
        path: Its layer path.
        operation: Keras layer or operation.
        is_output: Whether its activation is that of the model's output.
        why_closed: Why a layer that `is_opaque` could not be opened.
    """
    if is_opaque(operation) or (why_closed and not runs_a_function(operation)):
        return _opaque(path, operation, why_closed)
    name = own_activation(operation)
    if name is None:
        return None if is_fused(operation) else _opaque(path, operation)
    fused = is_fused(operation)
    if is_output:
        return ActivationSite(path, operation, name, fused, SkipReason.OUTPUT, False)
    if name in SWAPPABLE or registered_name(operation.activation if fused else operation):
        return ActivationSite(path, operation, name, fused)
    return ActivationSite(path, operation, name, fused, _why_left_alone(name))


def _why_left_alone(name: str) -> SkipReason:
    if name in GATES:
        return SkipReason.GATE
    return SkipReason.ATTENTION if name == "softmax" else SkipReason.UNKNOWN


def _opaque(path: str, operation: Any, why_closed: str = "") -> ActivationSite | None:
    """Site of a layer or operation that runs Python code which no graph shows; None if it can hold none."""

    def site(name: str, reason: SkipReason) -> ActivationSite:
        skip_reason = SkipReason.CLOSED if why_closed else reason
        return ActivationSite(path, operation, name, False, skip_reason, False, detail=why_closed)

    if not isinstance(operation, keras.layers.Layer):
        return site("?", SkipReason.LOOP) if type(operation).__name__ in CONTROL_FLOW else None
    inner = {
        activation_name(part if activation_name(part) else getattr(part, "activation", None))
        for part in keras_internals.sublayers(operation)
    }
    swappable = sorted(set(SWAPPABLE).intersection(inner))
    if is_recurrent(operation):
        name, why = ", ".join(swappable) or "?", why_not_held(operation)
        return ActivationSite(path, operation, name, False, SkipReason.RECURRENT, False, detail=why)
    if swappable:
        return site(", ".join(swappable), SkipReason.OPAQUE)
    if "softmax" in inner or isinstance(operation, ATTENTION_LAYERS):
        return site("softmax", SkipReason.ATTENTION)
    return site("?", SkipReason.UNSEEN) if is_opaque(operation) else None
