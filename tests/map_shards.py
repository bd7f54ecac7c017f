"""Folders of maps with known values."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tf_learnprop.scale import output


def blobs(
    generator: np.random.Generator,
    count: int,
    size: int = 16,
    place: tuple[float, float] | None = None,
    spread: float = 0.25,
) -> np.ndarray:
    """Maps with a blob at a random place near the centre, or at `place` (row and column in 0..1)."""
    grid = (np.arange(size) + 0.5) / size
    centres = 0.5 + spread * generator.uniform(-1, 1, (count, 2))
    if place is not None:
        centres = np.asarray(place) + 0.02 * generator.uniform(-1, 1, (count, 2))
    rows, columns = (np.exp(-(((grid - centres[:, axis, None]) / 0.12) ** 2)) for axis in range(2))
    return (rows[:, :, None] * columns[:, None, :] + 0.01).astype(np.float32)


def write(
    folder: pathlib.Path,
    maps: Sequence[np.ndarray | None] | np.ndarray,
    class_ids: Sequence[int] | np.ndarray,
    names: Sequence[str] | None = None,
    files: int = 1,
    **columns: Any,
) -> pathlib.Path:
    """Writes maps, None for an image without one. Further columns are added to those of the schema."""
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "images": {"shards": files}}))
    shapes = [(None, None) if one is None else one.shape for one in maps]
    values = {
        "path": [f"{number}.png" for number in range(len(maps))],
        "class_id": [None if one is None else int(k) for one, k in zip(maps, class_ids, strict=True)],
        "class_name": [
            names[k] if names and one is not None else None for one, k in zip(maps, class_ids, strict=True)
        ],
        "probability": [None if one is None else 0.5 for one in maps],
        "target": [None] * len(maps),
        "map": [None if one is None else one.ravel().astype(np.float16) for one in maps],
        "height": [height for height, _ in shapes],
        "width": [width for _, width in shapes],
        "error": ["broken" if one is None else None for one in maps],
    }
    table = pa.table(values, output.schema())
    for name, column in columns.items():
        table = table.append_column(name, [column])
    for number, rows in enumerate(np.array_split(np.arange(len(maps)), files)):
        parquet.write_table(table.take(rows), output.file_of(folder, f"part-{number:05}"))
    return folder
