"""Where the branch of an input ends: the last tensors that depend on that input alone."""

from typing import NamedTuple

import keras

from tf_learnprop.graph.explained import Explained


class BranchEnd(NamedTuple):
    """A tensor that leaves the branch of an input.

    Attributes:
        call: Number of the call that takes it, where another input joins, or where the output ends.
        tensor: Number of the tensor.
    """

    call: int
    tensor: int


def branch_ends(explained: Explained) -> tuple[BranchEnd, ...]:
    """The ends of the explained input's branch.

    All that the output takes from the input passes exactly one of them. For an output that depends on this
    input alone, the end is before the call that makes its logits.
    """
    graph, alone = explained.graph, {explained.input}

    def has_signal(tensor: int) -> bool:
        is_pixels = tensor == explained.input and explained.has_integer_pixels
        return is_pixels or keras.backend.is_float_dtype(graph.tensors[tensor].dtype)

    last = graph.ends[explained.output].call
    own = [placement.inputs == alone for placement in explained.placements]
    return tuple(
        BranchEnd(number, tensor)
        for number, call in enumerate(graph.calls)
        for tensor in dict.fromkeys(call.inputs)
        if own[tensor]
        and has_signal(tensor)
        and (number == last or any(tensor in call.sources(out) for out in call.outputs if not own[out]))
    )
