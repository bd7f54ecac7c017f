"""Puts chosen rules together with a readout: the `RuleSet` of a model."""

import warnings
from collections.abc import Iterable, Sequence

from tf_learnprop import readouts, rules, universal
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.sites import ActivationSite
from tf_learnprop.rule_files import rule_set as rule_sets
from tf_learnprop.rule_files.rule_set import RuleSet

Shape = tuple[int | None, ...]
#: Rule and shape of each layer path.
BuiltRules = dict[str, tuple[rules.PropagationRule, Shape]]
#: Shape of each tensor that a readout may read.
Readable = dict[readouts.Position, readouts.Shape]

_NAME_THE_GRID = (
    " If its tokens are patches of the input, name their grid: "
    "`readout=tlp.readouts.TokenReadout(grid=(rows, columns))`."
)


_WITH_OTHERS = (
    " Where other inputs meet this one before an activation or in a product, it also follows what is in them."
)


def make_rule_set(
    explained: Explained,
    new_rules: Sequence[tuple[ActivationSite, rules.PropagationRule]],
    readout: str | readouts.Readout | None,
) -> RuleSet:
    """The `RuleSet` of a model: the rules, built for their layers, and the readout.

    Rules with weights that no backward pass reaches, since nothing before them is read, become the gradient.
    Must be called by the function that the user calls.

    Args:
        explained: The output and the input that are explained.
        new_rules: The sites that get a rule, each with its own.
        readout: As in `wrap_model`.

    Raises:
        ValueError: If the model can't meet what a readout needs, or a rule does not fit its activation.
    """
    shapes = explained.activation_shapes([site.path for site, _ in new_rules])
    built = _build({site.path: rule for site, rule in new_rules}, _common_shapes(shapes))
    kind_of = {site.path: site.kind for site, _ in new_rules}
    readable: Readable = {readouts.INPUT: explained.input_shape}
    runs = zip(shapes, explained.run_tensors(kind_of), explained.placed_shapes(kind_of), strict=True)
    readable |= {
        position: placed
        for position, ((path, shape), number, placed) in enumerate(runs)
        if kind_of[path] == "activation" and explained.is_readable(number, shape)
    }
    if explained.is_embedded:
        readout, falls_back = readouts.get("tokens" if readout is None else readout).for_integers(), False
    else:
        reads_layers = any(
            rule.reads_layers or _is_instead_of_learned(rule, path, explained)
            for path, (rule, _) in built.items()
        )
        readout, falls_back = _choose_readout(explained, reads_layers, readout, readable)
    explained = explained.with_grid(readout.needs.grid).with_layer(readout.needs.layer)
    read = _what_is_read(explained, readout, readable)
    reads_no_layer = falls_back or len(explained.input_shape) > 2 and read == [readouts.INPUT]
    # What is behind a recurrent layer with a rule has no places, and before it the signal is not noisy.
    if reads_no_layer and "recurrence" not in kind_of.values():
        warnings.warn(
            f"No activation of model '{explained.graph.model.name}' can be read as a map: none has places in "
            f"the input {explained.input_shape} alone and a size that the multi-layer readout reads. The map "
            "is read from the input alone, as gradient times input, which is often noisy."
            + _WITH_OTHERS * (len(explained.graph.inputs) > 1)
            + _NAME_THE_GRID * (explained.is_of_tokens and len(explained.input_shape) > 3),
            stacklevel=3,  # where `wrap_model` is called
        )
    reads_input = readout.needs.input_signal or readouts.INPUT in read
    reached = explained.reached_paths(built, read, reads_input, readouts.FEATURE_MAP in read)
    entries = [(path, _at(explained, rule, path in reached), shape) for path, (rule, shape) in built.items()]
    rule_set = RuleSet(entries, readout, read, explained.graph.structure)
    if any(rule.initial == "universal" for rule in rule_set.rules):
        if explained.feature_map_shape is not None:
            readable[readouts.FEATURE_MAP] = explained.feature_map_shape
        read_shapes = [readable[position] for position in read]
        universal.initialise(rule_set, read_shapes, explained.head.class_count or 2)
    return rule_set


