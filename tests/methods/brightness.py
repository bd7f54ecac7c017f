"""A method as users write them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_learnprop import methods


@methods.register("brightness")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Brightness(methods.LoopedMethod):
    """How bright a pixel is, whatever the model says."""

    power: int = 1
    label = "brightness"
    source = "a test"
    cost = "1"

    def passes(self, explained: Any) -> int:
        return 1

    def maps_of(self, explained: Any) -> Callable[[methods.Samples], tf.Tensor]:
        return lambda samples: tf.reduce_sum(samples.image, -1) ** self.power
