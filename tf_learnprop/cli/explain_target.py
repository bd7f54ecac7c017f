"""`explain` for what is no class of a photo: a region, a box, a detection or a value."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

import numpy as np
import rich.console

from tf_learnprop.cli import files, options, picture_files, picture_plan, settings
from tf_learnprop.cli.errors import UsageError, naming_options

#: Options that name a target, by the attribute of the arguments.
_OPTIONS = {"region": "--region", "box": "--box", "detection": "--detection", "value": "--value"}
_PREDICTED = "predicted"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a target."""
    group = parser.add_argument_group("models whose output is no class of the photo")
    group.add_argument(
        "--region",
        metavar="MASK",
        help="explain a segmenter's class in the white part of a mask file; or where the model predicts the "
        f"class, with '{_PREDICTED}'",
    )
    group.add_argument(
        "--box",
        metavar="X0,Y0,X1,Y1",
        help="explain a detector's class in a box, in pixels of the model's input; the output must be "
        "[n, anchors, 4 + classes], with two corners of each box, or that of KerasHub's RetinaNet",
    )
    group.add_argument(
        "--detection", type=int, metavar="K", help="explain the detector's own detection K, from 0"
    )
    group.add_argument(
        "--value",
        type=int,
        nargs="?",
        const=0,
        metavar="INDEX",
        help="explain a value of a regression (default: 0)",
    )


