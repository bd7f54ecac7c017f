"""Degradation against a slow loop, and on a model whose right answers are known."""

import itertools

import numpy as np
import pytest

from tests.metrics.known_models import SIDE, images_and_maps, linear, loop_probability, quadrant, quadrant_map
from tf_learnprop import metrics


class TestDegradation:
    @pytest.mark.parametrize(("tile", "step"), [(1, 1), (3, 1), (8, 1), (1, 5), (3, 2), (3, 100)])
    def test_equals_a_slow_loop(self, tile, step):
        images, maps = images_and_maps()
        result = metrics.degradation(linear, images, maps, tile=tile, step=step, fill=0.0, normalise=False)
        starts = list(itertools.product(range(0, SIDE, tile), repeat=2))
        for k, image in enumerate(images):
            target = int(np.argmax(linear(image[None])))
            rank = sorted(starts, key=lambda s, k=k: -maps[k, s[0] : s[0] + tile, s[1] : s[1] + tile].mean())
            areas = []
            for order, curve in ((rank, result.morf[k]), (rank[::-1], result.lerf[k])):
                current, values = image.copy(), [loop_probability(linear, image, target)]
                for first in range(0, len(order), step):
                    for row, column in order[first : first + step]:
                        current[row : row + tile, column : column + tile] = 0
                    values.append(loop_probability(linear, current, target))
                np.testing.assert_allclose(curve, values, rtol=1e-4, atol=1e-6)
                areas.append(np.mean([(a + b) / 2 for a, b in itertools.pairwise(values)]))
            np.testing.assert_allclose(result.scores[k], areas[1] - areas[0], atol=1e-5)

    def test_fractions_are_of_the_tiles_removed(self):
        images, maps = images_and_maps()
        result = metrics.degradation(linear, images, maps, tile=3, step=4, fill=0.0)  # 9 tiles
        np.testing.assert_allclose(result.fractions, [0, 4 / 9, 8 / 9, 1])

    @pytest.mark.parametrize("bad", [{"tile": 0}, {"tile": 2.0}, {"step": 0}, {"step": True}])
    def test_out_of_range(self, bad):
        images, maps = images_and_maps()
        with pytest.raises(ValueError, match=f"`{next(iter(bad))}`"):
            metrics.degradation(linear, images, maps, **bad)

    def test_normalised_by_the_means_of_both_ends(self):
        images, maps = images_and_maps()
        plain = metrics.degradation(linear, images, maps, tile=4, fill=0.0, normalise=False)
        scaled = metrics.degradation(linear, images, maps, tile=4, fill=0.0)
        top, bottom = plain.morf[:, 0].mean(), plain.morf[:, -1].mean()
        np.testing.assert_allclose(scaled.morf, (plain.morf - bottom) / (top - bottom))
        np.testing.assert_allclose(scaled.scores, plain.scores / (top - bottom))

    def test_perfect_map_of_a_quadrant(self):
        # Four tiles, the model sees the first: MoRF falls at once, LeRF at the last step.
        images = np.ones((1, SIDE, SIDE, 1), "float32")
        result = metrics.degradation(quadrant, images, quadrant_map(1), tile=4, fill=0.0)
        np.testing.assert_allclose(result.morf, [[1, 0, 0, 0, 0]], atol=1e-12)
        np.testing.assert_allclose(result.lerf, [[1, 1, 1, 1, 0]], atol=1e-12)
        np.testing.assert_allclose(result.scores, [0.75])

    def test_a_fill_that_changes_nothing_is_an_error(self):
        images, maps = images_and_maps()
        with pytest.raises(ValueError, match="normalise=False"):
            metrics.degradation(linear, images, maps, fill=images)
