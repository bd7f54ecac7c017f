"""Images for training, explaining and measuring: from folders or tensorflow-datasets, as `tf.data`.

`from_voc`, `from_coco` and `from_masks` read photos with the boxes or masks of objects, for
`tf_learnprop.metrics`. `read_maps` reads the maps of a whole data set, see `tf_learnprop.scale`.

Files may be JPEG, PNG, GIF, BMP, WebP or TIFF. All are decoded to 8-bit RGB: the EXIF orientation is applied,
of 16-bit values the high byte is kept, CMYK is converted without a colour profile, transparent pixels become
black, and of an animation the first image is read. Resizing is bilinear with antialiasing. A model that was
exported with `preprocess` computes the same pixels (of JPEG, PNG, GIF and 24-bit BMP files).

Data sets yield single images: `from_folder("photos", model).batch(32)` is ready for `fit` and `explain`. To
shuffle, repeat, limit or keep images in memory, call the methods of `tf.data.Dataset`. Training rules needs
no labels, so a data set yields images alone unless `labels=True`.
"""

import glob
import os
import pathlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.inputs import image_stream, photos
from tf_learnprop.inputs.annotated import AnnotatedPhotos, from_coco, from_masks, from_voc
from tf_learnprop.inputs.model_images import image_shape
from tf_learnprop.scale import read_maps

__all__ = [
    "AnnotatedPhotos",
    "find",
    "from_coco",
    "from_folder",
    "from_masks",
    "from_tfds",
    "from_voc",
    "image_shape",
    "read_image",
    "read_maps",
]


def from_folder(
    source: str | os.PathLike | list | tuple,
    model: keras.Model | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    preprocess: Callable | None = None,
    crop: bool = True,
    labels: bool = False,
) -> tf.data.Dataset:
    """Reads image files.

    Args:
        source: Path of a folder, which is searched with all its subfolders; a glob pattern; or a list of
            files.
        model: The model that the images are for. It determines their size and their number of channels (1 or
            3). None: `size`, and three channels.
        size: Side or (height, width) of the images, instead of the model's.
        preprocess: Function from float32 batches `[n, h, w, c]` in 0..255 to the model's input, or None. It
            is called with a batch of each image.
        crop: True keeps the aspect ratio and cuts out the centre; False stretches the photo.
        labels: Whether to yield pairs of an image and its label, an int64. The label of a file is the
            position of its folder's name in `class_names`.

    Returns:
        Dataset of images, float32 `[h, w, c]`, in the order of their paths. It has the attributes
        `class_names`, the sorted names of the files' folders, and `skipped`, a list of the files that could
        not be read so far. Files that can't be read are skipped; a warning at the end of each pass counts
        them and names a few. Each pass reads the files again, unless `.cache()` keeps the images.

    Raises:
        ValueError: If there is no image, or none that can be read; if the size is unknown or below 1; or if
            the model does not take images with 1 or 3 channels.
        TypeError: If `model` is no model.
    """
    paths = find(source)
    names = sorted({path.parent.name for path in paths})
    labels_of = {name: label for label, name in enumerate(names)}

    def read() -> Iterator[tuple[str, np.ndarray | None, int]]:
        for path in paths:
            yield str(path), _read(path), labels_of[path.parent.name]

    received = f"source={str(source)[:200]!r}"
    shape = image_shape(model, size)
    return image_stream.dataset(read, names, received, shape, preprocess=preprocess, crop=crop, labels=labels)


