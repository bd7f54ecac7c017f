"""Sanity checks on models and backward passes whose answers are known."""

import itertools

import keras
import numpy as np
import pytest

from tf_learnprop import metrics

SIDE = 12


def random_maps(count=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))


def loop_ssim(a, b, window):
    """Wang et al. 2004: valid windows, Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03, range 1."""
    place = np.arange(window) - (window - 1) / 2
    g = np.exp(-(place**2) / (2 * 1.5**2))
    weights = np.outer(g, g) / g.sum() ** 2
    values = []
    for row in range(a.shape[0] - window + 1):
        for column in range(a.shape[1] - window + 1):
            p = a[row : row + window, column : column + window]
            q = b[row : row + window, column : column + window]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * p * p).sum() - mp**2, (weights * q * q).sum() - mq**2
            cov = (weights * p * q).sum() - mp * mq
            values.append(
                (2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
            )
    return np.mean(values)


class TestSimilarity:
    @pytest.mark.parametrize(("side", "window"), [(12, 11), (8, 7), (1, 1)])
    def test_ssim_equals_a_slow_loop(self, side, window):
        a, b = random_maps(seed=1)[:, :side], random_maps(seed=2)[:, :side]
        have = metrics.similarity(a, b).ssim
        for k in range(3):
            one, other = ((m[k] - m[k].min()) / np.ptp(m[k]) for m in (a, b))
            np.testing.assert_allclose(have[k], loop_ssim(one, other, window), atol=1e-3)

    def test_known_pairs(self):
        maps = random_maps()
        same = metrics.similarity(maps, 3 * maps + 2)
        np.testing.assert_allclose(same.rank_correlation, 1)
        np.testing.assert_allclose(same.ssim, 1, atol=1e-5)
        np.testing.assert_allclose(metrics.similarity(maps, -maps).rank_correlation, -1)
        np.testing.assert_allclose(metrics.similarity(maps, -maps, absolute=True).rank_correlation, 1)
        flat = metrics.similarity(maps, np.ones_like(maps))
        np.testing.assert_array_equal(flat.rank_correlation, 0)
        assert np.isfinite(flat.ssim).all()

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (random_maps(2), "one shape"),
            (random_maps()[:, 1:], "one shape"),
            (random_maps()[..., None], "2 axes"),
            (random_maps() * np.nan, "finite"),
            (random_maps()[:0], "non-empty"),
        ],
    )
    def test_bad_maps(self, other, message):
        with pytest.raises(ValueError, match=message):
            metrics.similarity(random_maps(), other)


def nested_model():
    """Two convolutions, the second in a nested model, and a frozen batch normalisation between."""
    inner = keras.Sequential(
        [keras.Input((SIDE, SIDE, 4)), keras.layers.Conv2D(3, 3, activation="relu", name="deep")],
        name="inner",
    )
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 2)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first"),
            keras.layers.BatchNormalization(trainable=False, name="norm"),
            inner,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, name="head"),
        ]
    )
    norm = model.get_layer("norm")
    norm.set_weights(np.random.default_rng(0).uniform(0.5, 1.5, (4, 4)).astype("float32"))
    return model


def weights_by_layer(model):
    weights = {}
    for layer in [*model.layers, *model.get_layer("inner").layers]:
        if layer.name in ("head", "deep", "norm", "first"):
            weights[layer.name] = [np.array(value) for value in layer.get_weights()]
    return weights


