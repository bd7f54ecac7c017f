"""What `evaluate --methods` measures and shows: several methods side by side."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import rich.console
import rich.progress

import tf_learnprop as tlp
from tf_learnprop.cli import evaluation_page, options
from tf_learnprop.cli.errors import naming_options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: As many photos are shown with the maps of all methods.
_SHOWN = 6


def compare(
    wrapped: tlp.PropagationModel,
    spec: tlp.zoo.ModelSpec,
    photos: Mapping[pathlib.Path, np.ndarray],
    images: np.ndarray,
    names: Sequence[str],
    arguments: argparse.Namespace,
    console: rich.console.Console,
) -> tuple[str, dict[str, Any], str]:
    """Compares the rules with methods.

    Args:
        wrapped: The wrapped model.
        spec: The model.
        photos: uint8 `[h, w, c]`, by path.
        images: The photos, preprocessed.
        names: Names of the methods.
        arguments: Arguments of the command.
        console: Where progress is shown.

    Returns:
        The table, what is written as JSON, and the page.
    """
    own = "universal" if options.choose_rules(arguments, spec) == "universal" else "rules"
    with rich.progress.Progress(console=console, disable=console.quiet) as progress:
        task = progress.add_task(f"comparing methods on {len(images)} images", total=None)
        with naming_options({}):
            comparison = tlp.metrics.compare(
                wrapped,
                images,
                {own: "learned", **{name: name for name in names if name != own}},
                steps=arguments.steps,
                seed=arguments.seed,
                progress=lambda _, total: progress.update(task, total=total, advance=1),
            )
    page = comparison.to_html(f"Methods on {spec.name}", _pictures(comparison, list(photos.values())))
    result = comparison.to_dict() | {"photos": [str(path) for path in photos]}
    return str(comparison), result, page


def _pictures(comparison: tlp.metrics.Comparison, photos: Sequence[np.ndarray]) -> str:
    """The maps of the photos on which the best method has the lowest scores."""
    first = comparison.measures[0]
    rows = np.argsort(first.scores[first.reference], kind="stable")[:_SHOWN]
    maps: dict[str, npt.ArrayLike] = {title: values[rows] for title, values in comparison.maps.items()}
    figure = tlp.plotting.compare(np.stack([photos[row] for row in rows]), maps)
    source = evaluation_page.inline_figure(cast("Figure", figure))
    return (
        f"<h2>Maps</h2><p>Of the photos with the lowest {first.title} of {first.reference}.</p>"
        f'<img alt="photos with the maps of all methods" src="{source}">'
    )
