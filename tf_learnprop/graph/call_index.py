"""`CallIndex`: which call makes a tensor, and which calls take it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: Most calls that may stand for one function.
_MOST_CALLS = 40


class CallIndex:
    """The calls of a graph by the tensors that they make and take.

    Args:
        calls: Each `Call`, in the order in which they run.
        inputs: Numbers of the tensors that are the model's inputs.
        outputs: Numbers of those that are its outputs.

    Attributes:
        maker: Position of the call that makes a tensor, by number of the tensor.
        dependent: Numbers of the tensors that depend on the inputs.
    """

    def __init__(self, calls: list[Any], inputs: Iterable[int], outputs: Iterable[int]):
        self.calls, self.inputs = calls, list(inputs)
        self.maker = {number: k for k, call in enumerate(calls) for number in call.outputs}
        self.dependent = set(self.inputs)
        self._outputs = set(outputs)
        self._users: dict[int, set[int]] = {}
        for k, call in enumerate(calls):
            if self.dependent & set(call.inputs):
                self.dependent.update(call.outputs)
            for number in call.inputs:
                self._users.setdefault(number, set()).add(k)

    def users(self, number: int) -> set[int]:
        """Positions of the calls that take a tensor."""
        return self._users.get(number, set())

    def is_inner(self, number: int, steps: set[int]) -> bool:
        """Whether nothing but some calls takes a tensor."""
        return number not in self._outputs and self.users(number) <= steps

    def functions(self, number: int, may_join: Callable[[Any], bool]) -> Iterator[tuple[int, list[Any]]]:
        """Ways to see a tensor as a function of one other tensor, from the shortest to the longest.

        Args:
            number: The tensor.
            may_join: Whether a call may be a step of the function.

        Yields:
            The number of the other tensor and the steps between the two, among them those that compute
            constants. No other call takes what the steps make on the way.
        """
        steps: set[int] = set()
        frontier = {number} & self.dependent
        while frontier and len(steps) < _MOST_CALLS:
            latest = max(frontier, key=lambda n: self.maker.get(n, -1))
            k = self.maker.get(latest)
            if k is None or not may_join(self.calls[k]):
                return
            if any(one != number and not self.is_inner(one, steps) for one in self.calls[k].outputs):
                return
            steps.add(k)
            frontier -= set(self.calls[k].outputs)
            frontier |= self.dependent & set(self.calls[k].inputs)
            if len(frontier) == 1:
                yield next(iter(frontier)), [self.calls[j] for j in sorted(self.with_constants(steps))]

    def with_constants(self, steps: set[int]) -> set[int]:
        """Positions of some calls, and of those that compute constants for them."""
        together, waiting = set(steps), list(steps)
        while waiting:
            for number in set(self.calls[waiting.pop()].inputs) - self.dependent:
                k = self.maker[number]
                if k not in together:
                    together.add(k)
                    waiting.append(k)
        return together
