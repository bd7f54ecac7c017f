"""`fit` on several devices, or in several processes, gives what one device gives for the same batches."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import replica_worker

ROOT = pathlib.Path(__file__).parents[2]


def start(replicas, path, **environment):
    return subprocess.Popen(
        [sys.executable, replica_worker.__file__, str(replicas), str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def train(replicas, folder, processes=1):
    """What each process has recorded."""
    paths = [folder / f"{number}.npz" for number in range(processes)]
    environments = replica_worker.cluster(processes) if processes > 1 else [{}]
    workers = [start(replicas, path, **env) for path, env in zip(paths, environments, strict=True)]
    try:
        for worker in workers:
            errors = worker.communicate(timeout=600)[1]
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()
    return [dict(np.load(path)) for path in paths]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Results without a strategy, by name."""
    return train(0, tmp_path_factory.mktemp("single"))[0]


@pytest.fixture(
    scope="module",
    params=[
        "2 replicas",
        pytest.param("4 replicas", marks=pytest.mark.slow),
        pytest.param("2 processes", marks=pytest.mark.slow),
    ],
)
def several(request, tmp_path_factory):
    count, kind = request.param.split()
    folder = tmp_path_factory.mktemp("several")
    if kind == "replicas":
        return train(int(count), folder)[0]
    results = train(1, folder, processes=int(count))
    for result in results[1:]:
        for key, value in result.items():
            np.testing.assert_array_equal(value, results[0][key], err_msg=key)
    return results[0]


def assert_same(single, several, name, atol=1e-4):
    keys = [key for key in single if key.split("/")[0] == name]
    assert len(keys) > 5
    for key in keys:
        np.testing.assert_allclose(several[key], single[key], rtol=0, atol=atol, err_msg=key)


def test_the_weights_after_20_steps(single, several):
    """With clipped gradients, random draws, and batches that do not divide into equal parts."""
    assert_same(single, several, "plain")
    np.testing.assert_allclose(several["evaluate"], single["evaluate"], atol=1e-4)


def test_masks_of_several_inputs(single, several):
    assert_same(single, several, "joint")


def test_all_replicas_skip_the_step_that_is_not_finite_on_one(single, several):
    assert_same(single, several, "stopped")
    assert several["message"] == single["message"]
    assert "at step 2: the loss or a gradient is not finite" in str(several["message"])


# Half precision rounds sums over a batch to two or three digits: those of its parts differ from the whole.
@pytest.mark.parametrize(
    ("policy", "atol"), [("float32", 1e-4), ("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-3)]
)
def test_a_scaled_loss_and_several_steps_per_execution(single, several, policy, atol):
    if f"scale_{policy}" not in several:
        pytest.skip("2 replicas show this")
    assert_same(single, several, policy, atol)
    halved = replica_worker.SCALES[policy] - np.log2(single[f"scale_{policy}"])
    assert 0 < halved < 10  # of the 12 steps; the others were taken
    assert several[f"scale_{policy}"] == single[f"scale_{policy}"]


def test_a_batch_that_leaves_a_replica_without_samples(single, several):
    assert "small" not in single
    message = str(several["small"])
    assert message.startswith("Each replica must have at least one sample of each batch. Received: ")
    assert message.split(" replicas, which get ")[1].split(". Use")[0].endswith(" 0")


def test_xla_is_refused(several):
    assert "`jit_compile` must be False under a strategy with several replicas" in str(several["jit"])


def test_a_keras_distribution_is_refused():
    wrapped = replica_worker.model()
    images = replica_worker.images(4)
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=["cpu:0", "cpu:1"]))
    try:
        for method in (wrapped.fit, wrapped.evaluate, wrapped.predict):
            with pytest.raises(ValueError, match="JAX backend alone.*MirroredStrategy"):
                method(images, verbose=0)
    finally:
        keras.distribution.set_distribution(None)


def test_a_strategy_with_one_replica(single):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        wrapped = replica_worker.model()
    data = replica_worker.batches(replica_worker.images(23))
    wrapped.fit(data.repeat(), epochs=4, steps_per_epoch=5, verbose=0)
    for number, variable in enumerate(replica_worker.state(wrapped)):
        np.testing.assert_allclose(variable.numpy(), single[f"plain/{number}"], rtol=0, atol=1e-4)
