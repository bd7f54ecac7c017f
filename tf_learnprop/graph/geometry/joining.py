"""Geometry of operations of several tensors: sums, products, stacks."""

from tf_learnprop.graph.geometry.layout import Axis, Layout, Lost, Origin, Size, Unknown, free_axis
from tf_learnprop.graph.geometry.varying import Varying, is_close, largest, smallest
from tf_learnprop.graph.geometry.visit import Shape, Visit, size_at


def elementwise(visit: Visit) -> Layout:
    """Any operation of each entry alone, or of entries of several tensors at the same index.

    Tensors agree if they have the same places at most one step apart; the result lies midway. Others have
    to be the same for all places along an axis, as in squeeze-and-excite.
    """
    return joined(visit, visit.output_shapes[0])


def joined(visit: Visit, shape: Shape, beside: int | None = None) -> Layout:
    """The layout of several tensors at the same index.

    Args:
        visit: The call.
        shape: Shape of the result.
        beside: An axis along which they lie side by side, where they need not agree.
    """
    layouts = [_aligned(layout, len(shape)) for layout in visit.layouts.values()]
    if not layouts:
        raise Unknown("where the places of its inputs lie is not known")
    main = max(layouts, key=lambda layout: len(layout.sides))
    placed = [k for k, axis in enumerate(main.axes) if axis.sides and k != beside]
    gates = [layout for layout in layouts if not _agrees(layout, main, placed)]
    agreeing = [_without_inner(layout, main, placed) for layout in layouts if layout not in gates]
    unknown = [k for k in visit.dependent if visit.operands[k].layout is None]
    for k in unknown:
        if any(size_at(visit.shapes[k], axis - len(shape)) != 1 for axis in placed):
            raise Unknown(visit.operands[k].reason)
    result = _merged(agreeing, placed)
    axes = [_broadcast(a, size) for a, size in zip(_common_axes(agreeing, beside), shape, strict=True)]
    result = result.with_axes(axes)
    return result.blind() if gates or unknown else result


def _agrees(layout: Layout, main: Layout, placed: list[int]) -> bool:
    """Whether a tensor has the same places as another; if not, it must be the same for all of them."""
    differing = [k for k in placed if not _same(layout.axes[k], main.axes[k])]
    if any(layout.axes[k].size != 1 for k in differing):
        raise Lost("tensors meet whose places differ")
    return not differing


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
            a.side == b.side and is_close(a.step, b.step) == 1 and _same_size(a.size, b.size)
            for a, b in zip(axis.strands, other.strands, strict=True)
        )
    )


def _same_size(a: Size, b: Size) -> bool:
    """Whether two sizes are equal, as far as is known; if both vary, the operation only runs if they are."""
    return a == b or a is None or b is None or isinstance(a, Varying) and isinstance(b, Varying)


def _common_axes(layouts: list[Layout], beside: int | None) -> list[Axis]:
    """Axes of layouts that agree; where one has no places along an axis, there are none."""
    same = [
        k == beside or all(_same(axis, layout.axes[k]) for layout in layouts)
        for k, axis in enumerate(layouts[0].axes)
    ]
    pairs = zip(layouts[0].axes, same, strict=True)
    return [axis if is_same else free_axis(axis.size) for axis, is_same in pairs]


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
        origin = _midway([layout.origins[side] for layout in layouts], smallest(*steps))
        first = first.with_origin(side, origin)
    return first


def _midway(origins: list[Origin], step: float) -> Origin:
    starts = [origin.start for origin in origins]
    if largest(*starts) - smallest(*starts) > step * (1 + 1e-6):
        raise Lost("tensors meet whose places lie more than one step apart")
    start = (largest(*starts) + smallest(*starts)) / 2
    return Origin(
        start,
        largest(*(start - origin.start + origin.before for origin in origins)),
        largest(*(origin.start - start + origin.after for origin in origins)),
        smallest(*(origin.low for origin in origins)),
        largest(*(origin.high for origin in origins)),
        origins[0].length,
        all(origin.exact for origin in origins),
    )


def stacked(visit: Visit) -> Layout:
    """`ops.stack`: a new axis without places; all others must agree."""
    axis = visit.setting("axis") % len(visit.output_shapes[0])
    shape = [size for k, size in enumerate(visit.output_shapes[0]) if k != axis]
    layout = joined(visit, tuple(shape))
    return layout.with_axes(
        [*layout.axes[:axis], free_axis(visit.output_shapes[0][axis]), *layout.axes[axis:]]
    )
