"""Planted evidence: maps lie where it is, whatever moves the places between the input and the layers."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

import tf_learnprop as tlp
from tests import placed_models as models

#: Ways to explain that read layers.
WAYS = [
    {"rule": "universal"},
    {"rule": "guided_backprop", "readout": "multi_layer"},
    {"rule": "gradient", "readout": "grad_cam"},
]


def explain(model, x, way, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No activation of model")
        return tlp.wrap_model(model, **way, **options).explain(x, 1)[0]


def share_on(maps, spot, margin=0):
    """Share of the |spot| top pixels of a map that lie on the spot."""
    rows, columns = (slice(side.start - margin, side.stop + margin) for side in spot)
    on_spot = np.zeros(maps.shape, bool)
    on_spot[rows, columns] = True
    size = (spot[0].stop - spot[0].start) * (spot[1].stop - spot[1].start)
    top = np.argsort(-maps.ravel(), kind="stable")[:size]
    return on_spot.ravel()[top].mean()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.get("readout", "default"))
@pytest.mark.parametrize("name", models.FRONTS)
def test_behind_layers_that_move_places(name, way):
    maps = explain(models.model(models.FRONTS[name]), models.images(), way)
    assert share_on(maps, models.SPOT) >= 0.8


BODIES = {
    "valid": models.chain(
        models.brightness(5, 1, "valid"), models.deeper(5, 2, "valid"), models.deeper(3, 2, "valid")
    ),
    "odd-strides": models.chain(models.brightness(3, 3, "valid"), models.deeper(3, 3, "valid")),
    "padded-on-one-side": models.chain(
        models.brightness(), layers.ZeroPadding2D(((0, 7), (0, 7))), models.deeper(8, 4, "valid")
    ),
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.get("readout", "default"))
@pytest.mark.parametrize("name", BODIES)
def test_convolutions_that_shift_places(name, way):
    maps = explain(models.model(body=BODIES[name]), models.images(), way)
    assert share_on(maps, models.SPOT) >= 0.8