class TestRandomisation:
    images = np.random.default_rng(3).normal(size=(2, SIDE, SIDE, 2)).astype("float32")

    def changed(self, mode, layers=None):
        """Names of the layers whose weights differ from the model's, at each call of `explain`."""
        model = nested_model()
        original, seen, calls = weights_by_layer(model), [], []

        def explain(copy, images):
            assert copy is not model
            calls.append(np.asarray(copy(images)))
            now = weights_by_layer(copy)
            seen.append(
                {
                    name
                    for name, values in now.items()
                    if any((a != b).any() for a, b in zip(values, original[name], strict=True))
                }
            )
            return images.sum(-1)

        before = np.asarray(model(self.images))
        result = metrics.randomisation(model, self.images, explain, mode=mode, layers=layers)
        np.testing.assert_array_equal(calls[0], before)
        np.testing.assert_array_equal(model(self.images), before)
        for name, values in weights_by_layer(model).items():
            for a, b in zip(values, original[name], strict=True):
                np.testing.assert_array_equal(a, b)
        assert model.get_layer("norm").trainable is False
        return seen, result

    def test_cascading_goes_from_the_output_down(self):
        seen, result = self.changed("cascading")
        assert seen == [
            set(),
            {"head"},
            {"head", "deep"},
            {"head", "deep", "norm"},
            {"head", "deep", "norm", "first"},
        ]
        assert [path.split("/")[-1] for path in result.layers] == ["head", "deep", "norm", "first"]

    def test_independent_takes_each_alone(self):
        seen, _ = self.changed("independent")
        assert seen == [set(), {"head"}, {"deep"}, {"norm"}, {"first"}]

    def test_some_layers_are_spread_over_all(self):
        seen, result = self.changed("cascading", layers=2)
        assert seen == [set(), {"head"}, {"head", "deep", "norm", "first"}]
        assert [path.split("/")[-1] for path in result.layers] == ["head", "first"]
        seen, _ = self.changed("independent", layers=3)
        assert seen == [set(), {"head"}, {"norm"}, {"first"}]
        seen, _ = self.changed("independent", layers=1)
        assert seen == [set(), {"head"}]
        seen, _ = self.changed("independent", layers=9)
        assert len(seen) == 5

    @pytest.mark.parametrize("mode", ["cascading", "independent"])
    def test_some_layers_have_the_values_that_they_have_among_all(self, mode):
        def explain(model, images):
            return images[..., 0] * np.asarray(model(images))[:, :1, None] + images[..., 1]

        model = nested_model()
        every = metrics.randomisation(model, self.images, explain, mode=mode)
        some = metrics.randomisation(model, self.images, explain, mode=mode, layers=2)
        np.testing.assert_array_equal(some.rank_correlation, every.rank_correlation[[0, -1]])
        np.testing.assert_array_equal(some.ssim, every.ssim[[0, -1]])

    def test_moments_are_kept_and_statistics_stay(self):
        model = nested_model()
        found = []
        metrics.randomisation(
            model, self.images, lambda copy, x: found.append(weights_by_layer(copy)) or x.sum(-1)
        )
        kernels = found[0]["first"][0], found[-1]["first"][0]
        np.testing.assert_allclose(kernels[0].std(), kernels[1].std(), rtol=0.4)
        for k in (2, 3):  # moving mean and variance
            np.testing.assert_array_equal(found[0]["norm"][k], found[-1]["norm"][k])
        assert (found[0]["norm"][0] != found[-1]["norm"][0]).all()

    def test_a_map_that_ignores_the_model_does_not_move(self):
        result = metrics.randomisation(nested_model(), self.images, lambda model, x: x[..., 0])
        np.testing.assert_allclose(result.rank_correlation, np.ones((4, 2)))
        np.testing.assert_allclose(result.ssim, np.ones((4, 2)), atol=1e-5)

    def test_a_map_of_the_first_layer_moves_with_it_alone(self):
        def explain(model, images):
            first = keras.Model(model.inputs[0], model.get_layer("first").output)
            return np.asarray(first(images)).mean(-1)

        result = metrics.randomisation(nested_model(), self.images, explain)
        np.testing.assert_allclose(result.rank_correlation[:3], 1)
        assert (result.rank_correlation[3] < 0.9).all()

    def test_follows_the_seed(self):
        def explain(model, images):
            return images[..., 0] * np.asarray(model(images))[:, :1, None] + images[..., 1]

        model = nested_model()
        a, b, c = (metrics.randomisation(model, self.images, explain, seed=s).ssim for s in (1, 1, 2))
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()

    def test_bad_input(self):
        model = nested_model()
        with pytest.raises(TypeError, match="keras.Model"):
            metrics.randomisation(lambda x: x, self.images, lambda m, x: x)
        with pytest.raises(TypeError, match="`explain`"):
            metrics.randomisation(model, self.images, None)
        with pytest.raises(ValueError, match="`mode`"):
            metrics.randomisation(model, self.images, lambda m, x: x[..., 0], mode="both")
        for layers in (0, 1.5):
            with pytest.raises(ValueError, match="`layers`"):
                metrics.randomisation(model, self.images, lambda m, x: x[..., 0], layers=layers)
        with pytest.raises(ValueError, match="non-empty"):
            metrics.randomisation(model, self.images[:0], lambda m, x: x[..., 0])
        for explain, message in (
            (lambda m, x: x[:1, ..., 0], "one entry an image"),
            (lambda m, x: x, "2 axes"),
        ):
            with pytest.raises(ValueError, match=message):
                metrics.randomisation(model, self.images, explain)
        bare = keras.Sequential([keras.Input((SIDE, SIDE, 2)), keras.layers.Flatten()])
        with pytest.raises(ValueError, match="layers with weights"):
            metrics.randomisation(bare, self.images, lambda m, x: x[..., 0])


