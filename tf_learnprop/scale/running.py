"""`explain_dataset`: checks everything, then hands the shards that are left to an engine."""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tf_learnprop import argument_checks, writing
from tf_learnprop.scale import exported_model, extras, formats, output, shard_maps, shards
from tf_learnprop.scale.manifest import Manifest, files_of_maps

if TYPE_CHECKING:
    from tf_learnprop.serving import Explainer

#: Modules with a context manager `started`, like that of `local`.
ENGINES = {
    "local": "tf_learnprop.scale.local",
    "ray": "tf_learnprop.scale.ray_data",
}


@dataclasses.dataclass(frozen=True)
class Result:
    """What a folder of maps holds after a run.

    Attributes:
        explained: Number of maps.
        failed: Number of images that could not be explained, by reason; "…" stands for numbers in which
            the errors of a reason differ.
        kept: Number of images, among all these, that an earlier run dealt with.
    """

    explained: int
    failed: dict[str, int]
    kept: int


def explain_dataset(
    model: str | os.PathLike[str] | Explainer,
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    batch_size: int = 32,
    shard_size: int = 256,
    class_names: Sequence[str] | None = None,
    explain_labels: bool = False,
    columns: formats.Columns | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> Result:
    """Explains a data set of encoded images with an exported model, and writes the maps to Parquet files.

    An interrupted run continues where it was: call the function again with the same arguments. The files are
    the same, byte for byte, whatever the engine and whether a run was interrupted or not.

    Args:
        model: Folder of the exported model, such as "served/lite0/1", or an `Explainer` of it. The model must
            have the signature "explain_encoded", or "explain_encoded_class" for labels.
        images: A folder with images, searched with all its subfolders; or Parquet or TFRecord files with
            encoded images: a folder of them, a file, or a glob pattern.
        out: Folder for the maps.
        engine: "local" for threads of this process, or "ray" for a Ray cluster.
        address: Address of a Ray cluster, as for `ray.init`. None: that of the environment variable
            RAY_ADDRESS, else a cluster on this machine for the time of the call.
        workers: Number of threads of the local engine (default: 2), or of Ray's actors (default: one for each
            GPU, or for each CPU if there are no GPUs).
        batch_size: Number of images that the model explains at once.
        shard_size: Number of image files for each output file. A Parquet or TFRecord file has one output
            file.
        class_names: Name of each class, in the order of their ids.
        explain_labels: Whether the label that comes with each image is explained, instead of the class that
            the model predicts. An image without a label gets an error.
        columns: Where Parquet and TFRecord files hold images, names and labels.
        overwrite: Whether to remove the maps of another run from `out` first. Files of others stay.
        progress: Called with the number of images that are done and the number of all images that were left
            at the start (None if only reading the files can tell); first with 0.

    Returns:
        What the folder holds then.

    Raises:
        ValueError: If there is no such model, no images or no such engine; if an argument is out of range; or
            if `out` holds maps of another model, other images or other options, or other files with
            the names of its own.
        ImportError: If PyArrow or the engine is not installed.
        ConnectionError: If the engine can't be reached.
        OSError: If the maps can't be written, as when the disk is full. What was finished is kept.
    """
    from tf_learnprop.serving import Explainer  # loads TensorFlow

    extras.require("pyarrow")
    argument_checks.one_of("engine", engine, ENGINES)
    if workers is not None:
        argument_checks.integer("workers", workers, 1)
    columns = columns or formats.Columns()
    options = shard_maps.ShardOptions(batch_size, class_names, explain_labels)
    explainer = model if isinstance(model, Explainer) else Explainer(model, options.signature)
    if explainer.signature != options.signature:
        rule = f"be a folder, or an explainer with the signature '{options.signature}'"
        raise argument_checks.ArgumentError("model", rule, explainer.path, f"'{explainer.signature}'")
    exported_model.check(explainer.path, explainer.signature)
    parts = shards.find(images, shard_size, columns, files_of_maps(out))
    if explain_labels and parts[0].kind == "images":
        raise argument_checks.ArgumentError(
            "explain_labels", "be False for a folder of images, which come without labels", explain_labels
        )
    manifest = _manifest(explainer, images, parts, options, shard_size, columns)
    manifest.check(out, overwrite)
    there = {shard.name for shard in parts if not overwrite and output.file_of(out, shard.name).exists()}
    todo = [shard for shard in parts if shard.name not in there]
    if todo:
        total, done = _count(todo), 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, total)

        # An engine that does not start must not leave anything behind, or cost the maps of another run.
        with importlib.import_module(ENGINES[engine]).started(address, workers) as run:
            manifest.begin(out, overwrite)
            report(0)
            run(explainer, todo, options, out, report)
        missing = [shard.name for shard in todo if not output.file_of(out, shard.name).exists()]
        if missing:
            raise OSError(
                f"`out` must be on a file system that all workers share. Received: out='{out}', where "
                f"{len(missing)} of {len(todo)} files are missing after the work"
            )
    writing.remove_unfinished(out)
    earlier = output.summary(out, there)
    whole = output.summary(out, [shard.name for shard in parts])
    return Result(whole.explained, whole.failed, earlier.explained + sum(earlier.failed.values()))


def _count(parts: Sequence[shards.Shard]) -> int | None:
    counts = [shard.count for shard in parts]
    return None if None in counts else sum(count for count in counts if count)


def _manifest(
    explainer: Explainer,
    images: str | os.PathLike[str],
    parts: Sequence[shards.Shard],
    options: shard_maps.ShardOptions,
    shard_size: int,
    columns: formats.Columns,
) -> Manifest:
    return Manifest(
        model={
            "path": explainer.path,
            "signature": explainer.signature,
            "checksum": exported_model.checksum(explainer.path),
        },
        images={
            "source": os.path.abspath(images),
            "kind": parts[0].kind,
            "shards": len(parts),
            "count": _count(parts),
            "digest": shards.digest(parts),
        },
        options={
            **dataclasses.asdict(options),
            "shard_size": shard_size,
            "columns": dataclasses.asdict(columns),
        },
    )
