"""Command-line options that several benchmarks share."""

import argparse
from collections.abc import Callable, Iterable, Iterator

import keras

from benchmarks.evaluation import images, subjects


def add_subject(parser: argparse.ArgumentParser) -> None:
    """Adds `--subject`, `--images` and `--seed`."""
    parser.add_argument("--subject", default="cifar_resnet20", choices=subjects.NAMES)
    parser.add_argument("--images", type=at_least(1), default=60, help="test images at most")
    add_seed(parser)


def add_subjects(
    parser: argparse.ArgumentParser, default: Iterable[str], names: Iterable[str] = subjects.NAMES
) -> None:
    """Adds `--subjects`, some of `names` separated by commas."""
    parser.add_argument(
        "--subjects",
        type=lambda text: text.split(","),
        default=default,
        metavar="NAME,...",
        help=f"of {', '.join(names)}",
    )


def chosen_subjects(arguments: argparse.Namespace) -> Iterator[subjects.Subject]:
    """The subjects that `--subjects` names, one by one; those whose images are missing are left out."""
    for name in arguments.subjects:
        try:
            yield subjects.load(name, arguments.results / "cache")
        except images.MissingData as reason:
            print(f"{name}: left out: {reason}.")
        keras.backend.clear_session()


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Adds `--seed`."""
    parser.add_argument("--seed", type=int, default=0)


def at_least(minimum: int) -> Callable[[str], int]:
    """An argparse type: ints of at least `minimum`."""

    def number(text):
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {minimum}. Received: {text}")
        return int(text)

    return number
