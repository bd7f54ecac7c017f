"""Trains propagation rules for a model on a folder of images; no labels are needed.

    python examples/train_rules.py --images 'photos/*.jpg' --out rules.keras

If the training is interrupted, the same command continues after the last finished epoch. With --model, a
model of keras.applications is downloaded with its ImageNet weights. For a model of your own, pass its file
and preprocessing to `load_model`. `tf-learnprop train` does the same without code.
"""

import argparse
import pathlib

import keras
import tensorflow as tf

import tf_learnprop as tlp


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", required=True, help="folder, or pattern of image files")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--out", default="rules.keras", help="rule file to write")
    parser.add_argument("--rule", default="universal", help="rule to start from")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=50, help="steps per epoch")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--masks", type=int, default=1, help="of each map; 4 suit long trainings")
    parser.add_argument("--rate", type=float, default=5e-3, help="Adam's rate at the start; it falls to 0")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(arguments.seed)
    spec = tlp.zoo.load_model(arguments.model)
    wrapped = tlp.wrap_model(spec.model, rule=arguments.rule)
    print(wrapped.coverage.summary())
    images = tlp.data.from_folder(arguments.images, wrapped, preprocess=spec.preprocess).cache()
    images = images.shuffle(1000, seed=arguments.seed).repeat()
    images = images.map(tf.image.random_flip_left_right).batch(arguments.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(arguments.rate, arguments.epochs * arguments.steps)
    wrapped.compile(
        keras.optimizers.Adam(rate, global_clipnorm=1.0),
        tlp.objectives.AreaGuidance(seed=arguments.seed, masks=arguments.masks),
    )
    wrapped.fit(
        images,
        epochs=arguments.epochs,
        steps_per_epoch=arguments.steps,
        shuffle=False,  # the data are shuffled
        callbacks=[
            keras.callbacks.BackupAndRestore(f"{arguments.out}.backup"),
            keras.callbacks.CSVLogger(pathlib.Path(arguments.out).with_suffix(".csv"), append=True),
        ],
    )
    wrapped.save_rules(arguments.out)
    print(f"rules written to {arguments.out}")


if __name__ == "__main__":
    main()