def from_tfds(
    name: str | os.PathLike,
    split: str,
    model: keras.Model | None = None,
    *,
    data_dir: str | os.PathLike | None = None,
    download: bool = True,
    size: int | tuple[int, int] | None = None,
    preprocess: Callable | None = None,
    crop: bool = True,
    labels: bool = False,
) -> tf.data.Dataset:
    """Reads the images of a data set of tensorflow-datasets.

    Args:
        name: Name for `tfds.load`; or path of a folder with files `split/label/image.jpg`, which
            `tfds.ImageFolder` reads.
        split: Split in the notation of tensorflow-datasets, such as "train" or "test[:100]".
        model: See `from_folder`.
        data_dir: Folder of the data sets; see `tfds.load`.
        download: Whether to download the data set if it is missing.
        size: See `from_folder`.
        preprocess: See `from_folder`.
        crop: See `from_folder`.
        labels: See `from_folder`; labels and `class_names` are those of the data set.

    Returns:
        See `from_folder`.

    Raises:
        ValueError: If there is no such data set or split, if it can't be downloaded, or if it has no images
            (or no labels that are asked for); and as `from_folder`.
        TypeError: If `model` is no model.
    """
    import tensorflow_datasets as tfds  # takes seconds

    try:
        if pathlib.Path(name).is_dir():
            builder = tfds.ImageFolder(os.fspath(name))
            data, info = builder.as_dataset(split), builder.info
        else:
            data, info = tfds.load(
                os.fspath(name), split=split, data_dir=data_dir, download=download, with_info=True
            )
    except Exception as error:  # of many types: from the network, the builder or a registry
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"tensorflow-datasets can't give '{name}', split '{split}' ({type(error).__name__}: {reason})."
        ) from error
    if "image" not in info.features or labels and "label" not in info.features:
        wanted = "'image' and 'label'" if labels else "'image'"
        raise ValueError(f"'{name}' must have the features {wanted}. Received: {', '.join(info.features)}")
    names = getattr(info.features["label"], "names", None) if "label" in info.features else None

    def read() -> Iterator[tuple[str, np.ndarray | None, int]]:
        for number, row in enumerate(data.as_numpy_iterator()):
            pixels = row["image"][..., 0] if row["image"].shape[-1] == 1 else row["image"]
            yield str(number), photos.rgb(Image.fromarray(pixels)), row.get("label", 0)

    received, shape = f"name={name!r}", image_shape(model, size)
    return image_stream.dataset(
        read, list(names or []), received, shape, preprocess=preprocess, crop=crop, labels=labels
    )


def read_image(
    path: str | os.PathLike, height: int, width: int, channels: int = 3, crop: bool = True
) -> np.ndarray | None:
    """Reads one image file as `from_folder` does.

    Args:
        path: Path of the file.
        height: Height of the result.
        width: Width of the result.
        channels: 3 for RGB, or 1 for the luma.
        crop: See `from_folder`.

    Returns:
        uint8 `[height, width, channels]`, or None if the file can't be read.
    """
    photo = _read(path)
    return None if photo is None else photos.fitted(photo, (height, width, channels), crop)


def find(source: str | os.PathLike | list | tuple) -> list[pathlib.Path]:
    """Lists the files that `from_folder` reads.

    Args:
        source: Path of a folder, a glob pattern, or a list of files.

    Returns:
        The paths; those of a folder or pattern are sorted. Of a folder, only files whose names end as those
        of images do.

    Raises:
        ValueError: If there are none, or if a file of the list is missing.
    """
    if isinstance(source, (list, tuple)):
        paths = [pathlib.Path(path) for path in source]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise ArgumentError("source", "hold files that exist", source, ", ".join(missing[:3]))
    elif pathlib.Path(source).is_dir():
        paths = sorted(pathlib.Path(source).rglob("*"))
        paths = [path for path in paths if path.suffix.lower() in photos.SUFFIXES and path.is_file()]
    else:
        paths = sorted(pathlib.Path(path) for path in glob.glob(os.fspath(source), recursive=True))
        paths = [path for path in paths if path.is_file()]
    if not paths:
        raise ValueError(
            f"`source` must be a folder with images ({', '.join(photos.SUFFIXES)}), a pattern that matches "
            f"files, or a list of files. Received: source={str(source)[:200]!r}, where there are none"
        )
    return paths


def _read(path: str | os.PathLike) -> np.ndarray | None:
    """The pixels of a file, uint8 `[h, w, 3]`, or None."""
    try:
        return photos.read(path)
    except (OSError, ValueError):
        return None
