"""Trains rules for a model on images; no labels are needed.

Interrupted, the same command goes on from the last finished epoch, whose state lies beside --out until the
training is done.
"""

import itertools
import json
import math
import pathlib

import numpy as np

from tf_learnprop.cli import options
from tf_learnprop.cli.errors import UsageError

_PREVIEWED = 4


def arguments(parser):
    """Adds the command's arguments."""
    options.add_model(parser, rules=False)
    options.add_size(parser)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", metavar="DIR", help="folder, searched with all below it, or a pattern")
    images.add_argument("--tfds", metavar="NAME", help="data set of tensorflow-datasets, or its folder")
    parser.add_argument("--split", default="train", help="of the --tfds data set (train)")
    parser.add_argument("--rule", default="universal", help="rule, or rule file, to start from (universal)")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=50, help="steps an epoch (50)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-3, help="Adam's at the start; it falls to 0 (0.005)")
    parser.add_argument("--limit", type=int, help="images at most")
    parser.add_argument("--out", default="rules.keras", help="rule file to write (rules.keras)")
    parser.add_argument("--overwrite", action="store_true", help="replaces --out")
    parser.add_argument("--tensorboard", metavar="DIR", help="writes losses and maps there")
    parser.add_argument("--preview", metavar="DIR", help="writes a picture of a few maps there each epoch")


def run(arguments, console):
    """Trains, and writes the rules.

    Returns:
        dict: `rules`, the file; `loss`, that of each epoch that was run.
    """
    import keras

    import tf_learnprop as tlp
    from tf_learnprop import data

    for name in ("epochs", "steps", "batch_size"):
        if getattr(arguments, name) < 1:
            raise UsageError(
                f"--{name.replace('_', '-')} must be at least 1. Received: {getattr(arguments, name)}"
            )
    if not 0 < arguments.rate < math.inf:
        raise UsageError(f"--rate must be above 0. Received: {arguments.rate}")
    if not arguments.out.endswith((".keras", ".weights.h5")):
        raise UsageError(f"--out must end in .keras or .weights.h5. Received: {arguments.out}")
    out = options.new_file(arguments.out, arguments.overwrite)
    backup = _Backup(out, arguments)
    source = options.source(arguments)
    read = dict(
        preprocess=source.preprocess,
        size=options.size(arguments, source),
        limit=arguments.limit,
        seed=arguments.seed,
    )
    try:
        wrapped = tlp.wrap_model(source.model, rule=arguments.rule)
        pool = (arguments.images,) if arguments.images else (arguments.tfds, arguments.split)
        make = data.from_folder if arguments.images else data.from_tfds
        images = make(
            *pool, wrapped, batch_size=arguments.batch_size, shuffle=True, repeat=True, flip=True, **read
        ).skip(backup.epochs() * arguments.steps)  # the batches that an uninterrupted run would have left
        shown = next(iter(make(*pool, wrapped, batch_size=_PREVIEWED, **(read | {"limit": _PREVIEWED}))))
    except ValueError as error:
        raise UsageError(str(error)) from error
    loggers = list(_loggers(arguments, np.asarray(shown), backup.epochs()))
    console.print(wrapped.coverage.summary())
    rate = keras.optimizers.schedules.CosineDecay(arguments.rate, arguments.epochs * arguments.steps)
    wrapped.compile(
        keras.optimizers.Adam(rate, global_clipnorm=1.0), tlp.objectives.AreaGuidance(seed=arguments.seed)
    )
    history = wrapped.fit(
        images,
        epochs=arguments.epochs,
        steps_per_epoch=arguments.steps,
        shuffle=False,  # the data are shuffled
        verbose=0 if console.quiet else 1,
        callbacks=[backup.callback(), *loggers],
    )
    wrapped.save_rules(out)
    backup.remove()
    console.print(f"rules written to {out}")
    return {"rules": str(out), "loss": history.history.get("loss", [])}


def _loggers(arguments, images, done):
    import keras

    from tf_learnprop import callbacks

    if arguments.tensorboard:
        yield keras.callbacks.TensorBoard(arguments.tensorboard, write_graph=False)
    if arguments.tensorboard or arguments.preview:
        folder = arguments.preview and options.folder(arguments.preview, "--preview")
        if folder and not done and any(folder.iterdir()):
            raise UsageError(f"--preview must be an empty folder. Received: {folder}")
        yield callbacks.OverlayLogger(images, log_dir=arguments.tensorboard, folder=folder)


class _Backup:
    """The state of a training that is under way, in a folder beside its rule file."""

    def __init__(self, out, arguments):
        self.folder = pathlib.Path(f"{out}.backup")
        self.note = self.folder / "settings.json"
        ignored = ("json", "quiet", "debug", "overwrite", "preview", "tensorboard")
        self.settings = settings = {
            name: value for name, value in vars(arguments).items() if name not in ignored
        }
        if self.note.exists():
            before = json.loads(self.note.read_text())
            changed = [name for name in settings if settings[name] != before.get(name)]
            if changed:
                option = f"--{changed[0].replace('_', '-')} ({before.get(changed[0])})"
                raise UsageError(
                    f"{self.folder} holds a training with another {option}; give the same arguments to go on "
                    "with it, or remove the folder"
                )

    def epochs(self):
        """Epochs that are done, as Keras notes them."""
        state = self.folder / "training_metadata.json"
        return json.loads(state.read_text())["epoch"] if state.exists() else 0

    def callback(self):
        import keras

        self.folder.mkdir(exist_ok=True)
        self.note.write_text(json.dumps(self.settings))
        return keras.callbacks.BackupAndRestore(self.folder, delete_checkpoint=False)

    def remove(self):
        for path in itertools.chain(self.folder.iterdir(), [self.folder]):
            path.rmdir() if path.is_dir() else path.unlink()
