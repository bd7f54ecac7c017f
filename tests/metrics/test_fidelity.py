"""Fidelity against slow loops, and on models whose right answers are known."""

import functools
import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_learnprop import metrics

SIDE = 8
WEIGHTS = np.random.default_rng(5).normal(size=(SIDE * SIDE * 2, 3))
QUIET = settings(max_examples=15, deadline=None)


def images_and_maps(count=3, side=SIDE, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(count, side, side, 2)).astype("float32")
    return images, generator.normal(size=(count, side, side))


def linear(images):
    """Logits of a linear model."""
    return np.asarray(images).reshape(len(images), -1) @ WEIGHTS


def quadrant(images):
    """Logits that look at the mean of the top left quadrant alone; class 1 if it is above 0.5."""
    images = np.asarray(images)
    seen = images[:, : images.shape[1] // 2, : images.shape[2] // 2].mean((1, 2, 3))
    return np.stack([np.zeros_like(seen), 20 * (seen - 0.5)], 1)


def quadrant_map(count, side=SIDE):
    maps = np.zeros((count, side, side))
    maps[:, : side // 2, : side // 2] = 1
    return maps


def loop_probability(model, image, target):
    logits = np.asarray(model(image[None]), float)[0]
    powers = [np.exp(value - max(logits)) for value in logits]
    return powers[target] / sum(powers)


def loop_curve(model, image, order, start, finish, step, target):
    """As RISE's own loop: pixels of `start` become those of `finish`, a step at a time."""
    current = start.copy()
    values = [loop_probability(model, current, target)]
    width = image.shape[1]
    for k in range(0, len(order), step):
        for pixel in order[k : k + step]:
            current[pixel // width, pixel % width] = finish[pixel // width, pixel % width]
        values.append(loop_probability(model, current, target))
    area = sum((a + b) / 2 for a, b in itertools.pairwise(values)) / (len(values) - 1)
    return values, area


class TestInsertionAndDeletion:
    @pytest.mark.parametrize("step", [None, 1, 5, 100])
    @pytest.mark.parametrize("targets", [None, 2, [0, 1, 2]])
    def test_equal_a_slow_loop(self, step, targets):
        images, maps = images_and_maps()
        fill = np.random.default_rng(1).normal(size=images.shape).astype("float32")
        options = {"targets": targets, "fill": fill, "step": step, "batch_size": 7}
        deleted = metrics.deletion(linear, images, maps, **options)
        inserted = metrics.insertion(linear, images, maps, **options)
        for k, image in enumerate(images):
            target = (
                int(np.argmax(linear(image[None]))) if targets is None else np.broadcast_to(targets, 3)[k]
            )
            order = sorted(range(SIDE * SIDE), key=lambda p, k=k: -maps[k].ravel()[p])
            for result, start, finish in ((deleted, image, fill[k]), (inserted, fill[k], image)):
                curve, area = loop_curve(linear, image, order, start, finish, step or SIDE, target)
                np.testing.assert_allclose(result.curves[k], curve, rtol=1e-4, atol=1e-6)
                np.testing.assert_allclose(result.scores[k], area, rtol=1e-4, atol=1e-6)
        assert result.fractions[0] == 0 and result.fractions[-1] == 1
        assert len(result.fractions) == result.curves.shape[1]

    def test_perfect_map_has_the_known_deletion_curve(self):
        # Ones everywhere, deleted to 0: after k of the quadrant's 16 pixels the logit is 20·(1 − k/16 − 1/2).
        images = np.ones((2, SIDE, SIDE, 1), "float32")
        result = metrics.deletion(quadrant, images, quadrant_map(2), fill=0.0, step=1)
        seen = 1 - np.minimum(np.arange(SIDE * SIDE + 1), 16) / 16
        expected = 1 / (1 + np.exp(-20 * (seen - 0.5)))
        np.testing.assert_allclose(result.curves, [expected, expected], rtol=1e-5)
        # By symmetry the curve falls from 1 to 0 with area 8 of its 64 steps.
        np.testing.assert_allclose(result.scores, 8 / 64, atol=1e-4)
        worst = metrics.deletion(quadrant, images, -quadrant_map(2), fill=0.0, step=1)
        np.testing.assert_allclose(worst.scores, 1 - 8 / 64, atol=1e-4)

    def test_perfect_map_has_the_known_insertion_curve(self):
        images = np.ones((2, SIDE, SIDE, 1), "float32")
        result = metrics.insertion(quadrant, images, quadrant_map(2), fill=0.0, step=1, targets=1)
        seen = np.minimum(np.arange(SIDE * SIDE + 1), 16) / 16
        expected = 1 / (1 + np.exp(-20 * (seen - 0.5)))
        np.testing.assert_allclose(result.curves, [expected, expected], rtol=1e-5)
        np.testing.assert_allclose(result.scores, 1 - 8 / 64, atol=1e-4)

    def test_best_order_of_a_linear_model_is_its_contributions(self):
        images, maps = images_and_maps(6)
        ids = linear(images).argmax(1)
        shares = (images.reshape(6, -1) * WEIGHTS.T[ids]).reshape(images.shape).sum(-1)
        own = metrics.insertion_deletion(linear, images, shares, fills={"zero": 0.0})
        other = metrics.insertion_deletion(linear, images, maps, fills={"zero": 0.0})
        assert (own.scores > other.scores).all()

    def test_default_step_is_the_width(self):
        images = np.ones((1, 4, 6, 1), "float32")
        assert metrics.deletion(quadrant, images, np.ones((1, 4, 6)), fill=0.0).curves.shape == (1, 5)

    @QUIET
    @given(
        shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
        count=st.integers(1, 3),
        step=st.integers(1, 9),
        batch=st.integers(1, 40),
    )
    def test_any_shape(self, shape, count, step, batch):
        generator = np.random.default_rng(0)
        images = generator.normal(size=(count, *shape, 2))
        maps = generator.normal(size=(count, *shape))

        def model(x):
            total = np.tanh(x).reshape(len(x), -1).sum(1)
            return np.stack([total, 0.3 * total + 1], 1)

        one = metrics.deletion(model, images, maps, step=step, fill=0.0, batch_size=batch)
        again = metrics.deletion(model, images, maps, step=step, fill=0.0, batch_size=1000)
        np.testing.assert_allclose(one.curves, again.curves, rtol=1e-5)
        assert one.curves.shape == (count, -(-int(np.prod(shape)) // step) + 1)

    def test_features_without_channels(self):
        images = np.array([[1.0, 2.0, 4.0]])
        result = metrics.deletion(
            lambda x: np.stack([x.sum(1), 0 * x[:, 0]], 1), images, images, fill=0.0, targets=0
        )
        expected = 1 / (1 + np.exp(-np.array([7.0, 3.0, 1.0, 0.0])))
        np.testing.assert_allclose(result.curves[0], expected, rtol=1e-6)

    def test_constant_maps_are_ranked_at_random_by_the_seed(self):
        images, _ = images_and_maps()
        flat = np.full((3, SIDE, SIDE), 0.5)
        curves = [metrics.deletion(linear, images, flat, seed=seed).curves for seed in (3, 3, 4)]
        np.testing.assert_array_equal(curves[0], curves[1])
        assert np.abs(curves[0] - curves[2]).max() > 1e-3
        alone = metrics.deletion(linear, images[:2], flat[:2], seed=3, mean=images.mean((0, 1, 2))).curves
        np.testing.assert_allclose(alone, curves[0][:2], rtol=1e-4)

    def test_keras_model_equals_its_function(self):
        images, maps = images_and_maps()
        source = keras.Sequential(
            [keras.Input((SIDE, SIDE, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
        )
        weights, bias = source.layers[-1].get_weights()
        by_model = metrics.deletion(source, images, maps, batch_size=5)
        by_function = metrics.deletion(lambda x: x.reshape(len(x), -1) @ weights + bias, images, maps)
        np.testing.assert_allclose(by_model.curves, by_function.curves, rtol=1e-4)

    def test_one_unit_is_no_and_yes(self):
        images, maps = images_and_maps()
        two = metrics.deletion(
            lambda x: np.stack([0 * linear(x)[:, 0], linear(x)[:, 0]], 1), images, maps, targets=1
        )
        one = metrics.deletion(lambda x: linear(x)[:, :1], images, maps, targets=1)
        sigmoid = metrics.deletion(
            lambda x: 1 / (1 + np.exp(-linear(x)[:, :1])), images, maps, targets=1, from_logits=False
        )
        np.testing.assert_allclose(one.curves, two.curves)
        np.testing.assert_allclose(sigmoid.curves, two.curves)

    def test_probabilities_need_from_logits_false(self):
        images, maps = images_and_maps()

        def model(x):
            return np.exp(linear(x)) / np.exp(linear(x)).sum(1, keepdims=True)

        with pytest.raises(ValueError, match="look like probabilities"):
            metrics.deletion(model, images, maps)
        with pytest.raises(ValueError, match="must give probabilities"):
            metrics.deletion(linear, images, maps, from_logits=False)
        same = metrics.deletion(model, images, maps, from_logits=False)
        np.testing.assert_allclose(same.curves, metrics.deletion(linear, images, maps).curves, rtol=1e-6)

    def test_model_never_gets_more_than_a_batch(self):
        images, maps = images_and_maps()
        sizes = []

        def model(x):
            sizes.append(len(x))
            return linear(x)

        metrics.deletion(model, images, maps, batch_size=4)
        assert max(sizes) == 4

    def test_verbose_shows_a_bar(self, capsys):
        images, maps = images_and_maps()
        metrics.deletion(linear, images, maps, verbose=1)
        assert "/1" in capsys.readouterr().out

    def test_score_of_fills_is_their_mean(self):
        images, maps = images_and_maps(4)
        result = metrics.insertion_deletion(linear, images, maps, seed=2)
        assert list(result.insertion) == ["mean", "blur", "noise", "image", "neighbours"]
        differences = []
        for fill in result.insertion:
            alone = metrics.insertion(linear, images, maps, fill=fill, seed=2)
            np.testing.assert_array_equal(result.insertion[fill].curves, alone.curves)
            differences.append(
                alone.scores - metrics.deletion(linear, images, maps, fill=fill, seed=2).scores
            )
        np.testing.assert_allclose(result.scores, np.mean(differences, 0))


class TestDegradation:
    @pytest.mark.parametrize("tile", [1, 3, 8])
    def test_equals_a_slow_loop(self, tile):
        images, maps = images_and_maps()
        result = metrics.degradation(linear, images, maps, tile=tile, fill=0.0, normalise=False)
        starts = list(itertools.product(range(0, SIDE, tile), repeat=2))
        for k, image in enumerate(images):
            target = int(np.argmax(linear(image[None])))
            rank = sorted(starts, key=lambda s, k=k: -maps[k, s[0] : s[0] + tile, s[1] : s[1] + tile].mean())
            areas = []
            for order, curve in ((rank, result.morf[k]), (rank[::-1], result.lerf[k])):
                current, values = image.copy(), [loop_probability(linear, image, target)]
                for row, column in order:
                    current[row : row + tile, column : column + tile] = 0
                    values.append(loop_probability(linear, current, target))
                np.testing.assert_allclose(curve, values, rtol=1e-4, atol=1e-6)
                areas.append(np.mean([(a + b) / 2 for a, b in itertools.pairwise(values)]))
            np.testing.assert_allclose(result.scores[k], areas[1] - areas[0], atol=1e-5)

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


class TestMaxSensitivity:
    def test_equals_a_slow_loop(self):
        images, _ = images_and_maps()

        def explain(x):
            return (x**2).sum(-1)

        have = metrics.max_sensitivity(explain, images, radius=0.1, samples=4, seed=2, batch_size=5)
        reach = 0.1 * float(images.max() - images.min())
        for k, image in enumerate(images):
            distances = []
            for number in range(4):
                noise = np.random.default_rng((2, k, number)).uniform(-reach, reach, image.shape)
                moved = explain(image + noise.astype("float32")) - explain(image)
                distances.append(np.sqrt((moved**2).sum() / (explain(image) ** 2).sum()))
            np.testing.assert_allclose(have[k], max(distances), rtol=1e-4)

    def test_known_maps(self):
        images, _ = images_and_maps()
        constant = metrics.max_sensitivity(lambda x: np.ones(x.shape[:3]), images)
        np.testing.assert_array_equal(constant, 0)
        zero = metrics.max_sensitivity(lambda x: np.zeros(x.shape[:3]), images)
        np.testing.assert_array_equal(zero, 0)
        flat = np.zeros((2, 4, 4, 1))
        flat[1] = 1
        woken = metrics.max_sensitivity(lambda x: x[..., 0] * (x[..., 0] != 1), flat)
        assert np.isinf(woken).all()

    def test_targets_are_those_of_their_images(self):
        images, _ = images_and_maps()

        def explain(x, ids):
            assert len(x) == len(ids)
            return np.ones(x.shape[:3]) * (1 + ids)[:, None, None]

        assert (metrics.max_sensitivity(explain, images, [0, 1, 2], batch_size=2) == 0).all()

    def test_bad_explain(self):
        images, _ = images_and_maps()
        with pytest.raises(TypeError, match="callable"):
            metrics.max_sensitivity(None, images)
        with pytest.raises(ValueError, match="one map an image"):
            metrics.max_sensitivity(lambda x: np.ones((1, 4, 4)), images)
        with pytest.raises(ValueError, match="finite"):
            metrics.max_sensitivity(lambda x: np.full(x.shape[:3], np.nan), images)


ALL = {
    "deletion": metrics.deletion,
    "insertion": metrics.insertion,
    "insertion_deletion": metrics.insertion_deletion,
    "degradation": metrics.degradation,
    "mu_fidelity": functools.partial(metrics.mu_fidelity, grid=4),
    "infidelity": metrics.infidelity,
}


@pytest.mark.parametrize("metric", ALL.values(), ids=ALL)
class TestBadInput:
    def test_maps(self, metric):
        images, maps = images_and_maps()
        nan = maps.copy()
        nan[1, 0, 0] = np.nan
        with pytest.raises(ValueError, match="finite.*entries \\[1\\]"):
            metric(linear, images, nan)
        for other in (maps[:2], maps[:, 1:], maps[..., None], maps[0]):
            with pytest.raises(ValueError, match="length and size"):
                metric(linear, images, other)
        with pytest.raises(ValueError, match="non-empty"):
            metric(linear, images, maps[:0])
        with pytest.raises(ValueError, match="numbers"):
            metric(linear, images, maps.astype(str))

    def test_images(self, metric):
        images, maps = images_and_maps()
        with pytest.raises(ValueError, match="non-empty"):
            metric(linear, images[:0], maps[:0])
        with pytest.raises(ValueError, match="finite"):
            metric(linear, np.where(images > 1, np.inf, images), maps)

    def test_targets(self, metric):
        images, maps = images_and_maps()
        for bad in (3, -1, [0, 1], [0.0, 1.0, 2.0], np.eye(3), [0, 1, 3]):
            with pytest.raises(ValueError, match="`targets`"):
                metric(linear, images, maps, targets=bad)

    def test_model(self, metric):
        images, maps = images_and_maps()
        with pytest.raises(TypeError, match="callable"):
            metric(3, images, maps)
        for model in (lambda x: linear(x)[:, 0], lambda x: linear(x)[:1], lambda x: linear(x)[None]):
            with pytest.raises(ValueError, match="outputs"):
                metric(model, images, maps)
        with pytest.raises(ValueError, match="outputs must be finite"):
            metric(lambda x: linear(x) * np.nan, images, maps)
        with pytest.raises(ValueError, match="look like probabilities"):
            metric(lambda x: np.full((len(x), 2), 0.5), images, maps)

    def test_options(self, metric):
        images, maps = images_and_maps()
        with pytest.raises(ValueError, match="batch_size"):
            metric(linear, images, maps, batch_size=0)
        with pytest.raises(ValueError, match="seed"):
            metric(linear, images, maps, seed=-1)
        with pytest.raises(ValueError, match="`mean`"):
            metric(linear, images, maps, mean=[1.0, 2.0, 3.0])


@pytest.mark.parametrize("fill", ["paint", np.ones((2, 2)), np.nan, lambda x: x[..., None], "shift"])
def test_bad_fills(fill):
    images, maps = images_and_maps()
    with pytest.raises(ValueError, match="`fill`"):
        metrics.deletion(linear, images, maps, fill=fill)


def test_bad_fills_for_the_data():
    images, maps = images_and_maps()
    with pytest.raises(ValueError, match="another image"):
        metrics.deletion(linear, images[:1], maps[:1], fill="image")
    for fill in ("blur", "neighbours"):
        with pytest.raises(ValueError, match="pixels"):
            metrics.deletion(lambda x: x, images[0, 0], maps[0, :, :2], fill=fill)
    with pytest.raises(ValueError, match="at least one fill"):
        metrics.insertion_deletion(linear, images, maps, fills=[])
    for step in (0, 1.5):
        with pytest.raises(ValueError, match="`step`"):
            metrics.deletion(linear, images, maps, step=step)
    with pytest.raises(ValueError, match="`tile`"):
        metrics.degradation(linear, images, maps, tile=0)
