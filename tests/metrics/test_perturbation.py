"""What all measures of fidelity refuse."""

import functools

import numpy as np
import pytest

from tests.metrics.known_models import images_and_maps, linear
from tf_learnprop import metrics

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
