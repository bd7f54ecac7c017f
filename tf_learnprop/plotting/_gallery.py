"""Many explained photos at once, in a notebook or as a page."""

import io
import os
import pathlib
from collections import abc
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_learnprop import html_page
from tf_learnprop.plotting import gallery_page
from tf_learnprop.plotting._explanation import ClassMap, Explanation, Style


class Gallery(abc.Sequence):
    """Explained photos, which notebooks show as a gallery that can be sorted. `gallery` makes one.

    Args:
        explanations: `Explanation`s, at least one.
        title: Title of the gallery.

    Raises:
        ValueError: If there are no explanations.
    """

    def __init__(self, explanations: Sequence[Explanation], title: str = "Attribution maps"):
        self._explanations = list(explanations)
        self.title = title
        if not self._explanations:
            raise ValueError("`explanations` must hold at least one `Explanation`. Received: none")

    def __getitem__(self, index: Any) -> Any:
        return self._explanations[index]

    def __len__(self) -> int:
        return len(self._explanations)

    def html(self) -> str:
        """The gallery as a page of HTML with its pictures inside, which loads nothing else."""
        return gallery_page.page(self.title, (_tile(number, one) for number, one in enumerate(self, 1)))

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Writes the page.

        Args:
            path: File to write.
            overwrite: Whether a file may be replaced.

        Raises:
            FileExistsError: If the file exists and `overwrite` is False.
        """
        with open(pathlib.Path(path), "w" if overwrite else "x", encoding="utf-8") as file:
            file.write(self.html())

    def _repr_html_(self) -> str:
        # In a frame of its own, so that neither styles nor scripts meet those of the notebook.
        page = escape(self.html())
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 640px; border: 1px solid #ddd"></iframe>'


def gallery(
    photos: np.ndarray | Sequence[npt.ArrayLike],
    maps: np.ndarray | Sequence[npt.ArrayLike],
    *,
    class_names: Sequence[str] | None = None,
    probabilities: Sequence[float] | None = None,
    titles: Sequence[str] | None = None,
    cautions: Sequence[Sequence[str]] | None = None,
    signed: bool = False,
    style: Style = "heat",
) -> Gallery:
    """Makes a gallery of photos and their maps. End a notebook cell with it, or call its `save(path)`.

    Args:
        photos: n photos, each as for `overlay`.
        maps: n maps, such as the result of `explain`.
        class_names: n names of the explained classes, or None.
        probabilities: n probabilities of these classes, or None.
        titles: n titles of the photos, or None.
        cautions: n lists of reasons not to trust a map, or None.
        signed: See `overlay`.
        style: See `Explanation`.

    Returns:
        `Gallery`.

    Raises:
        ValueError: If the arguments differ in length; and as `Explanation`.
        TypeError: If an array does not hold numbers.

    Examples:
        >>> photos = np.zeros((2, 8, 8, 3))
        >>> pictures = gallery(photos, photos[..., 0], class_names=["cat", "dog"], probabilities=[0.9, 0.6])
        >>> pictures[1].maps[0].heading
        '60.0 %'
    """
    count = len(photos)
    columns: dict[str, Any] = {
        "maps": maps,
        "class_names": [""] * count if class_names is None else class_names,
        "probabilities": [None] * count if probabilities is None else probabilities,
        "titles": [""] * count if titles is None else titles,
        "cautions": [()] * count if cautions is None else cautions,
    }
    lengths = {name: len(column) for name, column in columns.items()}
    if set(lengths.values()) != {count}:
        raise ValueError(f"All arguments must have the length of `photos`, {count}. Received: {lengths}")
    explanations = [
        Explanation(photo, [ClassMap(one, name, share, "", notes, signed)], title=title, style=style)
        for photo, one, name, share, title, notes in zip(photos, *columns.values(), strict=True)
    ]
    return Gallery(explanations)


def _tile(number: int, one: Explanation) -> gallery_page.Tile:
    file = io.BytesIO()
    one.thumbnail().savefig(file, format="jpeg", pil_kwargs={"quality": 85})
    lines = [gallery_page.Line(m.class_name, m.probability, m.method, m.cautions) for m in one.maps]
    source = html_page.inline(file.getvalue(), "jpeg")
    return gallery_page.Tile(one.title or f"photo {number}", source, "", lines)
