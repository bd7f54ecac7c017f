"""Propagation rules: what an activation layer returns in the backward pass.

The backward pass starts at the explained score s. At an activation y = σ(x), a rule receives the signal dy,
which is ∂s/∂y if all rules above it are the gradient, and returns dx, the signal for the layers below.
`vjp(dy)` is the true backward pass, σ'(x)·dy (a vector-Jacobian product). A rule sees only tensors, never a
model.

`@register("my_rule")` gives a rule of your own a name, by which `wrap_model`, `coverage` and the figures of
`tf_learnprop.plotting` know it.
"""

from tf_learnprop.rules.handmade import DeconvNetRule, GradientRule, GuidedBackpropRule

# isort: split
# Messages and figures name the rules in the order of these imports.
from tf_learnprop.rules.base import REGISTRY, PropagationRule, Shape, Site, Vjp, WeightSpecs, register
from tf_learnprop.rules.gated import ChannelMixingRule, GatedRule, RelevanceRule
from tf_learnprop.rules.relevance import relevance_features
from tf_learnprop.rules.split import BlendedRule, LearnedSplitRule, LibraRule, SplitRule

__all__ = [
    "BlendedRule",
    "ChannelMixingRule",
    "DeconvNetRule",
    "GatedRule",
    "GradientRule",
    "GuidedBackpropRule",
    "LearnedSplitRule",
    "LibraRule",
    "PropagationRule",
    "RelevanceRule",
    "Shape",
    "Site",
    "SplitRule",
    "Vjp",
    "WeightSpecs",
    "at_operation",
    "get",
    "handmade",
    "name_of",
    "names",
    "register",
    "relevance_features",
]


def names() -> list[str]:
    """The names of all rules, those of your own among them."""
    return REGISTRY.names()


def handmade() -> list[str]:
    """The names of the rules without weights, with which learned ones are compared."""
    return [name for name in names() if not REGISTRY.make(name).learned]


def get(identifier: str | PropagationRule, name: str | None = None) -> PropagationRule:
    """Returns a new rule.

    Args:
        identifier: One of `names()`: "universal", "learned", "channel_mixing", "gradient", "deconvnet",
            "guided_backprop", "libra" and those of your own; or a `PropagationRule`, whose configuration is
            copied.
        name: Name of the new layer. None gives a new name, or the one of the rule.

    Returns:
        A `PropagationRule` that is not built.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If it is neither a name nor a rule.
    """
    return REGISTRY.get(identifier, **({"name": name} if name else {}))


def name_of(rule: PropagationRule) -> str:
    """The name by which `get` makes a rule like this one; the class' own name if there is none."""
    return REGISTRY.name_of(rule)


def at_operation(
    identifier: str | PropagationRule, kind: str, name: str | None = None
) -> PropagationRule | None:
    """Returns the new rule that belongs to a rule for activations at another kind of operation.

    Args:
        identifier: As for `get`.
        kind: "attention", "normalization", "product" or "recurrence".
        name: As for `get`.

    Returns:
        A `SplitRule` of the same class for one, a learned one for a learned rule, and None for other rules,
        which leave such operations their gradient.
    """
    return get(identifier, name).at_operation(kind)
