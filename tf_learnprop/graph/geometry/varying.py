"""`Varying`: numbers that follow from lengths of the input that are not known before it is there."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

#: Lengths of a side at which decisions are made. They are long, so that no layer runs out of places, and
#: leave different rests when they are divided by strides.
_SAMPLES = (131072, 131073, 150151, 177147, 196613, 210210, 245761, 262142)


if TYPE_CHECKING:
    _Int = int  # a number as any other
else:
    _Int = object


class Unknown(Exception):
    """Where the places of the result lie is not known. The message says why."""


class Varying(_Int):
    """A number that follows from lengths of the input, which are not known before it is there.

    It is computed with as other numbers are. A comparison must come out the same at all lengths.

    Attributes:
        values: Its values at some lengths, by which it is compared.
        function: The function of `operands` that gives it; None for the length of a side itself.
        operands: Numbers.
        side: The side of which it is the length.

    Raises:
        Unknown: If its value is asked for, or if a comparison depends on the length.
    """

    __slots__ = ("function", "operands", "side", "values")

    def __init__(
        self,
        values: Sequence[float],
        function: Callable | None = None,
        operands: tuple[float, ...] = (),
        side: int | None = None,
    ):
        self.values, self.function, self.operands, self.side = tuple(values), function, operands, side

    def __deepcopy__(self, memo: Any) -> "Varying":
        return self

    def __hash__(self) -> int:
        return hash(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (int, float, Varying)) and self.values == _values(other)

    def __bool__(self) -> bool:
        return any(self.values)

    def _is(self, compare: Callable[[Any, Any], bool], other: float) -> bool:
        results = set(map(compare, self.values, _values(other)))
        if len(results) > 1:
            raise Unknown("what becomes of its places depends on the size of the input")
        return results.pop()

    def __lt__(self, other: float) -> bool:
        return self._is(operator.lt, other)

    def __le__(self, other: float) -> bool:
        return self._is(operator.le, other)

    def __gt__(self, other: float) -> bool:
        return self._is(operator.gt, other)

    def __ge__(self, other: float) -> bool:
        return self._is(operator.ge, other)

    def __add__(self, other: float) -> "Varying":
        return _applied(operator.add, self, other)

    def __radd__(self, other: float) -> "Varying":
        return _applied(operator.add, other, self)

    def __sub__(self, other: float) -> "Varying":
        return _applied(operator.sub, self, other)

    def __rsub__(self, other: float) -> "Varying":
        return _applied(operator.sub, other, self)

    def __mul__(self, other: float) -> "Varying":
        return _applied(operator.mul, self, other)

    def __rmul__(self, other: float) -> "Varying":
        return _applied(operator.mul, other, self)

    def __truediv__(self, other: float) -> "Varying":
        return _applied(operator.truediv, self, other)

    def __rtruediv__(self, other: float) -> "Varying":
        return _applied(operator.truediv, other, self)

    def __floordiv__(self, other: float) -> "Varying":
        return _applied(operator.floordiv, self, other)

    def __mod__(self, other: float) -> "Varying":
        return self - self // other * other

    def __rfloordiv__(self, other: float) -> "Varying":
        return _applied(operator.floordiv, other, self)

    def __rmod__(self, other: float) -> "Varying":
        return self.__rfloordiv__(other) * -self + other

    def __neg__(self) -> "Varying":
        return _applied(operator.neg, self)

    def __abs__(self) -> "Varying":
        return _applied(abs, self)

    def __floor__(self) -> "Varying":
        return self // 1

    def __ceil__(self) -> "Varying":
        return -(-self // 1)

    def _no_value(self, *_: Any) -> Any:
        raise Unknown("it depends on the size of the input in a way that is not known")

    __index__ = __int__ = __float__ = __round__ = _no_value


def length_of(side: int) -> Varying:
    """The length of a side of the input."""
    return Varying(_SAMPLES[side:] + _SAMPLES[:side], side=side)


def _values(number: float) -> tuple[float, ...]:
    return number.values if isinstance(number, Varying) else (number,) * len(_SAMPLES)


def _applied(function: Callable, *operands: float) -> Varying:
    return Varying(tuple(map(function, *map(_values, operands))), function, operands)


def _maximum(a: Any, b: Any) -> Any:
    return tf.maximum(a, b) if tf.is_tensor(a) else max(a, b)


def _at_most(a: Any, b: Any) -> Any:
    return tf.cast(a <= b, tf.float64) if tf.is_tensor(a) else float(a <= b)


def largest(first: Any, *others: Any) -> Any:
    """`max` of numbers of which some may vary."""
    for other in others:
        varies = isinstance(first, Varying) or isinstance(other, Varying)
        first = _applied(_maximum, first, other) if varies else max(first, other)
    return first


def smallest(first: Any, *others: Any) -> Any:
    """`min` of numbers of which some may vary."""
    for other in others:
        varies = isinstance(first, Varying) or isinstance(other, Varying)
        first = -_applied(_maximum, -first, -other) if varies else min(first, other)
    return first


def at_most(a: float, b: float) -> float:
    """Whether a ≤ b, as 1 or 0."""
    varies = isinstance(a, Varying) or isinstance(b, Varying)
    return _applied(_at_most, a, b) if varies else _at_most(a, b)


def is_close(a: float, b: float) -> float:
    """`math.isclose`, as 1 or 0."""
    if isinstance(a, Varying) or isinstance(b, Varying):
        return at_most(abs(a - b), 1e-9 * largest(abs(a), abs(b)))
    return float(math.isclose(a, b))


class AtRunTime:
    """Computes numbers as tensors when the lengths of the input are there.

    Args:
        lengths: The length of each side of the input, ints or scalar tensors.
    """

    def __init__(self, lengths: Sequence[int | tf.Tensor]):
        self._lengths = [tf.cast(length, tf.float64) for length in lengths]
        self._known: dict[int, tuple[float, tf.Tensor]] = {}

    def __call__(self, number: float) -> tf.Tensor:
        """A number as a float64 scalar."""
        pending = [number]
        while pending:
            last = pending[-1]
            missing = [operand for operand in _operands(last) if id(operand) not in self._known]
            pending += missing
            if not missing:
                self._known[id(last)] = last, self._computed(last)  # kept, so that no other gets its id
                pending.pop()
        return self._known[id(number)][1]

    def _computed(self, number: float) -> tf.Tensor:
        if not isinstance(number, Varying):
            return tf.constant(number, tf.float64)
        if number.function is None:
            return self._lengths[number.side or 0]
        return number.function(*(self._known[id(operand)][1] for operand in number.operands))


def _operands(number: float) -> tuple[float, ...]:
    return number.operands if isinstance(number, Varying) else ()
