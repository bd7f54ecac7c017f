"""Maps of the input: tensors with places along each of its sides, and the places themselves."""

import math
from collections.abc import Iterable

import tensorflow as tf

from tf_learnprop.graph.geometry.layout import known, product
from tf_learnprop.graph.geometry.placement import AxisMap, Placement, SideMap, State
from tf_learnprop.graph.geometry.visit import Shape

#: The places of a map along each side of the input, in the order of the sides.
Places = tuple[SideMap, ...]


def is_map(placement: Placement) -> bool:
    """Whether a tensor has places along each side of the input alone, in any order, and one more axis.

    The sides may lie on axes of their own or as a flattened grid. The axis without places is the channels.
    """
    if placement.state is not State.PLACED or placement.axes[0] or placement.layout is None:
        return False
    sides = sorted(side.side for side in placement.sides)
    return sides == list(range(len(placement.layout.origins))) and len(_free_axes(placement)) == 1


def places_of(placement: Placement) -> Places | None:
    """The places of a map; None if they share out the input evenly, or if sizes are unknown.

    Maps with equal places lie on the same pixels, however far each place sees.
    """
    sides = _in_order(placement)
    if any(side.places is None or side.length is None or not side.exact for side in sides):
        return None
    return None if evenness(sides) else tuple(side.without_reach() for side in sides)


def _in_order(placement: Placement) -> list[SideMap]:
    return sorted(placement.sides, key=lambda side: side.side)


def evenness(sides: Iterable[SideMap]) -> float:
    """Whether places share out all sides evenly, as 1 or 0."""
    return math.prod(side.evenness for side in sides)


def even_side(places: int, length: int) -> SideMap:
    """Places that share out a side evenly."""
    step = length / places
    return SideMap(
        (step - 1) / 2, math.inf, math.inf, 0, length - 1, length, side=0, places=places, step=step
    )


def shape_on_sides(placement: Placement, shape: Shape) -> Shape:
    """The shape of `on_sides`."""
    return (shape[0], *(side.places for side in _in_order(placement)), shape[_free_axes(placement)[0]])


def on_sides(placement: Placement, tensor: tf.Tensor) -> tf.Tensor:
    """A map `[n, *places, c]`, with one axis for each side of the input, in their order.

    Entries that are no places, such as a class token, are left out.
    """
    placed = [k for k, axis in enumerate(placement.axes) if axis]
    free = _free_axes(placement)[0]
    tensor = _transposed(tensor, [0, *placed, free])
    sizes = [side.places for side in placement.sides]
    if not _is_on_sides(placement, tensor):
        tensor = tf.reshape(
            tensor[_only_places([axis for axis in placement.axes if axis])], [-1, *sizes, tensor.shape[-1]]
        )
    order = sorted(range(len(sizes)), key=lambda k: placement.sides[k].side)
    return _transposed(tensor, [0, *(k + 1 for k in order), len(order) + 1])


def _is_on_sides(placement: Placement, tensor: tf.Tensor) -> bool:
    """Whether a tensor has an axis for each side, without entries that are no places."""
    sizes = [side.places for side in placement.sides]
    if not any(map(tf.is_tensor, sizes)):
        return None in sizes or list(tensor.shape[1:-1]) == sizes
    axes = placement.layout.axes if placement.layout else ()
    pairs = zip(placement.axes, axes, strict=True)
    return not any(places and (len(places.sides) > 1 or axis.lead or axis.trail) for places, axis in pairs)


def _only_places(axes: list[AxisMap]) -> tuple[slice, ...]:
    """What of each axis are places."""
    counts = [known(product(side.places for side in axis.sides), "") for axis in axes]
    pairs = zip(axes, counts, strict=True)
    return (slice(None), *(slice(axis.first, axis.first + count) for axis, count in pairs))


def _free_axes(placement: Placement) -> list[int]:
    """The axes without places besides the samples."""
    return [k for k, axis in enumerate(placement.axes) if k and axis is None]


def _transposed(tensor: tf.Tensor, order: list[int]) -> tf.Tensor:
    return tensor if order == sorted(order) else tf.transpose(tensor, order)
