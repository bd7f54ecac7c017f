"""Files of maps that can be downloaded from a page."""

import pathlib
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image


class MapDownloads:
    """Writes the files of maps, and makes the buttons that download them.

    Args:
        folder: Folder for the files. Gradio copies them, so the next place of a slider may overwrite one.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def array(self, explained: Any, name: str, attribution: np.ndarray) -> gr.DownloadButton:
        """The button for the array of a map; `explained` is what tells it from other maps."""
        path = self._file(explained, f"{name}.npy")
        np.save(path, attribution)
        return gr.DownloadButton(value=path, interactive=True)

    def picture(
        self, explained: Any, name: str, pixels: np.ndarray
    ) -> tuple[pathlib.Path, gr.DownloadButton]:
        """The file of a picture, uint8 `[h, w, 3]`, and its button."""
        path = self._file(explained, f"{name}.png")
        Image.fromarray(pixels).save(path)
        return path, gr.DownloadButton(value=path, interactive=True)

    def _file(self, explained: Any, name: str) -> pathlib.Path:
        place = self._folder / str(id(explained))
        place.mkdir(exist_ok=True)
        return place / name
