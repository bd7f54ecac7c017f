"""`MaskedMethod`: the base of methods that hide parts of the input."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.graph.explained import Explained
from tf_learnprop.methods import baselines
from tf_learnprop.methods.looped import LoopedMethod
from tf_learnprop.methods.passes import Samples

#: What is hidden at once is a seventh of each side by default.
PARTS = 7

#: A number for all sides of the input, or one for each.
Sizes = int | Sequence[int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedMethod(LoopedMethod):
    """A method that hides parts of the input.

    Args:
        baseline: What stands for a hidden pixel: a number, an array that broadcasts to one sample, or "blur"
            for the blurred input. 0 is the mean colour of photos that are normalised, and black for others.
    """

    baseline: baselines.Baseline = 0.0

    def check(self, explained: Explained) -> None:
        """Raises ArgumentError unless the options fit a model."""
        baselines.check(self.baseline, explained)

    def masked(self, samples: Samples, shown: tf.Tensor) -> tf.Tensor:
        """The inputs with what is not shown replaced by the baseline, float32 `[k, n, *spatial, c]`.

        Args:
            samples: The samples.
            shown: float32 `[k, n or 1, *spatial]`, the share of each pixel that is shown.
        """
        baseline = baselines.of(self.baseline, samples.image)
        has_channels = samples.image.shape.rank > 2
        shown = shown[..., None] if has_channels else shown
        return baseline + shown * (samples.image - baseline)


def known_sides(explained: Explained) -> list[int] | None:
    """The sides of the input, None if one of them is unknown."""
    sides = [side for side in explained.map_shape if side is not None]
    return sides if len(sides) == len(explained.map_shape) else None


def sizes_of(name: str, value: Sizes | None, default: list[int]) -> list[int]:
    """A size for each side."""
    if value is None:
        return default
    sizes = [value] * len(default) if isinstance(value, int) else list(value)
    if len(sizes) != len(default):
        raise argument_checks.ArgumentError(name, f"be an int or one for each of {len(default)} sides", value)
    return sizes
