"""Lists which activations get a rule, and why others don't."""

import dataclasses

import rich.table

from tf_learnprop.cli import options


def arguments(parser):
    """Adds the command's arguments."""
    options.add_model(parser)


def run(arguments, console):
    """Prints the table.

    Returns:
        dict: `summary`, str; `activations`, list of dicts.
    """
    source = options.source(arguments)
    coverage = options.wrapped(arguments, source).coverage
    rows = [dataclasses.asdict(row) for row in coverage]
    table = rich.table.Table("layer", "activation", "rule", "why not", title=source.name)
    for row in coverage:
        table.add_row(row.path, f"{row.activation} ({row.layer})", row.rule or "–", row.reason)
    console.print(table)
    console.print(coverage.summary())
    return {"summary": coverage.summary(), "activations": rows}
