"""Where the panels of a picture are, to the pixel."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: In inches: the longer side of a photo, the least width of a panel, the space above and below a photo, the
#: gap between panels, and one line of a caution.
_SIDE, _LEAST, _HEAD, _FOOT, _GAP, _LINE = 4.0, 2.6, 0.6, 0.5, 0.25, 0.19
#: Pixels per inch of a small photo. Larger photos have more, so that no pixel of theirs is lost.
_DPI = 110


class Panels:
    """A figure with a grid of panels for a photo.

    Args:
        height: Height of the photo in pixels.
        width: Width of the photo in pixels.
        rows: Rows of panels.
        columns: Columns of panels.
        lines: Lines of text below each panel, besides the colour bar.

    Attributes:
        figure: The figure. Saved as it is, it has at least one pixel for each of the photo in each panel.
        cell: Width of a panel with its margins, as a fraction of the figure's.
        inches: Height of the figure.
        letters: Letters in a line of text.
    """

    def __init__(self, height: int, width: int, rows: int, columns: int, lines: int):
        longer = max(height, width)
        self._dpi = max(_DPI, longer / _SIDE)
        self._tall, self._wide = max(_SIDE * height / longer, 0.05), max(_SIDE * width / longer, 0.05)
        self._cell = max(self._wide, _LEAST)
        self._row = _HEAD + self._tall + _FOOT + _LINE * lines
        size = columns * (self._cell + _GAP) + _GAP, rows * self._row + _GAP / 2
        # Whole pixels everywhere, and a little more than that for the sum: matplotlib cuts off fractions.
        self._canvas = round(size[0] * self._dpi), round(size[1] * self._dpi)
        across, down = ((side + 1e-6) / self._dpi for side in self._canvas)
        self.figure = Figure(figsize=(across, down), dpi=self._dpi)
        self.cell, self.inches = self._cell / across, down
        self.letters = int(13.5 * self._cell)

    def panel(self, row: int, column: int) -> Axes:
        """Adds the axes of a panel, which are exactly as large as the photo is drawn."""
        left = _GAP + column * (self._cell + _GAP) + (self._cell - self._wide) / 2
        bottom = self.inches - row * self._row - _HEAD - self._tall
        x, y, wide, tall = (round(side * self._dpi) for side in (left, bottom, self._wide, self._tall))
        across, down = self._canvas
        return self.figure.add_axes((x / across, y / down, wide / across, tall / down))


def write(axis: Axes, y: float, text: str, points: float, **options: Any) -> None:
    """Writes a text over the middle of a panel, `points` above its lower (`y` 0) or upper edge (`y` 1)."""
    axis.annotate(
        text,
        (0.5, y),
        (0, points),
        xycoords="axes fraction",
        textcoords="offset points",
        parse_math=False,
        **{"ha": "center", "fontsize": 9, **options},
    )
