"""Maps of several inputs of one sample: their shares, and a panel for each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tf_learnprop.plotting import _figures
from tf_learnprop.plotting._overlay import map_array, overlay
from tf_learnprop.plotting._signal import signal
from tf_learnprop.plotting._tokens import tokens

#: Red above zero and blue below, as in maps of both signs; and the bars of shares.
_ABOVE, _BELOW, _SHARE = "#b2182b", "#2166ac", "dimgrey"
#: Most values of a table that have a bar, the largest ones.
_MOST_BARS = 12
#: Inches: height of a bar of a share, of a row with images and tables, and of one with a series or a text.
_BAR, _SQUARE, _WIDE = 0.25, 2.6, 1.5

Name = str | int


def inputs(
    inputs: Mapping[str, Any] | Sequence[Any],
    maps: Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike],
    *,
    labels: Mapping[Name, Sequence[str]] | None = None,
    signed: bool = True,
    fig: FigureBase | None = None,
) -> FigureBase:
    """Draws each input's share of the attribution of one sample, and a panel for each input.

    An image has its map over it, a series colours behind its lines, a text colours behind its tokens, and a
    table a bar for each value of its map, or for the 12 largest. Colours are full at the largest values of
    each input; only the shares and the bars compare inputs.

    Args:
        inputs: The sample of each input as it is shown, in a dict by name or in a sequence. An image
            `[h, w, 3]`, `[h, w, 1]` or `[h, w]` of integers in 0..255 or floats in 0..1; a series
            `[length, channels]`; a text, a list of strings, one for each token; a table `[features]`.
        maps: The map of each input: `[rows, columns]`, `[length]`, `[tokens]` or `[features]`, on one scale,
            such as one sample of those that `explain` returns for `explained_input="all"`.
        labels: A text for each value of a table, by the name or the number of the input.
        signed: See `overlay`. Series and texts have both signs in any case.
        fig: `Figure` or `SubFigure` to fill; None for a new one.

    Returns:
        The `Figure` or `SubFigure`.

    Raises:
        ValueError: If inputs, maps and labels don't match, or an array has another shape, is not finite or
            holds values outside its range.
        TypeError: If `fig` is no figure, or an array does not hold numbers.
    """
    panels = _panels(inputs, maps)
    texts = _checked(labels or {}, panels)
    of_input = {name: np.abs(values).sum() for name, (_, values) in panels.items()}
    titles = {name: f"{name}: {share:.0%}" for name, share in of_input.items()}
    square = [name for name in panels if _is_square(*panels[name])]
    wide = [name for name in panels if name not in square]
    heights = [_BAR * (len(panels) + 1), *[_SQUARE] * bool(square), *[_WIDE] * len(wide)]
    fig = _figures.figure(fig, max(3.2 * len(square), 6.4), sum(heights) + 0.3)
    grid = fig.add_gridspec(len(heights), max(len(square), 1), height_ratios=heights)
    _draw_shares(fig.add_subplot(grid[0, :]), [*of_input.values()], [*titles.values()])
    cells = [grid[1, k] for k in range(len(square))]
    cells += [grid[k, :] for k in range(1 + bool(square), len(heights))]
    for name, cell in zip([*square, *wide], cells, strict=True):
        axis = fig.add_subplot(cell)
        _draw(axis, *panels[name], texts.get(name), signed)
        axis.set_title(titles[name], fontsize=10, parse_math=False)
    return fig


def _panels(inputs: Any, maps: Any) -> dict[Name, tuple[Any, np.ndarray]]:
    """The input and the map of each panel, as a part of all attribution, by name or number."""
    shown, values = (
        dict(value) if isinstance(value, Mapping) else dict(enumerate(value)) for value in (inputs, maps)
    )
    if not shown or shown.keys() != values.keys():
        raise ValueError(
            "`maps` must be one map for each input, in the structure of `inputs`, and there must be inputs. "
            f"Received: inputs {list(shown)} and maps {list(values)}"
        )
    panels = {}
    for name, value in shown.items():
        attribution = map_array(f"maps[{name!r}]", values[name], 2 if np.ndim(values[name]) == 2 else 1)
        if np.ndim(value) == 1 and len(value) != len(attribution):
            raise ValueError(
                f"`maps[{name!r}]` must have a value for each of the input, {len(value)}. "
                f"Received: {len(attribution)}"
            )
        panels[name] = value, attribution
    total = sum(np.abs(attribution).sum() for _, attribution in panels.values()) or 1.0
    return {name: (value, attribution / total) for name, (value, attribution) in panels.items()}


def _checked(
    labels: Mapping[Name, Sequence[str]], panels: Mapping[Name, tuple[Any, np.ndarray]]
) -> Mapping[Name, Sequence[str]]:
    for name, texts in labels.items():
        count = len(panels[name][1]) if name in panels else 0
        if len(texts) != count:
            raise ValueError(
                "`labels` must hold a text for each value of a table, by its name. "
                f"Received: {len(texts)} texts for {count} values of {name!r}"
            )
    return labels


def _is_text(value: Any) -> bool:
    return np.asarray(value).dtype.kind in "US"


def _is_square(value: Any, attribution: np.ndarray) -> bool:
    """Whether an input is an image or a table."""
    return attribution.ndim == 2 or np.ndim(value) == 1 and not _is_text(value)


def _draw_shares(axis: Axes, sizes: Sequence[float], titles: Sequence[str]) -> None:
    axis.barh(range(len(sizes)), sizes, color=_SHARE, height=0.7)
    axis.set(xlim=(0, 1), ylim=(len(sizes) - 0.5, -0.5), xticks=[])
    axis.set_yticks(range(len(sizes)), titles, parse_math=False)
    axis.tick_params(left=False)
    axis.spines[:].set_visible(False)


def _draw(axis: Axes, value: Any, attribution: np.ndarray, texts: Sequence[str] | None, signed: bool) -> None:
    if attribution.ndim == 2:
        overlay(value, attribution, signed=signed, ax=axis)
    elif _is_text(value):
        tokens([str(token) for token in value], attribution, ax=axis)
    elif np.ndim(value) == 1:
        numbers = [str(number) for number in range(len(attribution))]
        _draw_table(axis, attribution if signed else np.maximum(attribution, 0), texts or numbers)
    else:
        signal(value, attribution, ax=axis)


def _draw_table(axis: Axes, attribution: np.ndarray, texts: Sequence[str]) -> None:
    """A bar for each of the largest values, in their own order."""
    shown = np.sort(np.argsort(-np.abs(attribution), kind="stable")[:_MOST_BARS])
    values = attribution[shown]
    axis.barh(range(len(shown)), values, color=np.where(values > 0, _ABOVE, _BELOW), height=0.7)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.set_yticks(range(len(shown)), [texts[k] for k in shown], parse_math=False)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right", "left"]].set_visible(False)
