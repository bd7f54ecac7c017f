"""Fine-tunes a model with a pretrained backbone, trains rules for it and explains it.

    python examples/transfer_learning.py --images photos    # photos/CLASS/*.jpg

Without --images, two classes are cropped from photos of scikit-image (a cat and a cup of coffee). With
--backbone, a model of keras.applications is downloaded with its ImageNet weights; otherwise the backbone is
EfficientNet-Lite0.
"""

import argparse
import importlib
import pathlib

import keras
import numpy as np
import skimage.data
import tensorflow as tf

import tf_learnprop as tlp
from tf_learnprop import zoo

SIDE = 128


def crops(count, seed=0):
    """Random square crops of two photos: images, labels and class names."""
    generator = np.random.default_rng(seed)
    images, labels = [], []
    for label, photo in enumerate((skimage.data.chelsea(), skimage.data.coffee())):
        for _ in range(count):
            side = int(generator.integers(150, 300))
            top, left = (int(generator.integers(0, length - side + 1)) for length in photo.shape[:2])
            images.append(zoo.load_image(photo[top : top + side, left : left + side], SIDE))
            labels.append(label)
    return np.stack(images).astype(np.float32), np.array(labels), ["cat", "coffee"]


def from_folder(folder, limit):
    data = tlp.data.from_folder(folder, size=SIDE, labels=True)
    images, labels = (np.stack(column) for column in zip(*data.as_numpy_iterator(), strict=True))
    order = np.random.default_rng(0).permutation(len(images))[:limit]
    return images[order], labels[order], data.class_names


def load_backbone(name):
    """A model without its classifier, and its preprocessing."""
    options = dict(input_shape=(SIDE, SIDE, 3), include_top=False, pooling="avg")
    if name is None:
        return zoo.efficientnet_lite0(**options), zoo.preprocess
    build = getattr(keras.applications, name)
    module = importlib.import_module(f"keras.applications.{build.__module__.rsplit('.', 1)[-1]}")
    return build(weights="imagenet", **options), module.preprocess_input


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", help="folder with one subfolder per class")
    parser.add_argument("--backbone", help="name in keras.applications, such as MobileNetV3Small")
    parser.add_argument("--limit", type=int, default=300, help="largest number of images")
    parser.add_argument("--steps", type=int, default=20, help="training steps of the rules")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/transfer_learning.png"))
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    if arguments.images:
        photos, labels, names = from_folder(arguments.images, arguments.limit)
    else:
        photos, labels, names = crops(min(arguments.limit, 60) // 2)

    backbone, preprocess = load_backbone(arguments.backbone)
    images = preprocess(photos.copy())  # keras.applications may write into its argument
    backbone.trainable = False
    image = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(image, keras.layers.Dense(len(names), activation="softmax")(backbone(image)))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(images, labels, epochs=8, verbose=0)
    print(f"accuracy on its training images: {history.history['accuracy'][-1]:.0%}")

    wrapped = tlp.wrap_model(model, rule="universal")
    print(wrapped.coverage.summary())
    wrapped.compile()
    batches = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images), seed=0).repeat().batch(8)
    wrapped.fit(batches, steps_per_epoch=arguments.steps, shuffle=False)

    every = max(len(images) // 4, 1)
    shown, photos = images[::every][:4], photos[::every][:4].astype(np.uint8)
    titles = [names[k] for k in wrapped.logits(shown).argmax(1)]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure = tlp.plotting.compare(photos, {"learned rules": wrapped.explain(shown)}, titles=titles)
    figure.savefig(arguments.out)
    print(f"maps drawn to {arguments.out}")


if __name__ == "__main__":
    main()
