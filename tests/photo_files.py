"""One photo in many file formats, with the pixels that a reader should find; and slow resizing."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image


def smooth(height: int = 30, width: int = 44, channels: int = 3) -> np.ndarray:
    """A photo without fine detail, which JPEG keeps within a few levels; uint8 `[h, w, channels]`."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(0.2 * y + 0.11 * x * (k + 1)) * np.cos(0.05 * x * y / (k + 4)) for k in range(channels)]
    return (127 + 110 * np.stack(waves, -1)).astype(np.uint8)


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    """The bytes of a Pillow image or of pixels in a format."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.squeeze(image))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "maker"  # another entry before it
    exif[0x0112] = value
    return exif


#: How the pixels of a file with each EXIF orientation are turned to be upright.
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: np.swapaxes(x, 0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.swapaxes(x[::-1, ::-1], 0, 1),
    8: lambda x: np.rot90(x),
}


def _files() -> Iterator[tuple[str, bytes, Any, int]]:
    photo, grey = smooth(), np.repeat(smooth(channels=1), 3, -1)
    opacity = (np.linspace(0, 255, 44) * np.ones((30, 1))).astype(np.uint8)
    faded = np.rint(photo * (opacity[..., None] / 255.0))
    best: dict[str, Any] = {"quality": 100, "subsampling": 0}
    yield "jpeg", encoded(photo, "JPEG", **best), photo, 3
    coarse = encoded(photo, "JPEG", quality=60)
    yield "jpeg subsampled", coarse, tf.io.decode_jpeg(coarse, dct_method="INTEGER_ACCURATE"), 1
    yield "jpeg grey", encoded(grey[..., 0], "JPEG", quality=100), grey, 3
    # Four colours whose CMYK is not the plain complement, so that K counts.
    inks = smooth(channels=4)
    paper = (255.0 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    yield "jpeg cmyk", encoded(Image.frombytes("CMYK", (44, 30), inks.tobytes()), "JPEG", **best), paper, 4
    for value, turn in TURNS.items():
        content = encoded(photo, "JPEG", exif=with_orientation(value), **best)
        yield f"jpeg exif {value}", content, turn(photo), 3
    yield "png", encoded(photo, "PNG"), photo, 0
    yield "png grey", encoded(grey[..., 0], "PNG"), grey, 0
    wide = grey[..., 0].astype(np.uint16) * 256 + np.arange(44, dtype=np.uint16)
    yield "png 16 bit grey", encoded(wide, "PNG"), grey, 0
    yield "png 16 bit", png_16_bit(photo), photo, 0
    quantised = Image.fromarray(photo).quantize(64)
    colours = np.asarray(quantised.convert("RGB"))
    yield "png palette", encoded(quantised, "PNG"), colours, 0
    index = quantised.getpixel((0, 0))
    seen = np.where((np.asarray(quantised) == index)[..., None], 0, colours)
    yield "png palette with a transparent colour", encoded(quantised, "PNG", transparency=index), seen, 0
    for bits in (1, 2, 4):
        steps, few = grey[..., :1] >> (8 - bits), 2**bits - 1
        yield f"png {bits} bit grey", low_bit_png(steps, bits), np.repeat(steps * (255 // few), 3, -1), 0
    two = Image.fromarray(grey[..., 0] > 127)
    yield "png two colours, one transparent", encoded(two, "PNG", transparency=0), 255 * (grey > 127), 0
    yield "png transparent", encoded(np.dstack([photo, opacity]), "PNG"), faded, 0
    grey_faded = np.rint(grey * (opacity[..., None] / 255.0))
    yield "png grey transparent", encoded(np.dstack([grey[..., 0], opacity]), "PNG"), grey_faded, 0
    yield "gif", encoded(quantised, "GIF"), colours, 0
    yield "gif with a transparent colour", encoded(quantised, "GIF", transparency=index), seen, 0
    moving: dict[str, Any] = {"save_all": True, "append_images": [Image.fromarray(photo[::-1]).quantize(64)]}
    yield "gif animated", encoded(quantised, "GIF", **moving), colours, 0
    yield "bmp", encoded(photo, "BMP"), photo, 0
    yield "webp", encoded(photo, "WEBP", lossless=True), photo, 0
    yield (
        "webp transparent",
        encoded(np.dstack([photo, opacity]), "WEBP", lossless=True, exact=True),
        faded,
        0,
    )
    yield "tiff", encoded(photo, "TIFF", compression="tiff_lzw"), photo, 0
    yield "tiff 16 bit grey", encoded(wide, "TIFF"), grey, 0
    yield "tiff cmyk", encoded(Image.frombytes("CMYK", (44, 30), inks.tobytes()), "TIFF"), paper, 1
    pages: dict[str, Any] = {"save_all": True, "append_images": [Image.fromarray(photo[::-1])]}
    yield "tiff pages", encoded(photo, "TIFF", **pages), photo, 0
    turned = encoded(photo, "TIFF", exif=with_orientation(6))
    yield "tiff exif", turned, TURNS[6](photo), 0


def png(width: int, height: int, bits: int, kind: int, rows: Iterable[bytes]) -> bytes:
    """A PNG by hand, of rows of bytes, for what Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def png_16_bit(photo: np.ndarray) -> bytes:
    """RGB whose high bytes are the photo's values."""
    values = (photo.astype(">u2") << 8) + np.arange(3, dtype=np.uint16) * 77
    return png(photo.shape[1], photo.shape[0], 16, 2, [row.astype(">u2").tobytes() for row in values])


def low_bit_png(steps: np.ndarray, bits: int) -> bytes:
    """Grey `[h, w, 1]` of 1, 2 or 4 bits."""
    unpacked = np.unpackbits(np.uint8(steps), -1)[..., -bits:]
    rows = [np.packbits(row).tobytes() for row in unpacked]
    return png(steps.shape[1], steps.shape[0], bits, 0, rows)


#: Name → (content, upright RGB pixels, by how many levels the format may be off).
FILES = {name: (content, np.asarray(pixels), off) for name, content, pixels, off in _files()}
#: Those that TensorFlow decodes.
IN_GRAPH = [name for name in FILES if not name.startswith(("webp", "tiff"))]


def resized(values: np.ndarray, length: int) -> np.ndarray:
    """Resizes axis 0 with a triangle filter, as wide as the reduction, one output row at a time."""
    ratio = len(values) / length
    radius = max(ratio, 1)
    rows = []
    for index in range(length):
        centre = (index + 0.5) * ratio
        weights = [max(0, 1 - abs(place + 0.5 - centre) / radius) for place in range(len(values))]
        rows.append(np.tensordot(weights, values, 1) / sum(weights))
    return np.array(rows)


def fitted(
    photo: np.ndarray, height: int, width: int, crop: bool = True, cover: int | None = None
) -> np.ndarray:
    """What `photos.fit` gives, not rounded, float64 `[height, width, c]`."""
    tall, wide = height, width
    if crop:
        scale = max((cover or height) / photo.shape[0], (cover or width) / photo.shape[1])
        tall, wide = round(photo.shape[0] * scale), round(photo.shape[1] * scale)
    whole = resized(np.asarray(photo, np.float64), tall)
    whole = np.swapaxes(resized(np.swapaxes(whole, 0, 1), wide), 0, 1)
    top, left = (tall - height) // 2, (wide - width) // 2
    return whole[top : top + height, left : left + width]
