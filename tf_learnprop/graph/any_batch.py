"""Opens a layer that uses the size of the batch, which KerasTensors don't know.

The layer runs with two sizes. Each number that grows with the size becomes a multiple of the real one.
"""

import fractions
from collections.abc import Callable, Iterable
from typing import Any

import keras

from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.steps import BatchSize, CannotOpen, Opened, make_step
from tf_learnprop.graph.symbolic_run import SymbolicRun

#: Two sizes of a batch. What differs between runs with the one and with the other depends on the batch. Two
#: primes times a number that has many divisors, as some layers divide the batch into windows.
BATCH_SIZES = (83 * 192, 89 * 192)


def for_any_batch(first: SymbolicRun, second: SymbolicRun) -> Opened:
    """The `Opened` of two runs that differ only in the size of the batch."""
    if [type(node.operation) for node in first.nodes] != [type(node.operation) for node in second.nodes]:
        raise CannotOpen("what it runs depends on the size of the batch")
    if [constant.shape for constant in first.constants] != [constant.shape for constant in second.constants]:
        raise CannotOpen("it computes constants of the size of the batch")
    replacement = {}

    def pair(tensors: Iterable[keras.KerasTensor], others: Iterable[keras.KerasTensor]) -> None:
        for a, b in zip(tensors, others, strict=True):
            shape = [n if n == m else None for n, m in zip(a.shape, b.shape, strict=True)]
            replacement[id(a)] = keras.KerasTensor(shape, a.dtype, name=a.name)

    pair(first.inputs, second.inputs)
    pair(first.masks, second.masks)
    for a, b in zip(first.nodes, second.nodes, strict=True):
        pair(a.outputs, b.outputs)

    def replace(tensor: keras.KerasTensor) -> keras.KerasTensor:
        return replacement.get(id(tensor), tensor)

    free = [replace(a) for a, b in zip(first.inputs, second.inputs, strict=True) if a.shape != b.shape]
    sizes: dict[fractions.Fraction, keras.KerasTensor] = {}
    more_steps, batch_attributes = [], {}

    def size(value: int) -> keras.KerasTensor:
        factor = fractions.Fraction(value, BATCH_SIZES[0])
        if factor not in sizes:
            sizes[factor] = keras.KerasTensor((), "int32")
            more_steps.append(make_step(BatchSize(factor), (free[0],), {}, [sizes[factor]]))
        return sizes[factor]

    for k, ((a, args, kwargs, _), (b, other_args, other_kwargs, _)) in enumerate(
        zip(first.steps, second.steps, strict=True)
    ):
        if _numbers((args, kwargs)) != _numbers((other_args, other_kwargs)):
            raise CannotOpen("it passes the size of the batch on to its layers")
        settings, others = keras_internals.settings(a.operation), keras_internals.settings(b.operation)
        differing = [name for name in settings if _numbers(settings[name]) != _numbers(others[name])]
        if differing:
            batch_attributes[k] = {name: _merged(settings[name], others[name], size) for name in differing}
    return first.opened(replace, batch_attributes, more_steps)


def _merged(settings: Any, others: Any, size: Callable[[int], keras.KerasTensor]) -> Any:
    def one(a: Any, b: Any) -> Any:
        if not _is_number(a) or a == b:
            return a
        if a * BATCH_SIZES[1] != b * BATCH_SIZES[0]:
            raise CannotOpen("it computes with the size of the batch")
        return size(a)

    return keras.tree.map_structure(one, settings, others)


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, int) and not isinstance(leaf, bool)


def _numbers(structure: Any) -> list[int]:
    return [leaf for leaf in keras.tree.flatten(structure) if _is_number(leaf)]
