"""Explaining a shard: the one function that all engines call."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tf_learnprop.scale import extras, output, shards

if TYPE_CHECKING:
    import pyarrow as pa

    from tf_learnprop_explainer import Explainer

#: The signature of an exported model that takes the contents of image files.
SIGNATURE = "explain_encoded"


@dataclasses.dataclass(frozen=True)
class Options:
    """The options that change the output.

    Attributes:
        batch_size: Number of images that the model explains at once.
        class_names: Name of each class, or None.
    """

    batch_size: int = 32
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={self.batch_size}")


def explain_shard(explainer: Explainer, shard: shards.Shard, options: Options) -> Iterator[pa.Table]:
    """Explains the images of a shard, a batch at a time.

    The result depends on the arguments alone, whatever runs this function and wherever.

    Args:
        explainer: An explainer with the signature "explain_encoded".
        shard: The shard.
        options: The options.

    Yields:
        Tables of the columns of `output.schema`, one for each batch. Images have their order in the shard.
    """
    items = shards.read(shard)
    while batch := list(itertools.islice(items, options.batch_size)):
        yield explain_items(explainer, batch, options)


def explain_items(explainer: Explainer, items: Sequence[shards.Item], options: Options) -> pa.Table:
    """Explains one batch of images; see `explain_shard`."""
    arrow = extras.require("pyarrow")
    errors = {row: item.error for row, item in enumerate(items) if item.content is None}
    good = [row for row in range(len(items)) if row not in errors]
    maps, class_ids, probabilities = {}, {}, {}
    if good:
        found = explainer([items[row].content for row in good])
        for place, row in enumerate(good):
            if place in found.errors:
                errors[row] = found.errors[place]
            else:
                maps[row] = found.maps[place].astype(np.float16)
                class_ids[row] = int(found.class_ids[place])
                probabilities[row] = found.probabilities[place]
    names = options.class_names
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


def process(
    explainer: Explainer,
    shard: shards.Shard,
    options: Options,
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
