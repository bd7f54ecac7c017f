"""`OutputEnd`: how an output of a model ends, and where its logits are."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph import heads
from tf_learnprop.graph.activations import (
    is_fused,
    is_opaque,
    is_transparent,
    own_activation,
    runs_own_function,
)
from tf_learnprop.graph.call_index import CallIndex
from tf_learnprop.graph.heads import Head
from tf_learnprop.graph.layer_kinds import (
    ACTIVATION_OF_CLASS,
    CLIPPING,
    ELEMENT_WISE,
    PROBABILITIES,
    REDUCTIONS,
    SELECTING,
    STACKING,
    WRAPPERS,
    is_one_of,
)
from tf_learnprop.graph.written_out import WrittenOut

#: Smallest probability whose logarithm is taken.
_SMALLEST = 1e-30
#: Smallest distance of a probability from 0 and 1 where its odds are taken.
_SMALLEST_OF_ODDS = 1e-7

Tensors = list[keras.KerasTensor]


@dataclasses.dataclass(frozen=True)
class OutputEnd:
    """How one output of a model ends.

    Attributes:
        call: Number of the call that makes the output, looking past what passes values on; None if the
            output is an input.
        after: Numbers of the calls that pass them on, in the order in which they run.
        activation: "softmax", "log_softmax" or "sigmoid" if the output has passed one, else "".
        has_consumers: Whether the output is also used inside the model.
        selects: Whether the output is a part of what the activation gives.
        factor: By which the activation multiplies its input.
        mixed: Numbers of the calls of activations whose probabilities are mixed into the output, so that no
            tensor holds its logits. They are the logarithms of the output's own probabilities then.
    """

    call: int | None
    after: tuple[int, ...]
    activation: str
    has_consumers: bool
    selects: bool = False
    factor: float = 1.0
    mixed: tuple[int, ...] = ()

    @property
    def head_activation(self) -> str:
        """Activation by which the logits become probabilities: "softmax", "sigmoid" or ""."""
        return self.activation.removeprefix("log_")

    def logits_of(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Logits, float32, for an output with `mixed` probabilities."""
        values = tf.cast(probabilities, tf.float32)
        if self.activation == "softmax":
            return tf.math.log(tf.maximum(values, _SMALLEST))
        values = tf.clip_by_value(values, _SMALLEST_OF_ODDS, 1 - _SMALLEST_OF_ODDS)
        return tf.math.log(values) - tf.math.log1p(-values)


class Tail(NamedTuple):
    """What passes on the values of a tensor to an output.

    Attributes:
        tensor: Number of the tensor.
        call: Number of the call that makes it; None if it is an input.
        after: Numbers of the calls that pass it on, in the order in which they run.
    """

    tensor: int
    call: int | None
    after: tuple[int, ...]


def find_end(index: CallIndex, tensors: Tensors, number: int) -> OutputEnd:
    """The `OutputEnd` of the output that is a tensor.

    Args:
        index: `CallIndex` of the model's calls.
        tensors: Its KerasTensors, by number.
        number: Number of the tensor.
    """
    for passes_on in (_is_plain, _passes_on):
        tail = tail_of(index, number, passes_on)
        head = head_of_call(index.calls[tail.call], tensors) if tail.call is not None else None
        if head and _reads_back(index, tensors, number, tail, head):
            return _end(index, tail, head)
    tail = tail_of(index, number, _is_plain)
    probabilities = _mixed(index, tensors, number)
    if probabilities:
        activation, mixed = probabilities
        alone = Tail(number, index.maker[number], ())
        return dataclasses.replace(_end(index, alone, Head(activation)), mixed=mixed)
    return _end(index, tail, Head(""))


def tail_of(index: CallIndex, number: int, passes_on: Callable[[Any], bool] | None = None) -> Tail:
    """The `Tail` of the output that is a tensor, as far back as calls pass values on."""
    passes_on = passes_on or _passes_on
    after: list[int] = []
    while (k := index.maker.get(number)) is not None and passes_on(index.calls[k]):
        after.insert(0, k)
        number = index.calls[k].sources(number)[0]
    return Tail(number, k, tuple(after))


def head_of_call(call: Any, tensors: Tensors) -> Head | None:
    """The `Head` that a call is or ends in; None if it is none."""
    operation = call.operation
    if call.enters or len(call.outputs) != 1 or not _may_give_probabilities(operation):
        return None
    if is_fused(operation):
        return heads.head_of(operation.activation, tensors[call.outputs[0]])
    if len(call.inputs) != 1:
        return None
    return heads.head_of(WrittenOut([call], *call.inputs, *call.outputs), tensors[call.inputs[0]])


