"""The coverage table: each activation of a model, the rule behind it or why it has none, and what is read."""

import collections
import dataclasses
from collections import abc
from typing import Any

from tf_learnprop import readouts, rules
from tf_learnprop.graph.explained import Explained
from tf_learnprop.rule_files.rule_set import RuleSet

#: Reason of a swapped activation that keeps its gradient as a rule there would have no effect.
_NOT_REACHED = "keeps its gradient: the backward pass ends after it"
#: Why learned rules stand only where the explained input is alone.
_OTHERS = "a learned rule would bring in what is in another input"


@dataclasses.dataclass(frozen=True)
class Row:
    """One activation.

    Attributes:
        path: Layer path.
        layer: Class of the layer or operation.
        activation: Its name; "?" if it can't be seen.
        swapped: Whether a rule stands behind it.
        rule: Name of the rule as `wrap_model` takes it, or else its class; "" if not swapped.
        reason: Why it has no rule, or why its rule is the plain gradient; else "".
        learned: Whether its rule has weights, which `fit` trains.
        read: Whether the readout makes the map from it.
        places: Where its places lie in the input, if it is read.
    """

    path: str
    layer: str
    activation: str
    swapped: bool
    rule: str = ""
    reason: str = ""
    learned: bool = False
    read: bool = False
    places: str = ""


class Coverage(abc.Sequence):
    """The `Row`s of a wrapped model in the order of its layers; `print` shows them as a table.

    Args:
        explained: The output and the input of the source model.
        rule_set: Its rules and readout.
    """

    def __init__(self, explained: Explained, rule_set: RuleSet):
        graph = explained.graph
        runs = explained.activation_shapes(rule_set.paths)
        read = {runs[position][0] for position in rule_set.read if isinstance(position, int)}
        places = _places(explained, rule_set, runs)
        self.reads_feature_map = readouts.FEATURE_MAP in rule_set.read
        self._attends = bool(graph.attention_outputs)
        self.reads_input = rule_set.readout.needs.input_signal or readouts.INPUT in rule_set.read
        rule_of = dict(zip(rule_set.paths, rule_set.rules, strict=True))
        self._grid, self._layer = explained.grid, explained.layer
        number = explained.feature_map if self.reads_feature_map else None
        self._feature_map_places = "" if number is None else explained.describe_places(number)
        reached = explained.reached_paths(
            rule_set.paths, rule_set.read, self.reads_input, self.reads_feature_map
        )
        self._rows = []
        for site in graph.activations:
            rule = rule_of.get(site.path)
            if rule is None:
                default = "not selected" if site.kind == "activation" else "keeps its gradient"
                fate: dict[str, Any] = {"swapped": False, "reason": site.reason or default}
            else:
                fate = {"swapped": True, "rule": rules.name_of(rule), "learned": rule.learned}
                # Without anything to train, the gradient is what was asked for.
                idle = bool(rule_set.weights) and site.path not in reached
                if isinstance(rule, rules.GradientRule) and rule.instead_of:
                    where = "series" if rule.instead_of == "universal" else site.activation
                    unsuited = f"{rule.instead_of!r} does not suit {where}"
                    why = _OTHERS if explained.holds_others(site.path) else unsuited
                    fate["reason"] = f"keeps its gradient: {why}"
                elif idle and isinstance(rule, rules.GradientRule):
                    fate["reason"] = _NOT_REACHED
            fate["read"] = site.path in read
            if fate["read"]:
                fate["places"] = places[site.path]
            elif site.path in places and site.kind == "activation":
                fate["reason"] = "; ".join(filter(None, (fate.get("reason"), places[site.path])))
            self._rows.append(Row(site.path, site.layer_class, site.activation, **fate))

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def swapped(self) -> list[str]:
        """Paths of the activations that have a rule."""
        return [row.path for row in self if row.swapped]

    @property
    def read(self) -> list[str]:
        """Paths of the activations from which the map is made."""
        return [row.path for row in self if row.read]

    def summary(self) -> str:
        """One line: how many activations are swapped, what their rules are, and why the others have none."""
        swapped = [row for row in self if row.swapped]
        learned = sum(row.learned for row in swapped)
        plain = sum(row.rule == "gradient" for row in swapped)
        idle = any(row.reason == _NOT_REACHED for row in swapped)
        left = collections.Counter(row.reason for row in self if not row.swapped)
        notes = []
        if idle or (learned and plain):
            notes.append(f"{learned} with learned rules, {plain} with the plain gradient")
        unsuited = collections.Counter(row.reason for row in swapped if row.reason not in ("", _NOT_REACHED))
        notes += [f"{count} {reason}" for reason, count in unsuited.items()]
        notes += [f"{count} left alone: {reason}" for reason, count in left.items()]
        text = f"{len(swapped)} of {len(self)} activations swapped"
        return f"{text} ({'; '.join(notes)})" if notes else text

    def reading(self) -> str:
        """One line: what the map is made from."""
        sources = ["the input"] * self.reads_input
        if self.reads_feature_map:
            sources.append(self._feature_map_read())
        if self.read:
            sources.append(f"{len(self.read)} activations" if len(self.read) > 1 else "1 activation")
        return f"The map is read from {' and '.join(sources)}" + (
            " alone" if sources == ["the input"] else ""
        )

    def _feature_map_read(self) -> str:
        if self._layer:
            return f"the output of layer '{self._layer}'"
        grid = " × ".join(map(str, self._grid or ()))
        read = f"the tokens of the grid {grid}" if grid else "the last feature map"
        return read + " before attention" * self._attends

    def __str__(self) -> str:
        head = ("layer", "class", "activation", "swapped", "places", "rule / reason")
        table = [head] + [
            (
                row.path,
                row.layer,
                row.activation,
                "yes" if row.swapped else "no",
                row.places,
                ", ".join(filter(None, (row.rule, row.reason))),
            )
            for row in self
        ]
        widths = [max(len(line[column]) for line in table) for column in range(5)]
        lines = [
            "  ".join([cell.ljust(width) for cell, width in zip(line, widths, strict=False)] + [line[5]])
            for line in table
        ]
        places = self._feature_map_places
        lines += [self.reading(), *([f"The feature map has {places}"] if places else []), self.summary()]
        return "\n".join(lines)

    __repr__ = __str__


def _places(explained: Explained, rule_set: RuleSet, runs: list[tuple[str, Any]]) -> dict[str, str]:
    """Where the places of each activation that is read lie, or why one that might be read is not."""
    texts = collections.defaultdict(list)
    numbers = explained.run_tensors(rule_set.paths)
    for position, ((path, shape), number) in enumerate(zip(runs, numbers, strict=True)):
        might_be_read = rule_set.readout.reads(shape, explained.input_shape)
        if position in rule_set.read:
            texts[path].append(explained.describe_places(number))
        elif might_be_read and not explained.is_readable(number, shape):
            texts[path].append(f"not read: {explained.why_no_map(number)}")
        else:
            texts[path].append("")
    return {path: _by_run(lines) for path, lines in texts.items()}


def _by_run(texts: list[str]) -> str:
    """One text of those of all runs of an activation, which are counted where they differ."""
    if len(set(texts)) == 1:
        return texts[0]
    lines = (f"{text} (run {number} of {len(texts)})" for number, text in enumerate(texts, 1) if text)
    return "; ".join(lines)