class TestClassSensitivity:
    images = np.random.default_rng(3).normal(size=(5, SIDE, SIDE, 1)).astype("float32")
    weights = np.random.default_rng(4).normal(size=(SIDE * SIDE, 3))

    def model(self, images):
        return images.reshape(len(images), -1) @ self.weights

    def test_of_a_linear_model_equals_a_slow_loop(self):
        def explain(images, ids):
            return self.weights.T[ids].reshape(-1, SIDE, SIDE)

        have = metrics.class_sensitivity(self.model, self.images, explain, batch_size=2)
        for k, image in enumerate(self.images):
            logits = list(self.model(image[None])[0])
            pair = [self.weights[:, logits.index(pick(logits))].argsort().argsort() for pick in (max, min)]
            np.testing.assert_allclose(have.rank_correlation[k], np.corrcoef(*pair)[0, 1], atol=1e-9)

    def test_a_map_that_ignores_the_class_has_one(self):
        have = metrics.class_sensitivity(self.model, self.images, lambda x, ids: x[..., 0])
        np.testing.assert_allclose(have.rank_correlation, 1)
        np.testing.assert_allclose(have.ssim, 1, atol=1e-5)

    def test_bad_input(self):
        with pytest.raises(TypeError, match="`explain`"):
            metrics.class_sensitivity(self.model, self.images, None)
        with pytest.raises(ValueError, match="one entry an image"):
            metrics.class_sensitivity(self.model, self.images, lambda x, ids: x[:1, ..., 0])
        with pytest.raises(ValueError, match="look like probabilities"):
            metrics.class_sensitivity(
                lambda x: np.full((len(x), 2), 0.5), self.images, lambda x, ids: x[..., 0]
            )
        with pytest.raises(ValueError, match="batch_size"):
            metrics.class_sensitivity(self.model, self.images, lambda x, ids: x[..., 0], batch_size=0)


class TestCosineSimilarityConvergence:
    images = np.zeros((4, 5, 2), "float32")

    def test_equals_a_slow_loop(self):
        matrix = np.random.default_rng(0).normal(size=(3, 6))

        def backward(images, directions):
            return {"top": directions, "bottom": np.maximum(directions @ matrix, 0).reshape(-1, 2, 3)}

        have = metrics.cosine_similarity_convergence(
            backward, self.images, 3, directions=4, batch_size=3, seed=7
        )
        assert list(have) == ["top", "bottom"]
        for k in range(4):
            starts = np.random.default_rng((7, k)).normal(size=(4, 3))
            for name, signals in (("top", starts), ("bottom", np.maximum(starts @ matrix, 0))):
                cosines = [
                    a @ b / np.sqrt((a @ a) * (b @ b)) if a.any() and b.any() else 0.0
                    for a, b in itertools.combinations(signals, 2)
                ]
                np.testing.assert_allclose(have[name][k], np.mean(cosines), atol=1e-5)

    def test_what_ignores_the_later_layers_converges(self):
        # Positive matrices, as those of z+ rules, end in rank one; an orthogonal one keeps all angles.
        positive = np.random.default_rng(0).uniform(0, 1, (6, 20, 20))
        orthogonal = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))[0]

        def backward(images, directions):
            signals, kept = [np.abs(directions)], directions
            for matrix in positive:
                signals.append(signals[-1] @ matrix)
                kept = kept @ orthogonal
            return {**{str(k): signal for k, signal in enumerate(signals)}, "start": directions, "kept": kept}

        have = metrics.cosine_similarity_convergence(backward, self.images, 20)
        assert all((have[str(k + 1)] > have[str(k)] - 1e-7).all() for k in range(6))
        np.testing.assert_allclose(have["6"], 1, atol=1e-6)
        np.testing.assert_allclose(have["kept"], have["start"], atol=1e-6)
        assert np.abs(have["kept"]).max() < 0.5

    @pytest.mark.parametrize(
        ("backward", "error", "message"),
        [
            (None, TypeError, "`backward`"),
            (lambda x, v: v, TypeError, "dict"),
            (lambda x, v: {}, ValueError, "one layer"),
            (lambda x, v: {"a": v[:1]}, ValueError, "one entry an image"),
            (lambda x, v: {"a": v * np.nan}, ValueError, "finite"),
            (lambda x, v: {str(v[0, 0]): v}, ValueError, "same layers"),
        ],
    )
    def test_bad_backward(self, backward, error, message):
        with pytest.raises(error, match=message):
            metrics.cosine_similarity_convergence(backward, self.images, 3)

    @pytest.mark.parametrize("bad", [{"outputs": 0}, {"directions": 1}, {"batch_size": 0}, {"seed": -1}])
    def test_bad_options(self, bad):
        options = {"outputs": 3, **bad}
        with pytest.raises(ValueError, match=next(iter(bad))):
            metrics.cosine_similarity_convergence(lambda x, v: {"a": v}, self.images, **options)
