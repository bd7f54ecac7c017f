"""µFidelity and infidelity against slow loops, and on models whose right answers are known."""

import itertools

import numpy as np
import pytest

from tests.metrics.known_models import SIDE, WEIGHTS, images_and_maps, linear, quadrant
from tf_learnprop import metrics


class TestMuFidelity:
    def test_equals_a_slow_loop(self):
        images, maps = images_and_maps(side=SIDE)
        arguments = {"grid": 3, "subset": 0.34, "samples": 12, "fill": 0.0, "seed": 4}
        have = metrics.mu_fidelity(linear, images, maps, **arguments)
        order = np.random.default_rng(4).random((12, 9)).argsort(1)
        for k, image in enumerate(images):
            target = int(np.argmax(linear(image[None])))
            sums, drops = [], []
            for sample in range(12):
                removed, total = image.copy(), 0.0
                for row, column in itertools.product(range(SIDE), repeat=2):
                    if 3 * (row * 3 // SIDE) + column * 3 // SIDE in order[sample, :3]:
                        removed[row, column] = 0
                        total += maps[k, row, column]
                sums.append(total)
                drops.append(float(linear(image[None])[0, target] - linear(removed[None])[0, target]))
            np.testing.assert_allclose(have[k], np.corrcoef(sums, drops)[0, 1], rtol=1e-4)

    @pytest.mark.parametrize("correlation", ["pearson", "spearman"])
    def test_contributions_of_a_linear_model_are_perfect(self, correlation):
        images, maps = images_and_maps(4)
        ids = linear(images).argmax(1)
        shares = (images.reshape(4, -1) * WEIGHTS.T[ids]).reshape(images.shape).sum(-1)
        options = {"grid": 8, "samples": 50, "fill": 0.0, "correlation": correlation}
        np.testing.assert_allclose(metrics.mu_fidelity(linear, images, shares, **options), 1, atol=1e-3)
        np.testing.assert_allclose(metrics.mu_fidelity(linear, images, -shares, **options), -1, atol=1e-3)
        assert (np.abs(metrics.mu_fidelity(linear, images, maps, **options)) < 0.7).all()

    def test_no_correlation_is_zero(self):
        images, maps = images_and_maps()
        assert (metrics.mu_fidelity(linear, images, np.ones_like(maps), grid=4, samples=20) == 0).all()
        assert (metrics.mu_fidelity(linear, images, maps, grid=4, samples=20, fill=images) == 0).all()

    @pytest.mark.parametrize(
        "bad", [{"grid": 9}, {"subset": 0.001, "grid": 4}, {"subset": 1.5}, {"samples": 1}]
    )
    def test_out_of_range(self, bad):
        images, maps = images_and_maps()
        with pytest.raises(ValueError, match="must"):
            metrics.mu_fidelity(linear, images, maps, **{"grid": 4, **bad})


class TestInfidelity:
    def test_contributions_of_a_linear_model_are_perfect_at_any_scale(self):
        images, _ = images_and_maps(4)
        ids = linear(images).argmax(1)
        shares = (images.reshape(4, -1) * WEIGHTS.T[ids]).reshape(images.shape).sum(-1)
        for scale, rescale in ((1, False), (7, True), (0.1, True)):
            score = metrics.infidelity(linear, images, scale * shares, fill=0.0, samples=20, rescale=rescale)
            np.testing.assert_allclose(score, 0, atol=1e-6)

    def test_zero_map_has_the_mean_squared_drop(self):
        # One pixel a square; the model sees a quadrant whose 16 pixels cost 20/16 each.
        images = np.ones((1, SIDE, SIDE, 1), "float32")
        score = metrics.infidelity(
            quadrant, images, np.zeros((1, SIDE, SIDE)), fill=0.0, largest=0.1, samples=2000
        )
        np.testing.assert_allclose(score, 0.25 * (20 / 16) ** 2, rtol=0.1)

    @pytest.mark.parametrize("rescale", [True, False])
    def test_equals_a_slow_loop(self, rescale):
        images, maps = images_and_maps()
        have = metrics.infidelity(
            linear, images, maps, fill=0.0, samples=9, largest=0.5, seed=3, rescale=rescale
        )
        generator = np.random.default_rng(3)
        sides = generator.integers(1, 5, 9)
        rows, columns = (generator.integers(0, SIDE - sides + 1) for _ in range(2))
        for k, image in enumerate(images):
            target = int(np.argmax(linear(image[None])))
            sums, drops = [], []
            for side, row, column in zip(sides, rows, columns, strict=True):
                removed = image.copy()
                removed[row : row + side, column : column + side] = 0
                sums.append(maps[k, row : row + side, column : column + side].sum())
                drops.append(float((linear(image[None]) - linear(removed[None]))[0, target]))
            sums, drops = np.array(sums), np.array(drops)
            factor = (sums * drops).mean() / (sums**2).mean() if rescale else 1
            np.testing.assert_allclose(have[k], ((factor * sums - drops) ** 2).mean(), rtol=1e-4)


class TestSingleUnit:
    """A unit z is measured as two units with the logits −z/2 and z/2, for "no" as well as for "yes"."""

    IMAGES, MAPS = images_and_maps(6)
    DIFFERENCE = WEIGHTS[:, 1] - WEIGHTS[:, 0]

    @classmethod
    def one(cls, images):
        return (np.asarray(images).reshape(len(images), -1) @ cls.DIFFERENCE)[:, None]

    @classmethod
    def two(cls, images):
        return np.concatenate([-cls.one(images), cls.one(images)], 1) / 2

    def test_a_perfect_map_is_perfect_for_either_class(self):
        shares = (self.IMAGES.reshape(6, -1) * self.DIFFERENCE).reshape(self.IMAGES.shape).sum(-1)
        says_yes = self.one(self.IMAGES)[:, 0] > 0
        assert 0 < says_yes.sum() < 6
        perfect = np.where(says_yes[:, None, None], shares, -shares)
        options = {"grid": 8, "samples": 50, "fill": 0.0}
        for model in (self.one, self.two):
            have = metrics.mu_fidelity(model, self.IMAGES, perfect, **options)
            np.testing.assert_allclose(have, 1, atol=1e-3)

    def test_a_random_map_is_as_bad_as_with_two_units(self):
        options = {"fill": 0.0, "samples": 20}
        have = metrics.infidelity(self.one, self.IMAGES, self.MAPS, **options)
        assert have.min() > 0.1
        np.testing.assert_allclose(have, metrics.infidelity(self.two, self.IMAGES, self.MAPS, **options))


class TestSingleDeletion:
    def test_equals_a_slow_loop(self):
        images, maps = images_and_maps()
        have = metrics.single_deletion(linear, images, maps, grid=3, fill=0.2)
        for k, image in enumerate(images):
            target = int(np.argmax(linear(image[None])))
            sums, drops = [], []
            for patch in itertools.product(range(3), repeat=2):
                removed, total = image.copy(), 0.0
                for row, column in itertools.product(range(SIDE), repeat=2):
                    if (row * 3 // SIDE, column * 3 // SIDE) == patch:
                        removed[row, column] = 0.2
                        total += maps[k, row, column]
                sums.append(total)
                drops.append(float(linear(image[None])[0, target] - linear(removed[None])[0, target]))
            ranks = [np.argsort(np.argsort(values)) for values in (sums, drops)]
            np.testing.assert_allclose(have[k], np.corrcoef(*ranks)[0, 1], rtol=1e-6)

    def test_contributions_of_a_linear_model_are_perfect(self):
        images, _ = images_and_maps(4)
        ids = linear(images).argmax(1)
        shares = (images.reshape(4, -1) * WEIGHTS.T[ids]).reshape(images.shape).sum(-1)
        np.testing.assert_allclose(metrics.single_deletion(linear, images, shares, fill=0.0), 1)
        np.testing.assert_allclose(metrics.single_deletion(linear, images, -shares, fill=0.0), -1)

    @pytest.mark.parametrize("grid", [1, SIDE + 1])
    def test_bad_grid(self, grid):
        images, maps = images_and_maps()
        with pytest.raises(ValueError, match="`grid` must be"):
            metrics.single_deletion(linear, images, maps, grid=grid)
