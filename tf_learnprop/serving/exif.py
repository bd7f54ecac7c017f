"""The EXIF orientation of a JPEG, inside the graph: TensorFlow's decoders ignore it.

EXIF is a small TIFF file inside the JPEG: a header with the byte order and the position of a directory, whose
entries of 12 bytes hold a tag (2 bytes), a type (2), a count (4) and a value (4).
"""

from typing import Any

import tensorflow as tf

_ORIENTATION = 0x0112
#: An application segment (FF E1, two bytes of length) that holds EXIF; −1 stands for any byte.
_SEGMENT = (0xFF, 0xE1, -1, -1, *b"Exif\0\0")
#: EXIF comes first in a file, and a segment holds at most 64 KiB.
_SEARCHED = 1 << 17


def orientation(content: tf.Tensor) -> tf.Tensor:
    """Reads the orientation of a JPEG file.

    Args:
        content: string scalar, the file.

    Returns:
        int32 scalar: 1..8 as in EXIF, or 1 if the file has none.
    """
    start = tf.strings.substr(content, 0, _SEARCHED)
    data = tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int32)
    count = tf.maximum(tf.size(data) - len(_SEGMENT) + 1, 0)
    begins = tf.ones([count], tf.bool)
    for offset, byte in enumerate(_SEGMENT):
        if byte >= 0:
            begins &= data[offset : offset + count] == byte
    places = tf.where(begins)[:, 0]
    # An empty file without the segment, so that what follows finds nothing.
    tiff = tf.cond(
        tf.size(places) > 0, lambda: data[tf.cast(places[0], tf.int32) + len(_SEGMENT) :], lambda: data[:0]
    )
    little_endian = _number(tiff, 0, 2, False) == 0x4949  # "II"; else "MM"
    directory = _number(tiff, 4, 4, little_endian)
    entries = directory + 2 + 12 * tf.range(_number(tiff, directory, 2, little_endian))
    is_orientation = _number(tiff, entries, 2, little_endian) == _ORIENTATION
    values = tf.boolean_mask(_number(tiff, entries + 8, 2, little_endian), is_orientation)
    value = tf.concat([values, [1]], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)


def upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns pixels `[h, w, c]` of a file with an orientation, 1..8, as the photo is to be seen."""
    pixels = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    pixels = tf.cond(mirrored, lambda: pixels[:, ::-1], lambda: pixels)
    upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    return tf.cond(upside_down, lambda: pixels[::-1], lambda: pixels)


def _number(data: tf.Tensor, position: Any, size: int, little_endian: Any) -> tf.Tensor:
    """Unsigned numbers of `size` bytes at positions of any shape; bytes beyond the end count as 0."""
    places = tf.expand_dims(position, -1) + tf.range(size)
    inside = (places >= 0) & (places < tf.size(data))
    read = tf.gather(tf.concat([data, [0]], 0), tf.where(inside, places, tf.size(data)))
    powers = 256 ** tf.range(size)
    return tf.reduce_sum(read * tf.where(little_endian, powers, powers[::-1]), -1)
