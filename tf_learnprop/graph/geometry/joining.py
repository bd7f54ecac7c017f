"""Geometry of operations of several tensors: sums, products, concatenation."""

import dataclasses
import math
from collections.abc import Sequence

from tf_learnprop.graph.geometry.layout import Axis, Layout, Lost, Origin, Size, Unknown, free_axis
from tf_learnprop.graph.geometry.visit import Shape, Visit


def elementwise(visit: Visit) -> Layout:
    """Any operation of each entry alone, or of entries of several tensors at the same index.

    Tensors agree if they have the same places at most one step apart; the result lies midway. Others have
    to be the same for all places along an axis, as in squeeze-and-excite.
    """
    operands = [k for k in range(len(visit.operands)) if visit.depends(k)]
    return joined(visit, operands, visit.output_shapes[0])


def joined(visit: Visit, operands: Sequence[int], shape: Shape, beside: int | None = None) -> Layout:
    """The layout of several tensors at the same index.

    Args:
        visit: `Visit`.
        operands: list of ints, the tensors that depend on the explained input.
        shape: shape of the result.
        beside: int or None, an axis along which they lie side by side, where they need not agree.
    """
    known = [k for k in operands if visit.operands[k].layout is not None]
    layouts = [_aligned(visit.operands[k].layout, len(shape)) for k in known]
    if not layouts:
        raise Unknown("where the places of its inputs lie is not known")
    main = max(layouts, key=lambda layout: len(layout.sides))
    placed = [k for k, axis in enumerate(main.axes) if axis.sides and k != beside]
    agreeing, is_blind = [], False
    for layout in layouts:
        layout = _without_inner(layout, main, placed)
        differing = [k for k in placed if not _same(layout.axes[k], main.axes[k])]
        if any(layout.axes[k].size != 1 or main.axes[k].size == 1 for k in differing):
            raise Lost("tensors meet whose places differ")
        is_blind |= bool(differing)
        if not differing:
            agreeing.append(layout)
    for k in set(operands) - set(known):
        own = (1,) * (len(shape) - len(visit.shapes[k])) + tuple(visit.shapes[k])
        if any(own[axis] != 1 for axis in placed):
            raise Unknown(visit.operands[k].reason)
        is_blind = True
    result = _merged(agreeing, placed)
    axes = [_broadcast(a, size) for a, size in zip(_common_axes(agreeing, beside), shape, strict=True)]
    result = result.with_axes(axes)
    return result.blind() if is_blind else result


def _aligned(layout: Layout, rank: int) -> Layout:
    """The layout with axes of size 1 in front."""
    return layout.with_axes([*[Axis()] * (rank - len(layout.axes)), *layout.axes])


def _without_inner(layout: Layout, main: Layout, placed: list[int]) -> Layout:
    """The layout with its places in axes where the main one has none taken together."""
    for k, axis in enumerate(layout.axes):
        if axis.sides and k not in placed and axis.strands != main.axes[k].strands:
            layout = layout.mixed(k, axis.size)
    return layout


def _same(axis: Axis, other: Axis) -> bool:
    """Whether two axes have the same places, but for where the first one lies."""
    return axis == other or (
        (axis.lead, axis.trail) == (other.lead, other.trail)
        and len(axis.strands) == len(other.strands)
        and all(
            a.side == b.side
            and math.isclose(a.step, b.step)
            and (a.size == b.size or None in (a.size, b.size))
            for a, b in zip(axis.strands, other.strands, strict=True)
        )
    )


def _common_axes(layouts: list[Layout], beside: int | None) -> list[Axis]:
    """Axes of layouts that agree; where one has no places along an axis, there are none."""
    first = list(layouts[0].axes)
    return [
        axis
        if all(_same(axis, layout.axes[k]) for layout in layouts) or k == beside
        else free_axis(axis.size)
        for k, axis in enumerate(first)
    ]


def _broadcast(axis: Axis, size: Size) -> Axis:
    """An axis at the size of the result."""
    if size is None or axis.size == size:
        return axis
    if axis.sides and axis.size is not None:
        raise Lost("its places are repeated")
    return axis if axis.sides else free_axis(size)


def _merged(layouts: list[Layout], placed: list[int]) -> Layout:
    """The layout midway between layouts that agree."""
    first = layouts[0]
    for side in sorted({side for k in placed for side in first.axes[k].sides}):
        steps = [abs(s.step) for axis in first.axes for s in axis.strands if s.side == side]
        origin = _midway([layout.origins[side] for layout in layouts], min(steps))
        first = first.with_origin(side, origin)
    return first


