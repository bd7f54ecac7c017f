"""What commands have in common: the model, its rules, images, and places to write to."""

import contextlib
import os
import pathlib

import tf_learnprop as tlp
from tf_learnprop import data, zoo
from tf_learnprop.cli.errors import UsageError

#: Arguments of `zoo.load_model` and `ModelSpec.find_class`, and the options that give them.
_OPTIONS = {
    "name": "--model",
    "preprocess": "--preprocess",
    "class_names": "--class-names",
    "text": "--class",
}


def add_model(parser, rules=True):
    """Adds --model and what belongs to it."""
    parser.add_argument(
        "--model", required=True, help=".keras or .h5 file, zoo name, or a name of keras.applications"
    )
    parser.add_argument(
        "--preprocess", metavar="NAME", help="none, 0..1, tf (−1..1), torch, caffe, zoo, resnet50 …"
    )
    parser.add_argument("--class-names", metavar="FILE", help="a name a line, or JSON")
    if rules:
        parser.add_argument("--rules", metavar="FILE", help="trained rules; without them, the universal rule")


def add_size(parser):
    """Adds --size."""
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="side of the images, for a model whose input has no size"
    )


def source(arguments):
    """The `ModelSpec` that --model names."""
    with _errors_name_options():
        return zoo.load_model(arguments.model, arguments.preprocess, arguments.class_names)


def find_class(arguments, found):
    """The class id that --class names; None without it."""
    with _errors_name_options():
        return None if arguments.target is None else found.find_class(arguments.target)


@contextlib.contextmanager
def _errors_name_options():
    """Raises ValueErrors about arguments as UsageErrors about the options that give them."""
    try:
        yield
    except ValueError as error:
        message = str(error)
        for argument, option in _OPTIONS.items():
            message = message.replace(f"`{argument}`", option)
        raise UsageError(message) from error


def wrapped(arguments, found):
    """The model of a `ModelSpec` with --rules, or with the universal rule."""
    rules = arguments.rules
    if rules is not None and not os.path.isfile(rules):
        raise UsageError(f"--rules must be a file that exists. Received: {rules}")
    try:
        return tlp.wrap_model(found.model, rule=rules or "universal")
    except ValueError as error:
        raise UsageError(str(error)) from error


def image_shape(arguments, found):
    """Height, width and channels of the images that the model of a `ModelSpec` takes."""
    try:
        return data.image_shape(found.model, size(arguments, found))
    except ValueError as error:
        raise UsageError(f"--model: {arguments.model} can't be used here. {error}") from error


def size(arguments, found):
    """--size, which a model whose input has no fixed size needs and no other takes; else None."""
    shape = found.model.inputs[0].shape
    if len(shape) == 4 and None in shape[1:3] and arguments.size is None:
        raise UsageError(f"--size must be given: the input of {arguments.model} has no fixed size")
    if arguments.size is not None and (len(shape) != 4 or None not in shape[1:3]):
        raise UsageError(f"--size is for models whose input has no fixed size. Received: an input of {shape}")
    return arguments.size


def folder(path, name="--out"):
    """A folder to write to, made if need be."""
    path = pathlib.Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{name}: the folder {path} can't be made ({error.strerror})") from error
    if not os.access(path, os.W_OK):
        raise UsageError(f"{name}: no permission to write to the folder {path}")
    return path


def new_file(path, overwrite, name="--out"):
    """A file to write, which does not exist unless `overwrite`."""
    path = pathlib.Path(path)
    folder(path.parent, name)
    if path.exists() and not overwrite:
        raise UsageError(f"{name}: {path} exists; --overwrite replaces it")
    return path


def files(patterns):
    """The image files of files, folders and glob patterns, each once, in order."""
    found = {}
    for pattern in patterns:
        try:
            found.update(dict.fromkeys(data.find(pattern)))
        except ValueError:
            raise UsageError(f"no image is found at {pattern}") from None
    return list(found)
