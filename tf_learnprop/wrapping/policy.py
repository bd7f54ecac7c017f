"""The policy: which rule stands at which site. `print(table())` shows it.

A site is an activation, attention, a normalisation, a product of two tensors or a recurrent layer. What a
rule puts at operations besides activations is a trait of the rule (`PropagationRule.at_operation`), and so
are the sites that it suits.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tf_learnprop import rules
from tf_learnprop.graph.activations import ActivationSite, SkipReason
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.layer_kinds import SWAPPABLE
from tf_learnprop.wrapping import patterns

#: Kinds of sites besides activations.
OPERATIONS = ("attention", "normalization", "product", "recurrence")

Choice = list[tuple[ActivationSite, rules.PropagationRule]]


def choose_rules(explained: Explained, rule: Any, include: Any = None, exclude: Any = None) -> Choice:
    """The sites of a model that get a rule, each with a new one.

    Args:
        explained: What is explained.
        rule: As `wrap_model` takes it, but no file.
        include: As `wrap_model` takes it. Sites that it names get a rule even if they are skipped by default.
        exclude: As `wrap_model` takes it.

    Returns:
        Pairs of a site and its rule; none if the model has no site and no pattern asked for one.

    Raises:
        TypeError, ValueError: As `wrap_model`.
    """
    sites = explained.graph.activations
    included = None if include is None else patterns.matching(sites, include, "include")
    excluded = set() if exclude is None else patterns.matching(sites, exclude, "exclude")
    new_rule = _maker(sites, rule)
    choice: Choice = []
    for site in sites:
        if site.path in excluded or included is not None and site.path not in included:
            continue
        own = new_rule(site, len(choice))
        if own and _stands(own, site, explained, forced=included is not None):
            choice.append((site, own))
    by_pattern = included is not None or isinstance(rule, dict)
    if not choice and sites and (by_pattern or excluded):
        raise ValueError(f"There is no activation to swap. Found: {_list(sites)}.")
    choice = _suited(choice, by_pattern)
    return choice if by_pattern else [(site, _of_one_input(rule, site, explained)) for site, rule in choice]


def no_site(sites: Sequence[ActivationSite]) -> str:
    """What to tell of a model without a site for a rule."""
    closed = any(site.skip_reason is SkipReason.CLOSED for site in sites)
    advice = " Write the `call` of such a layer with Keras layers and `keras.ops`, so that it can be opened."
    return (
        "No activation of this model can have a rule, so its maps come from the plain gradient: "
        f"{_list(sites)}." + advice * closed
    )


def table() -> str:
    """The policy as text: what each rule by name puts at each kind of site."""
    rows: list[tuple[str, ...]] = [("rule", "activation", *OPERATIONS)]
    for name in rules.names():
        at = [rules.at_operation(name, kind) for kind in OPERATIONS]
        rows.append((name, name, *(rules.name_of(rule) if rule else "the gradient" for rule in at)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    notes = [
        "Activations: " + ", ".join(SWAPPABLE) + ", and what `register_activation` declares.",
        "Learned rules stand at operations only in models of tokens, or where `include` names them.",
    ]
    return "\n".join([line.rstrip() for line in lines] + notes)


def _stands(rule: rules.PropagationRule, site: ActivationSite, explained: Explained, forced: bool) -> bool:
    """Whether a rule stands at a site, which patterns may have forced."""
    if forced:
        return site.reachable
    # Elsewhere, learned rules are trained with the gradient of these operations.
    keeps_gradient = rule.learned and site.kind != "activation" and not explained.is_of_tokens
    return not (site.skip_reason or keeps_gradient)


def _suited(choice: Choice, by_pattern: bool) -> Choice:
    """The choice with the gradient in place of rules that don't suit their sites.

    Raises:
        ValueError: If patterns have asked for such a rule.
    """
    unsuited = [(site, rule) for site, rule in choice if not rule.suits(site)]
    if unsuited and by_pattern:
        sites = ", ".join(f"{site.path} ({site.activation})" for site, _ in unsuited)
        raise ValueError(
            "Each rule must suit its activation: 'libra' and other split rules need σ(0) = 0. Use "
            f"rule='gradient' or exclude=[...] there. Received: {sites:.1000}"
        )
    return [
        (site, rule if rule.suits(site) else rules.GradientRule(rules.name_of(rule), name=rule.name))
        for site, rule in choice
    ]


def _of_one_input(
    rule: rules.PropagationRule, site: ActivationSite, explained: Explained
) -> rules.PropagationRule:
    """The gradient in place of a learned rule at an activation that holds other inputs as well.

    What such a rule passes on depends on what it sees at each place, and so the map of one input would show
    what is in another.
    """
    if rule.learned and site.kind == "activation" and explained.holds_others(site.path):
        return rules.GradientRule(rules.name_of(rule), name=rule.name)
    return rule


def _maker(
    sites: Iterable[ActivationSite], rule: Any
) -> Callable[[ActivationSite, int], rules.PropagationRule | None]:
    """Function from a site and a number to a new rule, or None where none is asked for."""
    if isinstance(rule, dict):
        for pattern in rule:
            patterns.matching(sites, pattern, "rule")
    else:
        rules.get(rule)

    def make(site: ActivationSite, number: int) -> rules.PropagationRule | None:
        identifier = rule
        if isinstance(rule, dict):
            identifier = next((one for pattern, one in rule.items() if patterns.matches(site, pattern)), None)
        if identifier is None:
            return None
        # Keras counts names up, and TensorFlow keeps a kernel for each name that a variable ever had: about
        # 2 MB for each wrapped model.
        name = f"rule_{number}"
        if site.kind == "activation":
            return rules.get(identifier, name)
        return rules.at_operation(identifier, site.kind, name)

    return make


def _list(sites: Sequence[ActivationSite]) -> str:
    rows = [f"{site.path} ({site.activation}: {site.reason or 'excluded'})" for site in sites[:5]]
    return ", ".join(rows or [f"there is none of {', '.join(SWAPPABLE)}"])
