"""Geometry of sums over axes: dense layers, reductions, attention, recurrence."""

import string

from tf_learnprop.graph.geometry.layout import Layout, Lost, Unknown, free_axis
from tf_learnprop.graph.geometry.shapes import embedded
from tf_learnprop.graph.geometry.visit import Visit
from tf_learnprop.graph.geometry.windows import reduced


def dense(visit: Visit) -> Layout:
    """A dense layer along the last axis, or the like."""
    return visit.layout.mixed(visit.rank - 1, visit.output_shapes[0][-1])


def token_embedding(visit: Visit) -> Layout:
    """`ReversibleEmbedding`: of ids, or back to scores of all ids."""
    return dense(visit) if visit.argument(1, "reverse", False) else embedded(visit)


def reduction(visit: Visit) -> Layout:
    """Sum, mean, maximum and so on."""
    return reduced(visit.layout, visit.axes(visit.setting("axis")), visit.setting("keepdims", False))


def moments(visit: Visit) -> list[Layout]:
    """Mean and variance."""
    return [reduced(visit.layout, visit.axes(visit.setting("axes")), visit.setting("keepdims", False))] * 2


def gated(visit: Visit) -> Layout:
    """`ops.glu`: one half of an axis gates the other."""
    k = visit.axis(visit.setting("axis"))
    if visit.layout.axes[k].sides:
        raise Lost("some of its places gate others")
    return visit.layout.with_axis(k, free_axis(visit.output_shapes[0][k]))


def running(visit: Visit) -> Layout:
    """A running sum."""
    axes = visit.axes(visit.setting("axis"))
    if any(visit.layout.axes[k].sides for k in axes):
        raise Lost("a running sum mixes its places")
    return visit.layout


def normalized(visit: Visit) -> Layout:
    """Normalisation: over places, each comes to depend on all of them."""
    layout = visit.layout
    for k in visit.axes(visit.setting("axis")):
        if layout.is_inner(k):
            layout = layout.mixed(k, layout.axes[k].size)
        elif layout.axes[k].sides:
            return layout.blind()
    return layout


def normalized_groups(visit: Visit) -> Layout:
    """`GroupNormalization`, which is over all places."""
    return visit.layout.blind()


def attention(visit: Visit) -> Layout:
    """Attention."""
    raise Lost("attention mixes its places")


def recurrence(visit: Visit) -> Layout:
    """LSTM and the like."""
    raise Lost("a recurrent layer mixes its places")


def frequencies(visit: Visit) -> Layout:
    """A Fourier transform."""
    raise Lost("a Fourier transform mixes its places")


def einsum(visit: Visit) -> Layout:
    """`ops.einsum` and `EinsumDense`, with weights."""
    equation = visit.setting("subscripts") or visit.setting("equation")
    return _summed(visit, equation.replace(" ", ""))


def matmul(visit: Visit) -> Layout:
    """`ops.matmul`, with weights."""
    ranks = [len(shape) for shape in visit.shapes]
    if min(ranks) < 2:
        raise Unknown("a product with a vector")
    return _summed(visit, "...ij,...jk->...ik")


def dot(visit: Visit) -> Layout:
    """`ops.dot`, and `ops.tensordot` over one axis, with weights."""
    is_plain = [len(shape) for shape in visit.shapes[1:]] == [2] and visit.setting("axes", 1) == 1
    if not visit.depends(0) or not is_plain:
        raise Unknown("a product of tensors that is not known")
    return _summed(visit, "...j,jk->...k")


def _summed(visit: Visit, equation: str) -> Layout:
    """The layout of an Einstein sum of one tensor that depends on the explained input, and weights."""
    k, *others = visit.dependent
    if others:
        raise Lost("a product of two tensors mixes its places")
    left, _, right = equation.partition("->")
    more = max(len(visit.output_shapes[0]) - len(right.replace("...", "")), 0)
    layout = visit.layout_of(k)
    letters = _letters(left.split(",")[k], len(layout.axes), more)
    result = _letters(right, len(visit.output_shapes[0]), more)
    if not right or len(set(letters)) < len(letters):
        raise Unknown("an Einstein sum that is not known")
    for letter in set(letters) - set(result):
        layout = layout.mixed(letters.index(letter), 1)
    sizes = zip(result, visit.output_shapes[0], strict=True)
    axes = [layout.axes[letters.index(a)] if a in letters else free_axis(size) for a, size in sizes]
    return layout.with_axes(axes)


def _letters(term: str, rank: int, most: int) -> str:
    """The subscripts of one term, with capitals in place of the dots, the last of `most` capitals last."""
    missing = rank - len(term.replace("...", ""))
    return term.replace("...", string.ascii_uppercase[most - missing : most])
