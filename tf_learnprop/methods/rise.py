"""RISE: random masks."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tf_learnprop import argument_checks
from tf_learnprop.graph.explained import Explained
from tf_learnprop.methods.base import Need, register
from tf_learnprop.methods.masked import PARTS, MaskedMethod, Sizes, known_sides, sizes_of
from tf_learnprop.methods.passes import Samples


@register("rise")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RISE(MaskedMethod):
    """The mean probability of the class over random masks that show a pixel, less that over all masks.

    A mask is a grid of cells, each shown or hidden by chance, enlarged and shifted by less than a cell. The
    paper divides by the expected share of the masks that show a pixel; here it is the share itself, which
    has less noise.

    Args:
        masks: Number of masks. The paper takes 4,000 to 8,000.
        cells: Number of cells along each side, or one for each. None: 7, or half the pixels of a short side.
        keep: Probability that a cell is shown.
        seed: Seed of the masks, which are the same for all samples.
    """

    masks: int = 2000
    cells: Sizes | None = None
    keep: float = 0.5
    seed: int = 0
    label = "RISE"
    cost = "1 + masks"
    source = "Petsiuk et al. 2018, BMVC, arXiv 1806.07421"
    needs = (Need.PIXELS,)
    signed = True

    def __post_init__(self) -> None:
        argument_checks.integer("masks", self.masks, 1)
        argument_checks.integer("seed", self.seed, 0)
        argument_checks.number("keep", self.keep, above=0.0, high=0.999)

    def passes(self, explained: Explained) -> int:
        return 1 + self.masks

    def maps_of(self, explained: Explained) -> Callable[[Samples], tf.Tensor]:
        self.check(explained)
        sides = known_sides(explained)
        if sides is not None:
            self._cells(sides)  # refuses cells that don't fit
        return self.maps

    def maps(self, samples: Samples) -> tf.Tensor:
        """Maps, float32 `[n, *spatial]`."""
        masks = self._masks(samples.image.shape[1:-1])
        sums, shown, score = tf.zeros([1]), tf.zeros([1]), tf.zeros([1])
        for part in samples.parts(self.masks):
            of_part = masks(part)
            scores = samples.probabilities(self.masked(samples, of_part[:, None]))
            sums += tf.tensordot(scores, of_part, [[0], [0]])
            shown += tf.reduce_sum(of_part, 0)
            score += tf.reduce_sum(scores, 0)
        mean = tf.reshape(score / self.masks, [-1] + [1] * shown.shape.rank)
        return tf.math.divide_no_nan(sums, shown) - mean

    def _cells(self, sides: Sequence[int]) -> list[int]:
        """Number of cells along each side."""
        cells = sizes_of("cells", self.cells, [min(PARTS, max(side // 2, 1)) for side in sides])
        for count, side in zip(cells, sides, strict=True):
            argument_checks.integer("cells", count, 1, side)
        return cells

    def _masks(self, sides: Sequence[int]) -> Callable[[slice], tf.Tensor]:
        """Function from a part of the masks to them, float32 `[k, *spatial]`."""
        cells = self._cells(sides)
        generator = np.random.default_rng(self.seed)
        grids = generator.random((self.masks, *cells)) < self.keep
        shifts = generator.random((self.masks, len(sides)))

        def masks(part: slice) -> tf.Tensor:
            found = tf.constant(grids[part], tf.float32)
            for axis, (count, side) in enumerate(zip(cells, sides, strict=True)):
                matrices = tf.constant(_enlarging(side, count, shifts[part, axis]), tf.float32)
                found = tf.einsum("kpc,kc...->k...p", matrices, found)
            return found

        return masks


def _enlarging(side: int, cells: int, shifts: np.ndarray) -> np.ndarray:
    """Linear interpolation of cells at shifted pixels, `[k, side, cells]`.

    Args:
        side: Number of pixels.
        cells: Number of cells.
        shifts: Shifts `[k]` in 0..1 of a cell.
    """
    cell = -(-side // cells)
    pixels = np.arange(side) + np.floor(shifts * cell)[:, None] + 0.5
    places = np.clip(pixels * cells / (side + cell) - 0.5, 0, cells - 1)
    return np.maximum(1.0 - np.abs(places[..., None] - np.arange(cells)), 0.0)
