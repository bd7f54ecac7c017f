"""Do maps cover the object? Photos of one object with its exact mask, and photos with its box.

The masks are those of frames of DAVIS 2016. Frames of a sequence are alike, so each measure is averaged by
sequence, and intervals are over sequences. The boxes are those of Tiny ImageNet, with the photos enlarged.
The class that is explained is that of the object.
"""

import csv
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import images, options, tables
from tf_learnprop import metrics, zoo

#: Measures by the titles of their columns.
MEASURES = {
    "mass": metrics.mask_mass_accuracy,
    "ranks": metrics.mask_rank_accuracy,
    "point": metrics.pointing_game,
    "AUC": metrics.mask_auc,
}


class Objects(NamedTuple):
    """Photos of one object each.

    Attributes:
        photos: uint8 `[n, h, w, 3]`.
        masks: bool `[n, h, w]`.
        class_ids: int `[n]`.
        groups: str `[n]`, photos that are alike.
    """

    photos: np.ndarray
    masks: np.ndarray
    class_ids: np.ndarray
    groups: np.ndarray


def davis() -> Objects:
    """Frames with exact masks."""
    place, rows = images.folder("davis"), _rows(images.folder("davis", "labels.csv"))
    masks = [_image(place / row["mask"], 1)[..., 0] > 127 for row in rows]
    return _objects([_image(place / row["file"]) for row in rows], masks, rows, "sequence")


def boxes(size: int) -> Objects:
    """Photos with boxes, enlarged to `size` pixels a side."""
    place, rows = images.folder("boxes"), _rows(images.folder("boxes", "labels.csv"))
    photos, masks = [], []
    for row in rows:
        photo = _image(place / row["file"])
        mask = np.zeros(photo.shape[:2], "float32")
        left, top, right, bottom = (int(row[side]) for side in ("x_min", "y_min", "x_max", "y_max"))
        mask[top : bottom + 1, left : right + 1] = 1
        photos.append(np.clip(tf.image.resize(photo, [size, size], "bicubic"), 0, 255).astype("uint8"))
        masks.append(tf.image.resize(mask[..., None], [size, size], "nearest").numpy()[..., 0] > 0)
    return _objects(photos, masks, rows, "class_index")


def centre_blob(photos):
    """A Gaussian in the middle of each photo, which knows nothing of the model."""
    axes = [np.linspace(-2, 2, side) for side in photos.shape[1:3]]
    blob = np.exp(-(axes[0][:, None] ** 2 + axes[1] ** 2) / 2)
    return np.broadcast_to(blob, photos.shape[:3])


def measured(maps, objects):
    """Means over the groups of photos, a dict from names of measures to lists."""
    names = sorted(set(objects.groups))
    found = {title: measure(maps, objects.masks) for title, measure in MEASURES.items()}
    return {title: [values[objects.groups == g].mean() for g in names] for title, values in found.items()}


def rows_of(model):
    """The methods: titles, and functions from preprocessed images and class ids to maps."""
    settings = {
        "universal rule": {},
        "… names compete": {"readout": tlp.readouts.MultiLayerReadout(contrast="names")},
        "… no competition": {"readout": tlp.readouts.MultiLayerReadout(contrast=None)},
        "untrained rules": {"rule": "learned"},
        "Grad-CAM": {"rule": "gradient", "readout": "grad_cam"},
    }
    for title, arguments in settings.items():
        yield title, tlp.wrap_model(model, **arguments).explain


def add_options(parser):
    parser.add_argument("--model", default="efficientnet_lite0", help="a model of the zoo")
    parser.add_argument("--images", type=options.at_least(1), default=10_000, help="of each set at most")


def run(arguments):
    spec = zoo.load_model(arguments.model)
    for name, objects in {"masks": davis(), "boxes": boxes(spec.model.input_shape[1])}.items():
        objects = Objects(*(part[: arguments.images] for part in objects))
        inputs = np.asarray(spec.preprocess(objects.photos.astype("float32")))
        rows = []
        for title, explain in rows_of(spec.model):
            values = measured(explain(inputs, objects.class_ids, batch_size=16), objects)
            rows.append([title, *(tables.interval(row) for row in values.values())])
            print(name, rows[-1], flush=True)
        blob = measured(centre_blob(objects.photos), objects)
        rows.append(["centred blob", *(tables.interval(row) for row in blob.values())])
        print(tables.table([f"{name}, {len(objects.photos)} photos", *MEASURES], rows))


def _rows(path: pathlib.Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _image(path, channels=3):
    return tf.io.decode_image(path.read_bytes(), channels=channels).numpy()


def _objects(photos, masks, rows, group):
    class_ids = np.array([int(row["class_index"]) for row in rows])
    return Objects(np.stack(photos), np.stack(masks), class_ids, np.array([row[group] for row in rows]))
