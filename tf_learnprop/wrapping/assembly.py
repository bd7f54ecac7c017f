"""Puts chosen rules together with a readout: the `RuleSet` of a model."""

import warnings

from tf_learnprop import readouts, rules, universal
from tf_learnprop.rule_files.rule_set import RuleSet

_NAME_THE_GRID = (
    " If its tokens are patches of the input, name their grid: "
    "`readout=tlp.readouts.TokenReadout(grid=(rows, columns))`."
)


def make_rule_set(explained, chosen, readout):
    """The `RuleSet` of a model: the rules, built for their layers, and the readout.

    Rules with weights that no backward pass reaches, since nothing before them is read, become the gradient.
    Must be called by the function that the user calls.

    Args:
        explained: `Explained`.
        chosen: list of (`ActivationSite`, new rule).
        readout: as in `wrap_model`.

    Raises:
        ValueError: a readout that finds nothing to read or does not fit the input; a rule that does not fit
            its activation.
    """
    graph, image_shape = explained.graph, explained.input_shape
    shapes = explained.activation_shapes([site.path for site, _ in chosen])
    kind_of = {site.path: site.kind for site, _ in chosen}
    readable = {readouts.INPUT: image_shape}
    readable |= {k: shape for k, (path, shape) in enumerate(shapes) if kind_of[path] == "activation"}
    if explained.is_embedded:
        readout, falls_back = readouts.get("tokens" if readout is None else readout).for_integers(), False
    else:
        readout, falls_back = _choose_readout(chosen, readout, readable, explained.is_of_tokens)
    explained = explained.with_grid(readout.grid)
    read = [position for position, shape in readable.items() if readout.reads(shape, image_shape)]
    if readout.reads_feature_map:
        feature_map = explained.feature_map
        read = [readouts.INPUT if feature_map is None else readouts.FEATURE_MAP]
        if feature_map is None and not isinstance(readout, readouts.TokenReadout):
            raise ValueError(
                f"{type(readout).__name__} finds no feature map to read in this model: no tensor that all "
                f"paths to the output pass has the rank of the input {image_shape}. Use readout='input'."
            )
        if feature_map is not None:
            readable[readouts.FEATURE_MAP] = tuple(graph.tensors[feature_map].shape)
    if not read and not readout.reads_input:
        raise ValueError(
            f"{type(readout).__name__} finds no activation to read in this model: none has the rank of the "
            f"input {image_shape} and a size that it reads. Use readout='input'."
        )
    if falls_back or len(image_shape) > 2 and read == [readouts.INPUT]:
        warnings.warn(
            f"No activation of model '{graph.model.name}' can be read as a map: none has the rank of the "
            f"input {image_shape} and a size that the multi-layer readout reads. The map is read from the "
            "input alone, as gradient times input, which is often noisy."
            + _NAME_THE_GRID
            * (explained.is_of_tokens and len(image_shape) > 3),
            stacklevel=3,  # where `wrap_model` is called
        )
    shape_of = {}
    for path, shape in shapes:
        shape_of[path] = _common_shape(shape_of.get(path, shape), shape)
    chosen = {site.path: rule for site, rule in chosen if site.path in shape_of}
    reached = explained.reached_paths(
        chosen, read, readout.reads_input or readouts.INPUT in read, readouts.FEATURE_MAP in read
    )
    entries = []
    for path, rule in chosen.items():
        shape = shape_of[path]
        if shape[-1] is None and isinstance(rule, rules.ChannelMixingRule):
            raise ValueError(
                f"Layer '{path}' is used on different numbers of channels, and the rule "
                "'channel_mixing' has weights for each channel. Use rule='universal' there."
            )
        rule.build(shape)
        idle = rule.weights and path not in reached
        entries.append((path, rules.GradientRule() if idle else rule, shape))
    rule_set = RuleSet(entries, readout, read, graph.structure)
    if any(isinstance(rule, rules.UniversalRule) for rule in rule_set.rules):
        read_shapes = [readable[position] for position in read]
        universal.initialise(rule_set, read_shapes, explained.head.class_count)
    return rule_set


def _choose_readout(chosen, readout, readable, of_tokens):
    """A new readout, and whether it is the input's because nothing else can be read."""
    if readout is not None:
        return readouts.get(readout), False
    image_shape = readable[readouts.INPUT]
    learned = any(isinstance(rule, (rules.GatedRule, rules.SplitRule)) for _, rule in chosen)
    if not learned or len(image_shape) == 2:
        return readouts.InputReadout(), False
    if of_tokens:
        return readouts.TokenReadout(), False
    multi_layer = readouts.MultiLayerReadout()
    activations = (shape for position, shape in readable.items() if position != readouts.INPUT)
    if any(multi_layer.reads(shape, image_shape) for shape in activations):
        return multi_layer, False
    return readouts.InputReadout(), True


def _common_shape(first, second):
    """What two shapes have in common, None where they differ; of two ranks, batch and channels."""
    if len(first) != len(second):
        first, second = (first[0], first[-1]), (second[0], second[-1])
    return tuple(a if a == b else None for a, b in zip(first, second, strict=True))
