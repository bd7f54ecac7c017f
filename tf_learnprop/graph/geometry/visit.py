"""`Visit`: one call of an operation, as the rules of geometry see it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tf_learnprop.graph.geometry.layout import Layout, Size, Unknown
from tf_learnprop.graph.geometry.placement import Placement

Shape = tuple[Size, ...]


@dataclasses.dataclass(frozen=True)
class Visit:
    """One call of an operation.

    Attributes:
        operation: The Keras layer or operation.
        args, kwargs: The arguments of the call, with KerasTensors.
        operands: The placements of the tensors among the arguments.
        shapes: The shapes of these tensors, as exact as they are known.
        output_shapes: The shapes of the tensors that the call gives.
        explained: Number of the explained input.
    """

    operation: Any
    args: tuple
    kwargs: dict
    operands: tuple[Placement, ...]
    shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    explained: int

    @property
    def layout(self) -> Layout:
        """The layout of the first tensor."""
        return self.layout_of(0)

    def layout_of(self, k: int) -> Layout:
        """The layout of the tensor number k.

        Raises:
            Unknown: If there is none.
        """
        operand = self.operands[k]
        if operand.layout is None:
            raise Unknown(operand.reason)
        return operand.layout

    @property
    def layouts(self) -> dict[int, Layout]:
        """The layouts that are known of tensors that depend on the explained input, by their numbers."""
        operands = {k: self.operands[k] for k in self.dependent}
        return {k: operand.layout for k, operand in operands.items() if operand.layout is not None}

    @property
    def rank(self) -> int:
        """Number of axes of the first tensor."""
        return len(self.layout.axes)

    def depends(self, k: int) -> bool:
        """Whether the tensor number k depends on the explained input."""
        return self.explained in self.operands[k].inputs

    @property
    def dependent(self) -> list[int]:
        """The tensors that depend on the explained input."""
        return [k for k in range(len(self.operands)) if self.depends(k)]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument of the call, by its position or name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def setting(self, name: str, default: Any = None) -> Any:
        """An attribute of the operation."""
        return getattr(self.operation, name, default)

    def axis(self, axis: int) -> int:
        """The number of an axis of the first tensor, counted from 0."""
        return axis % self.rank

    def axes(self, axes: int | Sequence[int] | None) -> list[int]:
        """As `axis`, for several; all of them for None."""
        if axes is None:
            return list(range(self.rank))
        return [self.axis(k) for k in ([axes] if isinstance(axes, int) else axes)]

    @property
    def channel_axis(self) -> int:
        """The axis of the channels of an image, volume or series."""
        return 1 if self.setting("data_format") == "channels_first" else self.rank - 1

    @property
    def spatial_axes(self) -> list[int]:
        """The axes of an image, volume or series besides samples and channels."""
        return [k for k in range(1, self.rank) if k != self.channel_axis]


def each(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    """A setting for each of `count` axes, of which one number serves all."""
    return (value,) * count if isinstance(value, int) else tuple(value)


def size_at(shape: Shape, axis: int) -> Size:
    """The size of an axis, which is counted from the last, as −1; 1 if there is none."""
    return shape[axis] if -axis <= len(shape) else 1
