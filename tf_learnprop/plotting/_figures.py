"""The arguments `fig` and `ax` of all figures."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase


def figure(
    fig: FigureBase | None,
    width: float,
    height: float,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> FigureBase:
    """Returns `fig`, or for None a new figure of `width` × `height` inches.

    Raises:
        TypeError: If `fig` is no figure.
    """
    if fig is None:
        return Figure(figsize=(width, height), layout=layout)
    if not isinstance(fig, FigureBase):
        raise TypeError(f"`fig` must be a matplotlib `Figure` or `SubFigure`. Received: fig={fig!r}")
    return fig


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Returns `ax`, or for None the axes of a new figure of `width` × `height` inches.

    Raises:
        TypeError: If `ax` is no axes.
    """
    if ax is None:
        return figure(None, width, height).subplots()
    if not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be matplotlib `Axes`. Received: ax={ax!r}")
    return ax


def bare(axis: Axes) -> None:
    """Removes ticks and frame; unlike `set_axis_off`, keeps the labels."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
