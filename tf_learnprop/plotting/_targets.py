"""Maps of regions and of boxes, with what they explain."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle

from tf_learnprop.plotting import _figures
from tf_learnprop.plotting._overlay import map_array, numbers, overlay, photo_array, whole

#: A colour that neither a grey photo nor the heat has.
_LINE = "deepskyblue"


def regions(
    image: npt.ArrayLike,
    mask: npt.ArrayLike,
    attribution: npt.ArrayLike,
    *,
    signed: bool = False,
    title: str | None = None,
    fig: FigureBase | None = None,
) -> FigureBase:
    """Draws a photo with a region, beside the map of what the model says of that region.

    Args:
        image: The photo, as for `overlay`.
        mask: Which pixels the region holds, booleans or numbers `[rows, columns]` of any size; it is
            stretched over the whole photo.
        attribution: The map, float `[rows, columns]`, as for `overlay`.
        signed: See `overlay`.
        title: Title of the map.
        fig: `Figure` or `SubFigure` to fill; None for a new one.

    Returns:
        The `Figure` or `SubFigure`.

    Raises:
        ValueError: If the mask has another shape or holds no pixel; and as `overlay`.
        TypeError: If `fig` is no figure, or an array does not hold numbers.
    """
    photo = photo_array("image", image)
    held = map_array("mask", np.asarray(mask) * 1, 2) > 0
    if not held.any():
        raise ValueError("`mask` must hold at least one pixel. Received: none above zero")
    height, width = photo.shape[:2]
    fig = _figures.figure(fig, 6, 3 * height / width + 0.3)
    left, right = fig.subplots(1, 2)
    left.imshow(photo, cmap="gray", vmin=0, vmax=1)
    left.set_title("region")
    _figures.bare(left)
    overlay(photo, attribution, signed=signed, title=title or "map", ax=right)
    for axis in (left, right):
        _outline(axis, held, photo.shape)
    return fig


def boxes(
    image: npt.ArrayLike,
    boxes: npt.ArrayLike,
    attribution: npt.ArrayLike,
    *,
    labels: Sequence[str] | None = None,
    signed: bool = False,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws a map over its photo, with boxes.

    Args:
        image: The photo, as for `overlay`.
        boxes: `[k, 4]`, or `[4]` for a single one: left, top, right and bottom in pixels of the photo.
        attribution: The map, float `[rows, columns]`, as for `overlay`.
        labels: A text for each box; None for none.
        signed: See `overlay`.
        title: Title of the axes.
        ax: `Axes` to draw on; None for those of a new figure.

    Returns:
        The `Axes`.

    Raises:
        ValueError: If a box is not left, top, right, bottom with a width and a height above 0, or labels are
            more or fewer than boxes; and as `overlay`.
        TypeError: If `ax` is no axes, or an array does not hold numbers.
    """
    corners = np.atleast_2d(numbers("boxes", boxes)).astype(np.float64)
    if corners.ndim != 2 or corners.shape[1] != 4 or (corners[:, 2:] <= corners[:, :2]).any():
        raise ValueError(
            "`boxes` must be left, top, right, bottom of each box, right and bottom the larger ones. "
            f"Received: {np.asarray(boxes).tolist()!r:.200}"
        )
    if labels is not None and len(labels) != len(corners):
        raise ValueError(f"`labels` must be one for each of {len(corners)} boxes. Received: {len(labels)}")
    axis = overlay(image, attribution, signed=signed, title=title, ax=ax)
    for number, (left, top, right, bottom) in enumerate(corners):
        corner = left - 0.5, top - 0.5
        width, height = right - left, bottom - top
        axis.add_patch(Rectangle(corner, width, height, edgecolor=_LINE, facecolor="none", linewidth=1.5))
        if labels is not None:
            axis.annotate(
                labels[number],
                corner,
                (2, -9),
                textcoords="offset points",
                fontsize=8,
                parse_math=False,
                bbox={"facecolor": _LINE, "edgecolor": "none", "pad": 1.0},
            )
    return axis


def _outline(axis: Axes, held: np.ndarray, shape: tuple[int, ...]) -> None:
    """Draws the edge of a region that is stretched over a photo."""
    left, right, bottom, top = whole(shape)
    rows, columns = held.shape
    # With an empty border, a region at the edge of the photo has an outline there too.
    padded = np.pad(held, 1).astype(float)
    across = left + (np.arange(-1, columns + 1) + 0.5) * (right - left) / columns
    down = top + (np.arange(-1, rows + 1) + 0.5) * (bottom - top) / rows
    axis.contour(across, down, padded, levels=[0.5], colors=_LINE, linewidths=1.5)
    axis.axis(whole(shape))
