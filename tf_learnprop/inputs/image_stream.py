"""A `tf.data` pipeline of images that are read one at a time."""

import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from tf_learnprop.inputs import photos


def dataset(
    read: Callable[[], Iterable[tuple[str, np.ndarray | None, int]]],
    class_names: list[str],
    received: str,
    shape: tuple[int, int, int],
    *,
    preprocess: Callable[[tf.Tensor], tf.Tensor] | None,
    crop: bool,
    labels: bool,
) -> tf.data.Dataset:
    """Makes the data set that `tf_learnprop.data.from_folder` describes.

    Args:
        read: Function that yields the name of each image, its pixels (uint8 `[h, w, 3]`, or None if it can't
            be read) and its label.
        class_names: Names of the labels.
        received: What the user asked for, for the error message.
        shape: Height, width and channels of the images.
        preprocess: See `from_folder`.
        crop: See `from_folder`.
        labels: See `from_folder`.

    Raises:
        ValueError: If no image can be read.
    """
    if all(photo is None for _, photo, _ in read()):
        raise ValueError(f"None of the images can be read. Received: {received}")
    all_skipped: list[str] = []

    def rows() -> Iterator[tuple[np.ndarray, int]]:
        skipped = []
        for name, photo, label in read():
            if photo is not None:
                yield photos.fitted(photo, shape, crop), label
                continue
            skipped.append(name)
            if name not in all_skipped:  # each pass reads the files again
                all_skipped.append(name)
        if skipped:
            first = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
            warnings.warn(f"{len(skipped)} images can't be read and are skipped: {first}", stacklevel=2)

    def finish(pixels: tf.Tensor, label: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        image = tf.cast(pixels, tf.float32)
        image = preprocess(image[None])[0] if preprocess else image
        return (image, label) if labels else image

    specs = tf.TensorSpec(shape, tf.uint8), tf.TensorSpec((), tf.int64)
    images = tf.data.Dataset.from_generator(rows, output_signature=specs)
    images = images.map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    images.class_names = class_names
    images.skipped = all_skipped
    return images
