"""Models by name: a file, the zoo, `keras.applications`; with their preprocessing and class names."""

import importlib
import json
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import keras

from tf_learnprop import zoo
from tf_learnprop.cli.errors import CommandError, UsageError

_ZOO = {
    name: getattr(zoo, name) for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
}
_APPLICATIONS = {
    name.lower(): name
    for name in dir(keras.applications)
    if name[0].isupper() and callable(getattr(keras.applications, name))
}


def _mode(mode):
    return lambda images: keras.applications.imagenet_utils.preprocess_input(images, mode=mode)


#: tf (−1..1), torch (mean and standard deviation of ImageNet) and caffe are Keras' own names.
_PREPROCESS = {
    "none": lambda images: images,
    "0..1": lambda images: images / 255.0,
    "tf": _mode("tf"),
    "torch": _mode("torch"),
    "caffe": _mode("caffe"),
    "zoo": zoo.preprocess,
}


class Source(NamedTuple):
    """A model that a command works on.

    Attributes:
        name: str, as it was given.
        model: `keras.Model`.
        preprocess: function from float32 batches `[n, h, w, c]` of values in 0..255 to the model's input.
        class_names: list of str, or None.
    """

    name: str
    model: keras.Model
    preprocess: Callable
    class_names: list | None


def load(name, preprocess=None, class_names=None):
    """The model of that name.

    Args:
        name: path of a `.keras` or `.h5` file; or, in any case of letters, a model of the zoo
            ("efficientnet_lite0") or of `keras.applications` ("MobileNetV3Small"), with ImageNet weights.
        preprocess: name for `find_preprocess`; None for the model's own. A file has none of its own.
        class_names: path of a text file with a name a line, or of a JSON list or dict {id: name}; None for
            the model's own.

    Returns:
        `Source`.

    Raises:
        UsageError: an unknown name, a file that is no model; no preprocessing for a file; class names that
            can't be read or are not as many as the model's units.
        CommandError: weights that can't be had.
    """
    path = pathlib.Path(name)
    if path.is_dir():
        raise UsageError(
            f"--model must be the .keras file that the model was saved to, not a folder (a SavedModel has no "
            f"layers to look into). Received: {name}"
        )
    if path.suffix in (".keras", ".h5"):
        if preprocess is None:
            raise UsageError(
                f"--preprocess must say how photos become the input of {name}: one of "
                f"{', '.join(_PREPROCESS)}, or a module of keras.applications such as resnet50"
            )
        model, own, names = _from_file(path), None, None
    elif name.lower() in _ZOO:
        model, own, names = _ZOO[name.lower()](), zoo.preprocess, zoo.class_names()
    elif name.lower() in _APPLICATIONS:
        model, own = _from_applications(_APPLICATIONS[name.lower()])
        names = zoo.class_names()
    else:
        raise UsageError(
            "--model must be a .keras or .h5 file, a model of keras.applications or one of "
            f"{', '.join(_ZOO)}. Received: {name}"
        )
    names = _read_names(class_names, model) if class_names else names
    return Source(name, model, find_preprocess(preprocess) if preprocess else own, names)


def find_preprocess(name):
    """The preprocessing of that name: one of `_PREPROCESS`, or that of a module of `keras.applications`."""
    if name in _PREPROCESS:
        return _PREPROCESS[name]
    try:
        return importlib.import_module(f"keras.applications.{name.lower()}").preprocess_input
    except (ImportError, AttributeError):
        raise UsageError(
            f"--preprocess must be one of {', '.join(_PREPROCESS)}, or a module of keras.applications "
            f"such as resnet50. Received: {name}"
        ) from None


def find_class(source, text):
    """A class id from an id, a name, or a part of just one name, in any case of letters."""
    units = source.model.outputs[0].shape[-1]
    count = 2 if units == 1 else units
    if text.lstrip("-").isdigit():
        if 0 <= int(text) < count:
            return int(text)
        raise UsageError(f"--class must be an id in 0..{count - 1}. Received: {text}")
    if source.class_names is None:
        raise UsageError(
            f"--class must be an id in 0..{count - 1}, as {source.name} has no class names; --class-names "
            f"gives some. Received: {text}"
        )
    names = [name.lower() for name in source.class_names]
    found = [k for k, name in enumerate(names) if name == text.lower()]
    found = found or [k for k, name in enumerate(names) if text.lower() in name]
    if len(found) == 1:
        return found[0]
    candidates = ", ".join(f"{source.class_names[k]} ({k})" for k in found[:5]) or "none has it"
    raise UsageError(f"--class must name one class. Received: {text}; {candidates}")


def class_name(source, number):
    """The name of a class, or its id as text."""
    return source.class_names[number] if source.class_names else str(number)


def _from_file(path):
    if not path.is_file():
        raise UsageError(f"--model must be a file that exists. Received: {path}")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for what is no model
        raise UsageError(f"--model: {path} can't be loaded ({_first_line(error)})") from error


def _from_applications(name):
    build = getattr(keras.applications, name)
    module = importlib.import_module(f"keras.applications.{build.__module__.rsplit('.', 1)[-1]}")
    try:
        return build(weights="imagenet"), module.preprocess_input
    except Exception as error:  # the network's of any kind
        raise CommandError(
            f"the ImageNet weights of {name} can't be downloaded ({_first_line(error)}); a model saved to a "
            ".keras file, or efficientnet_lite0, needs no download"
        ) from error


def _read_names(path, model):
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        names = json.loads(text) if path.endswith(".json") else text.splitlines()
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names, key=int)]
    except (OSError, ValueError) as error:
        raise UsageError(f"--class-names: {path} can't be read ({_first_line(error)})") from error
    units = model.outputs[0].shape[-1]
    if len(names) != (2 if units == 1 else units):
        raise UsageError(f"--class-names must hold {units} names. Received: {len(names)}")
    return [str(name) for name in names]


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
