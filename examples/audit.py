"""Plants a mark in the corner of one class' images, and finds it by an audit of the maps.

    python examples/audit.py                    # the digits of scikit-learn
    python examples/audit.py --images photos    # photos/CLASS/*.jpg

A small model is trained on the marked images. Its maps of all images are written to files, and the audit
looks for regions that take far more weight in one class than in the others.
"""

import argparse
import pathlib
import subprocess
import sys

import keras
import numpy as np
from keras import layers
from PIL import Image

import tf_learnprop as tlp
from tf_learnprop.scale.audit import audit

SIDE = 32


def digits(limit):
    """Pixels and class names of the digits."""
    from sklearn import datasets

    data = datasets.load_digits()
    for image, label in zip(data.images[:limit], data.target, strict=False):
        yield Image.fromarray((image * 15).astype(np.uint8)).resize((SIDE, SIDE)), str(label)


def from_folder(folder, limit):
    paths = tlp.data.find(folder)
    for number in np.random.default_rng(0).permutation(len(paths))[:limit]:
        yield Image.open(paths[number]).resize((SIDE, SIDE)), paths[number].parent.name


def write_images(images, marked, folder):
    """Writes the images to folder/CLASS/number.png. Those of the class `marked` get a square in a corner."""
    for number, (image, name) in enumerate(images):
        image = image.convert("RGB")
        if name == marked:
            image.paste((255, 0, 255), (SIDE - 4, SIDE - 4, SIDE - 1, SIDE - 1))
        path = folder / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


def train(folder, epochs):
    """A small model of the images in a folder, and the names of its classes."""
    data = tlp.data.from_folder(folder, size=SIDE, preprocess=preprocess, labels=True)
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3))])
    for filters in (16, 32, 64):
        model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.GlobalMaxPooling2D())
    model.add(layers.Dense(len(data.class_names)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    history = model.fit(data.cache().shuffle(1000, seed=0).batch(64), epochs=epochs, verbose=0)
    print(f"accuracy on its training images: {history.history['accuracy'][-1]:.0%}")
    return model, data.class_names


def preprocess(images):
    return images / 127.5 - 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", help="folder with one subfolder per class")
    parser.add_argument("--marked", help="class that gets the mark (default: the last one)")
    parser.add_argument("--limit", type=int, default=4000, help="largest number of images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("results/audit"), help="a new folder"
    )
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    out = arguments.out
    images = from_folder(arguments.images, arguments.limit) if arguments.images else digits(arguments.limit)
    images = list(images)
    write_images(images, arguments.marked or max(name for _, name in images), out / "images")

    model, names = train(out / "images", arguments.epochs)
    wrapped = tlp.wrap_model(model, rule="universal")
    wrapped.export(out / "served" / "1", preprocess=preprocess)
    tlp.scale.explain_dataset(out / "served" / "1", out / "images", out / "maps", class_names=names)

    for finding in audit(out / "maps").findings:
        print(finding.text)
    command = ["tf_learnprop", "audit", out / "maps", "--out", out / "audit.html", "--quiet"]
    subprocess.run([sys.executable, "-m", *map(str, command)], check=True)
    print(f"page written to {out / 'audit.html'}")


if __name__ == "__main__":
    main()
