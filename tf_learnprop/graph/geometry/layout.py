"""`Layout`: how the axes of a tensor are made of steps through the explained input.

Pixel k of a side of the input has its centre at the coordinate k and covers [k − ½, k + ½]. That is the
half-pixel convention of `tf.image.resize`, shifted by ½.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from tf_learnprop.graph.geometry.varying import Unknown, Varying

Size = int | None
#: The sides of an input `[n, *sides, c]` are numbered from 0; None stands for no side: batch or channels.
Side = int | None


class Lost(Exception):
    """No place of the result stands for a region of the input. The message says why."""


@dataclasses.dataclass(frozen=True)
class Strand:
    """One digit of the index along an axis.

    Attributes:
        size: Number of its values; None if unknown.
        side: The side of the input along which it moves; None for none, as channels and samples.
        step: Pixels from one value to the next; negative if it runs backwards.
    """

    size: Size
    side: Side = None
    step: float = 0.0

    @property
    def extent(self) -> float:
        """Pixels from the first value to the last; infinite if the size is unknown."""
        if self.size is None:
            return -math.inf if self.step < 0 else math.inf
        return self.step * (self.size - 1)


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a tensor: a row-major product of strands, the slowest first; of size 1 without any.

    Attributes:
        strands: The digits of its index, the slowest first.
        lead, trail: Entries before and after the places that are no places, such as a class token.
    """

    strands: tuple[Strand, ...] = ()
    lead: int = 0
    trail: int = 0

    @property
    def count(self) -> Size:
        """Number of places."""
        return product(strand.size for strand in self.strands)

    @property
    def size(self) -> Size:
        """Number of entries."""
        return None if self.count is None else self.lead + self.count + self.trail

    @property
    def sides(self) -> set[int]:
        """The sides of the input along which it moves."""
        return {strand.side for strand in self.strands if strand.side is not None}

    @property
    def is_placed(self) -> bool:
        """Whether each entry but those in front and behind stands for a region."""
        return bool(self.strands) and all(strand.side is not None for strand in self.strands)


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where the first place of a tensor lies along one side of the input, in pixels.

    Attributes:
        start: Coordinate of its centre: that of the place with index 0 along each axis.
        before, after: How far before and after its centre each place sees at most.
        low, high: The first and last pixel that any place can see.
        length: Number of pixels of the side; None if unknown.
        exact: False if the start depends on a size that is unknown; it then holds for sizes that the strides
            divide.
    """

    start: float
    before: float
    after: float
    low: float
    high: float
    length: Size
    exact: bool = True

    def moved(self, by: float, before: float = 0.0, after: float = 0.0, exact: bool = True) -> "Origin":
        """The origin with another start, and places that see further."""
        return dataclasses.replace(
            self,
            start=self.start + by,
            before=self.before + before,
            after=self.after + after,
            exact=self.exact and exact,
        )


@dataclasses.dataclass(frozen=True)
class Layout:
    """The axes of a tensor, and where its first place lies along each side of the input."""

    axes: tuple[Axis, ...]
    origins: tuple[Origin, ...]

    @property
    def sides(self) -> set[int]:
        """The sides along which it has places."""
        return set().union(*(axis.sides for axis in self.axes))

    @property
    def shape(self) -> tuple[Size, ...]:
        """Sizes of the axes."""
        return tuple(axis.size for axis in self.axes)

    def with_axis(self, k: int, axis: Axis) -> "Layout":
        """The layout with another axis number k."""
        return self.with_axes([*self.axes[:k], axis, *self.axes[k:][1:]])

    def with_axes(self, axes: Iterable[Axis]) -> "Layout":
        """The layout with other axes."""
        return dataclasses.replace(self, axes=tuple(axes))

    def with_origin(self, side: int, origin: Origin) -> "Layout":
        """The layout with another origin along a side."""
        return dataclasses.replace(self, origins=(*self.origins[:side], origin, *self.origins[side + 1 :]))

    def mixed(self, k: int, size: Size) -> "Layout":
        """The layout after each entry along axis k has come to depend on all of them; `size` is new."""
        layout = self
        for strand in self.axes[k].strands:
            if strand.side is not None:
                layout = layout.with_origin(strand.side, _spread(layout.origins[strand.side], strand))
        return layout.with_axis(k, free_axis(size))

    def is_inner(self, k: int) -> bool:
        """Whether axis k holds parts of places that lie along another axis, as the pixels of a patch."""
        others = set().union(*(axis.sides for j, axis in enumerate(self.axes) if j != k))
        return bool(self.axes[k].sides & others)

    def blind(self) -> "Layout":
        """The layout with places that may see anything, as after a product with a mean over all places."""
        far = [dataclasses.replace(origin, before=math.inf, after=math.inf) for origin in self.origins]
        return dataclasses.replace(self, origins=tuple(far))


def _spread(origin: Origin, strand: Strand) -> Origin:
    """The origin after all values of a strand were summed."""
    half = abs(strand.extent) / 2
    return origin.moved(
        strand.extent / 2 if strand.size is not None else 0.0, half, half, strand.size is not None
    )


def product(sizes: Iterable[Size]) -> Size:
    """Product of sizes; None if one is unknown."""
    result = 1
    for size in sizes:
        if size is None:
            return None
        result *= size
    return result


def known(size: Size, otherwise: str) -> int:
    """A size that has to be known.

    Args:
        size: The size.
        otherwise: What can't be done without it.

    Raises:
        Unknown: If it is None.
    """
    if size is None:
        raise Unknown(otherwise)
    return size


def fixed(size: Size, otherwise: str) -> int:
    """As `known`, for a size that must not follow from the length of the input either."""
    if isinstance(size, Varying):
        raise Unknown(otherwise)
    return known(size, otherwise)


def free_axis(size: Size) -> Axis:
    """An axis without places."""
    return Axis(() if size == 1 else (Strand(size),))


def unplaced(shape: Sequence[Size], origins: tuple[Origin, ...]) -> Layout:
    """The layout of a tensor without places."""
    return Layout(tuple(map(free_axis, shape)), origins).blind()


def of_input(shape: Sequence[Size]) -> Layout:
    """The layout of the input itself: `[n, *sides, c]`, or `[n, side]` without channels."""
    sides = len(shape) - 2 if len(shape) > 2 else len(shape) - 1
    axes = [free_axis(shape[0]) if shape else Axis()][: len(shape)]
    axes += [Axis((Strand(size, side, 1.0),)) for side, size in enumerate(shape[1 : sides + 1])]
    axes += [free_axis(size) for size in shape[sides + 1 :]]
    lengths = shape[1 : sides + 1]
    high = [math.inf if length is None else length - 1 for length in lengths]
    return Layout(
        tuple(axes),
        tuple(Origin(0.0, 0.0, 0.0, 0.0, h, length) for h, length in zip(high, lengths, strict=True)),
    )
