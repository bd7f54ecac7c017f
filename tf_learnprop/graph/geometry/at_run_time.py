"""Places in an input whose size is not known before it is there."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tf_learnprop.graph.geometry.placement import AxisMap, Placement, SideMap
from tf_learnprop.graph.geometry.sides import evenness
from tf_learnprop.graph.geometry.varying import AtRunTime


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SideAtRunTime(SideMap):
    """A `SideMap` of scalar tensors: `places` and `length` int32, all others float64.

    Places that share out the input evenly lie where `tf.image.resize` has them. Each side is equal to itself
    alone.
    """

    __eq__, __hash__ = object.__eq__, object.__hash__

    @property
    def region(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def evenness(self) -> float:
        return 0

    def without_reach(self) -> SideMap:
        return self


def at_run_time(placement: Placement, lengths: Sequence[int | tf.Tensor]) -> Placement:
    """The placement of a map when the input is there, with `SideAtRunTime`s.

    Args:
        placement: The placement in an input with sides of `length_of`.
        lengths: The length of each side, ints or scalar tensors.
    """
    value, even = AtRunTime(lengths), evenness(placement.sides)

    def placed(side: SideMap) -> SideAtRunTime:
        seen = side.without_reach()
        fields = {name: value(getattr(seen, name)) for name in ("before", "after", "low", "high", "step")}
        sizes = {name: tf.cast(value(getattr(side, name)), tf.int32) for name in ("length", "places")}
        start = value(even * side.even_start + (1 - even) * side.start)
        return SideAtRunTime(start=start, side=side.side, **fields, **sizes)

    axes = (axis and AxisMap(axis.first, tuple(map(placed, axis.sides))) for axis in placement.axes)
    return dataclasses.replace(placement, axes=tuple(axes))
