"""Trains rules for a model on images; no labels are needed.

An interrupted training continues from its last finished epoch when the same command is run again. Images that
can't be read are skipped and listed; the rules are still written, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import rich.console

import tf_learnprop as tlp
from tf_learnprop import argument_checks
from tf_learnprop.cli import files, options, settings
from tf_learnprop.cli.errors import UsageError, naming_options

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_PREVIEWED = 4


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    options.add_model(parser, rules=False)
    options.add_size(parser)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", metavar="DIR", help="folder, with its subfolders, or glob pattern")
    images.add_argument("--tfds", metavar="NAME", help="data set of tensorflow-datasets, or its folder")
    parser.add_argument("--split", default="train", help="split of the --tfds data set (default: train)")
    parser.add_argument(
        "--rule", default="universal", help="rule, or rule file, to start from (default: universal)"
    )
    parser.add_argument("--epochs", type=int, default=6, help="number of epochs (default: 6)")
    parser.add_argument("--steps", type=int, default=50, help="steps per epoch (default: 50)")
    parser.add_argument("--batch-size", type=int, default=8, help="images per step (default: 8)")
    parser.add_argument(
        "--rate",
        type=float,
        default=5e-3,
        help="learning rate of Adam at the start; it falls to 0 (default: 0.005)",
    )
    parser.add_argument("--limit", type=int, help="maximum number of images (default: all)")
    parser.add_argument("--out", default="rules.keras", help="rule file to write (default: rules.keras)")
    parser.add_argument("--overwrite", action="store_true", help="replace --out")
    parser.add_argument("--tensorboard", metavar="DIR", help="folder for TensorBoard: losses and maps")
    parser.add_argument("--preview", metavar="DIR", help="empty folder for a picture of a few maps per epoch")


def run(arguments: argparse.Namespace, console: rich.console.Console) -> dict:
    """Trains, and writes the rules.

    Returns:
        `rules`, the file; `loss`, that of each epoch that was run; `skipped`, the files that can't be read.
    """
    import keras

    _check_numbers(arguments)
    if not arguments.out.endswith((".keras", ".weights.h5")):
        raise UsageError(f"--out must end in .keras or .weights.h5. Received: {arguments.out}")
    with contextlib.ExitStack() as places:
        out = places.enter_context(files.new_file(arguments.out, arguments.overwrite))
        backup = places.enter_context(_Backup(out, arguments))
        preview = None
        if arguments.preview:
            preview = places.enter_context(files.folder(arguments.preview, "--preview"))
            if not backup.epochs() and any(preview.iterdir()):
                raise UsageError(f"--preview must be an empty folder. Received: {preview}")
        wrapped, images, preprocess = _prepare(arguments)
        previewed = next(iter(images.take(_PREVIEWED).batch(_PREVIEWED).map(preprocess)))
        console.print(wrapped.coverage.summary())
        rate = keras.optimizers.schedules.CosineDecay(arguments.rate, arguments.epochs * arguments.steps)
        wrapped.compile(
            keras.optimizers.Adam(rate, global_clipnorm=1.0),
            tlp.objectives.AreaGuidance(seed=arguments.seed),
        )
        console.print("tracing the model; the first step takes longer")
        history = wrapped.fit(
            # Without the batches that the finished epochs took.
            _batches(images, preprocess, arguments).skip(backup.epochs() * arguments.steps),
            epochs=arguments.epochs,
            steps_per_epoch=arguments.steps,
            shuffle=False,  # the data are shuffled
            verbose=0 if console.quiet else 1,
            callbacks=[backup.callback(), *_loggers(arguments.tensorboard, preview, np.asarray(previewed))],
        )
        wrapped.save_rules(out)
        backup.remove()
    skipped = list(images.skipped)
    files.say_skipped(skipped)
    console.print(f"rules written to {out}")
    return {"rules": str(out), "loss": history.history.get("loss", []), "skipped": skipped}


def _check_numbers(arguments: argparse.Namespace) -> None:
    with naming_options({}):
        for name in ("epochs", "steps", "batch_size", "limit"):
            if getattr(arguments, name) is not None:
                argument_checks.integer(name, getattr(arguments, name), 1)
        argument_checks.number("rate", arguments.rate, above=0)


def _prepare(arguments: argparse.Namespace) -> tuple[tlp.PropagationModel, tf.data.Dataset, Callable]:
    """The wrapped model, the images to train on, and their preprocessing."""
    spec = options.load_model(arguments)
    size = options.size(arguments, spec)
    try:
        wrapped = tlp.wrap_model(spec.model, rule=arguments.rule)
        if arguments.images:
            images = tlp.data.from_folder(files.images([arguments.images]), wrapped, size=size)
        else:
            images = tlp.data.from_tfds(arguments.tfds, arguments.split, wrapped, size=size)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return wrapped, images, spec.preprocess


def _batches(images: tf.data.Dataset, preprocess: Callable, arguments: argparse.Namespace) -> tf.data.Dataset:
    """Batches without end, shuffled and half of the images mirrored; a seed gives the same ones again."""
    import tensorflow as tf

    limit, seed = arguments.limit, arguments.seed
    images = images.take(limit) if limit else images
    images = images.map(lambda image: tf.cast(image, tf.uint8)).cache()  # a quarter of the memory
    batches = images.shuffle(limit or 1000, seed=seed).repeat().batch(arguments.batch_size)
    seeds = tf.data.Dataset.random(seed=seed).batch(2)

    def finish(batch: tf.Tensor, flip_seed: tf.Tensor) -> tf.Tensor:
        flipped = tf.image.stateless_random_flip_left_right(batch, flip_seed)
        return preprocess(tf.cast(flipped, tf.float32))

    return tf.data.Dataset.zip((batches, seeds)).map(finish).prefetch(tf.data.AUTOTUNE)


def _loggers(
    tensorboard: str | None, preview: pathlib.Path | None, images: np.ndarray
) -> Iterator[keras.callbacks.Callback]:
    import keras

    if tensorboard:
        yield keras.callbacks.TensorBoard(tensorboard, write_graph=False)
    if tensorboard or preview:
        yield tlp.callbacks.OverlayLogger(images, log_dir=tensorboard, folder=preview)


class _Backup:
    """The state of an unfinished training, in a folder beside its rule file.

    As a context, it removes the folder at the end if no epoch was finished.
    """

    def __init__(self, out: pathlib.Path, arguments: argparse.Namespace):
        self.folder = pathlib.Path(f"{out}.backup")
        self.note = self.folder / "settings.json"
        self.settings = settings.of(arguments, "preview", "tensorboard")
        if not self.note.exists() and (self.folder.is_file() or any(self.folder.glob("*"))):
            raise UsageError(
                f"--out: {self.folder} is no unfinished training, and this one would keep its state there; "
                "move it, or give another --out"
            )
        changed = self.epochs() and settings.difference(self.note, self.settings)
        if changed:
            raise UsageError(
                f"{self.folder} holds a training with another {changed}; give the same arguments to go on "
                "with it, or remove the folder"
            )

    def __enter__(self) -> _Backup:
        return self

    def __exit__(self, *error: object) -> None:
        if self.note.exists() and not self.epochs():
            self.remove()

    def epochs(self) -> int:
        """Number of finished epochs, as Keras notes it."""
        state = self.folder / "training_metadata.json"
        return json.loads(state.read_text(encoding="utf-8"))["epoch"] if state.exists() else 0

    def callback(self) -> keras.callbacks.Callback:
        """Makes the folder, and returns the callback that saves each epoch in it."""
        import keras

        self.folder.mkdir(exist_ok=True)
        settings.write(self.note, self.settings)
        return keras.callbacks.BackupAndRestore(self.folder, delete_checkpoint=False)

    def remove(self) -> None:
        """Removes the folder."""
        for path in itertools.chain(self.folder.iterdir(), [self.folder]):
            path.rmdir() if path.is_dir() else path.unlink()
