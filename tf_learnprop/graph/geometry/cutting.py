"""Geometry of crops, padding, slices and turns."""

import numbers
from collections.abc import Sequence
from typing import Any

import keras

from tf_learnprop.graph.geometry.layout import Axis, Layout, Unknown, free_axis, known
from tf_learnprop.graph.geometry.moving import cut, flip, move, part, pick
from tf_learnprop.graph.geometry.visit import Visit


def cropping(visit: Visit) -> Layout:
    """`Cropping1D` and so on."""
    return _cut_all(visit.layout, visit.spatial_axes, _pairs(visit.setting("cropping")), 1)


def zero_padding(visit: Visit) -> Layout:
    """`ZeroPadding1D` and so on."""
    return _cut_all(visit.layout, visit.spatial_axes, _pairs(visit.setting("padding")), -1)


def _pairs(setting: Sequence) -> Sequence[tuple[int, int]]:
    if not isinstance(setting[0], int):
        return setting
    front, back = setting
    return [(front, back)]


def _cut_all(layout: Layout, axes: Sequence[int], pairs: Sequence[tuple[int, int]], sign: int) -> Layout:
    for k, (front, back) in zip(axes, pairs, strict=True):
        layout = cut(layout, k, sign * front, sign * back)
    return layout


def pad(visit: Visit) -> Layout:
    """`ops.pad`; one that repeats entries makes the places see further."""
    pairs = visit.setting("pad_width")
    pairs = pairs * visit.rank if len(pairs) == 1 else pairs
    layout = _cut_all(visit.layout, range(visit.rank), pairs, -1)
    if visit.setting("mode") == "constant":
        return layout
    for k, (front, back) in enumerate(pairs):
        if front or back:
            layout = move(layout, k, layout.axes[k].size, before=2 * back, after=2 * front)
    return layout


def crop_images(visit: Visit) -> Layout:
    """`ops.image.crop_images`."""
    return _cut_all(visit.layout, _image_axes(visit), _image_pairs(visit, "cropping", 1), 1)


def pad_images(visit: Visit) -> Layout:
    """`ops.image.pad_images`."""
    return _cut_all(visit.layout, _image_axes(visit), _image_pairs(visit, "padding", -1), -1)


def _image_axes(visit: Visit) -> list[int]:
    first = visit.rank - (2 if visit.setting("data_format") == "channels_first" else 3)
    return [first, first + 1]


def _image_pairs(visit: Visit, name: str, sign: int) -> list[tuple[int, int]]:
    """The entries that are cut or added in front and behind, of which a target size may imply one."""
    sides = (("top", "bottom", "height"), ("left", "right", "width"))
    pairs = []
    for k, (first, last, target) in zip(_image_axes(visit), sides, strict=True):
        front, back = visit.setting(f"{first}_{name}"), visit.setting(f"{last}_{name}")
        if front is None or back is None:
            size = known(visit.layout.axes[k].size, "an image of unknown size is brought to a size")
            change = sign * (size - visit.setting(f"target_{target}"))
            front = change - back if front is None else front
            back = change - front
        pairs.append((front, back))
    return pairs


def index(visit: Visit) -> Layout:
    """`x[key]`."""
    key = visit.argument(1, "key")
    layout, k = visit.layout, 0
    for entry in _full_key(list(key) if isinstance(key, (tuple, list)) else [key], visit.rank):
        if entry is None:
            layout = layout.with_axes([*layout.axes[:k], Axis(), *layout.axes[k:]])
        elif isinstance(entry, slice):
            layout = part(layout, k, _plain_slice(entry))
        elif isinstance(entry, numbers.Integral) and not isinstance(entry, bool):
            layout = pick(layout, k, int(entry))
            continue
        else:
            raise Unknown("it is indexed by values")
        k += 1
    return layout


def _full_key(key: list, rank: int) -> list:
    """The key with one entry for each axis."""
    missing = [slice(None)] * (rank - sum(entry is not None and entry is not Ellipsis for entry in key))
    at = next((k for k, entry in enumerate(key) if entry is Ellipsis), None)
    return [*key, *missing] if at is None else [*key[:at], *missing, *key[at + 1 :]]


def _plain_slice(key: slice) -> slice:
    ends = [key.start, key.stop, key.step]
    if not all(end is None or isinstance(end, numbers.Integral) for end in ends):
        raise Unknown("it is cut by values")
    return slice(*(end if end is None else int(end) for end in ends))


def take(visit: Visit) -> Layout:
    """`ops.take` of one entry, or of entries that are evenly spaced; or rows of a table by number."""
    axis, indices = visit.setting("axis"), visit.argument(1, "indices")
    if not visit.depends(0):
        return _looked_up(visit)
    if axis is None or isinstance(indices, keras.KerasTensor):
        raise Unknown("entries are taken by values")
    k = visit.axis(axis)
    if isinstance(indices, numbers.Integral):
        return pick(visit.layout, k, int(indices))
    return part(visit.layout, k, _even_slice(indices))


def _even_slice(indices: Any) -> slice:
    """The slice that takes the same entries as a list of numbers."""
    indices = [int(k) for k in indices] if hasattr(indices, "__len__") else []
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    if not indices or step == 0 or indices[0] < 0:
        raise Unknown("entries are taken by a list that is not known")
    evenly = list(range(indices[0], indices[0] + step * len(indices), step))
    if evenly != indices:
        raise Unknown("entries are taken out of order")
    stop = indices[-1] + (1 if step > 0 else -1)
    return slice(indices[0], stop if stop >= 0 else None, step)


def _looked_up(visit: Visit) -> Layout:
    """The layout of rows of a table, taken by the explained ids."""
    ids, rank = visit.layout_of(1), len(visit.shapes[0])
    if visit.setting("axis") not in (0, -rank):
        raise Unknown("a table is read along another axis than its first")
    shape = visit.output_shapes[0][len(ids.axes) :]
    return ids.with_axes([*ids.axes, *map(free_axis, shape)])


def slice_from(visit: Visit) -> Layout:
    """`ops.slice`."""
    starts, layout = visit.argument(1, "start_indices"), visit.layout
    if len(visit.operands) > 1 or not all(isinstance(start, numbers.Integral) for start in starts):
        raise Unknown("it is cut by values")
    for k, (start, size) in enumerate(zip(starts, visit.output_shapes[0], strict=True)):
        if start or size != layout.axes[k].size:
            layout = part(layout, k, slice(int(start), None if size is None else int(start) + size))
    return layout


def split(visit: Visit) -> list[Layout]:
    """`ops.split`: one piece after the other."""
    k, start, pieces = visit.axis(visit.setting("axis")), 0, []
    for shape in visit.output_shapes:
        stop = start + known(shape[k], "an axis of unknown size is split")
        pieces.append(part(visit.layout, k, slice(start, stop)))
        start = stop
    return pieces


def unstack(visit: Visit) -> list[Layout]:
    """`ops.unstack`: one entry after the other."""
    k = visit.axis(visit.setting("axis"))
    return [pick(visit.layout, k, number) for number in range(len(visit.output_shapes))]


def flipped(visit: Visit) -> Layout:
    """`ops.flip`."""
    layout = visit.layout
    for k in visit.axes(visit.setting("axis")):
        layout = flip(layout, k)
    return layout


def rolled(visit: Visit) -> Layout:
    """`ops.roll`; one along axes without places moves none."""
    if any(visit.layout.axes[k].sides for k in visit.axes(visit.setting("axis"))):
        raise Unknown("its places are rolled over the edge")
    return visit.layout
