"""What the page shows, as functions of arrays."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re

import numpy as np
import tensorflow as tf

from tf_learnprop import fills
from tf_learnprop.app.backends import Backend
from tf_learnprop.inputs import photos
from tf_learnprop.metrics import ranking
from tf_learnprop.serving import photo_codec

#: Longest side of the picture with the map, in pixels.
_SHOWN = 512
#: Longest name of a photo or class in that of a file, which may have 255 bytes: a letter takes up to 3 or 4.
_LONGEST_NAME = 30


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """An opened photo.

    Args:
        name: Name of its file, without folder and ending.
        pixels: uint8 `[h, w, c]`, of the model's size: what the model gets.
        fill: uint8 `[h, w, c]`, the blurred photo, which replaces removed pixels.
        backdrop: uint8 `[height, width, 1]`, the same part of the photo in grey, with more pixels if it has
            them. The map is drawn over it.
        probabilities: float32 `[classes]`, the model's answer.
    """

    name: str
    pixels: np.ndarray
    fill: np.ndarray
    backdrop: np.ndarray
    probabilities: np.ndarray

    def top_classes(self, count: int = 5) -> list[int]:
        """Ids of the most probable classes, best first."""
        return np.argsort(-self.probabilities, kind="stable")[:count].tolist()


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoMap:
    """The map of one class of a photo.

    Args:
        photo: The photo.
        class_id: The class.
        method: The method that made the map.
        attribution: float32 `[h, w]`.
        ranks: int `[h, w]`, 0 for the pixel that matters most; ties in random order, as in `tlp.metrics`.
    """

    photo: Photo
    class_id: int
    method: str
    attribution: np.ndarray
    ranks: np.ndarray


def open_photo(path: str | os.PathLike, backend: Backend) -> Photo:
    """Reads a photo, cuts it to the model's size as `tf-learnprop explain` does, and classifies it.

    Raises:
        UnreadableError: If the file can't be read as an image.
    """
    pixels, backdrop = read_photo(path, backend.shape)
    blurred = fills.blur(tf.cast(pixels[None], tf.float32))[0]
    return Photo(
        name=pathlib.Path(path).stem,
        pixels=pixels,
        fill=tf.saturate_cast(tf.round(blurred), tf.uint8).numpy(),
        backdrop=backdrop,
        probabilities=backend.probabilities(pixels[None])[0],
    )


def read_photo(path: str | os.PathLike, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The `pixels` and the `backdrop` of a photo, as `Photo` has them.

    Raises:
        UnreadableError: If the file can't be read as an image.
    """
    read = photos.read(path)
    height, width, _ = shape
    zoom = max(min(read.shape[0] / height, read.shape[1] / width, _SHOWN / max(height, width)), 1)
    backdrop = photos.fitted(read, (round(zoom * height), round(zoom * width), 1))
    return photos.fitted(read, shape), backdrop


def unreadable(path: str | os.PathLike, error: photos.UnreadableError) -> str:
    """What the page says of a file that can't be read."""
    name = pathlib.Path(path).name
    return (
        f"{name} can't be read as an image ({error.reason}): open a JPEG, PNG, GIF, BMP, WebP or TIFF file."
    )


def explain(photo: Photo, class_id: int, method: str, backend: Backend) -> PhotoMap:
    """Computes the map of a class."""
    attribution = backend.explain(photo.pixels, class_id, method)
    ranks = ranking.descending_ranks(attribution.reshape(1, -1), seed=0)
    return PhotoMap(photo, class_id, method, attribution, ranks.reshape(attribution.shape))


def overlay(explained: PhotoMap, opacity: float) -> np.ndarray:
    """Draws a map over its grey photo, with the colours of exported models.

    Args:
        explained: The map.
        opacity: Opacity of the full colour, in 0..1.

    Returns:
        uint8 `[height, width, 3]`, of the size of `explained.photo.backdrop`.
    """
    return heat(explained.photo.backdrop, explained.attribution, opacity)


def heat(backdrop: np.ndarray, attribution: np.ndarray, opacity: float) -> np.ndarray:
    """A map, float32 `[h, w]`, over a backdrop; as `overlay`."""
    maps = tf.image.resize(attribution[None, ..., None], backdrop.shape[:2])[..., 0]
    images = backdrop[None].astype(np.float32)
    (png,) = photo_codec.overlays(images, maps, photo_codec.colour_table("inferno"), opacity)
    return tf.io.decode_png(png).numpy()


def parts(explained: PhotoMap, share: float) -> np.ndarray:
    """Keeps the pixels that matter most, or removes them; the blurred photo takes the others' place.

    Args:
        explained: The map.
        share: Share of the pixels that is kept or removed, in 0..1.

    Returns:
        uint8 `[2, h, w, c]`: what is kept, and what is left without it.
    """
    photo = explained.photo
    top = (explained.ranks < round(share * explained.ranks.size))[..., None]
    return np.stack([np.where(top, photo.pixels, photo.fill), np.where(top, photo.fill, photo.pixels)])


def part_probabilities(both: np.ndarray, class_id: int, backend: Backend) -> tuple[float, float]:
    """Probabilities of the class for the two pictures of `parts`."""
    kept, removed = backend.probabilities(both)[:, class_id].tolist()
    return kept, removed


def file_name(explained: PhotoMap, backend: Backend) -> str:
    """Name for the files of a map: that of the photo, the class and the method, of which two may be long."""
    name, method = (
        re.sub(r"\W+", "_", text).strip("_")
        for text in (backend.class_name(explained.class_id), explained.method)
    )
    photo = explained.photo.name[:_LONGEST_NAME]
    return f"{photo}.{name[:_LONGEST_NAME] or explained.class_id}.{method}"
