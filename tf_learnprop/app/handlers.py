"""What happens on the page: functions from the values of its parts to new values."""

import html
import pathlib
from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from tf_learnprop.app import view
from tf_learnprop.app.backends import Backend
from tf_learnprop.app.map_downloads import MapDownloads
from tf_learnprop.app.view import Photo, PhotoMap
from tf_learnprop.inputs.photos import UnreadableError

#: Pictures side by side in the comparison, at most.
_COLUMNS = 4

#: A photo and the class to explain.
Asked = tuple[Photo, int] | None


class Handlers:
    """Answers the events of the page.

    Args:
        backend: What answers for the model.
        folder: Folder for the files that can be downloaded.
    """

    def __init__(self, backend: Backend, folder: pathlib.Path):
        self._backend, self._downloads = backend, MapDownloads(folder)

    def open(self, path: str | None) -> tuple[Asked, gr.Radio, Any]:
        """Opens a photo: what to explain first, the top classes to choose from, and no change of the file.

        A file that can't be read is taken away, so that another one can be dropped.
        """
        nothing = None, gr.Radio(choices=[], value=None), None
        if path is None:
            return nothing
        try:
            photo = view.open_photo(path, self._backend)
        except UnreadableError as error:
            gr.Warning(view.unreadable(path, error))
            return nothing
        best = photo.top_classes()
        choices = [(f"{self._backend.class_name(k)}  {photo.probabilities[k]:.1%}", k) for k in best]
        return (photo, best[0]), gr.Radio(choices=choices, value=best[0]), gr.skip()

    def choose(self, asked: Asked, class_id: int | None) -> tuple[Asked, None]:
        """Another class of the same photo, and no choice in the other list."""
        return (None if asked is None or class_id is None else (asked[0], class_id)), None

    def explain(
        self, asked: Asked, method: str, question: str | None
    ) -> tuple[PhotoMap | None, gr.DownloadButton, gr.Gallery]:
        """The map, the button that downloads it, and no comparison any more."""
        nothing = gr.Gallery(value=None, visible=False)
        if asked is None:
            return None, gr.DownloadButton(interactive=False), nothing
        explained = view.explain(*asked, self._backend.asking(method, question), self._backend)
        name = view.file_name(explained, self._backend)
        return explained, self._downloads.array(explained, name, explained.attribution), nothing

    def draw(
        self, explained: PhotoMap | None, opacity: float
    ) -> tuple[pathlib.Path | None, gr.DownloadButton]:
        """The map over the photo, for an opacity in percent, and the button that downloads this picture."""
        if explained is None:
            return None, gr.DownloadButton(interactive=False)
        name = view.file_name(explained, self._backend)
        return self._downloads.picture(explained, name, view.overlay(explained, opacity / 100))

    def split(
        self, explained: PhotoMap | None, share: float
    ) -> tuple[str, np.ndarray | None, str, np.ndarray | None]:
        """Text and picture of what is kept, and of what is left without it, for a share in percent."""
        if explained is None:
            return "", None, "", None
        both = view.parts(explained, share / 100)
        kept, removed = view.part_probabilities(both, explained.class_id, self._backend)
        name = self._backend.class_name(explained.class_id)
        whole = f"{name}: {explained.photo.probabilities[explained.class_id]:.1%} on the whole photo"
        pictures = both[..., 0] if both.shape[-1] == 1 else both
        return (
            _says(kept, f"with the top {share:g}% alone", whole),
            pictures[0],
            _says(removed, f"without the top {share:g}%", whole),
            pictures[1],
        )

    def compare(self, explained: PhotoMap | None, share: float) -> gr.Gallery:
        """The maps of the quick methods for the class, each with what the model says to both parts."""
        if explained is None:
            return gr.Gallery(value=None, visible=False)
        pictures = []
        for method in self._backend.compared:
            one = view.explain(explained.photo, explained.class_id, method, self._backend)
            both = view.parts(one, share / 100)
            kept, removed = view.part_probabilities(both, one.class_id, self._backend)
            pictures.append((view.overlay(one, 0.85), f"{method}: kept {kept:.1%}, removed {removed:.1%}"))
        return gr.Gallery(value=pictures, visible=True, columns=min(len(pictures), _COLUMNS))

    def classes(self) -> Sequence[tuple[str, int]]:
        """Names and ids of all classes."""
        return [(self._backend.class_name(k), k) for k in range(self._backend.class_count)]


def _says(probability: float, what: str, whole: str) -> str:
    what, whole = html.escape(what), html.escape(whole)
    return f"<div class='part'><b>{probability:.1%}</b> {what}<br><small>{whole}</small></div>"
