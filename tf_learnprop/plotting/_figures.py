"""What `fig` and `ax` mean, for all figures."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase


def figure(fig, width, height, layout="constrained"):
    """The `Figure` or `SubFigure` given, or for None a new one of `width` × `height` inches.

    Raises:
        TypeError: neither.
    """
    if fig is None:
        return Figure(figsize=(width, height), layout=layout)
    if not isinstance(fig, FigureBase):
        raise TypeError(f"`fig` must be a matplotlib `Figure` or `SubFigure`. Received: fig={fig!r}")
    return fig


def axes(ax, width, height):
    """The `Axes` given, or for None those of a new figure of `width` × `height` inches.

    Raises:
        TypeError: neither.
    """
    if ax is None:
        return figure(None, width, height).subplots()
    if not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be matplotlib `Axes`. Received: ax={ax!r}")
    return ax


def bare(axis):
    """Takes ticks and frame away and leaves the labels, which `set_axis_off` would hide."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
