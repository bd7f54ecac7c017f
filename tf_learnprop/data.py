"""Images for training, explaining and measuring: folders and tensorflow-datasets, as `tf.data`.

Labels are not needed to train rules, so a data set gives images alone unless `labels=True`.
"""

import glob
import os
import pathlib
import warnings

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, UnidentifiedImageError

from tf_learnprop.inputs import checks

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")


def from_folder(source, model=None, **options):
    """Images of files.

    Args:
        source: path of a folder, searched with all below it; a glob pattern; or a list of files. JPEG, PNG,
            BMP and the first frame of GIF files; an EXIF orientation is applied.
        model: `keras.Model` or `PropagationModel` for which they are made: gives the size and the number of
            channels (1 or 3) of its first input. None: `size`, and three channels.
        **options: size: int or (height, width), in the place of the model's.
            preprocess: function from float32 batches `[n, h, w, c]` of values in 0..255 to what the model
                takes, or None.
            crop: bool, True cuts the centre out, so that the aspect ratio stays; False stretches.
            batch_size: int. shuffle, repeat: bool. seed: int, of the shuffling and the mirroring.
            flip: bool, mirrors each image left to right at random.
            limit: int or None, images at most, of those that can be read.
            cache: bool, keeps the images in memory, as uint8, after they were read once.
            labels: bool, gives pairs of images and int64 `[n]`: the place of each file's folder among the
                names of all their folders.

    Returns:
        `tf.data.Dataset` of float32 batches `[n, h, w, c]`, with the attributes `class_names`, a list of str,
        and `skipped`, a list of str: the files read so far that could not be read.
        A file that can't be read is skipped; at the end of a pass one warning counts those and names a few.

    Raises:
        ValueError: nothing found, or nothing of it readable; no size; a size or number that is out of range;
            a model whose input is no image of 1 or 3 channels.
    """
    paths = find(source)
    names = sorted({path.parent.name for path in paths})
    place = {name: number for number, name in enumerate(names)}

    def read():
        for path in paths:
            yield str(path), _opened(path), place[path.parent.name]

    return _dataset(read, names, f"source={str(source)[:200]!r}", model, **options)


