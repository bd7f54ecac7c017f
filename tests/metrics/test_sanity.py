"""Class sensitivity and convergence, on models and backward passes whose answers are known."""

import itertools

import numpy as np
import pytest

from tests.metrics.known_models import images_and_maps, loop_probability, quadrant, quadrant_map
from tf_learnprop import metrics

SIDE = 12


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
        with pytest.raises(ValueError, match="one entry for each image"):
            metrics.class_sensitivity(self.model, self.images, lambda x, ids: x[:1, ..., 0])
        with pytest.raises(ValueError, match="look like probabilities"):
            metrics.class_sensitivity(
                lambda x: np.full((len(x), 2), 0.5), self.images, lambda x, ids: x[..., 0]
            )
        with pytest.raises(ValueError, match="batch_size"):
            metrics.class_sensitivity(self.model, self.images, lambda x, ids: x[..., 0], batch_size=0)


class TestLeak:
    @pytest.mark.parametrize("share", [0.3, np.array([0.1, 0.5, 0.25])])
    def test_equals_a_slow_loop(self, share):
        images, maps = images_and_maps()
        have = metrics.leak(quadrant, images, maps, [1, 0, 1], share=share, fill=0.1)
        for k, (image, target) in enumerate(zip(images, [1, 0, 1], strict=True)):
            count = round(float(np.broadcast_to(share, 3)[k]) * maps[k].size)
            seen = np.full_like(image, 0.1)
            for place in sorted(np.ndindex(*maps[k].shape), key=lambda place, k=k: -maps[k][place])[:count]:
                seen[place] = image[place]
            np.testing.assert_allclose(have[k], loop_probability(quadrant, seen, target), rtol=1e-6)

    def test_of_known_maps(self):
        """The model sees one quadrant. A map of another class leaks if it shows that quadrant."""
        images = np.ones((2, 8, 8, 1), "float32")
        maps = np.stack([quadrant_map(1)[0], 1 - quadrant_map(1)[0]])
        leaks = metrics.leak(quadrant, images, maps, 1, share=0.25, fill=0.0)
        np.testing.assert_allclose(leaks, 1 / (1 + np.exp([-10, 10])), rtol=1e-5)

    @pytest.mark.parametrize("share", [0, 0.0, 1.0, -0.2, np.array([0.1, 0.2]), "half"])
    def test_bad_share(self, share):
        images, maps = images_and_maps()
        with pytest.raises(ValueError, match=r"`share` must be a number in \(0, 1\)"):
            metrics.leak(quadrant, images, maps, share=share)


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
            (lambda x, v: {"a": v[:1]}, ValueError, "one entry for each image"),
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
