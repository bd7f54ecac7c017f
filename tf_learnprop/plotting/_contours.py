"""Contours of an attribution map, which leave the photo's own colours in sight."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.axes import Axes

from tf_learnprop.plotting import _figures, _overlay
from tf_learnprop.plotting._overlay import Region

#: Shares of the photo's pixels that the lines enclose, when none are given.
SHARES = (0.05, 0.15, 0.3)
#: From the innermost line outwards: evidence for the class, and against it.
_FOR = ("#ffe100", "#ff9d00", "#ff4f4f", "#e0218a")
_AGAINST = ("#00e5ff", "#29a3ff", "#5c6cff", "#8f4dff")


def contour(
    image: npt.ArrayLike,
    attribution: npt.ArrayLike,
    *,
    shares: Sequence[float] = SHARES,
    signed: bool = False,
    region: Region | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws lines around the most important pixels of a photo, which keeps its colours.

    The line for a share of 0.05 encloses the 5 % of the map's pixels with the largest values. A line is left
    out where the map is not above zero on so many pixels. `ax.legend()` names the lines.

    Args:
        image: As for `overlay`.
        attribution: As for `overlay`.
        shares: One to four numbers in (0, 1), increasing.
        signed: False follows the largest values. True follows the largest absolute values, with warm colours
            above zero and cold ones below.
        region: As for `overlay`.
        title: Title of the axes.
        ax: `Axes` to draw on; None for those of a new figure.

    Returns:
        The `Axes`.

    Raises:
        ValueError: If an array has another shape, is empty or not finite, or holds values outside its range;
            or if `shares` or `region` is out of range.
        TypeError: If `ax` is no axes, or an array does not hold numbers.
    """
    photo = _overlay.photo_array("image", image)
    attribution = _overlay.map_array("attribution", attribution, 2)
    shares = _checked(shares)
    left, top, right, bottom = _overlay.region_in(region, photo.shape)
    axis = _figures.axes(ax, 3, 3)
    axis.imshow(photo, cmap="gray", vmin=0, vmax=1, extent=_overlay.whole(photo.shape))
    rows, columns = attribution.shape
    ys = top + (np.arange(rows) + 0.5) * (bottom - top) / rows - 0.5
    xs = left + (np.arange(columns) + 0.5) * (right - left) / columns - 0.5
    levels = np.quantile(np.abs(attribution) if signed else attribution, 1 - np.array(shares))
    sides = [(1, _FOR, "top")] + [(-1, _AGAINST, "against: top")] * signed
    for sign, colours, name in sides:
        for share, level, colour in zip(shares, levels, colours, strict=False):
            if not 0 < level < (sign * attribution).max() or min(rows, columns) < 2:
                continue
            lines = axis.contour(xs, ys, sign * attribution, levels=[level], colors=[colour], linewidths=1.8)
            lines.set_path_effects([patheffects.withStroke(linewidth=3.4, foreground="#000000b0")])
            axis.plot([], [], color=colour, linewidth=2.5, label=f"{name} {share:.0%}")
    _figures.bare(axis)
    axis.set_title(title or "", parse_math=False)
    return axis


def _checked(shares: Sequence[float]) -> tuple[float, ...]:
    shares = tuple(float(share) for share in shares)
    if (
        not 0 < len(shares) <= len(_FOR)
        or not all(0 < share < 1 for share in shares)
        or any(a >= b for a, b in zip(shares, shares[1:], strict=False))
    ):
        raise ValueError(
            f"`shares` must be one to {len(_FOR)} numbers in (0, 1), increasing. Received: shares={shares}"
        )
    return shares
