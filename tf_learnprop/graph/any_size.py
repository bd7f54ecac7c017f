"""Opens a layer that uses sizes of its inputs which KerasTensors don't know: of the batch, of a sequence.

The layer runs with two sizes of each free axis. Each number that differs between the runs becomes a function
of the real sizes.
"""

import dataclasses
import fractions
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

from tf_learnprop.graph import any_size_constants, keras_internals
from tf_learnprop.graph.steps import CannotOpen, Constants, Opened, Size, make_step
from tf_learnprop.graph.symbolic_run import SymbolicRun

#: An axis of an input: numbers of the two.
Axis = tuple[int, int]
#: Axes of equal sizes.
Group = tuple[Axis, ...]
#: From {axis: its size} to the run of a layer.
Run = Callable[[dict[Axis, int]], SymbolicRun]

#: Two sizes of a batch. What differs between runs with the one and with the other depends on the batch. Two
#: primes times a number that has many divisors, as some layers divide the batch into windows.
_BATCH_SIZES = (83 * 192, 89 * 192)
#: Largest number of free axes besides the batch of which every grouping is tried.
_MOST_AXES = 4


def for_any_size(run: Run, shapes: Sequence[Sequence[int | None]]) -> Iterator[Callable[[], Opened]]:
    """Yields functions that open a layer, each with another idea of which free axes have equal sizes.

    Different sizes come first: a layer that runs on them is right for equal ones as well.

    Args:
        run: Runs the layer.
        shapes: Shapes of its inputs.
    """
    free = [(k, axis) for k, shape in enumerate(shapes) for axis, size in enumerate(shape) if size is None]
    batch = tuple((k, axis) for k, axis in free if axis == 0)
    others = [(k, axis) for k, axis in free if axis]
    for groups in sorted(_groupings(others), key=len, reverse=True):
        yield functools.partial(_opened, run, [*[batch] * bool(batch), *groups], bool(batch))


def _groupings(axes: list[Axis]) -> Iterator[list[Group]]:
    """Ways to divide axes into groups."""
    if len(axes) > _MOST_AXES:
        yield [tuple(group) for _, group in itertools.groupby(sorted(axes, key=_axis), _axis)]
        yield [tuple(axes)]
    elif not axes:
        yield []
    else:
        for groups in _groupings(axes[1:]):
            yield [(axes[0],), *groups]
            for k, group in enumerate(groups):
                yield [*groups[:k], (axes[0], *group), *groups[k + 1 :]]


def _axis(axis: Axis) -> int:
    return axis[1]


def _opened(run: Run, groups: list[Group], has_batch: bool) -> Opened:
    """The `Opened` of runs that differ only in the sizes of groups of axes, the batch first."""
    # None of these is a length at which `verification` runs the layer, so that a wrong formula shows.
    sizes = [_BATCH_SIZES] * has_batch + [(16 * k + 24, 16 * k + 40) for k in range(len(groups))]
    pairs = list(zip(groups, sizes, strict=False))
    base = {axis: first for group, (first, _) in pairs for axis in group}
    runs = [run(base)]
    runs += [run({**base, **dict.fromkeys(group, second)}) for group, (_, second) in pairs]
    return _Comparison(runs, pairs).opened()


@dataclasses.dataclass(frozen=True)
class _Formula:
    """A number as a function of sizes: factor · size · size … + offset."""

    groups: tuple[int, ...]
    factor: fractions.Fraction
    offset: int = 0


