"""Small encoded images, and what a folder of maps holds."""

import io
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tests import toys

#: Of the runs that are compared.
OPTIONS: dict[str, Any] = {"shard_size": 4, "batch_size": 3}


def preprocess(photos: tf.Tensor) -> tf.Tensor:
    return (photos - 127.0) / 64.0


def pixels(seed: int) -> np.ndarray:
    coarse = toys.rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((toys.SIDE, toys.SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image)


def encoded(array: np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def png(seed: int) -> bytes:
    return encoded(pixels(seed), "PNG")


def write(path: pathlib.Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def example(**features: int | bytes) -> bytes:
    """A serialized tf.train.Example of bytes and ints."""
    made = {}
    for name, value in features.items():
        if isinstance(value, int):
            made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        else:
            made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def write_tfrecord(path: pathlib.Path, records: Iterable[bytes]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def contents(folder: str | pathlib.Path) -> dict[str, bytes]:
    """Content of the output files by name, without the manifest."""
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).glob("part-*")}
