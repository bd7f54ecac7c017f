"""Attribution maps over photos."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.image import AxesImage

from tf_learnprop import argument_checks, heat
from tf_learnprop.plotting import _figures

#: Colour maps with even steps of lightness; the second is white at zero.
_HEAT, _SIGNED = "inferno", "RdBu_r"

#: Left, top, right and bottom of a part of a photo, in pixels of the photo.
Region: TypeAlias = tuple[float, float, float, float]


def overlay(
    image: npt.ArrayLike,
    attribution: npt.ArrayLike,
    *,
    signed: bool = False,
    clip: float = 99.0,
    alpha: float = 0.85,
    region: Region | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws an attribution map over its photo, which is drawn in grey so that only the map has colour.

    Colour and opacity follow the map up to its `clip`-th percentile, so the photo stays visible where nothing
    matters. The map is `ax.images[1]` in its own units; `ax.figure.colorbar(ax.images[1])` adds its scale.

    Args:
        image: The photo as it is shown, `[h, w, 3]`, `[h, w, 1]` or `[h, w]`: integers in 0..255 or floats in
            0..1.
        attribution: The map, float `[rows, columns]` of any size; it is stretched over the whole photo.
        signed: False draws only values above zero, as heat. True draws both signs, red above zero and blue
            below, on a scale whose centre is 0. The array does not tell which is right: a map whose readout
            is not signed also has values below zero, and they only mean "not important".
        clip: Percentile in (0, 100] of the map's positive part (of its absolute values, if `signed`) from
            which on the colour is full. If that is 0, the maximum is used.
        alpha: Opacity in (0, 1] of the full colour.
        region: The part of the photo that the map is of, (left, top, right, bottom) in pixels; None for the
            whole photo.
        title: Title of the axes.
        ax: `Axes` to draw on; None for those of a new figure.

    Returns:
        The `Axes`.

    Raises:
        ValueError: If an array has another shape, is empty or not finite, or holds values outside its range;
            or if `clip`, `alpha` or `region` is out of range.
        TypeError: If `ax` is no axes, or an array does not hold numbers.
    """
    grey = _grey(photo_array("image", image))
    attribution = map_array("attribution", attribution, 2)
    argument_checks.number("clip", clip, above=0, high=100)
    argument_checks.number("alpha", alpha, above=0, high=1)
    left, top, right, bottom = region_in(region, grey.shape)
    axis = _figures.axes(ax, 3, 3)
    axis.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=whole(grey.shape))
    heats, fulls = heat.heat(attribution[None], clip, signed)
    opacity = alpha * np.abs(heats[0])
    extent = (left - 0.5, right - 0.5, bottom - 0.5, top - 0.5)
    draw(axis, attribution, float(fulls[0]), signed, extent=extent, opacity=opacity)
    axis.axis(whole(grey.shape))
    _figures.bare(axis)
    axis.set_title(title or "", parse_math=False)
    return axis


def compare(
    photos: npt.ArrayLike,
    maps: dict[str, npt.ArrayLike],
    *,
    titles: Sequence[str] | None = None,
    signed: bool = False,
    fig: FigureBase | None = None,
) -> FigureBase:
    """Draws photos beside the maps of several methods, with one row per photo and a scale for each map.

    Args:
        photos: `[n, h, w, 3]`, `[n, h, w, 1]` or `[n, h, w]`, with values as for `overlay`.
        maps: For the name of each method a float array `[n, rows, columns]`.
        titles: n titles, one above each photo; None for none.
        signed: See `overlay`.
        fig: `Figure` or `SubFigure` to fill; None for a new one.

    Returns:
        The `Figure` or `SubFigure`.

    Raises:
        ValueError: If there are no photos or methods, or if photos, maps and titles differ in number; and as
            `overlay`.
        TypeError: If `fig` is no figure, or an array does not hold numbers.
    """
    photos = photo_array("photos", photos, batch=True)
    if not isinstance(maps, dict) or not maps:
        raise ValueError(f"`maps` must be a dict from names to maps, not empty. Received: {maps!r}")
    arrays = {name: map_array(f"maps[{name!r}]", value, 3) for name, value in maps.items()}
    lengths = {name: len(value) for name, value in arrays.items()}
    if titles is not None:
        lengths["titles"] = len(titles)
    if set(lengths.values()) != {len(photos)}:
        raise ValueError(
            f"`maps` and `titles` must have the length of `photos`, {len(photos)}. Received: {lengths}"
        )
    height, width = photos.shape[1:3]
    columns = len(arrays) + 1
    fig = _figures.figure(fig, 2 * columns, 2 * len(photos) * height / width + 0.3, "compressed")
    axes = fig.subplots(len(photos), columns, squeeze=False)
    for number, (row, photo) in enumerate(zip(axes, photos, strict=True)):
        row[0].imshow(photo, cmap="gray", vmin=0, vmax=1)
        _figures.bare(row[0])
        if titles is not None:
            row[0].set_title(titles[number])
        for axis, (name, values) in zip(row[1:], arrays.items(), strict=True):
            overlay(photo, values[number], signed=signed, title=name if number == 0 else None, ax=axis)
    return fig


