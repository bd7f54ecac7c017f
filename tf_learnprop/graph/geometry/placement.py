"""`Placement`: where the places of one tensor lie in the explained input."""

import dataclasses
import enum
import math
from collections.abc import Sequence

from tf_learnprop.graph.geometry.layout import Axis, Layout, Origin, Size, Strand
from tf_learnprop.graph.geometry.varying import at_most, is_close, largest, smallest

_NAMES = {1: ("positions",), 2: ("rows", "columns"), 3: ("planes", "rows", "columns")}


class State(enum.Enum):
    """What is known of the places of a tensor."""

    PLACED = "placed"
    NONE = "no entry stands for a region of the input"
    OTHER_INPUT = "it does not depend on the explained input"
    BOTH = "two inputs meet in its places"
    UNKNOWN = "where its places lie is not known"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SideMap(Origin):
    """How places follow each other along one side of the input, from their origin on.

    Attributes:
        side: The side; 0 is axis 1 of the input.
        places: Their number; None if unknown.
        step: Pixels from one place to the next; negative if they run backwards.
    """

    side: int
    places: Size
    step: float

    def centre(self, index: float) -> float:
        """Pixel coordinate of the centre of place number `index`."""
        return self.start + index * self.step

    def reach(self, index: int) -> tuple[float, float]:
        """The first and last pixel that place number `index` may depend on."""
        centre = self.centre(index)
        return largest(self.low, centre - self.before), smallest(self.high, centre + self.after)

    @property
    def region(self) -> tuple[float, float]:
        """The first and last pixel that the places cover: those that some place sees or is nearest to."""
        last = math.inf if self.places is None else self.places - 1
        ends = self.start, self.start + last * self.step if last else self.start
        half = abs(self.step) / 2
        low = smallest(*ends) - largest(half, self.before)
        high = largest(*ends) + largest(half, self.after)
        return largest(self.low, low), smallest(self.high, high)

    @property
    def spacing(self) -> float:
        """Pixels from one place to the next, whichever way they run; it may be a `Varying`."""
        return abs(self.step)

    @property
    def seen(self) -> tuple[float, float]:
        """The first and last whole pixel of this region."""
        low, high = self.region
        return largest(0, math.ceil(low)), math.floor(smallest(high, (self.length or 0) - 1))

    def without_reach(self) -> "SideMap":
        """The side with places that see all of the region that they cover together."""
        first, last = self.seen
        return dataclasses.replace(self, before=math.inf, after=math.inf, low=first, high=last)

    @property
    def even_start(self) -> float:
        """Where the first place would lie if the places shared out the side evenly."""
        return (self.step - 1) / 2

    @property
    def evenness(self) -> float:
        """Whether the places share out the side evenly, as `tf.image.resize` has them, as 1 or 0.

        So do those of convolutions with strides and "same" padding, which cover the side once and whose
        centres are less than half a step off. Maps of a trained model lie on the object worse if they are
        moved by that (docs/results.md, Objects).
        """
        first, last = self.seen
        length = self.length or 0
        is_off = at_most(self.step / 2, abs(self.start - self.even_start))
        sees_all = at_most(first, 0) * at_most(length - 1, last)
        return is_close(self.step * (self.places or 0), length) * (1 - is_off) * sees_all


