"""Geometry of new shapes: the same entries, with other axes."""

from collections.abc import Iterable

from tf_learnprop.graph.geometry.layout import Axis, Layout, Lost, Unknown, free_axis
from tf_learnprop.graph.geometry.regrouping import reshape
from tf_learnprop.graph.geometry.visit import Visit


def reshaped(visit: Visit) -> Layout:
    """`Reshape`, `Flatten` and the like."""
    if visit.setting("data_format") == "channels_first":
        raise Lost("its channels, which come first, are flattened with its places")
    return reshape(visit.layout, visit.output_shapes[0])


def transposed(visit: Visit) -> Layout:
    """`ops.transpose`."""
    return _ordered(visit.layout, visit.setting("axes") or range(visit.rank)[::-1])


def permuted(visit: Visit) -> Layout:
    """`Permute`, which counts the axes after the samples from 1."""
    return _ordered(visit.layout, [0, *visit.setting("dims")])


def _ordered(layout: Layout, axes: Iterable[int]) -> Layout:
    return layout.with_axes(layout.axes[k] for k in axes)


def moved_axis(visit: Visit) -> Layout:
    """`ops.moveaxis`."""
    sources, targets = visit.axes(visit.setting("source")), visit.axes(visit.setting("destination"))
    order = [k for k in range(visit.rank) if k not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        order.insert(target, source)
    return _ordered(visit.layout, order)


def swapped_axes(visit: Visit) -> Layout:
    """`ops.swapaxes`."""
    order = list(range(visit.rank))
    first, second = visit.axis(visit.setting("axis1")), visit.axis(visit.setting("axis2"))
    order[first], order[second] = second, first
    return _ordered(visit.layout, order)


def expanded(visit: Visit) -> Layout:
    """`ops.expand_dims`."""
    axis = visit.setting("axis")
    axes = [axis] if isinstance(axis, int) else list(axis)
    rank = visit.rank + len(axes)
    layout = list(visit.layout.axes)
    for k in sorted(k % rank for k in axes):
        layout.insert(k, Axis())
    return visit.layout.with_axes(layout)


def squeezed(visit: Visit) -> Layout:
    """`ops.squeeze`."""
    axis = visit.setting("axis")
    axes = [k for k, a in enumerate(visit.layout.axes) if a.size == 1] if axis is None else visit.axes(axis)
    return visit.layout.with_axes(a for k, a in enumerate(visit.layout.axes) if k not in axes)


def repeated_vector(visit: Visit) -> Layout:
    """`RepeatVector`: a new axis without places."""
    samples, *rest = visit.layout.axes
    return visit.layout.with_axes([samples, free_axis(visit.setting("n")), *rest])


def tiled(visit: Visit) -> Layout:
    """`ops.tile`."""
    layout, shape = visit.layout, visit.output_shapes[0]
    for k, axis in enumerate(layout.axes, len(shape) - visit.rank):
        if axis.sides and axis.size != shape[k]:
            raise Unknown("its places are repeated side by side")
    new = [free_axis(size) for size in shape[: len(shape) - visit.rank]]
    old = zip(layout.axes, shape[len(new) :], strict=True)
    return layout.with_axes([*new, *(axis if axis.sides else free_axis(size) for axis, size in old)])


def embedded(visit: Visit) -> Layout:
    """A vector for each entry."""
    if visit.setting("axis", -1) != -1:
        raise Unknown("vectors lie along another axis than the last")
    return visit.layout.with_axes([*visit.layout.axes, free_axis(visit.output_shapes[0][-1])])


def first_axes(visit: Visit) -> Layout:
    """The mask of a tensor, along its first axes."""
    return visit.layout.with_axes(visit.layout.axes[: visit.setting("rank")])


def numbered(visit: Visit) -> Layout:
    """A number for each entry."""
    if visit.setting("output_mode") != "int":
        raise Unknown("entries are counted")
    return visit.layout
