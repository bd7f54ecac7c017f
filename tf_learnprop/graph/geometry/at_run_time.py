"""Places in an input whose size is not known before it is there."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_learnprop.graph.geometry.placement import AxisMap, Placement, SideMap
from tf_learnprop.graph.geometry.sides import evenness
from tf_learnprop.graph.geometry.varying import AtRunTime, identity

_NUMBERS = ("before", "after", "low", "high", "step")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SideAtRunTime(SideMap):
    """A `SideMap` of scalar tensors: `places` and `length` int32, all others float64.

    Places that share out the input evenly lie where `tf.image.resize` has them. Each side is equal to itself
    alone.

    Attributes:
        made_of: The side in an input with sides of `length_of`.
    """

    made_of: SideMap

    __eq__, __hash__ = object.__eq__, object.__hash__

    @property
    def region(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def spacing(self) -> float:
        return self.made_of.spacing

    @property
    def evenness(self) -> float:
        return 0

    def without_reach(self) -> SideMap:
        return self


def at_run_time(placements: Sequence[Placement], lengths: Sequence[int | tf.Tensor]) -> list[Placement]:
    """The placements of maps when the input is there, with `SideAtRunTime`s: one for all that are the same.

    Args:
        placements: The placements in an input with sides of `length_of`.
        lengths: The length of each side, ints or scalar tensors.
    """
    value = AtRunTime(lengths)
    known: dict[Any, SideAtRunTime] = {}

    def placed(side: SideMap, even: float) -> SideAtRunTime:
        seen = side.without_reach()
        start = even * side.even_start + (1 - even) * side.start
        numbers = {"start": start} | {name: getattr(seen, name) for name in _NUMBERS}
        sizes = {"length": side.length or 0, "places": side.places or 0}
        key = side.side, *map(identity, (numbers | sizes).values())
        if key not in known:
            fields = {name: value(number) for name, number in numbers.items()}
            fields |= {name: tf.cast(value(size), tf.int32) for name, size in sizes.items()}
            known[key] = SideAtRunTime(side=side.side, made_of=side, **fields)
        return known[key]

    def moved(placement: Placement) -> Placement:
        even = evenness(placement.sides)
        axes = (
            axis and AxisMap(axis.first, tuple(placed(side, even) for side in axis.sides))
            for axis in placement.axes
        )
        return dataclasses.replace(placement, axes=tuple(axes))

    return list(map(moved, placements))
