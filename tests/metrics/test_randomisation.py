"""Parameter randomisation: which weights it draws, and what maps of known kinds get."""

import keras
import numpy as np
import pytest

from tf_learnprop import metrics

SIDE = 12


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
            (lambda m, x: x[:1, ..., 0], "one entry for each image"),
            (lambda m, x: x, "2 axes"),
        ):
            with pytest.raises(ValueError, match=message):
                metrics.randomisation(model, self.images, explain)
        bare = keras.Sequential([keras.Input((SIDE, SIDE, 2)), keras.layers.Flatten()])
        with pytest.raises(ValueError, match="layers with weights"):
            metrics.randomisation(bare, self.images, lambda m, x: x[..., 0])
