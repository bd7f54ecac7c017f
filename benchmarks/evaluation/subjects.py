"""The models that are measured, each with its images; `images.py` says how these are split."""

import functools
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from benchmarks.evaluation import cifar_models, hub, images, known_models, results, small_models
from tf_learnprop import zoo


class Subject(NamedTuple):
    """A model and its images.

    Attributes:
        name: str.
        model: `keras.Model` that gives logits.
        forward: the model as a `tf.function`.
        enlarged: function from a factor to the same model, with the same weights, for images that many times
            as large; None for a model that has one size of image.
        train: float32 `[n, h, w, c]`, preprocessed.
        tune: the same.
        test: the same; only images that the model gets right, without those set aside.
        labels: int `[n]`, those of `test`.
        accuracy: float, share of all test images that the model gets right.
        digest: str, hash of the model's weights and of all images.
        masks: bool `[n, h, w]`, where the evidence in `test` is; None where it is not known.
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
    masks: np.ndarray | None = None


def load(name, cache):
    """The subject of that name.

    Args:
        name: one of `NAMES`.
        cache: `pathlib.Path`, folder of models that the benchmark trains itself.

    Returns:
        `Subject`.

    Raises:
        images.MissingData: with the reason.
    """
    build, images_of = _SUBJECTS[name]
    data = images_of()
    if name in hub.SUBJECTS:
        hub.keras_hub()  # a kept model needs its layers
    model, enlarged = build(name, data, cache)
    function = forward(model)
    predicted = logits(function, data["test"]).argmax(1)
    right = predicted == data["test_labels"]
    measured = np.flatnonzero(right)[images.SET_ASIDE :]
    parts = [data[part] for part in ("train", "tune", "test", "test_labels")]
    return Subject(
        name,
        model,
        function,
        enlarged,
        data["train"][: images.TRAIN],
        data["tune"],
        data["test"][measured],
        data["test_labels"][measured],
        float(right.mean()),
        results.arrays_digest([*model.get_weights(), *parts]),
        data["test_masks"][measured] if "test_masks" in data else None,
    )


def forward(model):
    """The model as one `tf.function` for all batch sizes, in inference mode."""
    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
    return tf.function(functools.partial(model, training=False), input_signature=[spec])


def logits(function, images, batch_size=100):
    """Logits `[n, classes]` of many images, computed in batches."""
    return np.concatenate([function(images[k : k + batch_size]) for k in range(0, len(images), batch_size)])


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
    model = keras.models.load_model(images.folder("cifar10", f"{name.removeprefix('cifar_')}.keras"))
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


def _of_known_evidence(name, data, cache):
    photos = data["train_photos"]
    path = results.kept_file(
        cache, name, ".keras", {"data": results.arrays_digest([photos])}, results.KNOWN_MODELS
    )
    return kept(path, lambda: known_models.trained(name, photos)), None


def _cifar_classifier(name, data, cache):
    settings = {"data": results.arrays_digest([data["train"], data["train_labels"]])}
    path = results.kept_file(cache, name, ".keras", settings, results.CIFAR_MODELS)

    checkpoint = path.with_suffix(".checkpoint")
    return kept(
        path, lambda: cifar_models.trained(name, data["train"], data["train_labels"], checkpoint)
    ), None


def kept(path, train):
    """The model in a file; if there is none, it is trained and kept there."""
    if not path.exists():
        train().save(path)
    return keras.models.load_model(path, compile=False)


_SUBJECTS = {
    "digits_swish": (_trained_here, images.digits),
    "mnist_inception": (_trained_here, images.mnist),
    "animals_vgg": (_trained_here, images.animals),
    "animals_transfer": (_trained_here, images.animals),
    "cifar_resnet20": (_cifar_resnet, images.cifar),
    "cifar_resnet44": (_cifar_resnet, images.cifar),
    "imagenet_lite0": (_efficientnet_lite, functools.partial(images.imagenet, 224)),
    "imagenet_lite1": (_efficientnet_lite, functools.partial(images.imagenet, 240)),
    "imagenet_lite2": (_efficientnet_lite, functools.partial(images.imagenet, 260)),
    **dict.fromkeys(
        cifar_models.NAMES, (_cifar_classifier, functools.partial(images.cifar, images.CIFAR_TRAIN))
    ),
    **dict.fromkeys(known_models.NAMES, (_of_known_evidence, images.known)),
}
NAMES = tuple(_SUBJECTS)
#: Those with known evidence.
KNOWN = known_models.NAMES
