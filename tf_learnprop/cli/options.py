"""The options that commands share: the model, its rules, the class to explain and the size of images."""

from __future__ import annotations

import argparse
import os
import sys

import tf_learnprop as tlp
from tf_learnprop.cli import user_modules
from tf_learnprop.cli.errors import UsageError, naming_options

#: Arguments of `zoo.load_model` and `ModelSpec.find_class` that are not called as their options.
_OPTIONS = {"name": "--model", "text": "--class"}


def add_model(parser: argparse.ArgumentParser, rules: bool = True, required: bool = True) -> None:
    """Adds --model, --preprocess, --class-names, --import and, unless `rules` is False, --rules."""
    parser.add_argument(
        "--model",
        required=required,
        help=".keras or .h5 file, or name of a zoo or keras.applications model",
    )
    parser.add_argument(
        "--preprocess",
        metavar="NAME",
        help="how photos become the model's input: none (it takes 0..255), 0..1, tf (-1..1), torch, caffe, "
        "zoo, or a module of keras.applications such as resnet50; needed for a model from a file",
    )
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="text file with one name per line; or .json: a list, or {id: name}",
    )
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="Python module, or .py file, that registers the model's own layers; may be given again",
    )
    if rules:
        add_rules(parser)


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Adds --rules."""
    parser.add_argument(
        "--rules",
        metavar="FILE|NAME",
        help="file of trained rules; or efficientnet_lite0, efficientnet_lite1 or efficientnet_lite2 for the "
        "rules that come with the package; or universal (default: the model's own rules, else universal)",
    )


def add_class(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Adds --class, which may be given several times if `several`."""
    again = "; give it again for more classes" if several else ""
    parser.add_argument(
        "--class",
        dest="target",
        action="append" if several else "store",
        metavar="NAME|ID",
        help="class to explain: its id, its name, or a part of its name (default: the predicted class)"
        + again,
    )


def add_size(parser: argparse.ArgumentParser) -> None:
    """Adds --size."""
    parser.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="side of the images, for a model whose input has no fixed size",
    )


def load_model(arguments: argparse.Namespace) -> tlp.zoo.ModelSpec:
    """The model that --model names, with --preprocess and --class-names, after --import."""
    user_modules.load(arguments.modules)
    with naming_options(_OPTIONS):
        return tlp.zoo.load_model(arguments.model, arguments.preprocess, arguments.class_names)


def find_class(arguments: argparse.Namespace, spec: tlp.zoo.ModelSpec) -> int | None:
    """The id of the class that --class names; None without it."""
    with naming_options(_OPTIONS):
        return None if arguments.target is None else spec.find_class(arguments.target)


def find_classes(arguments: argparse.Namespace, spec: tlp.zoo.ModelSpec) -> list[int] | None:
    """The ids of the classes that --class names, each once; None without it."""
    with naming_options(_OPTIONS):
        ids = None if arguments.target is None else [spec.find_class(name) for name in arguments.target]
    return ids and list(dict.fromkeys(ids))


def wrap(
    arguments: argparse.Namespace, spec: tlp.zoo.ModelSpec, output: int | str = 0
) -> tlp.PropagationModel:
    """The model, wrapped with the rules of `choose_rules`, which a line names if nobody asked for them.

    Args:
        arguments: The command's.
        spec: The model.
        output: The explained output, as for `wrap_model`.
    """
    rules = choose_rules(arguments, spec)
    if arguments.rules is None and rules != "universal" and not (arguments.quiet or arguments.json):
        print(f"rules: those trained for {rules} (--rules universal for the universal rule)", file=sys.stderr)
    try:
        return tlp.wrap_model(spec.model, rule=rules, output=output)
    except ValueError as error:
        raise UsageError(str(error)) from error


def choose_rules(arguments: argparse.Namespace, spec: tlp.zoo.ModelSpec) -> str:
    """What --rules names; without it, the rules that come with the package for the model, or "universal"."""
    from tf_learnprop.rule_files import saving

    shipped, rules = saving.shipped_rules(), arguments.rules
    if rules is None:
        return spec.name.lower() if spec.name.lower() in shipped else "universal"
    if rules != "universal" and rules not in shipped and not os.path.isfile(rules):
        raise UsageError(
            f"--rules must be a file that exists, or one of universal, {', '.join(shipped)}. "
            f"Received: {rules}"
        )
    return rules


def image_shape(arguments: argparse.Namespace, spec: tlp.zoo.ModelSpec) -> tuple[int, int, int]:
    """Height, width and channels of the model's input."""
    try:
        return tlp.data.image_shape(spec.model, size(arguments, spec))
    except ValueError as error:
        raise UsageError(f"--model: {arguments.model} can't be used here. {error}") from error


def size(arguments: argparse.Namespace, spec: tlp.zoo.ModelSpec) -> int | None:
    """--size, or None for a model whose input has a fixed size.

    Raises:
        UsageError: If --size is missing, or is given for a model that does not need it.
    """
    shape = spec.model.inputs[0].shape
    if len(shape) == 4 and None in shape[1:3] and arguments.size is None:
        raise UsageError(f"--size must be given: the input of {arguments.model} has no fixed size")
    if arguments.size is not None and (len(shape) != 4 or None not in shape[1:3]):
        raise UsageError(f"--size is for models whose input has no fixed size. Received: an input of {shape}")
    return arguments.size
