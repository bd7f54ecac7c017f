"""Occlusion: a patch moves over the input and hides it."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.graph.explained import Explained
from tf_learnprop.methods.base import Need, register
from tf_learnprop.methods.masked import PARTS, MaskedMethod, Sizes, known_sides, sizes_of
from tf_learnprop.methods.passes import Samples


@register("occlusion")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Occlusion(MaskedMethod):
    """How far the probability of the class falls if a patch is hidden, the mean of the patches over a pixel.

    The last patches end at the edge, so that each pixel is hidden. In a table `[n, features]`, features are
    hidden one by one.

    Args:
        patch: Side of the patch in pixels, or one for each side of the input. None: a seventh of each side.
        stride: How far the patch moves, as `patch`. None: half a patch.
    """

    patch: Sizes | None = None
    stride: Sizes | None = None
    label = "Occlusion"
    cost = "2 + patches"
    source = "Zeiler & Fergus 2014, arXiv 1311.2901"
    needs = (Need.GRADIENT,)
    signed = True

    def __post_init__(self) -> None:
        for name in ("patch", "stride"):
            value = getattr(self, name)
            for size in value if isinstance(value, (list, tuple)) else [value]:
                if size is not None:
                    argument_checks.integer(name, size, 1)

    def passes(self, explained: Explained) -> int | None:
        sides = known_sides(explained)
        if sides is None:
            return None
        hidden = self._hidden(sides, len(explained.input_shape) > 2)
        return 2 + math.prod(len(rows) for rows in hidden)

    def maps_of(self, explained: Explained) -> Callable[[Samples], tf.Tensor]:
        self.check(explained)
        self.passes(explained)  # refuses patches that don't fit
        return self.maps

    def maps(self, samples: Samples) -> tf.Tensor:
        """Maps, float32 `[n, *spatial]`."""
        has_places = samples.image.shape.rank > 2
        sides = samples.image.shape[1:-1] if has_places else samples.image.shape[1:]
        hidden = self._hidden(sides, has_places)
        counts = [len(rows) for rows in hidden]
        before = samples.probabilities(samples.image[None])
        falls, times = tf.zeros([1]), tf.zeros([1])
        for part in samples.parts(math.prod(counts)):
            rows = np.unravel_index(np.arange(part.start, part.stop), counts)
            patches = _outer([side[row] for side, row in zip(hidden, rows, strict=True)])
            after = samples.probabilities(self.masked(samples, 1.0 - patches[:, None]))
            falls += tf.tensordot(before - after, patches, [[0], [0]])
            times += tf.reduce_sum(patches, 0)
        return falls / times

    def _hidden(self, sides: Sequence[int], has_places: bool) -> list[np.ndarray]:
        """What each position of the patch hides along each side, float32 `[positions, length]` for each."""
        patches = sizes_of("patch", self.patch, [max(side // PARTS, 1) * has_places or 1 for side in sides])
        strides = sizes_of("stride", self.stride, [max(patch // 2, 1) for patch in patches])
        found = []
        for side, patch, stride in zip(sides, patches, strides, strict=True):
            argument_checks.integer("patch", patch, 1, side)
            starts = np.array([*range(0, side - patch, stride), side - patch])
            place = np.arange(side) - starts[:, None]
            found.append(((place >= 0) & (place < patch)).astype(np.float32))
        return found


def _outer(rows: Sequence[np.ndarray]) -> tf.Tensor:
    """The product of rows `[k, length]` of each side, float32 `[k, *lengths]`."""
    found = rows[0]
    for row in rows[1:]:
        found = found[..., None] * row.reshape([len(row)] + [1] * (found.ndim - 1) + [-1])
    return tf.constant(found)
