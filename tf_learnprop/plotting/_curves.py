"""Curves with bands."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from tf_learnprop.plotting import _figures

#: Colours that colour-blind people can tell apart (Okabe and Ito 2008), with dashes for print in grey.
_STYLES = (
    {"color": "#0072B2", "linestyle": "-"},
    {"color": "#D55E00", "linestyle": "--"},
    {"color": "#767676", "linestyle": ":"},
    {"color": "#009E73", "linestyle": "-."},
    {"color": "#CC79A7", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
)


def curves(
    panels: dict, *, xlabel: str = "", fig: FigureBase | None = None, ax: Axes | npt.ArrayLike | None = None
) -> FigureBase:
    """Draws curves with bands in a grid of panels that share axes and a legend.

    Args:
        panels: {row name: {column name: lines}}, with the same columns in each row. Lines are a dict
            {label: (x, middle, low, high)} of arrays `[points]`; the band lies between low and high. A label
            has the same style in all panels; styles repeat after five.
        xlabel: Label below the last row.
        fig: `Figure` or `SubFigure` to fill; None for a new one.
        ax: Array `[rows, columns]` of `Axes` to draw on, or the `Axes` of a single panel; None for new ones.

    Returns:
        The `Figure` or `SubFigure`.

    Raises:
        ValueError: If there are no panels or lines, if rows have different columns, if arrays differ in
            length or are not finite, if the number of axes is not that of the panels, or if both `fig` and
            `ax` are given.
        TypeError: If `fig` is no figure.
    """
    columns = _checked(panels)
    own_axes = np.asarray(ax)
    if ax is None:
        fig = _figures.figure(fig, 1 + 2.2 * len(columns), 1 + 2 * len(panels))
        axes = fig.subplots(len(panels), len(columns), sharex=True, sharey=True, squeeze=False)
    elif fig is None and own_axes.size == len(panels) * len(columns):
        axes = own_axes.reshape(len(panels), len(columns))
    else:
        raise ValueError(
            f"`ax` must be {len(panels)} × {len(columns)} axes, without `fig`. "
            f"Received: {own_axes.size} axes, fig={fig!r}"
        )
    labels = dict.fromkeys(label for row in panels.values() for lines in row.values() for label in lines)
    styles = dict(zip(labels, itertools.cycle(_STYLES), strict=False))
    for row, name in zip(axes, panels, strict=True):
        row[0].set_ylabel(name)
        for axis, column in zip(row, columns, strict=True):
            _draw(axis, panels[name][column], styles)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column)
    for axis in axes[-1]:
        axis.set_xlabel(xlabel)
    handles = [Line2D([], [], label=label, **style) for label, style in styles.items()]
    if ax is None:
        axes[0, 0].figure.legend(
            handles=handles, loc="outside upper center", ncols=len(handles), frameon=False
        )
    else:
        axes[0, 0].legend(handles=handles, frameon=False)
    return axes[0, 0].figure


def _draw(axis: Axes, lines: Mapping[str, Any], styles: Mapping[str, Any]) -> None:
    for label, (x, middle, low, high) in lines.items():
        axis.plot(x, middle, **styles[label])
        axis.fill_between(x, low, high, color=styles[label]["color"], alpha=0.15, linewidth=0)
    axis.spines[["top", "right"]].set_visible(False)


def _checked(panels: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The names of the columns."""
    columns = [list(row) for row in panels.values()]
    if not columns or not columns[0] or any(other != columns[0] for other in columns):
        raise ValueError(
            f"`panels` must have the same columns in each row, at least one. Received: {columns}"
        )
    for name, row in panels.items():
        for column, lines in row.items():
            if not lines or not all(_is_line(line) for line in lines.values()):
                raise ValueError(
                    "`panels` must hold lines of four finite arrays [points]: x, middle, low, high. "
                    f"Received: in {name!r}, {column!r} "
                    f"{ {label: [np.shape(part) for part in line] for label, line in lines.items()} }"
                )
    return columns[0]


def _is_line(line: Any) -> bool:
    shapes = {np.shape(part) for part in line}
    return len(line) == 4 and len(shapes) == 1 and len(shapes.pop()) == 1 and bool(np.isfinite(line).all())
