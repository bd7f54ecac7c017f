import types

import numpy as np

from benchmarks import small_objects


def test_each_cell_shows_its_image_shrunk():
    """Images of one grey each: the four cells have the greys of their classes."""
    labels = np.repeat(np.arange(5), 3)
    images = np.ones((15, 16, 16, 1), "float32") * labels[:, None, None, None]
    subject = types.SimpleNamespace(
        test=images, labels=labels, forward=lambda batch: 20.0 * (batch[:, 0, 0] == np.arange(5))
    )
    found = small_objects.shrunk(subject, count=3)
    assert found.images.shape == (3, 16, 16, 1)
    for mosaic, classes in zip(found.images[..., 0], found.labels, strict=True):
        cells = mosaic.reshape(2, 8, 2, 8).swapaxes(1, 2).reshape(4, 8, 8)
        np.testing.assert_allclose(cells[:, 2:6, 2:6], np.ones((4, 4, 4)) * classes[:, None, None])
