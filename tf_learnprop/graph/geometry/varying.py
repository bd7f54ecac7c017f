"""`Varying`: numbers that follow from lengths of the input that are not known before it is there."""

import itertools
import math
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

#: Lengths of a side at which decisions are made. They are long, so that no layer runs out of places, and
#: leave different rests when they are divided by strides.
_SAMPLES = (131072, 131073, 150151, 177147, 196613, 210210, 245761, 262142)
#: Lengths at which two formulas are compared: short ones, whole multiples of many strides with their
#: neighbours, and any.
_OTHERS = (
    *range(1, 129),
    *(k + d for k, d in itertools.product((2**40, 3**20, 10**6, 720720, 7**8, 160000, 4096), (-1, 0, 1))),
    *np.random.default_rng(0).integers(129, 1 << np.arange(8, 40)),
)


if TYPE_CHECKING:
    _Int = int  # a number as any other
else:
    _Int = object


class Unknown(Exception):
    """Where the places of the result lie is not known. The message says why."""


class Varying(_Int):
    """A number that follows from lengths of the input, which are not known before it is there.

    It is computed with as other numbers are. A comparison must come out the same at all long lengths.
    Formulas with equal values are one object, so that each is computed once.

    Attributes:
        values: float64 `[lengths]`, its values at many lengths, the long ones first.
        function: The function of `operands` that gives it; None for the length of a side itself.
        operands: Numbers.
        side: The side of which it is the length.

    Raises:
        Unknown: If its value is asked for, or if a comparison depends on the length.
    """

    __slots__ = ("__weakref__", "function", "operands", "side", "values")

    def __init__(
        self,
        values: npt.NDArray[np.float64],
        function: Callable | None = None,
        operands: tuple[float, ...] = (),
        side: int | None = None,
    ):
        self.values, self.function, self.operands, self.side = values, function, operands, side

    def __deepcopy__(self, memo: Any) -> "Varying":
        return self

    def __hash__(self) -> int:
        return hash(self.values.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (int, float, Varying)) and bool(np.all(self._compared(operator.eq, other)))

    def __bool__(self) -> bool:
        return self != 0

    def _compared(self, compare: Callable[[Any, Any], Any], other: float) -> npt.NDArray[np.bool_]:
        """Whether a comparison holds at each of the long lengths."""
        values = other.values[: len(_SAMPLES)] if isinstance(other, Varying) else other
        return compare(self.values[: len(_SAMPLES)], values)

    def _is(self, compare: Callable[[Any, Any], Any], other: float) -> bool:
        results = self._compared(compare, other)
        if np.any(results != results[0]):
            raise Unknown("what becomes of its places depends on the size of the input")
        return bool(results[0])

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


#: Those that are in use, by their values.
_IN_USE: weakref.WeakValueDictionary[Any, Varying] = weakref.WeakValueDictionary()


def length_of(side: int) -> Varying:
    """The length of a side of the input."""
    others = np.random.default_rng(side).permutation(_OTHERS)  # as the sides of an input differ
    return _of_values(np.array([*np.roll(_SAMPLES, -side), *others], np.float64), side=side)


def _of_values(values: npt.NDArray[np.float64], **made_of: Any) -> Varying:
    key = values.tobytes()
    known = _IN_USE.get(key)
    if known is None:
        known = _IN_USE[key] = Varying(values, **made_of)
    return known


def identity(number: float) -> Any:
    """What tells numbers apart, even if they are equal at long lengths."""
    return (id(number),) if isinstance(number, Varying) else number


def constant(number: float) -> float | None:
    """The value that a number has at all lengths, but for rounding; None if it depends on them."""
    values = np.atleast_1d(_values(number))
    return float(values[0]) if np.allclose(values, values[0], rtol=1e-9, atol=0) else None


def _values(number: float) -> Any:
    return number.values if isinstance(number, Varying) else np.float64(number)


def _applied(function: Callable, *operands: float) -> Any:
    """A number that varies, or the value that it has at all lengths."""
    with np.errstate(all="ignore"):
        values = function(*map(_values, operands))
    # Whether one number is at most another may depend on a length in thousands.
    if function is not _at_most and np.all(values == values[0]):
        value = float(values[0])
        return int(value) if value.is_integer() else value
    return _of_values(values, function=function, operands=operands)


def _maximum(a: Any, b: Any) -> Any:
    return tf.maximum(a, b) if tf.is_tensor(a) else np.maximum(a, b)


def _minimum(a: Any, b: Any) -> Any:
    return tf.minimum(a, b) if tf.is_tensor(a) else np.minimum(a, b)


def _at_most(a: Any, b: Any) -> Any:
    return tf.cast(a <= b, tf.float64) if tf.is_tensor(a) else np.asarray(a <= b, np.float64)


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
        first = _applied(_minimum, first, other) if varies else min(first, other)
    return first


def at_most(a: float, b: float) -> float:
    """Whether a ≤ b, as 1 or 0."""
    varies = isinstance(a, Varying) or isinstance(b, Varying)
    return _applied(_at_most, a, b) if varies else float(a <= b)


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
        self._known: dict[Any, tuple[float, tf.Tensor]] = {}

    def __call__(self, number: float) -> tf.Tensor:
        """A number as a float64 scalar."""
        pending = [number]
        while pending:
            last = pending[-1]
            missing = [operand for operand in _operands(last) if identity(operand) not in self._known]
            pending += missing
            if not missing:
                self._known[identity(last)] = last, self._computed(last)  # kept, so that no other gets its id
                pending.pop()
        return self._known[identity(number)][1]

    def _computed(self, number: float) -> tf.Tensor:
        if not isinstance(number, Varying):
            return tf.constant(number, tf.float64)
        if number.function is None:
            return self._lengths[number.side or 0]
        return number.function(*(self._known[identity(operand)][1] for operand in number.operands))


def _operands(number: float) -> tuple[float, ...]:
    return number.operands if isinstance(number, Varying) else ()
