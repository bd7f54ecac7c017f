"""Explaining a shard: the one function that all engines call."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tf_learnprop import argument_checks
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.scale import extras, output, shards
from tf_learnprop.serving import contract

if TYPE_CHECKING:
    import pyarrow as pa

    from tf_learnprop.serving import Explainer

#: How files begin that Pillow decodes and TensorFlow does not, or not all of them: TIFF, WebP and BMP.
_PILLOW = re.compile(rb"II\*\0|MM\0\*|RIFF....WEBP|BM", re.DOTALL)
#: The signature of an exported model that takes the contents of image files.
SIGNATURE = contract.EXPLAIN_ENCODED.name
#: The signature that takes a class for each file as well.
SIGNATURE_OF_LABELS = contract.EXPLAIN_ENCODED_CLASS.name


@dataclasses.dataclass(frozen=True)
class ShardOptions:
    """The options that change the output.

    Attributes:
        batch_size: Number of images that the model explains at once.
        class_names: Name of each class, or None.
        explain_labels: Whether the label of each image is explained, instead of the predicted class.
    """

    batch_size: int = 32
    class_names: Sequence[str] | None = None
    explain_labels: bool = False

    def __post_init__(self) -> None:
        argument_checks.integer("batch_size", self.batch_size, 1)
        names = self.class_names
        if isinstance(names, str | os.PathLike):
            rule = "be a list of names; `zoo.read_class_names` reads a file of them"
            raise ArgumentError("class_names", rule, names)
        made = None if names is None or len(names) == 0 else tuple(map(str, names))
        object.__setattr__(self, "class_names", made)
        argument_checks.flag("explain_labels", self.explain_labels)

    @property
    def signature(self) -> str:
        """Name of the signature of an exported model that does this."""
        return SIGNATURE_OF_LABELS if self.explain_labels else SIGNATURE


def explain_shard(explainer: Explainer, shard: shards.Shard, options: ShardOptions) -> Iterator[pa.Table]:
    """Explains the images of a shard, a batch at a time.

    The result depends on the arguments alone, whatever runs this function and wherever.

    Args:
        explainer: An explainer with the signature that the options need.
        shard: The shard.
        options: The options.

    Yields:
        Tables of the columns of `output.schema`, one for each batch. Images have their order in the shard.
    """
    items = shards.read(shard)
    with concurrent.futures.ThreadPoolExecutor(1) as reader:

        def read() -> concurrent.futures.Future[list[shards.Item]]:
            return reader.submit(lambda: list(itertools.islice(items, options.batch_size)))

        waiting = read()
        while batch := waiting.result():
            waiting = read()  # while the model computes
            yield explain_items(explainer, batch, options)


def explain_items(explainer: Explainer, items: Sequence[shards.Item], options: ShardOptions) -> pa.Table:
    """Explains one batch of images; see `explain_shard`."""
    arrow = extras.require("pyarrow")
    contents, errors = _decodable(items)
    if options.explain_labels:
        errors |= {row: "The image has no label" for row in contents if items[row].target is None}
    good = sorted(contents.keys() - errors.keys())
    maps, class_ids, probabilities = {}, {}, {}
    if good:
        labels = np.array([items[row].target for row in good]) if options.explain_labels else None
        explanations = explainer([contents[row] for row in good], labels)
        for place, row in enumerate(good):
            if place in explanations.errors:
                errors[row] = explanations.errors[place]
            else:
                maps[row] = _in_float16(explanations.maps[place])
                if explanations.class_ids[place] >= 0:  # a value has no class
                    class_ids[row] = int(explanations.class_ids[place])
                    probabilities[row] = explanations.probabilities[place]
    names = options.class_names
    if names and len(names) <= max(class_ids.values(), default=0):
        raise ArgumentError("class_names", "name every class of the model", names, f"{len(names)} names")
    rows = range(len(items))
    columns = {
        "path": [item.path for item in items],
        "class_id": [class_ids.get(row) for row in rows],
        "class_name": [names[class_ids[row]] if names and row in class_ids else None for row in rows],
        "probability": [probabilities.get(row) for row in rows],
        "target": [item.target for item in items],
        "map": [maps[row].ravel() if row in maps else None for row in rows],
        "height": [maps[row].shape[0] if row in maps else None for row in rows],
        "width": [maps[row].shape[1] if row in maps else None for row in rows],
        "error": [errors.get(row) for row in rows],
    }
    return arrow.table(columns, output.schema())


def _in_float16(values: np.ndarray) -> np.ndarray:
    """A map in float16. If its largest value is out of the range of float16, or at its end, it is scaled.

    The scale of a map is arbitrary. A power of two changes nothing else.
    """
    largest = abs(values).max()
    if not np.isfinite(largest) or largest == 0 or 2.0**-10 <= largest < 2.0**15:
        return values.astype(np.float16)
    return np.ldexp(values, -np.frexp(largest)[1]).astype(np.float16)


def _decodable(items: Sequence[shards.Item]) -> tuple[dict[int, bytes], dict[int, str]]:
    """Files that an exported model can decode, and the errors of the others, by row."""
    contents, errors = {}, {}
    for row, item in enumerate(items):
        try:
            if item.content is None:
                raise ValueError(item.error)
            contents[row] = _png(item.content) if _PILLOW.match(item.content) else item.content
        except ValueError as error:
            errors[row] = str(error)
    return contents, errors


def _png(content: bytes) -> bytes:
    from PIL import Image

    from tf_learnprop.inputs import photos

    stream = io.BytesIO()
    Image.fromarray(photos.read(content)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def process(
    explainer: Explainer,
    shard: shards.Shard,
    options: ShardOptions,
    folder: str | os.PathLike[str],
    report: Callable[[int], None] = lambda count: None,
) -> int:
    """Explains a shard and writes its output, unless that is there already.

    Args:
        explainer: See `explain_shard`.
        shard: See `explain_shard`.
        options: See `explain_shard`.
        folder: Folder of the output.
        report: Called with the number of images after each batch. An error that it raises ends the work.

    Returns:
        Number of rows that were written; 0 if the output was there.
    """
    if output.file_of(folder, shard.name).exists():
        return 0

    def reported() -> Iterator[pa.Table]:
        for table in explain_shard(explainer, shard, options):
            report(len(table))
            yield table

    return output.write(folder, shard.name, reported())
