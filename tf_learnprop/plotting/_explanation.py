"""One explained photo as a picture that can be read without anything beside it."""

import io
import textwrap
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator

from tf_learnprop import argument_checks, wording
from tf_learnprop.plotting import _contours, _figures, _overlay
from tf_learnprop.plotting._overlay import Region
from tf_learnprop.plotting._panels import Panels, write

Style = Literal["heat", "contour"]
STYLES = ("heat", "contour")

_CAUTION = "#a33b00"


class ClassMap(NamedTuple):
    """A map with what is known about the class that it is of.

    Attributes:
        attribution: The map, float `[rows, columns]`.
        class_name: Name of the explained class.
        probability: The model's probability of the class, from 0 to 1; None if it is not known.
        method: Name of the method, if several are compared.
        cautions: Reasons not to trust the map; each is printed on the picture.
        signed: Whether values below zero count; see `overlay`.
    """

    attribution: npt.ArrayLike
    class_name: str = ""
    probability: float | None = None
    method: str = ""
    cautions: Sequence[str] = ()
    signed: bool = False

    @property
    def heading(self) -> str:
        """The probability and the method, as far as they are known."""
        probability = "" if self.probability is None else wording.probability(self.probability)
        return ", ".join(filter(None, (self.method, probability)))


class Explanation:
    """A photo beside its maps. Notebooks show it as a picture.

    The picture has at least as many pixels as the photo and its maps. Each map has its class, the model's
    probability, a scale of its own, and the reasons not to trust it.

    Args:
        photo: As for `overlay`.
        maps: `ClassMap`s, at least one.
        title: Title of the photo, such as its file name.
        region: See `overlay`. What lies outside is dimmed.
        style: "heat" as `overlay` draws it, or "contour" as `contour` does.
        columns: Maps in one row of the picture; None for all.

    Raises:
        ValueError: If there are no maps, the style is unknown, or `columns` is below 1; and as `overlay`.
        TypeError: If an array does not hold numbers.
    """

    def __init__(
        self,
        photo: npt.ArrayLike,
        maps: Sequence[ClassMap],
        *,
        title: str = "",
        region: Region | None = None,
        style: Style = "heat",
        columns: int | None = None,
    ):
        self.photo = _overlay.photo_array("photo", photo)
        self.maps = [ClassMap(*one) for one in maps]
        if not self.maps:
            raise ValueError("`maps` must hold at least one `ClassMap`. Received: none")
        for one in self.maps:
            _overlay.map_array("attribution", one.attribution, 2)
        argument_checks.one_of("style", style, STYLES)
        if columns is not None:
            argument_checks.integer("columns", columns, 1)
        everything = _overlay.region_in(None, self.photo.shape)
        region = _overlay.region_in(region, self.photo.shape)
        self.region = None if np.allclose(region, everything, atol=0.5) else region
        self.title, self.style = title, style
        self.columns = min(columns or len(self.maps), len(self.maps))

    def figure(self) -> Figure:
        """Draws the picture. `figure().savefig(path)` keeps all pixels of the photo."""
        height, width = self.photo.shape[:2]
        rows = -(-len(self.maps) // self.columns)
        letters = Panels(height, width, rows, self.columns, 0).letters
        cautions = [_lines(one.cautions, letters) for one in self.maps]
        panels = Panels(height, width, rows, self.columns + 1, max(map(len, cautions)))
        axis = panels.panel(0, 0)
        self.draw_photo(axis)
        write(axis, 1, _shortened(self.title, letters), 6)
        if self.region is not None:
            write(axis, 0, "dimmed: not seen by the model", -14, fontsize=8, color="0.35")
        for number, (one, lines) in enumerate(zip(self.maps, cautions, strict=True)):
            row, column = divmod(number, self.columns)
            axis = panels.panel(row, column + 1)
            self.draw_map(axis, one)
            name = _shortened(one.class_name, int(letters * 0.8))
            write(axis, 1, name, 20, fontsize=11, fontweight="bold")
            write(axis, 1, one.heading, 6)
            write(axis, 0, "\n".join(lines), -37, va="top", color=_CAUTION, linespacing=1.25)
            if self.style == "contour":
                _name_lines(axis)
            else:
                _add_scale(axis, panels)
        return panels.figure

    def thumbnail(self, height: int = 200) -> Figure:
        """Draws the photo and its maps side by side, without text, `height` pixels high."""
        # Few pixels of a large photo are enough, and drawing all takes seconds.
        every = max(min(self.photo.shape[:2]) // (3 * height), 1)
        if every > 1:
            region = self.region and tuple(side // every for side in self.region)
            small = Explanation(self.photo[::every, ::every], self.maps, region=region, style=self.style)
            return small.thumbnail(height)
        tall, wide = self.photo.shape[:2]
        count = len(self.maps) + 1
        ratio = min(max(wide / tall, 0.2), 4)
        fig = Figure(figsize=(count * ratio * height / 100, height / 100), dpi=100)
        axes = fig.subplots(1, count, gridspec_kw={"wspace": 0.02})
        fig.subplots_adjust(0, 0, 1, 1)
        self.draw_photo(axes[0])
        for axis, one in zip(axes[1:], self.maps, strict=True):
            self.draw_map(axis, one)
        return fig

    def draw_photo(self, axis: Axes) -> None:
        """Draws the photo, dimmed outside the region that the maps are of."""
        # As bytes, which matplotlib draws several times faster than floats.
        photo = np.rint(self.photo * 255).astype(np.uint8)
        axis.imshow(photo, cmap="gray", vmin=0, vmax=255, extent=_overlay.whole(photo.shape))
        _figures.bare(axis)
        self._dim(axis)

    def draw_map(self, axis: Axes, one: ClassMap) -> None:
        """Draws one of the maps over the photo."""
        draw = _contours.contour if self.style == "contour" else _overlay.overlay
        draw(self.photo, one.attribution, signed=one.signed, region=self.region, ax=axis)
        self._dim(axis)

    def _dim(self, axis: Axes) -> None:
        if self.region is None:
            return
        height, width = self.photo.shape[:2]
        left, top, right, bottom = self.region
        outside = [
            (0, 0, width, top),
            (0, bottom, width, height - bottom),
            (0, top, left, bottom - top),
            (right, top, width - right, bottom - top),
        ]
        for x, y, wide, high in outside:
            if wide > 0 and high > 0:
                axis.add_patch(Rectangle((x - 0.5, y - 0.5), wide, high, color="white", alpha=0.6, lw=0))

    def _repr_png_(self) -> bytes:
        return png(self.figure())


def _add_scale(axis: Axes, panels: Panels) -> None:
    """Adds the colour bar of a map below it."""
    place = axis.get_position()
    centre, width = (place.x0 + place.x1) / 2, 0.8 * panels.cell
    bottom, height = place.y0 - 0.2 / panels.inches, 0.09 / panels.inches
    bar = panels.figure.add_axes((centre - width / 2, bottom, width, height))
    heat = axis.images[1]
    panels.figure.colorbar(heat, cax=bar, orientation="horizontal")
    ticks = sorted({0.0, *heat.get_clim()})
    bar.xaxis.set_major_locator(FixedLocator(ticks))
    bar.set_xticklabels([f"{value:.2g}" for value in ticks])
    bar.tick_params(labelsize=8, length=2, pad=1)
    bar.minorticks_off()


def _name_lines(axis: Axes) -> None:
    """Adds the names of a map's lines below it."""
    handles, _ = axis.get_legend_handles_labels()
    if handles:
        options = {"frameon": False, "fontsize": 8, "handlelength": 1.2, "columnspacing": 0.9}
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=min(len(handles), 3), **options)


def png(figure: Figure, **options: Any) -> bytes:
    """A figure as the content of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", **options)
    return file.getvalue()


def _lines(cautions: Sequence[str], letters: int) -> list[str]:
    return [line for text in cautions for line in textwrap.wrap(f"⚠ {text}", letters)]


def _shortened(text: str, letters: int) -> str:
    """A text without its middle, if it is longer than `letters`."""
    half = max(letters // 2 - 1, 1)
    return text if len(text) <= letters else f"{text[:half]} … {text[-half:]}"