def _end(index: CallIndex, tail: Tail, head: Head) -> OutputEnd:
    passed = {tail.tensor, *(number for k in tail.after for number in index.calls[k].outputs)}
    users = set().union(*map(index.users, passed))
    has_consumers = bool(users - set(tail.after))
    selects = not all(_is_plain(index.calls[k]) for k in tail.after)
    return OutputEnd(tail.call, tail.after, head.activation, has_consumers, selects, head.factor)


def _is_plain(call: Any) -> bool:
    return call.enters or is_transparent(call.operation)


def _passes_on(call: Any) -> bool:
    selects = is_one_of(call.operation, (*SELECTING, *CLIPPING)) and len(call.inputs) == 1
    return _is_plain(call) or selects


def _may_give_probabilities(operation: Any) -> bool:
    if is_opaque(operation) or isinstance(operation, WRAPPERS):
        return True
    name = own_activation(operation)
    is_known = name is None or name in ACTIVATION_OF_CLASS.values() and not runs_own_function(operation)
    return name in PROBABILITIES or not is_known


def _reads_back(index: CallIndex, tensors: Tensors, number: int, tail: Tail, head: Head) -> bool:
    """Whether an output is what a head makes of the logits before it, as numbers show."""
    if not tail.after or not tensors[number].shape[1:]:
        return True
    spec = tensors[tail.tensor]
    logits = heads.sample(spec)
    try:
        with keras.StatelessScope():
            probabilities = {tail.tensor: tf.cast(head.of(logits), spec.dtype)}
            values = {tail.tensor: tf.cast(logits, spec.dtype)}
            for call in map(index.calls.__getitem__, tail.after):
                _run(call, probabilities)
                if is_one_of(call.operation, CLIPPING):
                    values[call.outputs[0]] = values[call.inputs[0]]
                else:
                    _run(call, values)
    except Exception:  # whatever a layer raises for a size that it can't take
        return all(_is_plain(index.calls[k]) for k in tail.after)
    expected, y = heads.numbers(probabilities[number]), heads.numbers(values[number])
    return heads.is_close(expected, head.of(y), spec.dtype)


def _run(call: Any, values: dict[int, tf.Tensor]) -> None:
    values.update(zip(call.outputs, keras.tree.flatten(call.run(values)), strict=True))


def _mixed(index: CallIndex, tensors: Tensors, number: int) -> tuple[str, tuple[int, ...]] | None:
    """How an output of probabilities is read that no softmax or sigmoid alone has made; None for others.

    Returns:
        "softmax" for probabilities that sum to one, else "sigmoid"; and the calls of the activations that
        they come from.
    """
    mixing = _Mixing(index, number)
    if not mixing.sources or not tensors[number].shape[1:]:
        return None
    try:
        with keras.StatelessScope():
            y = heads.numbers(mixing.run(tensors)[number])
    except Exception:  # whatever a layer raises for a size that it can't take
        return None
    rounding = 1e-2 if tensors[number].dtype.endswith("float16") else 1e-4
    if not (np.isfinite(y).all() and y.min() >= -rounding and y.max() <= 1 + rounding):
        return None
    exclusive = y.shape[-1] > 1 and bool((np.abs(y.sum(-1) - 1) <= rounding).all())
    return "softmax" if exclusive else "sigmoid", tuple(sorted(mixing.sources))


class _Mixing:
    """The calls that mix the outputs of activations, which may be probabilities, into an output.

    Attributes:
        sources: Numbers of the calls of these activations.
    """

    def __init__(self, index: CallIndex, number: int):
        self._index = index
        self.sources: set[int] = set()
        self._steps: set[int] = set()
        self._taken: set[int] = set()  # numbers of the tensors that come from elsewhere
        waiting, seen = [number], {number}
        while waiting:
            new = self._before(waiting.pop()) - seen
            seen |= new
            waiting += new

    def _before(self, number: int) -> set[int]:
        """The tensors from which the steps make one; notes the call that makes it."""
        k = self._index.maker.get(number)
        if k is None:
            self._taken.add(number)
            return set()
        call = self._index.calls[k]
        is_source = not call.enters and _may_give_probabilities(call.operation)
        if is_source:
            self.sources.add(k)
        if is_source and is_fused(call.operation) or not is_source and not _mixes(call):
            self._taken.add(number)
            return set()
        self._steps.add(k)
        return self._index.dependent & set(call.sources(number))

    def run(self, tensors: Tensors) -> dict[int, tf.Tensor]:
        """All tensors on the way by number, for random logits."""
        values = {}
        for number in self._taken:
            values[number] = tf.cast(heads.sample(tensors[number]), tensors[number].dtype)
            if self._index.maker.get(number) in self.sources:
                activation = self._index.calls[self._index.maker[number]].operation.activation
                values[number] = activation(values[number])
        for k in sorted(self._index.with_constants(self._steps)):
            _run(self._index.calls[k], values)
        return values


def _mixes(call: Any) -> bool:
    return _passes_on(call) or is_one_of(call.operation, (*ELEMENT_WISE, *REDUCTIONS, *STACKING))
