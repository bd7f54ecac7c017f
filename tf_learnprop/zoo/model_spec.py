"""`ModelSpec`: a model with its preprocessing and class names, loaded by name or from a file."""

import dataclasses
import importlib
import json
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tf_learnprop.argument_checks import ArgumentError, FileError
from tf_learnprop.graph.output_head import OutputHead
from tf_learnprop.zoo import efficientnet_lite
from tf_learnprop.zoo.images import preprocess as zoo_preprocess
from tf_learnprop.zoo.labels import class_names as imagenet_names

_ZOO = {
    name: getattr(efficientnet_lite, name)
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
}
_APPLICATIONS = {
    name.lower(): name
    for name in dir(keras.applications)
    if name[0].isupper() and callable(getattr(keras.applications, name))
}
#: What Keras says of a class or function that it does not find.
_UNKNOWN_NAME = re.compile(r"(?:Could not locate (?:class|function)|Unknown [\w ]+:) '([^']+)'")
#: Names that Keras gives to the ways its models were trained; see `load_model`.
_KERAS_MODES = ("tf", "torch", "caffe")
_PREPROCESS_NAMES = ("none", "0..1", *_KERAS_MODES, "zoo")
_PREPROCESS_CHOICES = (
    f"{', '.join(_PREPROCESS_NAMES)}, or a module of keras.applications such as resnet50; "
    "none is for a model that takes 0..255"
)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A model with everything needed to show it photos and to name its answers.

    Args:
        name: The name or path that the model was loaded by.
        model: The `keras.Model`.
        preprocess: Function from batches of photos, float32 `[n, h, w, c]` in 0..255, to the model's input.
        class_names: Name of each class, or None if they are unknown.
    """

    name: str
    model: keras.Model
    preprocess: Callable
    class_names: Sequence[str] | None = None

    @property
    def class_count(self) -> int:
        """Number of classes; 2 for a model with a single output unit."""
        return OutputHead(self.model.outputs[0].shape[-1]).class_count

    def find_class(self, text: str | int) -> int:
        """Returns the class id for an id, a class name, or a part that only one class name contains.

        Args:
            text: An id (int or digits), or text that is compared without regard to case. A name that equals
                it comes before names that contain it.

        Raises:
            ValueError: If the id is out of range, or if no class or several classes match.
        """
        text = str(text)
        ids = f"an id in 0..{self.class_count - 1}"
        if text.lstrip("-").isdigit():
            if 0 <= int(text) < self.class_count:
                return int(text)
            raise ArgumentError("text", f"be {ids}", text, text)
        if self.class_names is None:
            rule = f"be {ids}: {self.name} has no class names, unless they are given"
            raise ArgumentError("text", rule, text, text)
        names = [name.lower() for name in self.class_names]
        class_ids = [class_id for class_id, name in enumerate(names) if name == text.lower()]
        class_ids = class_ids or [class_id for class_id, name in enumerate(names) if text.lower() in name]
        if len(class_ids) == 1:
            return class_ids[0]
        matches = ", ".join(f"{self.class_names[class_id]} ({class_id})" for class_id in class_ids[:5])
        received = f"{text}, which matches {matches or 'none'}"
        raise ArgumentError("text", "match one class name", text, received)

    def class_name(self, class_id: int) -> str:
        """Returns the name of a class, or its id as text if the names are unknown."""
        return self.class_names[class_id] if self.class_names else str(class_id)


def load_model(
    name: str | os.PathLike,
    preprocess: str | Callable | None = None,
    class_names: str | os.PathLike | Sequence[str] | None = None,
) -> ModelSpec:
    """Loads a model together with its preprocessing and class names.

    Args:
        name: Path of a `.keras` or `.h5` file; or, in upper or lower case, the name of a zoo model
            ("efficientnet_lite0") or of a model in `keras.applications` ("MobileNetV3Small"). Named models
            come with their ImageNet weights.
        preprocess: Function from float32 photos `[n, h, w, c]` in 0..255 to the model's input; or one of
            "none", "0..1" (divides by 255), "tf" (−1..1), "torch" (ImageNet's mean and standard deviation),
            "caffe" (BGR, minus the mean), "zoo", or a module of `keras.applications` ("resnet50"). None uses
            the model's own preprocessing, which a file does not have.
        class_names: The names; or path of a text file with one name per line, or of a `.json` file with a
            list or a dict {id: name}. None uses the model's own names, which a file does not have.

    Returns:
        A `ModelSpec`.

    Raises:
        ValueError: If `name` is unknown, or names a file that is missing or holds no model; if a file comes
            without `preprocess`; if `class_names` can't be read, or their number is not the model's.
        ImportError: If the package with a zoo model's weights is not installed.
        RuntimeError: If the weights can't be downloaded.
    """
    name, path = os.fspath(name), pathlib.Path(name)
    own_names = imagenet_names()
    if path.is_dir():
        rule = "be the .keras file that the model was saved to, not a folder: a SavedModel has no layers"
        raise ArgumentError("name", rule, name, name)
    if path.suffix in (".keras", ".h5"):
        if not path.is_file():
            raise ArgumentError("name", "be a file that exists", name, name)
        if preprocess is None:
            rule = f"say how photos become the input of {name}: {_PREPROCESS_CHOICES}"
            raise ArgumentError("preprocess", rule, preprocess)
        to_input = _find_preprocess(preprocess)
        model, own_names = _from_file(path), None
    elif name.lower() in _ZOO:
        to_input = _find_preprocess("zoo" if preprocess is None else preprocess)
        model = _ZOO[name.lower()]()
    elif name.lower() in _APPLICATIONS:
        application = _APPLICATIONS[name.lower()]
        to_input = _find_preprocess(_module_name(application) if preprocess is None else preprocess)
        model = _from_applications(application)
    else:
        rule = f"be a .keras or .h5 file, a model of keras.applications or one of {', '.join(_ZOO)}"
        raise ArgumentError("name", rule, name, name)
    spec = ModelSpec(name, model, to_input, own_names)
    if class_names is None:
        return spec
    names = read_class_names(class_names)
    if len(names) != spec.class_count:
        raise ArgumentError("class_names", f"hold {spec.class_count} names", names, str(len(names)))
    return dataclasses.replace(spec, class_names=names)


def read_class_names(class_names: str | os.PathLike | Sequence[str]) -> list[str]:
    """Reads the names of classes, ordered by class id; see `load_model`.

    Raises:
        ValueError: If the file can't be read.
    """
    if not isinstance(class_names, str | os.PathLike):
        return [str(name) for name in class_names]
    path = pathlib.Path(class_names)
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names, key=int)]
        return [str(name) for name in names]
    except (OSError, ValueError, TypeError) as error:
        reason = f"can't be read ({_first_line(error)})"
        raise FileError("class_names", "be a file that can be read", path, reason) from error


def _find_preprocess(preprocess: str | Callable) -> Callable:
    """The function for a name; a function itself is returned as it is."""
    if callable(preprocess):
        return preprocess
    if preprocess == "none":
        return lambda images: images
    if preprocess == "0..1":
        return lambda images: images / 255.0
    if preprocess == "zoo":
        return zoo_preprocess
    if preprocess in _KERAS_MODES:
        return _on_a_copy(keras.applications.imagenet_utils.preprocess_input, mode=preprocess)
    try:
        module = importlib.import_module(f"keras.applications.{preprocess.lower()}")
        return _on_a_copy(module.preprocess_input)
    except (ImportError, AttributeError):
        rule = f"be one of {_PREPROCESS_CHOICES}"
        raise ArgumentError("preprocess", rule, preprocess, str(preprocess)) from None


def _on_a_copy(preprocess_input: Callable, **options: Any) -> Callable:
    """Keras writes the result into the array that it is given; this leaves the array as it is."""

    def preprocess(images: Any) -> Any:
        images = np.array(images) if isinstance(images, np.ndarray) else images
        return preprocess_input(images, **options)

    return preprocess


def _module_name(application: str) -> str:
    return getattr(keras.applications, application).__module__.rsplit(".", 1)[-1]


def _from_file(path: pathlib.Path) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises errors of many types for a file that is no model
        reason = f"can't be loaded ({_why_not_loaded(error)})"
        raise FileError("name", "be a file that can be loaded", path, reason) from error


def _why_not_loaded(error: Exception) -> str:
    """One line on why Keras can't load a file."""
    unknown = _UNKNOWN_NAME.search(str(error))
    if unknown is None:
        return _first_line(error)
    return (
        f"{unknown[1]} is not known: decorate it with @keras.saving.register_keras_serializable() and import "
        "its module first; the command has the option --import for that"
    )


def _from_applications(name: str) -> keras.Model:
    try:
        return getattr(keras.applications, name)(weights="imagenet")
    except Exception as error:  # a failed download raises errors of many types
        raise RuntimeError(
            f"the ImageNet weights of {name} can't be downloaded ({_first_line(error)}); a model saved to a "
            ".keras file, or efficientnet_lite0, needs no download"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