@dataclasses.dataclass(frozen=True)
class AxisMap:
    """The places along one axis of a tensor.

    Attributes:
        first: Index of the first place; entries in front, such as a class token, are no places.
        sides: One map, or several: a grid that was flattened, the slowest first.
    """

    first: int
    sides: tuple[SideMap, ...]


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where the places of one tensor lie in the explained input.

    Attributes:
        state: What is known of its places.
        axes: The places along each axis of the tensor; None for an axis without places,
            such as samples and channels. Empty unless the tensor is placed.
        inputs: The inputs of the model on whose values it depends.
        reason: Why there are no places, or why they are unknown; else empty.
        layout: What the layouts of later tensors follow from; None if it is unknown.
    """

    state: State
    axes: tuple[AxisMap | None, ...] = ()
    inputs: frozenset[int] = frozenset()
    reason: str = ""
    layout: Layout | None = dataclasses.field(default=None, repr=False)

    @property
    def sides(self) -> tuple[SideMap, ...]:
        """All maps, in the order of the tensor's axes."""
        return tuple(side for axis in self.axes if axis for side in axis.sides)

    def pixels(self, axis: int) -> tuple[SideMap, ...]:
        """The maps of an axis of the tensor, the slowest first; empty without places along it."""
        places = self.axes[axis] if self.axes else None
        return () if places is None else places.sides

    def matches(self, shape: Sequence[Size]) -> bool:
        """Whether the tensor is a map of an input of this shape.

        That is so if it is placed, with places along each side of the input, in their order, and without any
        along its first and last axis. They may lie on axes of their own or as a flattened grid. An input
        `[n, side]` has no channels, and so the tensor needs none.
        """
        sides = len(shape) - 2 if len(shape) > 2 else len(shape) - 1
        if self.state is not State.PLACED or self.axes[0] or (self.axes[-1] and len(shape) > 2):
            return False
        return [side.side for side in self.sides] == list(range(sides))

    def describe(self) -> str:
        """One line, such as "8 × 8 places, 32 px apart, rows 70–135"."""
        if not self.sides:
            return self.reason or self.state.value
        counts = " × ".join("?" if side.places is None else str(side.places) for side in self.sides)
        steps = list(dict.fromkeys(f"{abs(side.step):g}" for side in self.sides))
        parts = [
            f"{counts} places",
            f"{' × '.join(steps)} px apart",
            *filter(None, map(self._range, self.sides)),
        ]
        return ", ".join(parts) + (f" ({self.state.value})" if self.state is State.BOTH else "")

    def _range(self, side: SideMap) -> str:
        """The pixels that a side covers, if not all; and whether it runs backwards."""
        names = _NAMES.get(len(self.layout.origins)) if self.layout else None
        name = names[side.side] if names else f"side {side.side}"
        low, high = math.ceil(side.region[0]), side.region[1]
        backwards = " backwards" if side.step < 0 else ""
        last = None if side.length is None else side.length - 1
        if low <= 0 and (math.isinf(high) or last is not None and math.floor(high) >= last):
            return name + backwards if backwards else ""
        return f"{name} {low}–{'' if math.isinf(high) else math.floor(high)}{backwards}"


def of_layout(layout: Layout, inputs: frozenset[int], meets: bool = False, reason: str = "") -> Placement:
    """The `Placement` of a layout.

    Args:
        layout: The layout of the tensor.
        inputs: The inputs that it depends on.
        meets: Whether another input has values of its own at each place.
        reason: Why it has no places, if it has none.
    """
    view = _seen_from_outside(layout)
    if any(axis.sides and not axis.is_placed for axis in view.axes):
        reason = "its places share an axis with samples or channels"
        return Placement(State.NONE, (None,) * len(view.axes), inputs, reason, layout)
    axes = tuple(_axis_map(axis, view.origins) if axis.is_placed else None for axis in view.axes)
    if not any(axes):
        return Placement(State.NONE, (None,) * len(axes), inputs, reason or State.NONE.value, layout)
    return Placement(State.BOTH if meets else State.PLACED, axes, inputs, "", layout)


def _seen_from_outside(layout: Layout) -> Layout:
    """The layout with places that are part of the last axis, its channels, taken together.

    The last axis is channels unless it alone moves along its sides.
    """
    last = len(layout.axes) - 1
    if layout.axes and layout.axes[last].sides and (not layout.axes[last].is_placed or layout.is_inner(last)):
        return layout.mixed(last, layout.axes[last].size)
    return layout


def _axis_map(axis: Axis, origins: tuple[Origin, ...]) -> AxisMap:
    sides = [(strand.side, strand) for strand in axis.strands if strand.side is not None]
    return AxisMap(axis.lead, tuple(_side_map(side, strand, origins[side]) for side, strand in sides))


def _side_map(side: int, strand: Strand, origin: Origin) -> SideMap:
    return SideMap(**dataclasses.asdict(origin), side=side, places=strand.size, step=strand.step)
