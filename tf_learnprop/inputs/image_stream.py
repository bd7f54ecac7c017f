"""A `tf.data` pipeline of images that are read one at a time."""

import dataclasses
import warnings
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from tf_learnprop.inputs import checks, photos


@dataclasses.dataclass(frozen=True)
class Options:
    """How images are processed; `tf_learnprop.data.from_folder` describes each option."""

    preprocess: Callable | None
    crop: bool
    batch_size: int
    shuffle: bool
    repeat: bool
    flip: bool
    limit: int | None
    cache: bool
    labels: bool
    seed: int


def dataset(
    read: Callable[[], Iterable[tuple[str, np.ndarray | None, int]]],
    class_names: list[str],
    received: str,
    shape: tuple[int, int, int],
    options: Options,
) -> tf.data.Dataset:
    """Makes the data set that `tf_learnprop.data.from_folder` describes.

    Args:
        read: Function that yields the name of each image, its pixels (uint8 `[h, w, 3]`, or None if it can't
            be read) and its label.
        class_names: Names of the labels.
        received: What the user asked for, for the error message.
        shape: Height, width and channels of the images.
        options: An `Options`.

    Raises:
        ValueError: If an option is out of range, or if no image can be read.
    """
    checks.whole_number("batch_size", options.batch_size, 1)
    if options.limit is not None:
        checks.whole_number("limit", options.limit, 1)
    all_skipped = []

    def rows():
        """Yields pixels, uint8 of `shape`, and label of each image that can be read."""
        skipped, given = [], 0
        for name, photo, label in read():
            if photo is None:
                skipped.append(name)
                if name not in all_skipped:  # without a cache, each pass reads the files again
                    all_skipped.append(name)
                continue
            if given == options.limit:
                break
            given += 1
            yield photos.fitted(photo, shape, options.crop), label
        if skipped:
            shown = ", ".join(skipped[:3]) + (", …" if len(skipped) > 3 else "")
            warnings.warn(f"{len(skipped)} images can't be read and are skipped: {shown}", stacklevel=2)

    if all(photo is None for _, photo, _ in read()):
        raise ValueError(f"None of the images can be read. Received: {received}")
    data = tf.data.Dataset.from_generator(
        rows, output_signature=(tf.TensorSpec(shape, tf.uint8), tf.TensorSpec((), tf.int64))
    )
    data = data.cache() if options.cache else data
    data = data.shuffle(options.limit or 1000, seed=options.seed) if options.shuffle else data
    data = data.repeat() if options.repeat else data
    flip_seeds = tf.data.Dataset.random(seed=options.seed).batch(2)

    def finish(images_and_labels, flip_seed):
        images, labels = images_and_labels
        images = tf.cast(images, tf.float32)
        images = tf.image.stateless_random_flip_left_right(images, flip_seed) if options.flip else images
        images = options.preprocess(images) if options.preprocess else images
        return (images, labels) if options.labels else images

    batches = tf.data.Dataset.zip((data.batch(options.batch_size), flip_seeds))
    batches = batches.map(finish).prefetch(tf.data.AUTOTUNE)
    batches.class_names = class_names
    batches.skipped = all_skipped
    return batches
