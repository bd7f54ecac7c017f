"""Moves along one axis of a layout: windows, steps, cuts and turns."""

import dataclasses

from tf_learnprop.graph.geometry.layout import Axis, Layout, Lost, Size, Strand, Unknown, free_axis, product
from tf_learnprop.graph.geometry.varying import Varying, largest, smallest


def move(
    layout: Layout,
    k: int,
    size: Size,
    factor: float = 1.0,
    shift: float = 0.0,
    before: float = 0.0,
    after: float = 0.0,
    exact: bool = True,
) -> Layout:
    """The layout after entry j along axis k has become a window around the old entry `shift + factor · j`.

    Args:
        layout: The layout before.
        k: The axis.
        size: New size of the axis.
        factor: Old entries from one new entry to the next.
        shift: The old entry at the centre of the first window.
        before: Old entries from the start of a window to its centre.
        after: Old entries from there to its end.
        exact: False if `shift` is a guess.
    """
    axis = layout.axes[k]
    if not axis.sides:
        return layout.with_axis(k, free_axis(size))
    if (factor, shift, before, after) == (1.0, 0.0, 0.0, 0.0) and size == axis.size:
        return layout
    if axis.lead or axis.trail:
        raise Lost("places are mixed with entries that are none")
    if len(axis.strands) > 1:
        return _move_slowest(layout, k, size, factor, shift, before, after)
    (strand,), (side,) = axis.strands, axis.sides
    step = abs(strand.step)
    ahead, behind = (before, after) if strand.step > 0 else (after, before)
    origin = layout.origins[side].moved(shift * strand.step, ahead * step, behind * step, exact)
    moved = Strand(size, side, strand.step * factor)
    return _bounded(layout.with_axis(k, Axis((moved,))).with_origin(side, origin), side)


def _move_slowest(
    layout: Layout, k: int, size: Size, factor: float, shift: float, before: float, after: float
) -> Layout:
    """As `move`, for whole rows of a flattened grid."""
    first, *rest = layout.axes[k].strands
    row = product(strand.size for strand in rest)
    if not row or size is None or size % row or shift % row:
        raise Lost("places of a flattened grid are mixed")
    if factor != 1 or before or after or first.side is None:
        raise Lost("places of a flattened grid are mixed")
    alone = move(layout.with_axis(k, Axis((first,))), k, size // row, 1.0, shift / row)
    return alone.with_axis(k, Axis((*alone.axes[k].strands, *rest)))


def _bounded(layout: Layout, side: int) -> Layout:
    """The layout, with the pixels along a side that any of its places can see."""
    origin = layout.origins[side]
    extents = [strand.extent for axis in layout.axes for strand in axis.strands if strand.side == side]
    first = origin.start + sum(smallest(extent, 0) for extent in extents) - origin.before
    last = origin.start + sum(largest(extent, 0) for extent in extents) + origin.after
    low, high = largest(origin.low, first), smallest(origin.high, last)
    return layout.with_origin(side, dataclasses.replace(origin, low=low, high=high))


def flip(layout: Layout, k: int) -> Layout:
    """The layout with axis k in reverse."""
    axis = layout.axes[k]
    strands = []
    for strand in axis.strands:
        if strand.side is not None:
            if strand.size is None:
                raise Unknown("an axis of unknown size is reversed")
            origin = layout.origins[strand.side].moved(strand.extent)
            layout = layout.with_origin(strand.side, origin)
        strands.append(dataclasses.replace(strand, step=-strand.step))
    return layout.with_axis(k, Axis(tuple(strands), axis.trail, axis.lead))


def cut(layout: Layout, k: int, front: int, back: int) -> Layout:
    """The layout without the first `front` and last `back` entries of axis k; negative ones are added."""
    axis = layout.axes[k]
    first = largest(front - axis.lead, 0) if axis.lead else front  # of the places
    last = largest(back - axis.trail, 0) if axis.trail else back
    count = axis.count
    size = None if count is None else count - first - last
    if count is not None and count <= first + last:
        whole = axis.lead + count + axis.trail
        return layout.with_axis(k, free_axis(largest(whole - front - back, 0)))
    bare = layout.with_axis(k, Axis(axis.strands))
    if first or last:
        bare = move(bare, k, size, 1.0, first)
    return bare.with_axis(k, Axis(bare.axes[k].strands, axis.lead - front + first, axis.trail - back + last))


def part(layout: Layout, k: int, key: slice) -> Layout:
    """The layout after axis k was cut by a slice."""
    step = 1 if key.step is None else key.step
    size = layout.axes[k].size
    count: Size = None
    if size is not None:
        first, last, count = _entries(key, size)
        if count == 0:
            return layout.with_axis(k, free_axis(0))
        layout = cut(layout, k, first, size - 1 - last)
    elif not layout.axes[k].sides:
        return layout.with_axis(k, free_axis(size))
    else:
        if key != slice(None):
            layout = cut(layout, k, *_ends(key))
    if step < 0:
        layout = flip(layout, k)
    if abs(step) == 1:
        return layout
    return move(layout, k, count, abs(step))


def _entries(key: slice, size: int) -> tuple[int, int, int]:
    """The lowest and the highest of the entries that a slice takes of `size`, and how many it takes."""
    if not isinstance(size, Varying):
        entries = range(size)[key]
        return (min(entries), max(entries), len(entries)) if entries else (0, 0, 0)
    step = 1 if key.step is None else key.step
    if step < 0 and (key.start, key.stop) != (None, None):
        raise Unknown("an axis of unknown size is cut from its end")
    start = 0 if key.start is None else _from_front(key.start, size)
    stop = size if key.stop is None else _from_front(key.stop, size)
    count = -((start - stop) // abs(step))
    extent = (count - 1) * abs(step)
    return (start, start + extent, count) if step > 0 else (stop - 1 - extent, stop - 1, count)


def _from_front(end: int, size: Varying) -> Varying:
    """An end of a slice, counted from the front."""
    return smallest(end, size) if end >= 0 else largest(size + end, 0)


def _ends(key: slice) -> tuple[int, int]:
    """The numbers of entries that a slice cuts in front and behind, whatever the size of the axis is."""
    start, stop = key.start or 0, key.stop or 0
    if start < 0 or stop > 0 or (key.step or 1) < 0:
        raise Unknown("an axis of unknown size is cut")
    return start, -stop


def pick(layout: Layout, k: int, index: int) -> Layout:
    """The layout with the entry `index` of axis k alone, and without that axis."""
    axis = layout.axes[k]
    if axis.sides:
        stop = None if index == -1 else index + 1
        if axis.size is None and index < 0:
            raise Unknown("an axis of unknown size is cut")
        key = slice(index, stop)
        if axis.size is None:
            layout = _first(layout, k, index)
        else:
            layout = part(layout, k, key)
    return layout.with_axes([*layout.axes[:k], *layout.axes[k + 1 :]])


def _first(layout: Layout, k: int, index: int) -> Layout:
    """The layout with one entry of an axis of unknown size."""
    return move(layout, k, 1, 1.0, index)
