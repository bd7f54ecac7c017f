"""`fit` under `tf.distribute.MirroredStrategy` gives what one device gives for the same batches."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import replica_worker
import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[2]


def train(replicas, folder):
    path = folder / f"{replicas}.npz"
    run = subprocess.run(
        [sys.executable, replica_worker.__file__, str(replicas), str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return dict(np.load(path))


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Results without a strategy, by name."""
    return train(0, tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def several(request, tmp_path_factory):
    return train(request.param, tmp_path_factory.mktemp("several"))


def assert_same(single, several, name, atol=1e-4):
    keys = [key for key in single if key.split("/")[0] == name]
    assert len(keys) > 5
    for key in keys:
        np.testing.assert_allclose(several[key], single[key], rtol=0, atol=atol, err_msg=key)


def test_the_weights_after_20_steps(single, several):
    """With clipped gradients, random draws, and batches that do not divide into equal parts."""
    assert_same(single, several, "plain")
    np.testing.assert_allclose(several["evaluate"], single["evaluate"], atol=1e-4)


def test_all_replicas_skip_the_step_that_is_not_finite_on_one(single, several):
    assert_same(single, several, "stopped")
    assert several["message"] == single["message"]
    assert "at step 2: the loss or a gradient is not finite" in str(several["message"])


# Half precision rounds sums over a batch to three digits, and so the parts of a batch differ from the whole.
@pytest.mark.parametrize(("policy", "atol"), [("float32", 1e-4), ("mixed_float16", 2e-3)])
def test_a_scaled_loss_and_several_steps_per_execution(single, several, policy, atol):
    if f"scale_{policy}" not in several:
        pytest.skip("2 replicas show this")
    assert_same(single, several, policy, atol)
    halved = replica_worker.SCALES[policy] - np.log2(single[f"scale_{policy}"])
    assert 0 < halved < 10  # of the 12 steps; the others were taken
    assert several[f"scale_{policy}"] == single[f"scale_{policy}"]


def test_a_strategy_with_one_replica(single):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        wrapped = replica_worker.model()
    data = replica_worker.batches(replica_worker.images(23))
    wrapped.fit(data.repeat(), epochs=4, steps_per_epoch=5, verbose=0)
    for number, variable in enumerate(replica_worker.state(wrapped)):
        np.testing.assert_allclose(variable.numpy(), single[f"plain/{number}"], rtol=0, atol=1e-4)
