"""The coverage table: each activation of a model, whether a rule stands behind it, and why not."""

import dataclasses
from collections import abc


@dataclasses.dataclass(frozen=True)
class Row:
    """One activation.

    Attributes:
        path: str, layer path.
        layer: str, class of the layer or operation.
        activation: str, its name; "?" where it can't be seen.
        swapped: bool.
        rule: str, class of the rule; "" if not swapped.
        reason: str, why it is not swapped; "" if it is.
    """

    path: str
    layer: str
    activation: str
    swapped: bool
    rule: str = ""
    reason: str = ""


class Coverage(abc.Sequence):
    """The `Row`s of a wrapped model in the order of execution; `print` shows them as a table.

    Args:
        graph: `ModelGraph` of the source model.
        rule_set: its `RuleSet`.
    """

    def __init__(self, graph, rule_set):
        rules = dict(zip(rule_set.paths, rule_set.rules, strict=True))
        self._rows = []
        for site in graph.activations:
            if site.path in rules:
                fate = (True, type(rules[site.path]).__name__)
            else:
                fate = (False, "", site.skip_reason or "not selected")
            row = Row(site.path, site.layer_class, site.activation, *fate)
            self._rows.append(row)

    def __getitem__(self, index):
        return self._rows[index]

    def __len__(self):
        return len(self._rows)

    @property
    def swapped(self):
        """Paths of the swapped activations."""
        return [row.path for row in self if row.swapped]

    def summary(self):
        """One line: how many activations are swapped, and why the others are not."""
        left = {}
        for row in self:
            if not row.swapped:
                left[row.reason] = left.get(row.reason, 0) + 1
        reasons = "; ".join(f"{count} left alone: {reason}" for reason, count in left.items())
        text = f"{len(self.swapped)} of {len(self)} activations swapped"
        return f"{text} ({reasons})" if reasons else text

    def __str__(self):
        head = ("layer", "class", "activation", "swapped", "rule / reason")
        table = [head] + [
            (
                row.path,
                row.layer,
                row.activation,
                "yes" if row.swapped else "no",
                ", ".join(filter(None, (row.rule, row.reason))),
            )
            for row in self
        ]
        widths = [max(len(line[column]) for line in table) for column in range(4)]
        lines = [
            "  ".join([cell.ljust(width) for cell, width in zip(line, widths, strict=False)] + [line[4]])
            for line in table
        ]
        return "\n".join([*lines, self.summary()])

    __repr__ = __str__
