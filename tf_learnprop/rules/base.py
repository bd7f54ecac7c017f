"""`PropagationRule`: the base of all propagation rules."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.registry import Registry

#: Registers a class with Keras under the name of this package.
serializable = keras.saving.register_keras_serializable("tf_learnprop")

Shape = Sequence[int | None]
Vjp = Callable[[tf.Tensor], tf.Tensor]
#: Name of each weight, with its shape and its initializer (or the name of one).
WeightSpecs = dict[str, tuple[tuple[int, ...], Any]]


class Site(Protocol):
    """What a rule may know of the place where it is to stand."""

    @property
    def kind(self) -> str:
        """The operation: "activation", "attention", "normalization", "product" or "recurrence"."""

    @property
    def activation(self) -> str:
        """Name of the activation σ; at other operations, the kind again."""

    @property
    def at_zero(self) -> float:
        """σ(0), in absolute value, of an activation."""


def make_weights(layer: keras.layers.Layer, specs: WeightSpecs) -> None:
    """Makes the weights that a layer declares, each an attribute of its name."""
    for name, (shape, initializer) in specs.items():
        setattr(layer, name, layer.add_weight(name=name, shape=shape, initializer=initializer))
    layer.built = True


class PropagationRule(keras.layers.Layer):
    """A backward rule for one activation layer. Subclass it and write `propagate`.

    A rule with weights declares them in `weight_specs`. Rules compute in float32, whatever the precision of
    the model.

    Attributes:
        starts: Where the weights can start: "untrained", with the initializers that `weight_specs` names, or
            "universal", with what `tf_learnprop.universal` computes for them.

    Args:
        initial: One of `starts`.
    """

    starts: tuple[str, ...] = ("untrained",)

    def __init__(self, initial: str = "untrained", **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        argument_checks.one_of("initial", initial, self.starts)
        self.initial = initial

    @property
    def learned(self) -> bool:
        """Whether the rule has weights, which `fit` trains; before it is built, whether it declares any."""
        if self.built:
            return bool(self.weights)
        return type(self).weight_specs is not PropagationRule.weight_specs

    @property
    def reads_layers(self) -> bool:
        """Whether maps are read from many layers by default, and not from the input alone."""
        return self.learned

    def suits(self, site: Site) -> bool:
        """Whether the rule may stand at a site. Where it may not, the gradient takes its place."""
        return True

    def at_operation(self, kind: str) -> "PropagationRule | None":
        """The rule that stands at another operation, in a model in which this one stands at activations.

        Args:
            kind: "attention", "normalization", "product" or "recurrence".

        Returns:
            A new `SplitRule`, or None to leave the operation its gradient.
        """
        return None

    def weight_specs(self, shape: Shape) -> WeightSpecs:
        """Declares the weights, of which `build` makes attributes.

        The weights in a rule file are compared with them before any of that size are made.

        Args:
            shape: Shape of the activation, with None for the batch.

        Returns:
            Name of each weight, with its shape and its initializer (or the name of one).
        """
        return {}

    def build(self, shape: Shape) -> None:
        make_weights(self, self.weight_specs(shape))

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        """Backward signal of one activation.

        Args:
            x: float32 `[n, ..., c]`, the input of the activation.
            y: float32 `[n, ..., c]`, its output σ(x).
            dy: float32 `[n, ..., c]`, the signal that arrives at y.
            vjp: `vjp(signal)` is σ'(x)·signal, with the shape and dtype of `signal`.

        Returns:
            float32 `[n, ..., c]`, the signal at x.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `propagate(x, y, dy, vjp)`.")

    def get_config(self) -> dict[str, Any]:
        has_choice = len(self.starts) > 1
        return {**super().get_config(), **({"initial": self.initial} if has_choice else {})}


#: All rules that have a name.
REGISTRY: Registry[PropagationRule] = Registry(
    "rule",
    PropagationRule,
    "the name of a rule, a path of saved rules, a `PropagationRule` or a dict {layer-name pattern: rule}",
    ", or a path that ends in '.keras' or '.weights.h5'",
)
register = REGISTRY.register
