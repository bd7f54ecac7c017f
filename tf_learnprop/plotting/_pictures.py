"""Attribution maps over photos."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from tf_learnprop.plotting import _figures, _heat

#: Even steps of lightness; the second diverges from white at zero.
_HEAT, _SIGNED = "inferno", "RdBu_r"


def overlay(image, attribution, *, signed=False, clip=99.0, alpha=0.85, title=None, ax=None):
    """An attribution map over its photo, which is drawn in grey so that all colour is the map's.

    Colour and opacity follow the map, up to its `clip`-th percentile: the photo stays visible where nothing
    matters. The map is `ax.images[1]`, in its own units: `ax.figure.colorbar(ax.images[1])`.

    Args:
        image: `[h, w, 3]`, `[h, w, 1]` or `[h, w]`, as it is shown: integers in 0..255 or floats in 0..1.
        attribution: float `[rows, columns]`, of any size: it is drawn over all of the photo.
        signed: bool. False draws what is above zero, as heat. True draws both signs, red above zero and
            blue below.
        clip: float in (0, 100], the percentile of the map's positive part (of its absolute values, if
            `signed`) that has the full colour. Where that is 0, the maximum is taken.
        alpha: float in (0, 1], opacity of the full colour.
        title: str or None.
        ax: `Axes` to draw on; None for those of a new figure.

    Returns:
        The `Axes`.

    Raises:
        ValueError: other shapes, sizes of 0, values that are not finite, integers outside 0..255 or floats
            outside 0..1; `clip` or `alpha` out of range.
        TypeError: `ax` is no axes; arrays that hold no numbers.
    """
    grey = _grey(photo_array("image", image))
    attribution = map_array("attribution", attribution, 2)
    in_range("clip", clip, 100)
    in_range("alpha", alpha, 1)
    axis = _figures.axes(ax, 3, 3)
    height, width = grey.shape
    extent = [-0.5, width - 0.5, height - 0.5, -0.5]
    axis.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=extent)
    heats, fulls = _heat.heat(attribution[None], clip, signed)
    opacity = alpha * np.abs(heats[0])
    draw(axis, attribution, float(fulls[0]), signed, extent=extent, opacity=opacity)
    _figures.bare(axis)
    axis.set_title(title or "")
    return axis


def compare(photos, maps, *, titles=None, signed=False, fig=None):
    """Photos beside the maps of several methods, a row a photo, each map on a scale of its own.

    Args:
        photos: `[n, h, w, c]`, c of 1 or 3, or `[n, h, w]`; values as for `overlay`.
        maps: dict from names of methods to float arrays `[n, rows, columns]`.
        titles: list of n str, one above each photo; None for none.
        signed: bool, as for `overlay`.
        fig: matplotlib `Figure` or `SubFigure` to fill; None for a new one.

    Returns:
        The `Figure` or `SubFigure`.

    Raises:
        ValueError: no photos or methods; numbers of photos, maps and titles that differ; as `overlay`.
        TypeError: `fig` is no figure; arrays that hold no numbers.
    """
    photos = photo_array("photos", photos, batch=True)
    if not isinstance(maps, dict) or not maps:
        raise ValueError(f"`maps` must be a dict from names to maps, one at least. Received: {maps!r}")
    maps = {name: map_array(f"maps[{name!r}]", value, 3) for name, value in maps.items()}
    lengths = {name: len(value) for name, value in maps.items()}
    if titles is not None:
        lengths["titles"] = len(titles)
    if set(lengths.values()) != {len(photos)}:
        raise ValueError(f"`maps` and `titles` must number {len(photos)}, as `photos`. Received: {lengths}")
    height, width = photos.shape[1:3]
    columns = len(maps) + 1
    fig = _figures.figure(fig, 2 * columns, 2 * len(photos) * height / width + 0.3, "compressed")
    axes = fig.subplots(len(photos), columns, squeeze=False)
    for number, (row, photo) in enumerate(zip(axes, photos, strict=True)):
        row[0].imshow(photo, cmap="gray", vmin=0, vmax=1)
        _figures.bare(row[0])
        if titles is not None:
            row[0].set_title(titles[number])
        for axis, (name, values) in zip(row[1:], maps.items(), strict=True):
            overlay(photo, values[number], signed=signed, title=name if number == 0 else None, ax=axis)
    return fig


def draw(
    axis: Axes,
    attribution: np.ndarray,
    full: float,
    signed: bool,
    *,
    extent: Sequence[float] | None = None,
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


def photo_array(name, value, batch=False):
    """Photos as floats in 0..1, the channel axis left out if it is 1; see `overlay`."""
    array = numbers(name, value)
    rank = array.ndim - batch
    if rank not in (2, 3) or rank == 3 and array.shape[-1] not in (1, 3) or 0 in array.shape:
        shape = "[n, h, w, 3], [n, h, w, 1] or [n, h, w]" if batch else "[h, w, 3], [h, w, 1] or [h, w]"
        raise ValueError(f"`{name}` must have shape {shape}, not empty. Received: shape={array.shape}")
    top = 1.0 if array.dtype.kind == "f" else 255
    if array.min() < 0 or array.max() > top:
        raise ValueError(
            f"`{name}` must hold integers in 0..255 or floats in 0..1. "
            f"Received: {array.dtype} from {array.min()} to {array.max()}"
        )
    array = array / top
    return array[..., 0] if rank == 3 and array.shape[-1] == 1 else array


def map_array(name, value, rank):
    """A map (`rank` 2) or maps (3) as float64."""
    array = numbers(name, value)
    if array.ndim != rank or 0 in array.shape:
        shape = "[n, rows, columns]" if rank == 3 else "[rows, columns]"
        raise ValueError(f"`{name}` must have shape {shape}, not empty. Received: shape={array.shape}")
    return array.astype(np.float64)


def in_range(name, value, top):
    """Raises ValueError unless `value` is a number in (0, top]."""
    if not isinstance(value, (int, float, np.number)) or not 0 < value <= top:
        raise ValueError(f"`{name}` must be a number in (0, {top}]. Received: {name}={value!r}")


def numbers(name, value):
    """An array of finite numbers."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"`{name}` must hold numbers. Received: dtype={array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite. Received: NaN or infinity")
    return array


def _grey(photo):
    """Luma of an RGB photo (ITU-R BT.601)."""
    return photo if photo.ndim == 2 else photo @ (0.299, 0.587, 0.114)
