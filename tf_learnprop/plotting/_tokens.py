"""A text whose tokens have colours that follow their values."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.textpath import TextPath

from tf_learnprop import argument_checks, heat
from tf_learnprop.plotting import _figures

_FONT = FontProperties(family="DejaVu Sans Mono")  # comes with matplotlib
#: Width of a character and height of a line in sizes of the font; inches of a character in a new figure.
_CHARACTER, _LEADING, _INCHES = 0.602, 1.9, 0.085
_COLOURS = "RdBu_r"


def tokens(
    tokens: Sequence[str],
    values: npt.ArrayLike,
    *,
    columns: int = 80,
    clip: float = 99.0,
    ax: Axes | None = None,
) -> Axes:
    """Draws a text with a colour behind each token: red for values above zero, blue for values below.

    The letters are drawn as shapes, so they keep their places at every size of the axes.

    Args:
        tokens: They follow each other with a space between them.
        values: Float `[len(tokens)]`, for example a map of `explain`.
        columns: Characters in a line, at least 1; a longer token has a line of its own.
        clip: Percentile in (0, 100] of the absolute values from which on the colour is full.
        ax: `Axes` to draw on; None for new ones.

    Returns:
        The `Axes`.

    Raises:
        ValueError: If there are no tokens, the values have another length or are not finite, or `columns` or
            `clip` is out of range.
        TypeError: If `tokens` is one string or holds something else than strings, or `ax` is no axes.
    """
    values = _checked(tokens, values, columns, clip)
    places = _laid_out(tokens, columns)
    width = max(columns, *(len(token) for token in tokens))
    lines = places[-1][0] + 1
    ax = _figures.axes(ax, _INCHES * width, _INCHES / _CHARACTER * _LEADING * lines)
    heats = np.asarray(heat.heat(values[None, None], clip, signed=True)[0])[0, 0]
    backgrounds = matplotlib.colormaps[_COLOURS](0.5 + heats / 2)
    for token, (line, column), background in zip(tokens, places, backgrounds, strict=True):
        left, base = column * _CHARACTER, -line * _LEADING
        ax.add_patch(
            Rectangle(
                (left - _CHARACTER / 4, base - 0.4),
                (len(token) + 0.5) * _CHARACTER,
                _LEADING - 0.4,
                color=background,
                linewidth=0,
            )
        )
        letters = TextPath((left, base), " ".join(token.splitlines()), size=1, prop=_FONT)
        ax.add_patch(PathPatch(letters, color=_ink(background), linewidth=0, gid=token))
    ax.set(
        xlim=(-_CHARACTER, (width + 1) * _CHARACTER),
        ylim=((1 - lines) * _LEADING - 0.7, 1.3),
        aspect="equal",
        anchor="W",
    )
    _figures.bare(ax)
    return ax


def _checked(tokens: Sequence[str], values: npt.ArrayLike, columns: int, clip: float) -> np.ndarray:
    if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
        raise TypeError(f"`tokens` must be a list of strings. Received: {tokens!r:.80}")
    values = np.asarray(values, np.float64)
    if not len(tokens) or values.shape != (len(tokens),) or not np.isfinite(values).all():
        raise ValueError(
            "`values` must be one finite number for each token, and there must be tokens. "
            f"Received: {len(tokens)} tokens and values of shape {values.shape}"
        )
    argument_checks.integer("columns", columns, 1)
    argument_checks.number("clip", clip, above=0, high=100)
    return values


def _laid_out(tokens: Sequence[str], columns: int) -> list[tuple[int, int]]:
    """Line and column at which each token starts."""
    places, line, column = [], 0, 0
    for token in tokens:
        if column and column + len(token) > columns:
            line, column = line + 1, 0
        places.append((line, column))
        column += len(token) + 1
    return places


def _ink(background: np.ndarray) -> str:
    """Black, or white on a dark background."""
    return "black" if background[:3] @ [0.299, 0.587, 0.114] > 0.45 else "white"