def from_tfds(name, split, model=None, *, data_dir=None, download=True, **options):
    """Images of a data set of tensorflow-datasets.

    Args:
        name: name for `tfds.load`; or path of a folder laid out as `split/label/image.jpg`, which
            `tfds.ImageFolder` reads.
        split: str, as tensorflow-datasets takes it: "train", or of a data set by name "test[:100]".
        model: as for `from_folder`.
        data_dir: as for `tfds.load`.
        download: as for `tfds.load`.
        **options: as for `from_folder`.

    Returns:
        As `from_folder`; labels are those of the data set.

    Raises:
        ValueError: no such data set or split, or it can't be downloaded; one without images; and as
            `from_folder`.
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
    except Exception as error:  # of any kind: the network's, the builder's own, a registry's
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"tensorflow-datasets can't give '{name}', split '{split}' ({type(error).__name__}: {reason})."
        ) from error
    if "image" not in info.features or options.get("labels") and "label" not in info.features:
        wanted = "'image' and 'label'" if options.get("labels") else "'image'"
        raise ValueError(f"'{name}' must have the features {wanted}. Received: {', '.join(info.features)}")
    names = getattr(info.features["label"], "names", None) if "label" in info.features else None

    def read():
        for number, row in enumerate(data.as_numpy_iterator()):
            pixels = row["image"][..., 0] if row["image"].shape[-1] == 1 else row["image"]
            yield str(number), Image.fromarray(pixels), row.get("label", 0)

    return _dataset(read, list(names or []), f"name={name!r}", model, **options)


def read_image(path, height, width, channels=3, crop=True):
    """One image of a file, as `from_folder` reads it.

    Returns:
        uint8 `[height, width, channels]`, or None if it can't be read.
    """
    image = _opened(path)
    return None if image is None else _pixels(image, (height, width, channels), crop)


def find(source):
    """The files of a folder, glob pattern or list as `from_folder` takes them, sorted, list of paths.

    Raises:
        ValueError: there are none.
    """
    if isinstance(source, (list, tuple)):
        paths = [pathlib.Path(path) for path in source]
        missing = [str(path) for path in paths if not path.is_file()]
        if missing:
            raise ValueError(f"`source` must hold files. Received: {', '.join(missing[:3])}, which is none")
    elif pathlib.Path(source).is_dir():
        paths = sorted(pathlib.Path(source).rglob("*"))
        paths = [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    else:
        paths = sorted(pathlib.Path(path) for path in glob.glob(os.fspath(source), recursive=True))
        paths = [path for path in paths if path.is_file()]
    if not paths:
        raise ValueError(
            f"`source` must be a folder with images ({', '.join(SUFFIXES)}), a pattern that matches files or "
            f"a list of files. Received: source={str(source)[:200]!r}, where there are none"
        )
    return paths


def _dataset(
    read,
    class_names,
    received,
    model=None,
    *,
    size=None,
    preprocess=None,
    crop=True,
    batch_size=8,
    shuffle=False,
    repeat=False,
    flip=False,
    limit=None,
    cache=True,
    labels=False,
    seed=0,
):
    checks.whole_number("batch_size", batch_size, 1)
    if limit is not None:
        checks.whole_number("limit", limit, 1)
    shape = image_shape(model, size)
    all_skipped = []

    def rows():
        """Pixels uint8 `[h, w, c]` and label of each image that can be read."""
        skipped, given = [], 0
        for name, image, label in read():
            if image is None:
                skipped.append(name)
                if name not in all_skipped:  # without a cache, each pass reads the files again
                    all_skipped.append(name)
                continue
            if given == limit:
                break
            given += 1
            yield _pixels(image, shape, crop), label
        if skipped:
            shown = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
            warnings.warn(f"{len(skipped)} images can't be read and are skipped: {shown}", stacklevel=2)

    if next((True for _, image, _ in read() if image is not None), None) is None:
        raise ValueError(f"None of the images can be read. Received: {received}")
    data = tf.data.Dataset.from_generator(
        rows, output_signature=(tf.TensorSpec(shape, tf.uint8), tf.TensorSpec((), tf.int64))
    )
    data = data.cache() if cache else data
    data = data.shuffle(limit or 1000, seed=seed) if shuffle else data
    data = data.repeat() if repeat else data
    draws = tf.data.Dataset.random(seed=seed)  # below 2³²

    def finish(images, classes, draws):
        images = tf.cast(images, tf.float32)
        if flip:
            mirrored = tf.reshape(draws[: tf.shape(images)[0]] < 2**31, [-1, 1, 1, 1])
            images = tf.where(mirrored, tf.reverse(images, [2]), images)
        images = preprocess(images) if preprocess else images
        return (images, classes) if labels else images

    batches = tf.data.Dataset.zip((data.batch(batch_size), draws.batch(batch_size)))
    batches = batches.map(lambda pair, draws: finish(*pair, draws)).prefetch(tf.data.AUTOTUNE)
    batches.class_names = class_names
    batches.skipped = all_skipped
    return batches


def _opened(path):
    """The upright picture of a file, or None."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).copy()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _pixels(image, shape, crop):
    """A picture as uint8 `[h, w, c]`, resized with antialiasing."""
    height, width, channels = shape
    image = image.convert("L" if channels == 1 else "RGB")
    if crop:
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    else:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(shape)


def image_shape(model, size=None):
    """Height, width and channels of the images that a model takes; `size` in the place of its own.

    Raises:
        ValueError, TypeError: as for `from_folder`.
    """
    model = getattr(model, "source", model)
    height = width = None
    channels = 3
    if isinstance(model, keras.Model):
        shape = model.inputs[0].shape
        if len(shape) != 4 or shape[-1] not in (1, 3):
            raise ValueError(
                f"`model` must take images [n, h, w, 1] or [n, h, w, 3]. Received: an input of shape {shape}"
            )
        _, height, width, channels = shape
    elif model is not None:
        raise TypeError(f"`model` must be a Keras model or None. Received: {type(model).__name__}")
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
    if height is None or width is None:
        raise ValueError(
            "`size` must be given, as there is no model, or its input has no fixed size. Received: size=None"
        )
    checks.whole_number("size", height, 1)
    checks.whole_number("size", width, 1)
    return height, width, channels
