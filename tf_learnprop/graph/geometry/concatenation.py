"""Geometry of concatenation."""

import dataclasses
from collections.abc import Iterable

from tf_learnprop.graph.geometry.joining import joined
from tf_learnprop.graph.geometry.layout import Axis, Layout, Unknown, free_axis, known
from tf_learnprop.graph.geometry.varying import largest, smallest
from tf_learnprop.graph.geometry.visit import Shape, Visit


def concatenated(visit: Visit) -> Layout:
    """`Concatenate`: along channels the places must agree; along places, others come before or after."""
    axis = visit.setting("axis") % len(visit.output_shapes[0])
    layouts = visit.layouts
    along = [k for k, layout in layouts.items() if layout.axes[axis].is_placed]
    if not along or layouts[along[0]].is_inner(axis):
        return _side_by_side(visit, axis)
    if len(layouts) < len(visit.dependent):
        raise Unknown("places that are not known lie beside others")
    if len(along) == 1:
        return _with_others(visit, along[0], axis)
    if len(along) < len(visit.operands):
        raise Unknown("several sets of places lie side by side")
    first, *others = layouts.values()
    for other in others:
        first = _continued(first, other, axis)
    return first


def _side_by_side(visit: Visit, axis: int) -> Layout:
    """The layout of tensors with their channels side by side."""
    operands, shape = list(visit.operands), visit.output_shapes[0]
    for k in visit.dependent:
        layout = operands[k].layout
        mixed = layout and layout.mixed(axis, layout.axes[axis].size)
        operands[k] = dataclasses.replace(operands[k], layout=mixed)
    result = joined(dataclasses.replace(visit, operands=tuple(operands)), shape, beside=axis)
    return result.with_axis(axis, free_axis(shape[axis]))


def _with_others(visit: Visit, k: int, axis: int) -> Layout:
    """The layout of operand k, with entries that are no places before and after its own."""
    before, behind = _length(visit.shapes[:k], axis), _length(visit.shapes[k + 1 :], axis)
    layout = visit.layout_of(k)
    own = layout.axes[axis]
    longer = dataclasses.replace(own, lead=own.lead + before, trail=own.trail + behind)
    return layout.with_axis(axis, longer)


def _length(shapes: Iterable[Shape], axis: int) -> int:
    """The length of an axis along which tensors follow each other."""
    return sum(known(shape[axis], "it lies beside an unknown number of entries") for shape in shapes)


def _continued(first: Layout, other: Layout, axis: int) -> Layout:
    """The layout of two pieces that follow each other as in the input."""
    strand, count = first.axes[axis].strands[0], other.axes[axis].count
    expected = first.with_axis(axis, Axis((dataclasses.replace(strand, size=count),)))
    if (
        strand.size is None
        or count is None
        or expected.axes != other.axes
        or not _follows(first, other, axis)
    ):
        raise Unknown("several sets of places lie side by side")
    origins = [
        dataclasses.replace(
            own,
            before=largest(own.before, its.before),
            after=largest(own.after, its.after),
            low=smallest(own.low, its.low),
            high=largest(own.high, its.high),
        )
        for own, its in zip(first.origins, other.origins, strict=True)
    ]
    longer = first.with_axis(axis, Axis((dataclasses.replace(strand, size=strand.size + count),)))
    return dataclasses.replace(longer, origins=tuple(origins))


def _follows(first: Layout, other: Layout, axis: int) -> bool:
    """Whether the first place of another layout is the next one along an axis."""
    own = first.axes[axis]
    if len(own.strands) != 1 or own.count is None or own.lead or own.trail:
        return False
    (strand,), (side,) = own.strands, own.sides
    starts = [origin.start for origin in first.origins]
    starts[side] += own.count * strand.step
    return starts == [origin.start for origin in other.origins]
