"""Maps of series, behind their lines."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from tf_learnprop import argument_checks, heat
from tf_learnprop.plotting import _figures
from tf_learnprop.plotting._overlay import map_array, numbers

_COLOURS = "RdBu_r"


def signal(
    values: npt.ArrayLike,
    attribution: npt.ArrayLike,
    *,
    clip: float = 99.0,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws a series as lines, with a colour behind each step: red for values above zero, blue below.

    Args:
        values: The series, numbers `[length]` or `[length, channels]`, a line for each channel.
        attribution: The map, float `[length]`.
        clip: Percentile in (0, 100] of the map's absolute values from which on the colour is full.
        title: Title of the axes.
        ax: `Axes` to draw on; None for those of a new figure.

    Returns:
        The `Axes`.

    Raises:
        ValueError: If the series has another shape, the map another length, a value is not finite, or `clip`
            is out of range.
        TypeError: If `ax` is no axes, or an array does not hold numbers.
    """
    lines = numbers("values", values).astype(np.float64)
    if lines.ndim not in (1, 2) or not lines.size:
        raise ValueError(
            f"`values` must have shape [length] or [length, channels], not empty. Received: {lines.shape}"
        )
    attribution = map_array("attribution", attribution, 1)
    if len(attribution) != len(lines):
        raise ValueError(
            f"`attribution` must have the length of the series, {len(lines)}. Received: {len(attribution)}"
        )
    argument_checks.number("clip", clip, above=0, high=100)
    axis = _figures.axes(ax, 8, 2.2)
    low, high = lines.min(), lines.max()
    margin = 0.08 * (high - low) or 1.0
    heats = np.asarray(heat.heat(attribution[None, None], clip, signed=True)[0])[0]
    axis.imshow(
        heats,
        cmap=_COLOURS,
        vmin=-1,
        vmax=1,
        aspect="auto",
        extent=(-0.5, len(lines) - 0.5, low - margin, high + margin),
        interpolation="nearest",
        alpha=0.5,
    )
    axis.plot(lines, color="black" if lines.ndim == 1 else None, linewidth=0.8)
    axis.set(xlim=(-0.5, len(lines) - 0.5), ylim=(low - margin, high + margin))
    axis.set_title(title or "", parse_math=False)
    return axis