class _Comparison:
    """What of the runs of a layer depends on sizes.

    Args:
        runs: The runs with the first size of all groups, and with the second size of each.
        groups: The groups of axes, each with its two sizes.
    """

    def __init__(self, runs: list[SymbolicRun], groups: list[tuple[Group, tuple[int, int]]]):
        self._runs, self._groups = runs, groups
        self._first = runs[0]
        self._sizes: dict[_Formula, keras.KerasTensor] = {}
        self._replacement: dict[int, keras.KerasTensor] = {}

    def opened(self) -> Opened:
        operations = [[type(node.operation) for node in run.nodes] for run in self._runs]
        if any(others != operations[0] for others in operations):
            raise CannotOpen("what it runs depends on the size of its inputs")
        for name in ("inputs", "masks", "constants"):
            self._free([getattr(run, name) for run in self._runs])
        for nodes in zip(*(run.nodes for run in self._runs), strict=True):
            self._free([node.outputs for node in nodes])
        constants = self._constants()
        attributes, arguments = self._step_changes()
        sizes = [self._size_step(formula, tensor) for formula, tensor in self._sizes.items()]
        return self._first.opened(self._replace, attributes, arguments, [*sizes, *constants])

    def _free(self, tensors: Sequence[Iterable[keras.KerasTensor]]) -> None:
        """Notes that tensors, given for each run, have the shape that all of them have in common."""
        for first, *others in zip(*tensors, strict=True):
            if any(len(other.shape) != len(first.shape) for other in others):
                raise CannotOpen("what it runs depends on the size of its inputs")
            sizes = zip(*(tensor.shape for tensor in (first, *others)), strict=True)
            shape = [size[0] if len({*size}) == 1 else None for size in sizes]
            if shape != list(first.shape):
                self._replacement[id(first)] = keras.KerasTensor(shape, first.dtype, name=first.name)

    def _replace(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        return self._replacement.get(id(tensor), tensor)

    def _constants(self) -> list[Any]:
        """The step that computes the constants."""
        if not self._first.constants:
            return []
        symbols = [*map(self._replace, self._first.constants)]
        functions = [run.function for run in self._runs]
        function, sizes = any_size_constants.compared(functions, self.number, [s.shape for s in symbols])
        return [make_step(Constants(function), tuple(sizes), {}, symbols)]

    def _step_changes(self) -> tuple[dict[int, dict[str, Any]], dict[int, tuple[tuple, dict]]]:
        """Attributes and arguments of steps that depend on sizes, by the number of the step."""
        attributes, arguments = {}, {}
        for k, steps in enumerate(zip(*(run.steps for run in self._runs), strict=True)):
            operation = steps[0][0].operation
            calls = [(args, kwargs) for _, args, kwargs, _ in steps]
            if _differ(calls):
                if isinstance(operation, keras.layers.Layer):
                    raise CannotOpen("it passes the size of its inputs on to its layers")
                arguments[k] = self._merged(calls)
            settings = [keras_internals.settings(node.operation) for node, *_ in steps]
            names = [name for name in settings[0] if _differ([own[name] for own in settings])]
            if names:
                attributes[k] = {name: self._merged([own[name] for own in settings]) for name in names}
        return attributes, arguments

    def _merged(self, structures: Sequence[Any]) -> Any:
        def one(*leaves: Any) -> Any:
            return self.number(leaves) if all(map(_is_number, leaves)) else leaves[0]

        return keras.tree.map_structure(one, *structures)

    def number(self, values: Sequence[Any]) -> Any:
        """A number that may depend on sizes, from its values in the runs: itself, or a KerasTensor."""
        changed = tuple(k for k, value in enumerate(values[1:]) if value != values[0])
        if not changed:
            return values[0]
        formula = self._formula(changed, values)
        if formula is None:
            raise CannotOpen("it computes with the size of its inputs")
        return self._sizes.setdefault(formula, keras.KerasTensor((), "int32"))

    def _formula(self, changed: tuple[int, ...], values: Sequence[Any]) -> _Formula | None:
        if not all(isinstance(value, int) for value in values):
            return None
        first, second = zip(*(sizes for _, sizes in self._groups), strict=True)
        factor = fractions.Fraction(values[0], math.prod(first[k] for k in changed))
        if all(values[0] * second[k] == values[1 + k] * first[k] for k in changed):
            return _Formula(changed, factor)
        if len(changed) > 1:
            return None
        k = changed[0]
        slope = fractions.Fraction(values[1 + k] - values[0], second[k] - first[k])
        offset = values[0] - slope * first[k]
        return _Formula(changed, slope, int(offset)) if offset.denominator == 1 else None

    def _size_step(self, formula: _Formula, tensor: keras.KerasTensor) -> Any:
        axes = [self._groups[k][0][0] for k in formula.groups]
        inputs = tuple(self._replace(self._first.inputs[k]) for k, _ in axes)
        operation = Size([axis for _, axis in axes], formula.factor, formula.offset)
        return make_step(operation, inputs, {}, [tensor])


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, (int, float)) and not isinstance(leaf, bool)


def _differ(structures: Sequence[Any]) -> bool:
    """Whether there are numbers that differ between structures."""
    numbers = [[leaf for leaf in keras.tree.flatten(one) if _is_number(leaf)] for one in structures]
    return any(others != numbers[0] for others in numbers)
