"""`PlacesBackend`: a segmenter or a detector, of which places or boxes are explained."""

from __future__ import annotations

import abc
import colorsys
import dataclasses
from typing import ClassVar

import numpy as np

from tf_learnprop.app.backends import WrappedBackend
from tf_learnprop.model import PropagationModel
from tf_learnprop.targets import Anchors, Detection, Outputs, Pixel, Region, Target
from tf_learnprop.targets.boxes import COLUMNS
from tf_learnprop.zoo.model_spec import ModelSpec

#: Detections that are shown at most, and the least score of those behind the best one.
_MOST, _LEAST_SCORE = 20, 0.3
#: The colour of the edge of what is explained, and how much of the colours of classes is seen.
_EDGE, _OPACITY = (0, 220, 255), 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A part of a photo that can be explained.

    Attributes:
        name: What it is, as the page says it.
        target: The target.
        mask: bool `[h, w]`, where it is in the photo.
    """

    name: str
    target: Target
    mask: np.ndarray


class PlacesBackend(WrappedBackend, abc.ABC):
    """Answers questions about parts of photos of the model's size, uint8 `[h, w, c]`.

    Attributes:
        choices: What a click can stand for, the first one first; more than one for a segmenter.
    """

    choices: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def parts(self, photo: np.ndarray) -> Parts:
        """What the model finds in a photo."""

    def warm_up(self) -> None:
        """See `Backend`."""
        blank = np.zeros(self.shape, np.uint8)
        part = self.parts(blank).at(self.shape[0] // 2, self.shape[1] // 2, self.choices[0])
        if part is not None:
            self.explain(blank, part.target, self.methods[0])

    def _read(self, photo: np.ndarray) -> Outputs:
        with self._lock:
            return self._wrapped.attributor.read(self._inputs(photo[None]))


class Parts(abc.ABC):
    """What a model finds in a photo.

    Args:
        size: Rows and columns of the photo.
    """

    def __init__(self, size: tuple[int, int]):
        self.size = size

    @abc.abstractmethod
    def at(self, row: int, column: int, choice: str) -> Part | None:
        """The part at a pixel of the photo, None if there is none."""

    @abc.abstractmethod
    def drawn(self, backdrop: np.ndarray) -> np.ndarray:
        """All parts, each in the colour of its class, over a grey backdrop; uint8 `[height, width, 3]`."""


class Segmenter(PlacesBackend):
    """A model with an output `[n, rows, columns, classes]`."""

    choices = ("all places of the class", "the place alone")

    def parts(self, photo: np.ndarray) -> Parts:
        outputs = self._read(photo)
        chances = outputs.head.probabilities(outputs.logits)[0].numpy()
        return _Segments(photo.shape[:2], chances, self)


class _Segments(Parts):
    """Classes of places; `chances` is float32 `[rows, columns, classes]`."""

    def __init__(self, size: tuple[int, int], chances: np.ndarray, backend: Segmenter):
        super().__init__(size)
        self._chances, self._backend = chances, backend
        self._class_ids = chances.argmax(-1)

    def at(self, row: int, column: int, choice: str) -> Part | None:
        rows, columns = self._class_ids.shape
        row, column = row * rows // self.size[0], column * columns // self.size[1]
        class_id = int(self._class_ids[row, column])
        name = self._backend.class_name(class_id)
        if choice == Segmenter.choices[1]:
            mask = np.zeros((rows, columns), bool)
            mask[row, column] = True
            chance = self._chances[row, column, class_id]
            what = f"{name} in row {row}, column {column}: {chance:.1%}"
            return Part(what, Pixel(row, column, class_id), scaled(mask, self.size))
        mask = self._class_ids == class_id
        what = f"{name}: {mask.mean():.1%} of the photo"
        return Part(what, Region(mask.astype(np.float32), class_id), scaled(mask, self.size))

    def drawn(self, backdrop: np.ndarray) -> np.ndarray:
        colours = np.array([colour(k) for k in range(self._chances.shape[-1])])
        picture = _in_colour(backdrop)
        return _mixed(picture, scaled(colours[self._class_ids], picture.shape[:2]), _OPACITY)


class Detector(PlacesBackend):
    """A detector that gives boxes in pixels.

    Args:
        spec: The model with its preprocessing and class names.
        wrapped: The same model, wrapped with its rules.
        shape: (height, width, channels) of the photos.
        anchors: How its outputs are read.
    """

    choices = ("the box",)

    def __init__(
        self,
        spec: ModelSpec,
        wrapped: PropagationModel,
        shape: tuple[int, int, int],
        anchors: Anchors = COLUMNS,
    ):
        super().__init__(spec, wrapped, shape)
        self.anchors = anchors
        self._detection = Detection(anchors=anchors).checked(wrapped.explained)

    def parts(self, photo: np.ndarray) -> Parts:
        boxes, scores, class_ids, counts = self._detection.best(self._read(photo), _MOST)
        count = max(int(np.sum(scores[0] >= _LEAST_SCORE)), min(int(counts[0]), 1))
        boxes, scores, class_ids = (tensor[0, :count].numpy() for tensor in (boxes, scores, class_ids))
        return _Boxes(photo.shape[:2], boxes, scores, class_ids, self)


class _Boxes(Parts):
    """Detections: corners `[k, 4]`, scores `[k]` and classes `[k]`, the best first."""

    def __init__(
        self,
        size: tuple[int, int],
        boxes: np.ndarray,
        scores: np.ndarray,
        class_ids: np.ndarray,
        backend: Detector,
    ):
        super().__init__(size)
        self._boxes, self._backend = boxes, backend
        self._scores, self._class_ids = scores, class_ids.astype(int)

    def at(self, row: int, column: int, choice: str) -> Part | None:
        """The smallest box that holds a pixel."""
        left, top, right, bottom = self._boxes.T
        holds = (left <= column + 0.5) & (column + 0.5 <= right) & (top <= row + 0.5) & (row + 0.5 <= bottom)
        if not holds.any():
            return None
        k = int(np.where(holds, (right - left) * (bottom - top), np.inf).argmin())
        class_id = int(self._class_ids[k])
        name = f"{self._backend.class_name(class_id)}: {self._scores[k]:.1%}"
        return Part(name, Detection(k, class_id, self._backend.anchors), self._mask(k, self.size))

    def drawn(self, backdrop: np.ndarray) -> np.ndarray:
        picture = _in_colour(backdrop)
        for k in reversed(range(len(self._boxes))):
            picture = outlined(picture, self._mask(k, picture.shape[:2]), colour(self._class_ids[k]))
        return picture

    def _mask(self, k: int, size: tuple[int, int]) -> np.ndarray:
        """Which pixels of a picture of some size box k holds."""
        zoom = np.array(size) / self.size
        left, top, right, bottom = self._boxes[k] * np.tile(zoom[::-1], 2)
        rows, columns = (np.arange(side) + 0.5 for side in size)
        return ((top <= rows) & (rows <= bottom))[:, None] & ((left <= columns) & (columns <= right))


def backend_for(
    spec: ModelSpec, wrapped: PropagationModel, shape: tuple[int, int, int], anchors: Anchors = COLUMNS
) -> WrappedBackend:
    """What answers for a model of photos, by the shape of its output; `anchors` are those of a detector."""
    rank = len(wrapped.explained.output_tensor.shape)
    if rank == 3:
        return Detector(spec, wrapped, shape, anchors)
    return (Segmenter if rank == 4 else WrappedBackend)(spec, wrapped, shape)


def colour(class_id: int) -> tuple[int, int, int]:
    """The colour of a class, far from those of the classes before it."""
    red, green, blue = colorsys.hsv_to_rgb(0.618034 * class_id % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def outlined(picture: np.ndarray, mask: np.ndarray, rgb: tuple[int, int, int] = _EDGE) -> np.ndarray:
    """A picture, uint8 `[h, w, 3]`, with the edge of a mask of any size in a colour."""
    inside = scaled(mask, picture.shape[:2])
    width = max(1, round(max(inside.shape) / 200))
    padded = np.pad(inside, width)
    steps = [(row, column) for row in (0, width, 2 * width) for column in (0, width, 2 * width)]
    height, length = inside.shape
    core = np.all([padded[row : row + height, column : column + length] for row, column in steps], 0)
    return np.where((inside & ~core)[..., None], np.array(rgb, np.uint8), picture)


def scaled(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values `[rows, columns, ...]` at another size, each pixel with that of the nearest place."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, values.shape, strict=False))
    return values[rows][:, columns]


def _in_colour(backdrop: np.ndarray) -> np.ndarray:
    return np.repeat(backdrop, 3, -1)


def _mixed(picture: np.ndarray, colours: np.ndarray, opacity: float) -> np.ndarray:
    return np.round((1 - opacity) * picture + opacity * colours).astype(np.uint8)
