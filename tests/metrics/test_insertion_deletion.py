"""Insertion and deletion against a slow loop, and on models whose right answers are known."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.known_models import (
    SIDE,
    WEIGHTS,
    images_and_maps,
    linear,
    loop_curve,
    quadrant,
    quadrant_map,
)
from tf_learnprop import metrics


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

    @settings(max_examples=15, deadline=None)
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


@pytest.mark.parametrize("fill", ["paint", np.ones((2, 2)), np.nan, lambda x: x[..., None], "shift"])
def test_bad_fills(fill):
    images, maps = images_and_maps()
    with pytest.raises(ValueError, match="`fill`"):
        metrics.deletion(linear, images, maps, fill=fill)


def test_bad_fills_for_the_data():
    images, maps = images_and_maps()
    with pytest.raises(ValueError, match="at least two images"):
        metrics.deletion(linear, images[:1], maps[:1], fill="image")
    for fill in ("blur", "neighbours"):
        with pytest.raises(ValueError, match="pixels"):
            metrics.deletion(lambda x: x, images[0, 0], maps[0, :, :2], fill=fill)
    with pytest.raises(ValueError, match="at least one fill"):
        metrics.insertion_deletion(linear, images, maps, fills=[])
    for step in (0, 1.5):
        with pytest.raises(ValueError, match="`step`"):
            metrics.deletion(linear, images, maps, step=step)
