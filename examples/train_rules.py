"""Trains propagation rules for a model on a folder of images; no labels are needed.

    python examples/train_rules.py --images 'photos/*.jpg' --out rules.keras

Interrupted, the same command goes on from the last finished epoch. For rules of a model of your own, put
it in the place of `zoo.efficientnet_lite0()`, and its own preprocessing in the place of `zoo.preprocess`.
"""

import argparse
import glob
import pathlib

import keras
import tensorflow as tf

import tf_learnprop as tlp
from tf_learnprop import zoo


def dataset(pattern, size, batch_size, seed):
    """Endless batches of preprocessed images [batch_size, size, size, 3], mirrored at random."""
    files = sorted(glob.glob(pattern))
    if len(files) < batch_size:
        raise SystemExit(f"--images matches {len(files)} files, fewer than a batch of {batch_size}.")

    def load(path):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        image = tf.image.resize(image, (size, size), antialias=True)
        return zoo.preprocess(tf.image.random_flip_left_right(image, seed=seed))

    shuffled = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed=seed).repeat()
    return shuffled.map(load, num_parallel_calls=2).batch(batch_size).prefetch(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", required=True, help="pattern of image files, square ones for choice")
    parser.add_argument("--out", default="rules.keras", help="rule file to write")
    parser.add_argument("--rule", default="learned")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=50, help="steps an epoch")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-3, help="Adam's rate at the start; it falls to 0")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(arguments.seed)
    wrapped = tlp.wrap_model(zoo.efficientnet_lite0(), rule=arguments.rule)
    print(wrapped.coverage.summary())
    rate = keras.optimizers.schedules.CosineDecay(arguments.rate, arguments.epochs * arguments.steps)
    wrapped.compile(optimizer=keras.optimizers.Adam(rate, global_clipnorm=1.0))
    wrapped.fit(
        dataset(arguments.images, 224, arguments.batch_size, arguments.seed),
        epochs=arguments.epochs,
        steps_per_epoch=arguments.steps,
        callbacks=[
            keras.callbacks.BackupAndRestore(f"{arguments.out}.backup"),
            keras.callbacks.CSVLogger(pathlib.Path(arguments.out).with_suffix(".csv"), append=True),
        ],
    )
    wrapped.save_rules(arguments.out)
    print(f"rules written to {arguments.out}")


if __name__ == "__main__":
    main()
