"""Propagation rules: what an activation layer returns in the backward pass.

The backward pass starts at the explained score s. At an activation y = σ(x), a rule receives the signal dy,
which is ∂s/∂y if all rules above it are the gradient, and returns dx, the signal for the layers below.
`vjp(dy)` is the true backward pass, σ'(x)·dy (a vector-Jacobian product). A rule sees only tensors, never a
model.
"""

from tf_learnprop.rules.base import PropagationRule, Shape, Vjp
from tf_learnprop.rules.gated import (
    ChannelMixingRule,
    GatedRule,
    RelevanceRule,
    UniversalRule,
    relevance_features,
)
from tf_learnprop.rules.handmade import DeconvNetRule, GradientRule, GuidedBackpropRule
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
    "SplitRule",
    "UniversalRule",
    "Vjp",
    "get",
    "name_of",
    "relevance_features",
]


_BY_NAME = {
    "gradient": GradientRule,
    "deconvnet": DeconvNetRule,
    "guided_backprop": GuidedBackpropRule,
    "learned": RelevanceRule,
    "relevance": RelevanceRule,
    "channel_mixing": ChannelMixingRule,
    "universal": UniversalRule,
    "libra": LibraRule,
}


def get(identifier: str | PropagationRule, name: str | None = None) -> PropagationRule:
    """Returns a new rule.

    Args:
        identifier: str, one of "universal", "learned", "channel_mixing", "gradient", "deconvnet",
            "guided_backprop" and "libra"; or a `PropagationRule`, whose configuration is copied. "relevance"
            is another name of "learned".
        name: str or None, name of the new layer. None gives a new name, or the one of the rule.

    Returns:
        A `PropagationRule` that is not built.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a rule.
    """
    if isinstance(identifier, PropagationRule):
        config = identifier.get_config()
        return type(identifier).from_config({**config, "name": name or config["name"]})
    if not isinstance(identifier, str):
        raise TypeError(
            "`rule` must be the name of a rule, a path of saved rules, a `PropagationRule` or a dict "
            f"{{layer-name pattern: rule}}. Received: rule={identifier!r}"
        )
    if identifier not in _BY_NAME:
        raise ValueError(
            f"`rule` must be one of {', '.join(map(repr, _BY_NAME))}, or a path that ends in "
            f"'.keras' or '.weights.h5'. Received: rule={identifier!r}"
        )
    return _BY_NAME[identifier](name=name)


def name_of(rule: PropagationRule) -> str:
    """The name by which `get` makes a rule of this class; the class' own name if there is none."""
    return next((name for name, kind in _BY_NAME.items() if kind is type(rule)), type(rule).__name__)


def at_operation(identifier: str | PropagationRule, kind: str, name: str | None = None) -> SplitRule | None:
    """Returns the new rule that belongs to a rule for activations at another kind of operation.

    Args:
        identifier: as for `get`.
        kind: "attention", "normalization" or "product".
        name: as for `get`.

    Returns:
        A `SplitRule` of the same class for one, a learned one for a learned rule, and None for other rules,
        which leave such operations their gradient.
    """
    rule = get(identifier, name)
    if isinstance(rule, SplitRule):
        return rule
    if not isinstance(rule, GatedRule):
        return None
    return LearnedSplitRule(name=name) if kind == "attention" else BlendedRule(name=name)
