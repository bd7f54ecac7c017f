"""`TracedByKind`: functions of inputs and a target, traced once for each kind of target."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_learnprop.targets.base import Kind, Target
from tf_learnprop.targets.per_sample import broken_rule

#: Largest number of kinds whose traces are kept.
_MOST_KINDS = 8


class TracedByKind:
    """A function of inputs and a target that is traced once for each kind of target.

    Args:
        function: Takes inputs, a target and other tensors.
        traced: Makes a function of tensors one that is traced, as `tracing.for_any_length`.
    """

    def __init__(self, function: Callable[..., Any], traced: Callable[[Callable], Callable]):
        def of_kind(kind: Kind) -> Callable:
            return traced(lambda inputs, data, *others: function(inputs, kind.of(data), *others))

        #: The traced function of inputs, the data of a target and other tensors, for a `Kind`.
        self.of_kind = functools.lru_cache(_MOST_KINDS)(of_kind)

    def __call__(self, inputs: Any, target: Target, *others: Any) -> Any:
        try:
            return self.of_kind(target.kind)(inputs, target.data, *others)
        except tf.errors.InvalidArgumentError as error:
            rule = broken_rule(error)
            if rule is None:
                raise
            raise ValueError(rule) from None