def _build(rule_of: dict[str, rules.PropagationRule], shape_of: dict[str, Shape]) -> BuiltRules:
    """Builds each rule for the shape of its activation."""
    built = {}
    for path, rule in rule_of.items():
        if path not in shape_of:
            continue  # it does not run
        shape = shape_of[path]
        if any(None in weight for weight, _ in rule.weight_specs(shape).values()):
            raise ValueError(
                f"Layer '{path}' is used on different numbers of channels, and the rule "
                f"{rules.name_of(rule)!r} has weights for each channel. Use rule='universal' there."
            )
        rule_sets.build(rule, shape)
        built[path] = rule, shape
    return built


def _is_instead_of_learned(rule: rules.PropagationRule, path: str, explained: Explained) -> bool:
    """Whether a rule is the gradient where a learned one would bring in what is in another input."""
    return isinstance(rule, rules.GradientRule) and bool(rule.instead_of) and explained.holds_others(path)


def _at(explained: Explained, rule: rules.PropagationRule, is_reached: bool) -> rules.PropagationRule:
    """The rule that stands at a site for which one was chosen."""
    if rule.learned and not is_reached:
        return rules.GradientRule()
    if explained.is_series and rule.initial == "universal":
        # It was learned on images. On series the gradient is better, the more so the deeper the model.
        return rules.GradientRule(instead_of="universal")
    return rule


def _choose_readout(
    explained: Explained, reads_layers: bool, readout: str | readouts.Readout | None, readable: Readable
) -> tuple[readouts.Readout, bool]:
    """A new readout, and whether it is the input's because nothing else can be read."""
    if readout is not None:
        return readouts.get(readout), False
    input_shape = readable[readouts.INPUT]
    if len(input_shape) == 2 or not reads_layers:
        return readouts.InputReadout(), False
    if explained.is_of_tokens:
        return readouts.TokenReadout(), False
    multi_layer = readouts.SeriesReadout() if explained.is_series else readouts.MultiLayerReadout()
    activations = (shape for position, shape in readable.items() if position != readouts.INPUT)
    if any(multi_layer.reads(shape, input_shape) for shape in activations):
        return multi_layer, False
    return readouts.InputReadout(), True


def _what_is_read(
    explained: Explained, readout: readouts.Readout, readable: Readable
) -> list[readouts.Position]:
    """The positions that a readout reads, in order.

    Raises:
        ValueError: If the model has nothing that the readout needs.
    """
    name, needs, sides = type(readout).__name__, readout.needs, len(explained.input_shape) - 2
    unmet = f"{name} needs {needs}, and this model has none"
    if needs.sides not in (None, sides):
        raise ValueError(
            f"{name} needs an input with {needs.sides} side{'s' * (needs.sides != 1)}. "
            f"Received: an input {explained.input_shape}"
        )
    if needs.feature_map:
        if explained.feature_map is not None:
            return [readouts.FEATURE_MAP]
        if needs.or_input and sides:
            return [readouts.INPUT]
        raise ValueError(
            f"{unmet}: no tensor that all paths to the output pass has places in the input "
            f"{explained.input_shape} alone. Use readout='input'."
        )
    read = [position for position, shape in readable.items() if readout.reads(shape, explained.input_shape)]
    if not read and not needs.input_signal:
        raise ValueError(
            f"{unmet} that it reads: none has places in the input {explained.input_shape} alone and a size "
            "that it reads. Use readout='input'."
        )
    return read


def _common_shapes(shapes: Iterable[tuple[str, Shape]]) -> dict[str, Shape]:
    """What the shapes of each path have in common."""
    shape_of: dict[str, Shape] = {}
    for path, shape in shapes:
        shape_of[path] = _common_shape(shape_of.get(path, shape), shape)
    return shape_of


def _common_shape(first: Shape, second: Shape) -> Shape:
    """What two shapes have in common, None where they differ; of two ranks, batch and channels."""
    if len(first) != len(second):
        first, second = (first[0], first[-1]), (second[0], second[-1])
    return tuple(a if a == b else None for a, b in zip(first, second, strict=True))
