"""Maps of volumes, in three planes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import FigureBase

from tf_learnprop.plotting import _figures
from tf_learnprop.plotting._overlay import map_array, numbers, overlay


def slices(
    volume: npt.ArrayLike,
    attribution: npt.ArrayLike,
    *,
    at: Sequence[int] | None = None,
    signed: bool = False,
    fig: FigureBase | None = None,
) -> FigureBase:
    """Draws three planes of a volume through one place, one across each axis, with the map over them.

    Args:
        volume: Numbers `[a, b, c]` or `[a, b, c, 1]`. Grey goes from the smallest to the largest of them.
        attribution: The map, float `[a, b, c]`.
        at: The place, an index for each axis; None for the largest value of the map, or the largest absolute
            one if `signed`.
        signed: See `overlay`.
        fig: `Figure` or `SubFigure` to fill; None for a new one.

    Returns:
        The `Figure` or `SubFigure`.

    Raises:
        ValueError: If the volume or the map has another shape or is not finite, or `at` lies outside.
        TypeError: If `fig` is no figure, or an array does not hold numbers.
    """
    values = numbers("volume", volume).astype(np.float64)
    values = values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values
    if values.ndim != 3 or not values.size:
        raise ValueError(
            f"`volume` must have shape [a, b, c] or [a, b, c, 1], not empty. Received: shape={values.shape}"
        )
    attribution = map_array("attribution", attribution, 3)
    if attribution.shape != values.shape:
        raise ValueError(
            f"`attribution` must have the shape of the volume, {values.shape}. "
            f"Received: shape={attribution.shape}"
        )
    place = _place(at, attribution, signed)
    low, high = values.min(), values.max()
    grey = (values - low) / (high - low) if high > low else np.zeros_like(values)
    fig = _figures.figure(fig, 9, 3.3)
    for axis, (across, index) in zip(fig.subplots(1, 3), enumerate(place), strict=True):
        planes = (np.take(array, index, across) for array in (grey, attribution))
        overlay(*planes, signed=signed, title=f"axis {across}, plane {index}", ax=axis)
        row, column = (k for number, k in enumerate(place) if number != across)
        axis.axhline(row, color="deepskyblue", linewidth=0.5)
        axis.axvline(column, color="deepskyblue", linewidth=0.5)
    return fig


def _place(at: Sequence[int] | None, attribution: np.ndarray, signed: bool) -> tuple[int, ...]:
    if at is None:
        largest = np.argmax(np.abs(attribution) if signed else attribution)
        return tuple(map(int, np.unravel_index(largest, attribution.shape)))
    inside = len(at) == 3 and all(0 <= k < side for k, side in zip(at, attribution.shape, strict=True))
    if not inside:
        raise ValueError(
            f"`at` must be an index for each axis, within {attribution.shape}. Received: at={at!r}"
        )
    return tuple(at)
