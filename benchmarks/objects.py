"""Do maps cover the object? Photos of one object with its mask, photos with its box, and cut-out scenes.

The masks are those of frames of DAVIS 2016. Frames of a sequence are alike, so each measure is averaged by
sequence, and intervals are over sequences. The boxes are those of Tiny ImageNet, with the photos enlarged.
The class that is explained is that of the object. In cut-out scenes, two objects of the frames of DAVIS stand
in one photo, and each is explained: how much of what lies on the two objects lies on the right one?
"""

import csv
import functools
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import images, options, scenes, tables
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
    """A Gaussian in the middle of each photo, which knows nothing of the model.

    Squared, it is narrower than that of `metrics`: pixels have the same order, but the published mass depends
    on the width.
    """
    return np.broadcast_to(metrics.centre_blob(*photos.shape[1:3]) ** 2, photos.shape[:3])


def measured(maps, objects):
    """Means over the groups of photos, a dict from names of measures to lists."""
    names = sorted(set(objects.groups))
    found = {title: measure(maps, objects.masks) for title, measure in MEASURES.items()}
    return {title: [values[objects.groups == g].mean() for g in names] for title, values in found.items()}


def own_share(maps, own, other):
    """The positive attribution on the right one of two objects, as a share of that on both.

    Args:
        maps: `[n, h, w]`.
        own: bool `[n, h, w]`, the object of the class that is explained.
        other: bool `[n, h, w]`.

    Returns:
        float64 `[n]`; ½ if there is none on either.
    """
    positive = np.maximum(np.asarray(maps, np.float64), 0)
    on_own, on_other = ((positive * mask).sum((1, 2)) for mask in (own, other))
    total = on_own + on_other
    return np.where(total > 0, on_own / np.where(total > 0, total, 1), 0.5)


def own_ranks(maps, own, other):
    """The share of the right one of two objects in the highest pixels of both, as many as it has."""
    shares = []
    for values, mask, rest in zip(maps, own, other, strict=True):
        both = mask | rest
        highest = np.argsort(-values[both], kind="stable")[: mask.sum()]
        shares.append(mask[both][highest].mean())
    return np.array(shares)


def scene_measures(explain, inputs, found):
    """Means over the scenes and their two objects, a dict from names of measures to lists."""
    shares = {"own share": [], "own ranks": []}
    for number in (0, 1):
        maps = np.asarray(explain(inputs, found.class_ids[:, number]))
        own, other = found.masks[:, number], found.masks[:, 1 - number]
        shares["own share"].append(own_share(maps, own, other))
        shares["own ranks"].append(own_ranks(maps, own, other))
    return {title: list(np.mean(values, 0)) for title, values in shares.items()}


def rows_of(model, names, masks):
    """The methods: titles, and functions from preprocessed images and class ids to maps."""
    settings = {
        "universal rule": {},
        "… not guided": {"readout": tlp.readouts.MultiLayerReadout(guided=False)},
        "… names compete": {"readout": tlp.readouts.MultiLayerReadout(contrast="names")},
        "… no competition": {"readout": tlp.readouts.MultiLayerReadout(contrast=None)},
        "untrained rules": {"rule": "learned"},
    }
    for title, arguments in settings.items():
        yield title, functools.partial(tlp.wrap_model(model, **arguments).explain, batch_size=16)
    wrapped = tlp.wrap_model(model, "gradient")
    for name in names:
        chosen = {"masks": masks} if name == "rise" else {}
        yield name, functools.partial(tlp.methods.make(wrapped, name, **chosen).explain, batch_size=16)


def every(objects, step):
    """Each `step`-th photo of each group."""
    places = [np.flatnonzero(objects.groups == name)[::step] for name in sorted(set(objects.groups))]
    return Objects(*(part[np.concatenate(places)] for part in objects))


def add_options(parser):
    parser.add_argument("--model", default="efficientnet_lite0", help="a model of the zoo")
    parser.add_argument("--rules", help="rules that come with the package, or a file: a row of their own")
    parser.add_argument(
        "--methods", nargs="*", default=["grad_cam", "layer_cam"], help="names of `tlp.methods`"
    )
    parser.add_argument("--masks", type=options.at_least(1), default=1000, help="masks of RISE")
    parser.add_argument("--every", type=options.at_least(1), default=1, help="take each k-th frame")
    parser.add_argument("--images", type=options.at_least(1), default=10_000, help="of each set at most")
    parser.add_argument("--sets", nargs="*", default=["masks", "boxes", "scenes"], help="what is measured")


def run(arguments):
    spec = zoo.load_model(arguments.model)
    methods = dict(rows_of(spec.model, arguments.methods, arguments.masks))
    if arguments.rules:
        own = tlp.wrap_model(spec.model, rule=arguments.rules)
        methods[arguments.rules] = functools.partial(own.explain, batch_size=16)

    def inputs(photos):
        return np.asarray(spec.preprocess(photos.astype("float32")))

    frames = davis()
    sets = {"masks": every(frames, arguments.every), "boxes": boxes(spec.model.input_shape[1])}
    for name in sets.keys() & set(arguments.sets):
        objects = Objects(*(part[: arguments.images] for part in sets[name]))
        images_of_set, rows = inputs(objects.photos), []
        for title, explain in methods.items():
            values = measured(np.asarray(explain(images_of_set, objects.class_ids)), objects)
            rows.append([title, *(tables.interval(row) for row in values.values())])
            print(name, rows[-1], flush=True)
        blob = measured(centre_blob(objects.photos), objects)
        rows.append(["centred blob", *(tables.interval(row) for row in blob.values())])
        print(tables.table([f"{name}, {len(objects.photos)} photos", *MEASURES], rows), flush=True)
    if "scenes" in arguments.sets:
        found = scenes.cut_out(*frames)
        found = scenes.Scenes(*(part[: arguments.images] for part in found))
        images_of_set, rows = inputs(found.photos), []
        for title, explain in methods.items():
            values = scene_measures(explain, images_of_set, found)
            rows.append([title, *(tables.interval(row) for row in values.values())])
            print("scenes", rows[-1], flush=True)
        print(tables.table([f"scenes, {len(found.photos)} photos", "own share", "own ranks"], rows))


def _rows(path: pathlib.Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _image(path, channels=3):
    return tf.io.decode_image(path.read_bytes(), channels=channels).numpy()


def _objects(photos, masks, rows, group):
    class_ids = np.array([int(row["class_index"]) for row in rows])
    return Objects(np.stack(photos), np.stack(masks), class_ids, np.array([row[group] for row in rows]))
