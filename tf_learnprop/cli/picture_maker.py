"""From photos to pictures, for `explain`. Loads TensorFlow, so it is imported late."""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import tf_learnprop as tlp
from tf_learnprop.cli import cautions, methods, options, picture_files
from tf_learnprop.inputs import photos

_BATCH = 16


class PictureMaker:
    """Makes the pictures of photos.

    Args:
        arguments: The command's.
        spec: The model.
        targets: Ids of the classes; None for the predicted ones.
        labels: The labels of all classes.
        compared: Names of the methods to compare with.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        spec: tlp.zoo.ModelSpec,
        targets: Sequence[int] | None,
        labels: Sequence[str],
        compared: Sequence[str],
    ):
        self.arguments, self.spec, self.targets, self.labels = arguments, spec, targets, labels
        self.wrapped = options.wrap(arguments, spec)
        self.shape = options.image_shape(arguments, spec)
        self.signed = self.wrapped.rule_set.readout.signed
        self.methods = {"rules": self._own, **methods.make(self.wrapped, compared)}

    def over(
        self, places: Mapping[pathlib.Path, picture_files.Place]
    ) -> Iterator[tuple[pathlib.Path, picture_files.Picture | str]]:
        """Yields each photo with its picture, or with the reason why it can't be read."""
        queue = iter(places)
        while paths := list(itertools.islice(queue, _BATCH)):
            batch = {}
            for path in paths:
                pixels = _read(path)
                if isinstance(pixels, str):
                    yield path, pixels
                else:
                    batch[path] = photos.fitted(pixels, self.shape)
            if batch:
                yield from self._explained(batch, places)

    def _explained(
        self, batch: Mapping[pathlib.Path, np.ndarray], places: Mapping[pathlib.Path, picture_files.Place]
    ) -> Iterator[tuple[pathlib.Path, picture_files.Picture | str]]:
        pixels = np.stack(list(batch.values())).astype(np.float32)
        images = np.asarray(self.spec.preprocess(pixels))
        head, logits = self.wrapped.attributor.head, self.wrapped.logits(images)
        probabilities = head.probabilities(logits).numpy()
        if self.targets is None:
            ranked = np.argsort(-np.asarray(head.class_logits(logits)), 1, kind="stable")
            class_ids = ranked[:, : self.arguments.top or 1]
        else:
            class_ids = np.tile(self.targets, (len(images), 1))
        # [methods, classes, photos, h, w], so that a photo's maps come class by class below.
        maps = np.array([[explain(images, ids) for ids in class_ids.T] for explain in self.methods.values()])
        for place, (path, ids) in enumerate(zip(batch, class_ids, strict=True)):
            one = np.swapaxes(maps[:, :, place], 0, 1).reshape(-1, *maps.shape[3:])
            rows = self._rows(images[place], one, ids, probabilities[place])
            yield path, self._write(places[path], path, one, rows)

    def _rows(
        self, image: np.ndarray, maps: np.ndarray, class_ids: np.ndarray, probabilities: np.ndarray
    ) -> list[dict[str, Any]]:
        """What is known of each map of a photo."""
        pairs = list(itertools.product(class_ids.tolist(), self.methods))
        notes = [cautions.of_probability(float(probabilities[class_id])) for class_id, _ in pairs]
        # Where the probability is low already, taking pixels away can't tell one map from another.
        probable = [] if self.arguments.no_check else [n for n, note in enumerate(notes) if not note]
        if probable:
            ids = [pairs[number][0] for number in probable]
            gains = cautions.gains_over_centre(self.wrapped, image, maps[probable], ids)
            for number, note in zip(probable, cautions.of_gains(gains), strict=True):
                notes[number] = note
        method_names = {"rules": "learned rules" if len(self.methods) > 1 else "", **methods.NAMES}
        return [
            {
                "class": self.spec.class_name(class_id),
                "class_id": class_id,
                "probability": float(probabilities[class_id]),
                "method": method_names[method],
                "cautions": note,
            }
            for (class_id, method), note in zip(pairs, notes, strict=True)
        ]

    def _write(
        self, place: picture_files.Place, path: pathlib.Path, maps: np.ndarray, rows: list[dict[str, Any]]
    ) -> picture_files.Picture | str:
        photo = _read(path)
        if isinstance(photo, str):  # it is gone by now
            return photo
        small = photos.reduced(photo, self.arguments.max_side)
        scale = small.shape[1] / photo.shape[1], small.shape[0] / photo.shape[0]
        region = np.array(photos.region(photo.shape, self.shape)) * (scale * 2)
        columns = len(self.methods)
        explanation = tlp.plotting.Explanation(
            small,
            [
                tlp.plotting.ClassMap(
                    one,
                    row["class"],
                    row["probability"],
                    row["method"],
                    row["cautions"],
                    self.signed and number % columns == 0,  # the rules come first
                )
                for number, (one, row) in enumerate(zip(maps, rows, strict=True))
            ],
            title=os.fsencode(path.name).decode(errors="replace"),
            region=tuple(np.minimum(region, small.shape[1::-1] * 2)),
            style=self.arguments.style,
            columns=columns if columns > 1 else None,
        )
        labels = [self.labels[row["class_id"]] for row in rows[::columns]]
        return place.write(labels, rows, maps, explanation.figure(), explanation.thumbnail())

    def _own(self, images: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        return self.wrapped.explain(images, class_ids, refine_steps=self.arguments.refine_steps)


def _read(path: pathlib.Path) -> np.ndarray | str:
    """The pixels of a photo, or the reason why it can't be read."""
    try:
        return photos.read(path)
    except photos.UnreadableError as error:
        return error.reason
    except OSError as error:
        return error.strerror or str(error)
