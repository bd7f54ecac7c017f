"""Curves with bands."""

import itertools

import numpy as np
from matplotlib.lines import Line2D

from tf_learnprop.plotting import _figures

#: Colours that the colour-blind can tell apart (Okabe and Ito 2008), with dashes that serve in grey.
_STYLES = (
    {"color": "#0072B2", "linestyle": "-"},
    {"color": "#D55E00", "linestyle": "--"},
    {"color": "#767676", "linestyle": ":"},
    {"color": "#009E73", "linestyle": "-."},
    {"color": "#CC79A7", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
)


def curves(panels, *, xlabel="", fig=None, ax=None):
    """Curves with bands, in rows and columns of panels with the same axes and one legend.

    Args:
        panels: dict from the names of rows to dicts from the names of columns, the same in each row, to
            lines: a dict from labels to (x, middle, low, high), arrays `[points]`, where low and high bound
            the band. A label looks the same in all panels; after five, looks repeat.
        xlabel: str, below the last row.
        fig: matplotlib `Figure` or `SubFigure` to fill; None for a new one.
        ax: `Axes` to draw on instead, `[rows, columns]`; for one panel, its axes alone.

    Returns:
        The `Figure` or `SubFigure`: `savefig` saves it, a notebook shows it.

    Raises:
        ValueError: no panels or lines; rows with different columns; arrays that do not fit or are not
            finite; axes of another number than the panels; both `fig` and `ax`.
        TypeError: `fig` is no figure.
    """
    columns = _checked(panels)
    if ax is None:
        fig = _figures.figure(fig, 1 + 2.2 * len(columns), 1 + 2 * len(panels))
        axes = fig.subplots(len(panels), len(columns), sharex=True, sharey=True, squeeze=False)
    elif fig is None and np.size(ax) == len(panels) * len(columns):
        axes = np.reshape(ax, (len(panels), len(columns)))
    else:
        raise ValueError(
            f"`ax` must be {len(panels)} × {len(columns)} axes, without `fig`. "
            f"Received: {np.size(ax)} axes, fig={fig!r}"
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
        fig.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    else:
        axes[0, 0].legend(handles=handles, frameon=False)
    return axes[0, 0].figure


def _draw(axis, lines, styles):
    for label, (x, middle, low, high) in lines.items():
        axis.plot(x, middle, **styles[label])
        axis.fill_between(x, low, high, color=styles[label]["color"], alpha=0.15, linewidth=0)
    axis.spines[["top", "right"]].set_visible(False)


def _checked(panels):
    """The names of the columns."""
    columns = [list(row) for row in panels.values()]
    if not columns or not columns[0] or any(other != columns[0] for other in columns):
        raise ValueError(f"`panels` must be rows with the same columns, one at least. Received: {columns}")
    for name, row in panels.items():
        for column, lines in row.items():
            if not lines or not all(_is_line(line) for line in lines.values()):
                raise ValueError(
                    "`panels` must hold lines of four finite arrays [points]: x, middle, low, high. "
                    f"Received: in {name!r}, {column!r} "
                    f"{ {label: [np.shape(part) for part in line] for label, line in lines.items()} }"
                )
    return columns[0]


def _is_line(line):
    shapes = {np.shape(part) for part in line}
    return len(line) == 4 and len(shapes) == 1 and len(shapes.pop()) == 1 and np.isfinite(line).all()
