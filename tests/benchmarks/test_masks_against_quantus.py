"""Our metrics of masks against those of Quantus, on the same maps.

It needs the environment of `make test-bench`.
"""

import keras
import numpy as np
import pytest

from tests import toys
from tf_learnprop import metrics

COUNT, SIDE = 6, 12


@pytest.fixture(scope="module")
def quantus():
    return pytest.importorskip("quantus")


@pytest.fixture(scope="module")
def maps():
    return toys.normal(COUNT, SIDE, SIDE, seed=2)


@pytest.fixture(scope="module")
def masks():
    masks = np.zeros((COUNT, SIDE, SIDE), bool)
    for number, mask in enumerate(masks):
        mask[number : number + 5, 2 : 6 + number] = True
    return masks


CASES = {
    "PointingGame": (metrics.pointing_game, {}),
    "RelevanceRankAccuracy": (metrics.mask_rank_accuracy, {}),
    "AUC": (metrics.mask_auc, {}),
    # It divides by the sum of all values, whatever their sign, so it takes maps without negative ones.
    "RelevanceMassAccuracy": (
        lambda maps, masks: metrics.mask_mass_accuracy(np.abs(maps), masks),
        {"abs": True},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values(quantus, maps, masks, name):
    ours, options = CASES[name]
    options = {
        "abs": False,
        "normalise": False,
        "disable_warnings": True,
        "display_progressbar": False,
    } | options
    theirs = getattr(quantus, name)(**options)(
        model=keras.Sequential([keras.Input((SIDE, SIDE, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]),
        x_batch=toys.images(COUNT, (SIDE, SIDE, 1)),
        y_batch=np.zeros(COUNT, int),
        a_batch=maps[:, None],
        s_batch=masks[:, None],
        channel_first=False,
    )
    np.testing.assert_allclose(ours(maps, masks), np.array(theirs, float), atol=1e-6)
