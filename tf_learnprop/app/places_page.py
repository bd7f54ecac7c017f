"""The page for segmenters and detectors: a click on a part of the photo shows its map."""

import dataclasses
import functools
import pathlib
from typing import Any

import gradio as gr
import numpy as np

from tf_learnprop.app import view
from tf_learnprop.app.map_downloads import MapDownloads
from tf_learnprop.app.page import EVENT, method_inputs, photo_input, told
from tf_learnprop.app.places import Part, Parts, PlacesBackend, outlined
from tf_learnprop.inputs.photos import UnreadableError


@dataclasses.dataclass(frozen=True, eq=False)
class Opened:
    """An opened photo: its pixels, as `view.Photo` has them, and what the model finds."""

    pixels: np.ndarray
    backdrop: np.ndarray
    parts: Parts


@dataclasses.dataclass(frozen=True, eq=False)
class PartMap:
    """The map of a part of a photo, float32 `[h, w]`."""

    photo: Opened
    part: Part
    attribution: np.ndarray


#: A photo and the part of it to explain.
Asked = tuple[Opened, Part] | None


class PlacesHandlers:
    """Answers the events of the page.

    Args:
        backend: What answers for the model.
        folder: Folder for the files that can be downloaded.
    """

    def __init__(self, backend: PlacesBackend, folder: pathlib.Path):
        self._backend, self._downloads = backend, MapDownloads(folder)

    def open(self, path: str | None) -> tuple[Opened | None, np.ndarray | None, Asked, str, Any]:
        """Opens a photo: what the model finds in it, nothing to explain yet, and no change of the file.

        A file that can't be read is taken away, so that another one can be dropped.
        """
        nothing = None, None, None, "", None
        if path is None:
            return nothing
        try:
            pixels, backdrop = view.read_photo(path, self._backend.shape)
        except UnreadableError as error:
            gr.Warning(view.unreadable(path, error))
            return nothing
        opened = Opened(pixels, backdrop, self._backend.parts(pixels))
        return opened, opened.parts.drawn(backdrop), None, "Click a place or a box.", gr.skip()

    def click(self, opened: Opened | None, choice: str, event: gr.SelectData) -> tuple[Asked, str]:
        """What a click in the picture asks for, and its name."""
        if opened is None:
            return None, ""
        height, width = opened.backdrop.shape[:2]
        column, row = (
            min(at * side // shown, side - 1)
            for at, side, shown in zip(event.index, opened.pixels.shape[1::-1], (width, height), strict=True)
        )
        part = opened.parts.at(row, column, choice)
        return (None, "Nothing is found there.") if part is None else ((opened, part), part.name)

    def explain(
        self, asked: Asked, method: str, question: str | None
    ) -> tuple[PartMap | None, gr.DownloadButton]:
        """The map, and the button that downloads it."""
        if asked is None:
            return None, gr.DownloadButton(interactive=False)
        opened, part = asked
        method = self._backend.asking(method, question)
        explained = PartMap(*asked, self._backend.explain(opened.pixels, part.target, method))
        return explained, self._downloads.array(explained, "map", explained.attribution)

    def draw(
        self, explained: PartMap | None, opacity: float
    ) -> tuple[pathlib.Path | None, gr.DownloadButton]:
        """The map over the photo with the edge of the part, and the button that downloads this picture."""
        if explained is None:
            return None, gr.DownloadButton(interactive=False)
        picture = view.heat(explained.photo.backdrop, explained.attribution, opacity / 100)
        return self._downloads.picture(explained, "map", outlined(picture, explained.part.mask))


def build(backend: PlacesBackend, title: str, folder: pathlib.Path) -> gr.Blocks:
    """Makes the page.

    Args:
        backend: What answers for the model.
        title: Name of the model.
        folder: Folder for the files that can be downloaded.
    """
    handlers, choices = PlacesHandlers(backend, folder), list(backend.choices)
    with gr.Blocks(title=f"tf-learnprop: {title}", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown(f"## What does {title} look at?")
        opened, asked, explained = gr.State(), gr.State(), gr.State()
        with gr.Row():
            with gr.Column():
                file = photo_input()
            with gr.Column():
                found = gr.Image(label="Found", interactive=False, height=320, buttons=[], elem_id="found")
                choice = gr.Radio(
                    choices,
                    value=choices[0],
                    label="A click explains",
                    visible=len(choices) > 1,
                    elem_id="choice",
                )
                name = gr.Textbox(label="Explained", interactive=False, elem_id="name")
            with gr.Column():
                picture = gr.Image(label="Map", interactive=False, height=320, buttons=[], elem_id="map")
                opacity = gr.Slider(0, 100, 85, step=1, label="Opacity (%)", elem_id="opacity")
                method, question = method_inputs(backend)
                with gr.Row():
                    small: dict[str, Any] = {"interactive": False, "size": "md", "min_width": 150}
                    save_picture = gr.DownloadButton("Save picture", elem_id="png", **small)
                    save_map = gr.DownloadButton("Save map", elem_id="npy", **small)

        file.change(told(handlers.open), file, [opened, found, asked, name, file], **EVENT)
        found.select(told(handlers.click), [opened, choice], [asked, name], **EVENT)
        on = functools.partial(gr.on, **EVENT)
        on(
            [asked.change, method.input, question.input],
            told(handlers.explain),
            [asked, method, question],
            [explained, save_map],
            show_progress_on=picture,
        )
        drawn = [picture, save_picture]
        changes = [explained.change, opacity.change]
        on(changes, told(handlers.draw), [explained, opacity], drawn, show_progress="hidden")
    return page