def _midway(origins: list[Origin], step: float) -> Origin:
    starts = [origin.start for origin in origins]
    if max(starts) - min(starts) > step * (1 + 1e-6):
        raise Lost("tensors meet whose places lie more than one step apart")
    start = (max(starts) + min(starts)) / 2
    return Origin(
        start,
        max(start - origin.start + origin.before for origin in origins),
        max(origin.start - start + origin.after for origin in origins),
        min(origin.low for origin in origins),
        max(origin.high for origin in origins),
        origins[0].length,
        all(origin.exact for origin in origins),
    )


def concatenated(visit: Visit) -> Layout:
    """`Concatenate`: along channels the places must agree; along places, others come before or after."""
    axis = visit.setting("axis") % len(visit.output_shapes[0])
    operands = [k for k in range(len(visit.operands)) if visit.depends(k)]
    layouts = {k: visit.operands[k].layout for k in operands}
    along = [k for k in operands if layouts[k] is not None and layouts[k].axes[axis].is_placed]
    if not along or layouts[along[0]].is_inner(axis):
        return _side_by_side(visit, operands, axis)
    if len(along) > 1:
        return _continued([layouts[k] for k in along], axis, len(along) == len(visit.operands))
    if any(layouts[k] is None for k in operands):
        raise Unknown("places that are not known lie beside others")
    own = layouts[along[0]].axes[axis]
    lead = [visit.shapes[k][axis] for k in range(along[0])]
    trail = [visit.shapes[k][axis] for k in range(along[0] + 1, len(visit.operands))]
    if None in lead or None in trail:
        raise Unknown("it follows an unknown number of entries")
    longer = dataclasses.replace(own, lead=own.lead + sum(lead), trail=own.trail + sum(trail))
    return layouts[along[0]].with_axis(axis, longer)


def _side_by_side(visit: Visit, operands: list[int], axis: int) -> Layout:
    """The layout of tensors with their channels side by side."""
    layouts = [visit.operands[k].layout for k in operands]
    mixed = [layout and layout.mixed(axis, layout.axes[axis].size) for layout in layouts]
    placements = list(visit.operands)
    for k, layout in zip(operands, mixed, strict=True):
        placements[k] = dataclasses.replace(placements[k], layout=layout)
    shape = visit.output_shapes[0]
    result = joined(dataclasses.replace(visit, operands=tuple(placements)), operands, shape, beside=axis)
    return result.with_axis(axis, free_axis(shape[axis]))


def _continued(layouts: list[Layout], axis: int, alone: bool) -> Layout:
    """The layout of pieces that follow each other as in the input."""
    first, *others = layouts
    for other in others:
        if not alone or not _continues(first, other, axis):
            raise Unknown("several sets of places lie side by side")
        strand = first.axes[axis].strands[0]
        size = _sum(strand.size, other.axes[axis].strands[0].size)
        origin, behind = first.origins[strand.side], other.origins[strand.side]
        ends = {"low": min(origin.low, behind.low), "high": max(origin.high, behind.high)}
        longer = Axis((dataclasses.replace(strand, size=size),))
        origin = dataclasses.replace(origin, **ends)
        first = first.with_axis(axis, longer).with_origin(strand.side, origin)
    return first


def _continues(first: Layout, other: Layout, axis: int) -> bool:
    """Whether the places of another layout follow those of the first without a gap."""
    own, behind = first.axes[axis], other.axes[axis]
    if len(own.strands) != 1 or own.lead or own.trail or behind.lead or behind.trail or own.count is None:
        return False
    strand, follower = own.strands[0], behind.strands[0]
    shift = strand.size * strand.step
    expected = dataclasses.replace(first.origins[strand.side], start=first.origins[strand.side].start + shift)
    moved = other.origins[strand.side] if follower.side == strand.side else None
    same_sides = all(
        a.start == b.start
        for side, (a, b) in enumerate(zip(first.origins, other.origins, strict=True))
        if side != strand.side
    )
    return (
        moved is not None
        and len(behind.strands) == 1
        and follower.step == strand.step
        and moved.start == expected.start
        and same_sides
        and all(a == b for k, (a, b) in enumerate(zip(first.axes, other.axes, strict=True)) if k != axis)
    )


def _sum(first: Size, second: Size) -> Size:
    return None if first is None or second is None else first + second


def stacked(visit: Visit) -> Layout:
    """`ops.stack`: a new axis without places; all others must agree."""
    axis = visit.setting("axis") % len(visit.output_shapes[0])
    shape = [size for k, size in enumerate(visit.output_shapes[0]) if k != axis]
    operands = [k for k in range(len(visit.operands)) if visit.depends(k)]
    layout = joined(visit, operands, tuple(shape))
    return layout.with_axes(
        [*layout.axes[:axis], free_axis(visit.output_shapes[0][axis]), *layout.axes[axis:]]
    )
