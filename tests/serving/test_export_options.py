"""What `serving.export_options` accepts, and what each option changes in the answers of an exported model."""

import numpy as np
import pytest

import tf_learnprop as tlp
from tests import models, toys
from tests.serving.serving_client import ask, strings
from tests.serving.serving_toys import assert_overlay, assert_same_maps, photo, png, preprocess, trained

SIDE = toys.SIDE


class TestOptions:
    IMAGES = toys.images(5, seed=8)

    def ask(self, wrapped, tmp_path, **options):
        path = wrapped.export(tmp_path / "model" / "1", **options)
        photos = strings(*[png(photo(SIDE, SIDE, seed)) for seed in range(2)])
        requests = [("serving_default", {"images": self.IMAGES})]
        if "preprocess" in options:
            requests.append(("explain_encoded", {"encoded": photos}))
        answers = ask(path, requests)
        assert not any(isinstance(answer, str) for answer in answers), answers
        return answers

    def test_target(self, wrapped, tmp_path):
        (answer,) = self.ask(wrapped, tmp_path, target=3)
        assert_same_maps(answer["maps"], wrapped, self.IMAGES, 3)
        np.testing.assert_array_equal(answer["class_ids"], [3] * 5)
        np.testing.assert_allclose(answer["probabilities"], wrapped.source(self.IMAGES)[:, 3], rtol=1e-4)

    def test_top_k(self, wrapped, tmp_path):
        answer, encoded = self.ask(wrapped, tmp_path, top_k=3, preprocess=preprocess)
        probabilities = wrapped.source(self.IMAGES).numpy()
        best = np.argsort(-probabilities, 1)[:, :3]
        np.testing.assert_array_equal(answer["class_ids"], best)
        np.testing.assert_allclose(
            answer["probabilities"], np.take_along_axis(probabilities, best, 1), rtol=1e-4
        )
        for rank in range(3):
            assert_same_maps(answer["maps"][:, rank], wrapped, self.IMAGES, best[:, rank])
        assert encoded["overlays_bytes"].shape == encoded["probabilities"].shape == (2, 3)
        pixels = [photo(SIDE, SIDE, 0)] * 3
        maps = wrapped.explain(preprocess(np.float32(pixels)), encoded["class_ids"][0])
        for rank in range(3):
            assert_overlay(encoded["overlays_bytes"][0, rank], pixels[0], maps[rank])

    def test_small_maps_in_half_precision(self, wrapped, tmp_path):
        options = {"map_size": (4, 8), "map_dtype": "float16", "preprocess": preprocess}
        answer, encoded = self.ask(wrapped, tmp_path, **options)
        assert answer["maps"].dtype == np.float16
        expected = wrapped.explain(self.IMAGES).reshape(5, 4, 4, 8, 2).mean((2, 4))
        assert answer["maps"].shape == expected.shape
        np.testing.assert_allclose(answer["maps"], expected, atol=2e-3 * np.abs(expected).max())
        # The overlay keeps the model's size.
        pixels = photo(SIDE, SIDE, 1)
        (single,) = wrapped.explain(preprocess(np.float32(pixels[None])))
        assert_overlay(encoded["overlays_bytes"][1], pixels, single)


class TestSize:
    def test_photos_of_a_model_for_any_size(self, tmp_path):
        wrapped = trained(toys.small_cnn(shape=(None, None, 3)))
        path = wrapped.export(tmp_path / "1", preprocess=preprocess, size=(20, 24), map_size=4)
        pixels = [photo(20, 24, seed) for seed in range(2)]
        images = toys.normal(3, 16, 32, 3)
        encoded, arrays = ask(
            path,
            [
                ("explain_encoded", {"encoded": strings(*map(png, pixels))}),
                ("serving_default", {"images": images}),
            ],
        )
        maps = wrapped.explain(preprocess(np.float32(pixels)))
        means = maps.reshape(2, 4, 5, 4, 6).mean((2, 4))
        np.testing.assert_allclose(encoded["maps"], means, atol=1e-4 * np.abs(means).max())
        assert_overlay(encoded["overlays_bytes"][1], pixels[1], maps[1])
        means = wrapped.explain(images).reshape(3, 4, 4, 4, 8).mean((2, 4))
        np.testing.assert_allclose(arrays["maps"], means, atol=1e-4 * np.abs(means).max())

    @pytest.mark.parametrize(
        ("shape", "options", "message"),
        [
            ((None, None, 3), {}, r"be given if .* Received: None for an input of shape \(None, None, 3\)"),
            ((16, 16, 3), {"size": 8}, r".* and only then. Received: 8 for an input of shape \(16, 16, 3\)"),
            ((None, 16, 3), {"size": 8}, r"fit the model's input of shape \(None, 16, 3\). Received: size=8"),
            ((None, None, 3), {"size": 0}, "be an int >= 1"),
            ((None, None, 3), {"size": (8, 8, 3)}, r"be an int or \(height, width\)"),
            ((None, None, 3), {"size": 8, "preprocess": None}, "be None without `preprocess`"),
        ],
    )
    def test_checks(self, shape, options, message, tmp_path):
        wrapped = tlp.wrap_model(toys.small_cnn(shape=shape), "gradient")
        with pytest.raises(ValueError, match=f"`size` must {message}"):
            wrapped.export(tmp_path / "1", **{"preprocess": preprocess, **options})
        assert not list(tmp_path.iterdir())


class TestChecks:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"target": 4}, r"`target` must be an int in 0\.\.3\. Received: target=4"),
            ({"target": -1}, "`target` must be an int in 0..3"),
            ({"target": 1.0}, "`target` must be an int in 0..3"),
            ({"top_k": 0}, "`top_k` must be an int in 1..4"),
            ({"top_k": 5}, r"`top_k` must be an int in 1\.\.4"),
            ({"top_k": 2, "target": 1}, "`target` and `top_k` cannot be used together"),
            ({"map_size": 0}, "`map_size` must be an int >= 1"),
            ({"map_size": np.int64(0)}, "`map_size` must be an int >= 1"),
            ({"map_size": (4, 4, 3)}, r"`map_size` must be an int or \(height, width\)"),
            ({"map_dtype": "int8"}, "`map_dtype` must be one of"),
            ({"colormap": "no such map"}, "`colormap` must be the name of a matplotlib colormap"),
            ({"alpha": 1.5}, r"`alpha` must be a number in \[0, 1\]"),
            ({"preprocess": "zoo"}, "`preprocess` must be a function or a Keras layer"),
            ({"preprocess": lambda x: x[..., :1]}, "`preprocess` must keep the shape of the photos"),
        ],
    )
    def test_wrong_options(self, wrapped, tmp_path, options, message):
        with pytest.raises(ValueError, match=message):
            wrapped.export(tmp_path / "model" / "1", **options)
        assert not list(tmp_path.iterdir())

    def test_map_size_is_for_images(self, tmp_path):
        wrapped = tlp.wrap_model(models.CASES["dense_alone"].models()[0], "gradient")
        with pytest.raises(ValueError, match="`map_size` requires an image input"):
            wrapped.export(tmp_path / "model" / "1", map_size=2)

    @pytest.mark.parametrize("name", ["dict_inputs", "dense_alone"])
    def test_refused_where_no_photo_fits(self, name, tmp_path):
        case = models.CASES[name]
        wrapped = tlp.wrap_model(case.models()[0], "gradient", **case.ends)
        with pytest.raises(ValueError, match="`explain_encoded`, which requires a model with a single input"):
            wrapped.export(tmp_path / "model" / "1", preprocess=preprocess)
        assert not list(tmp_path.iterdir())
