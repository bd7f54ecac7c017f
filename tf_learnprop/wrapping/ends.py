"""Which output and which inputs of a model are explained, by number or name, and whether they can be."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from tf_learnprop import argument_checks
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph

#: How `wrap_model` is asked for several inputs.
SeveralInputs = Literal["all"] | list[Any] | tuple[int | str, ...]


def output_number(graph: ModelGraph, which: int | str) -> int:
    """The number of an output.

    Raises:
        ValueError: If there is no such output.
    """
    return _number(graph.output_keys or graph.output_names, which, "output", graph.output_names)


def input_numbers(graph: ModelGraph, which: int | str | SeveralInputs) -> tuple[list[int], bool]:
    """The numbers of inputs, and whether several were asked for.

    Raises:
        ValueError: If there is no such input, or one is named twice.
    """
    names = [tensor.name for tensor in graph.inputs]
    if which == "all" and which not in (*names, *graph.input_keys):
        return list(range(len(names))), True
    is_list = isinstance(which, (list, tuple))
    several: Any = which if is_list else [which]
    numbers = [_number(graph.input_keys or names, one, "explained_input", names) for one in several]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"`explained_input` must name one input or more, each once. Received: explained_input={which!r}"
        )
    return numbers, is_list


def check(explained: Explained, is_one_of_several: bool) -> None:
    """Checks that an output can be explained by an input.

    Raises:
        ValueError: If it can't.
    """
    output = explained.output_tensor
    if not output.shape:
        raise ValueError(
            "The explained output must have an axis of samples. "
            f"Received: output '{output.name}' without axes"
        )
    names = [tensor.name for tensor in explained.graph.inputs]
    advice = ""
    if is_one_of_several:
        advice = ". Name those to explain: `explained_input=[...]`."
    elif len(names) > 1:
        advice = f". Name the input to explain: `explained_input=...`, one of {names}."
    image, is_embedded = explained.input_tensor, explained.is_embedded
    if explained.holds_ids and len(image.shape) == 2 and not is_embedded:
        raise ValueError(
            "Ids [n, tokens] must become vectors [n, tokens, c] that all paths to the output pass. "
            f"Received: input '{image.name}', whose embeddings do not meet as such vectors{advice}"
        )
    if len(image.shape) < 2 or image.shape[-1] is None and not is_embedded:
        raise ValueError(
            "The explained input must have shape [n, ..., channels] or [n, features]. "
            f"Received: input '{image.name}' of shape {tuple(image.shape)}{advice}"
        )
    has_pixels = explained.has_integers and len(image.shape) > 2
    has_numbers = keras.backend.is_float_dtype(image.dtype) or has_pixels
    if not (is_embedded or has_numbers and not explained.holds_ids):
        raise ValueError(
            "The explained input must be of a float dtype, pixels of an integer dtype, or ids [n, tokens] "
            "that are embedded. "
            f"Received: input '{image.name}' of dtype {image.dtype} and shape {tuple(image.shape)}{advice}"
        )


def _number(names: Sequence[str], which: Any, argument: str, other_names: Sequence[str]) -> int:
    if isinstance(which, str):
        for known in (names, other_names):
            if which in known:
                return known.index(which)
    elif argument_checks.is_integer(which, 0, len(names) - 1):
        return which
    raise ValueError(
        f"`{argument}` must be a number in 0..{len(names) - 1} or one of {list(names)}. "
        f"Received: {argument}={which!r}"
    )
