"""Max-sensitivity against a slow loop, and of known maps."""

import numpy as np
import pytest

from tests.metrics.known_models import images_and_maps
from tf_learnprop import metrics


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
        with pytest.raises(ValueError, match="one entry for each image"):
            metrics.max_sensitivity(lambda x: np.ones((1, 4, 4)), images)
        with pytest.raises(ValueError, match="finite"):
            metrics.max_sensitivity(lambda x: np.full(x.shape[:3], np.nan), images)
