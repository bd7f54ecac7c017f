"""Geometry of resizing and upsampling."""

from collections.abc import Callable

from tf_learnprop.graph.geometry.layout import Axis, Layout, Lost, Strand, Unknown, fixed, known, product
from tf_learnprop.graph.geometry.moving import cut, move
from tf_learnprop.graph.geometry.regrouping import reshape
from tf_learnprop.graph.geometry.varying import is_close, largest
from tf_learnprop.graph.geometry.visit import Visit, each

#: How many old entries an interpolated one sees to each side.
_SUPPORT = {"nearest": 0.5, "bilinear": 1.0, "bicubic": 2.0, "lanczos3": 3.0, "lanczos5": 5.0}
_WIDEST = 5.0


def stretched(
    layout: Layout, k: int, size: int, interpolation: str = "nearest", antialias: bool = False
) -> Layout:
    """The layout after axis k was resized, with entries centred at ½ as in `tf.image.resize`."""
    ratio = known(layout.axes[k].size, "an axis of unknown size is resized") / size
    support = _SUPPORT.get(interpolation, _WIDEST) * (largest(ratio, 1.0) if antialias else 1.0)
    if interpolation == "area":
        support = ratio / 2 + 1
    support *= 1 - is_close(ratio, 1)  # at its own size, it stays as it is
    return move(layout, k, size, ratio, ratio / 2 - 0.5, support, support)


def _multiplied(layout: Layout, k: int, factor: int, interpolation: str) -> Layout:
    """As `stretched`, to a multiple of the size, which may be unknown."""
    size = layout.axes[k].size
    if size is not None:
        return stretched(layout, k, size * factor, interpolation)
    support = _SUPPORT.get(interpolation, _WIDEST)
    return move(layout, k, None, 1 / factor, 0.5 / factor - 0.5, support, support)


def upsampling(visit: Visit) -> Layout:
    """`UpSampling1D` and so on."""
    layout = visit.layout
    for k, factor in zip(visit.spatial_axes, each(visit.setting("size"), visit.rank - 2), strict=True):
        layout = _multiplied(layout, k, factor, visit.setting("interpolation", "nearest"))
    return layout


def repeated(visit: Visit) -> Layout:
    """`ops.repeat` of each entry along one axis."""
    repeats, axis = visit.setting("repeats"), visit.setting("axis")
    if not isinstance(repeats, int) or axis is None:
        raise Unknown("entries are repeated in a way that is not known")
    return _multiplied(visit.layout, visit.axis(axis), repeats, "nearest")


def _image_axes(visit: Visit) -> tuple[int, int]:
    first = visit.rank - (2 if visit.setting("data_format") == "channels_first" else 3)
    return first, first + 1


def image_resize(visit: Visit) -> Layout:
    """`Resizing` and `ops.image.resize`."""
    size = visit.setting("size") or (visit.setting("height"), visit.setting("width"))
    layout = visit.layout
    axes = _image_axes(visit)
    if visit.setting("crop_to_aspect_ratio"):
        layout = _aspect(layout, axes, size, min)
    elif visit.setting("pad_to_aspect_ratio"):
        layout = _aspect(layout, axes, size, max)
    for k, target in zip(axes, size, strict=True):
        layout = stretched(layout, k, target, visit.setting("interpolation"), visit.setting("antialias"))
    return layout


def _aspect(
    layout: Layout, axes: tuple[int, int], size: tuple[int, int], fit: Callable[[int, int], int]
) -> Layout:
    """The layout cropped (`min`) or padded (`max`) in the middle to the aspect ratio of a size."""
    unknown = "an image of unknown size is brought to an aspect ratio"
    old = [fixed(layout.axes[k].size, unknown) for k in axes]
    for k, own, other, target, other_target in zip(axes, old, old[::-1], size, size[::-1], strict=True):
        new = max(fit(own, int(other * target / other_target)), 1)
        front = int((own - new) / 2)
        # Padding puts as many entries at the end; a crop takes `new` of them.
        layout = cut(layout, k, front, front if fit is max else own - new - front)
    return layout


def centre_crop(visit: Visit) -> Layout:
    """`CenterCrop`; a small image is resized."""
    axes, size = _image_axes(visit), (visit.setting("height"), visit.setting("width"))
    unknown = "an image of unknown size is cropped in the middle"
    old = [fixed(visit.layout.axes[k].size, unknown) for k in axes]
    layout = visit.layout
    if all(own >= target for own, target in zip(old, size, strict=True)):
        for k, own, target in zip(axes, old, size, strict=True):
            front = (own - target) // 2
            layout = cut(layout, k, front, own - target - front)
        return layout
    layout = _aspect(layout, axes, size, min)
    for k, target in zip(axes, size, strict=True):
        layout = stretched(layout, k, target, "bilinear")
    return layout


def space_to_depth(visit: Visit) -> Layout:
    """Blocks of pixels become channels."""
    block, layout = visit.setting("block_size"), _channels_last(visit)
    samples, rows, columns, channels = layout.shape
    if rows is None or columns is None:
        raise Unknown("an image of unknown size is cut into blocks")
    cells = reshape(layout, [samples, rows // block, block, columns // block, block, channels])
    ordered = cells.with_axes([cells.axes[k] for k in (0, 1, 3, 2, 4, 5)])
    return reshape(ordered, [samples, rows // block, columns // block, block * block * channels])


def depth_to_space(visit: Visit) -> Layout:
    """Channels become blocks of pixels; those that are learned share out the place that they come from."""
    block, layout = visit.setting("block_size"), _channels_last(visit)
    samples, rows, columns, channels = layout.shape
    if rows is None or columns is None:
        raise Unknown("an image of unknown size is made of blocks")
    cells = reshape(layout, [samples, rows, columns, block, block, channels // block**2])
    ordered = cells.with_axes([cells.axes[k] for k in (0, 1, 3, 2, 4, 5)])
    pixels = reshape(ordered, [samples, rows * block, columns * block, channels // block**2])
    return _refined(_refined(pixels, 1), 2)


def _channels_last(visit: Visit) -> Layout:
    if visit.setting("data_format") == "channels_first":
        raise Unknown("blocks of an image with the channels first")
    return visit.layout


def _refined(layout: Layout, k: int) -> Layout:
    """The layout with entries that share a place set side by side within it."""
    sides = [strand.side for strand in layout.axes[k].strands]
    if len(sides) != 2 or sides[0] is None or sides[1] is not None:
        if not layout.axes[k].is_placed and layout.axes[k].sides:
            raise Lost("channels are mixed with places")
        return layout
    (place, parts), (side,) = layout.axes[k].strands, layout.axes[k].sides
    count = known(parts.size, "an unknown number of channels shares out a place")
    shift = (1 - 1 / count) / 2
    strand = Strand(product([place.size, count]), side, place.step / count)
    reach = shift * abs(place.step)
    origin = layout.origins[side].moved(-shift * place.step, reach, reach)
    return layout.with_axis(k, Axis((strand,))).with_origin(side, origin)
