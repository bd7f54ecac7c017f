"""Lists which activations get a rule, and why the others don't."""

from __future__ import annotations

import argparse
import dataclasses

import rich.console
import rich.table

from tf_learnprop.cli import options


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    options.add_model(parser)


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Prints the table.

    Returns:
        `summary`, a text; `activations`, a dict for each one.
    """
    spec = options.load_model(arguments)
    coverage = options.wrap(arguments, spec).coverage
    rows = [dataclasses.asdict(row) for row in coverage]
    table = rich.table.Table("layer", "activation", "rule", "why not", title=spec.name)
    for row in coverage:
        table.add_row(row.path, f"{row.activation} ({row.layer})", row.rule or "–", row.reason)
    console.print(table)
    console.print(coverage.summary())
    return {"summary": coverage.summary(), "activations": rows}