def chosen(arguments: argparse.Namespace) -> bool:
    """Whether an option names a target.

    Raises:
        UsageError: If several do, or an option stands beside it that is for classes.
    """
    given = [option for name, option in _OPTIONS.items() if getattr(arguments, name) is not None]
    if not given:
        return False
    others = {"--top": arguments.top, "--compare": arguments.compare}
    given += [option for option, value in others.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} can't be used together")
    classes = arguments.target or []
    if len(classes) > 1 or classes and given[0] == "--value":
        raise UsageError(f"{given[0]} takes {'no' if given[0] == '--value' else 'one'} --class")
    if classes and not classes[0].isdigit():
        raise UsageError(f"--class must be an id beside {given[0]}. Received: {classes[0]}")
    return True


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Writes `NAME.png` and `NAME.npy` for each photo.

    Returns:
        `images`, a dict for each map, with the files, the class or None, and the score; `resumed`, the number
        of photos whose pictures were there; `skipped`, the files that can't be read.
    """
    photos, skipped = files.images(arguments.images), {}
    with files.folder(arguments.out) as out:
        manifest = picture_files.PictureManifest(out, arguments.overwrite)
        photos = manifest.without_results(photos)
        note = settings.of(arguments, "images", "out", "command")
        note |= settings.contents(arguments, "model", "rules", "class_names", "region")
        plan = picture_plan.plan_by_photo(photos, manifest, note, arguments.overwrite)
        pictures = dict(plan.done)
        if plan.places:
            maker = _Maker(arguments, options.load_model(arguments))
            for photo, place in plan.places.items():
                picture = maker.written(photo, place)
                if isinstance(picture, str):
                    skipped[str(photo)] = picture
                else:
                    pictures[photo] = picture
                    console.print(f"{picture.path}: {_said(picture.note['rows'][0])}", soft_wrap=True)
    files.say_skipped(skipped)
    if not pictures:
        raise UsageError(f"none of the {len(photos)} images can be read")
    if plan.done:
        console.print(f"{len(plan.done)} of {len(photos)} pictures were there already")
    rows = [_row(photo, pictures[photo]) for photo in photos if photo in pictures]
    return {"images": rows, "resumed": len(plan.done), "skipped": list(skipped)}


class _Maker:
    """Makes the pictures of photos.

    Args:
        arguments: The command's.
        spec: The model.
    """

    def __init__(self, arguments: argparse.Namespace, spec: Any):
        from tf_learnprop.inputs import photos  # which loads TensorFlow
        from tf_learnprop.targets import boxes, detectors

        self._photos, self._spec, self._arguments = photos, spec, arguments
        self._shape = options.image_shape(arguments, spec)
        output: int | str = 0
        self._anchors = boxes.COLUMNS
        if arguments.box is not None or arguments.detection is not None:
            output, self._anchors = detectors.known(spec.model, self._shape[:2])
        self._wrapped = options.wrap(arguments, spec, output)
        with naming_options({}, TypeError):
            self._target = self._made()

    def written(self, path: pathlib.Path, place: picture_files.Place) -> picture_files.Picture | str:
        """Writes the picture and the map of a photo; returns the picture, or why the photo can't be read."""
        try:
            pixels = self._photos.fitted(self._photos.read(path), self._shape)
        except self._photos.UnreadableError as error:
            return error.reason
        images = np.asarray(self._spec.preprocess(pixels[None].astype(np.float32)))
        with naming_options({}, TypeError):
            (batch,) = self._wrapped.explain_batches(images, self._target)
            score = float(self._wrapped.scores(images, self._target)[0])
        class_id = int(batch.class_ids[0])
        probability = float(batch.probabilities[0])
        known = class_id >= 0
        row = {
            "class_id": class_id if known else None,
            "probability": probability if known else None,
            "score": score,
        }
        figure = self._drawn(pixels, images, batch.maps[0], _said(row))
        figure.set_dpi(150)
        return place.write([], [row], batch.maps, figure)

    def _made(self) -> Any:
        import tf_learnprop as tlp

        arguments, class_id = self._arguments, None
        if arguments.target:
            class_id = int(arguments.target[0])
        if arguments.value is not None:
            return tlp.targets.Value(arguments.value)
        if arguments.region is not None:
            return tlp.targets.Region(self._mask(), class_id)
        if arguments.detection is not None:
            return tlp.targets.Detection(arguments.detection, class_id, self._anchors)
        box = self._converted(_box(arguments.box), "xyxy", self._anchors.box_format)
        return tlp.targets.Box(box, class_id, self._anchors)

    def _converted(self, box: Any, source: str, target: str) -> np.ndarray:
        """A box in another format, float32 `[4]`."""
        import keras

        height, width = self._shape[:2]
        one = np.asarray(box, np.float32)[None]
        return np.asarray(keras.utils.bounding_boxes.convert_format(one, source, target, height, width))[0]

    def _mask(self) -> np.ndarray | None:
        """The mask of --region at the size of the model's output, None for what the model predicts."""
        name = self._arguments.region
        if name == _PREDICTED:
            return None
        try:
            mask = self._photos.read(name)
        except (OSError, self._photos.UnreadableError) as error:
            raise UsageError(
                f"--region must be a mask file, or '{_PREDICTED}'. Received: {name} ({error})"
            ) from error
        shape, own = self._wrapped.explained.output_tensor.shape, self._shape
        height, width = (shape[1] or own[0], shape[2] or own[1]) if len(shape) == 4 else own[:2]
        grey = self._photos.fitted(mask, (height, width, 1))[..., 0]
        if not (grey > 127).any():
            raise UsageError(f"--region must be a mask with a white part. Received: {name}, without one")
        return (grey > 127).astype(np.float32)

    def _drawn(self, photo: np.ndarray, images: np.ndarray, attribution: np.ndarray, title: str) -> Any:
        from tf_learnprop import plotting, targets

        signed = self._wrapped.rule_set.readout.signed
        if isinstance(self._target, targets.Region):
            mask = self._target.mask
            if mask is None:
                mask = self._settled(images).mask[0]
            return plotting.regions(photo, np.asarray(mask), attribution, signed=signed, title=title)
        if isinstance(self._target, targets.Box):
            if isinstance(self._target, targets.Detection):
                corners, _ = self._checked(images).detected(self._outputs(images))
                is_relative = self._anchors.box_format.startswith("rel_")
                box = self._converted(corners[0], "rel_xyxy" if is_relative else "xyxy", "xyxy")
            else:
                box = np.array(_box(self._arguments.box))
            return plotting.boxes(photo, box, attribution, signed=signed, title=title).figure
        return plotting.overlay(photo, attribution, signed=signed, title=title).figure

    def _outputs(self, images: np.ndarray) -> Any:
        return self._wrapped.attributor.read(images)

    def _checked(self, images: np.ndarray) -> Any:
        from tf_learnprop.targets import choosing

        return choosing.tensors(self._target, self._wrapped.explained, len(images))

    def _settled(self, images: np.ndarray) -> Any:
        return self._checked(images).settled(self._outputs(images))


def _said(row: dict[str, Any]) -> str:
    if row["class_id"] is None:
        return f"score {row['score']:.4g}"
    return f"class {row['class_id']}, {row['probability']:.1%}"


def _row(photo: pathlib.Path, picture: picture_files.Picture) -> dict[str, Any]:
    (row,) = picture.note["rows"]
    return {"image": str(photo), "overlay": str(picture.path), "map": str(picture.array), **row}


def _box(text: str) -> list[float]:
    try:
        left, top, right, bottom = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--box must be four numbers, X0,Y0,X1,Y1. Received: {text}") from None
    return [left, top, right, bottom]