def draw(
    axis: Axes,
    attribution: np.ndarray,
    full: float,
    signed: bool,
    *,
    extent: tuple[float, float, float, float] | None = None,
    opacity: np.ndarray | None = None,
) -> AxesImage:
    """Draws a map `[rows, columns]` with the full colour at `full`."""
    return axis.imshow(
        np.clip(attribution, -full if signed else 0, full),
        cmap=_SIGNED if signed else _HEAT,
        vmin=-full if signed else 0,
        vmax=full,
        alpha=opacity,
        extent=extent,
        interpolation="bilinear",
    )


def photo_array(name: str, value: npt.ArrayLike, batch: bool = False) -> np.ndarray:
    """Checks photos; returns them as floats in 0..1, without the channel axis if there is one channel."""
    array = numbers(name, value)
    rank = array.ndim - batch
    if rank not in (2, 3) or rank == 3 and array.shape[-1] not in (1, 3) or 0 in array.shape:
        shape = "[n, h, w, 3], [n, h, w, 1] or [n, h, w]" if batch else "[h, w, 3], [h, w, 1] or [h, w]"
        raise ValueError(f"`{name}` must have shape {shape}, not empty. Received: shape={array.shape}")
    top = 1.0 if array.dtype.kind == "f" else np.float32(255)
    if array.min() < 0 or array.max() > top:
        raise ValueError(
            f"`{name}` must hold integers in 0..255 or floats in 0..1. "
            f"Received: {array.dtype} from {array.min()} to {array.max()}"
        )
    array = array / top
    return array[..., 0] if rank == 3 and array.shape[-1] == 1 else array


def map_array(name: str, value: npt.ArrayLike, rank: int) -> np.ndarray:
    """Checks a map of a series (`rank` 1) or a photo (2), or maps of photos or one of a volume (3).

    Returns:
        float64.
    """
    array = numbers(name, value)
    if array.ndim != rank or 0 in array.shape:
        shape = {1: "[length]", 2: "[rows, columns]", 3: "[n, rows, columns]"}[rank]
        raise ValueError(f"`{name}` must have shape {shape}, not empty. Received: shape={array.shape}")
    return array.astype(np.float64)


def whole(shape: tuple[int, ...]) -> Region:
    """The extent of a photo `[h, w, ...]` on axes: left, right, bottom, top."""
    height, width = shape[:2]
    return -0.5, width - 0.5, height - 0.5, -0.5


def region_in(region: Region | None, shape: tuple[int, ...]) -> Region:
    """Checks a region; None is the whole photo `[h, w, ...]`."""
    height, width = shape[:2]
    left, top, right, bottom = (0, 0, width, height) if region is None else region
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"`region` must be (left, top, right, bottom) within the photo, {width} × {height} pixels. "
            f"Received: region={region}"
        )
    return left, top, right, bottom


def numbers(name: str, value: npt.ArrayLike) -> np.ndarray:
    """Checks that a value holds finite numbers; returns an array."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"`{name}` must hold numbers. Received: dtype={array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinity")
    return array


def _grey(photo: np.ndarray) -> np.ndarray:
    """Luma of an RGB photo (ITU-R BT.601)."""
    return photo if photo.ndim == 2 else photo @ np.array((0.299, 0.587, 0.114), photo.dtype)
