"""The example for several hosts, with two processes on this machine."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import keras
import matplotlib.image
import numpy as np
import pytest

import tf_learnprop as tlp

ROOT = pathlib.Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "training"))
from tests.training import replica_worker  # noqa: E402

EPOCHS = 6

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with images and a small model."""
    folder = tmp_path_factory.mktemp("several_hosts")
    (folder / "images").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).uniform(size=(16, 8, 8, 3))):
        matplotlib.image.imsave(folder / "images" / f"{number}.png", pixels)
    replica_worker.model().source.save(folder / "model.keras")
    return folder


class Workers:
    """Two workers that train rules; `rules` is the file that the first one writes."""

    def __init__(self, work, name, backups):
        self.rules, self.logs = work / f"{name}.keras", [work / f"{name}_{index}.log" for index in range(2)]
        options = ["--images", work / "images", "--model", work / "model.keras", "--preprocess", "none"]
        options += ["--epochs", EPOCHS, "--steps", 40, "--batch-size", 8, "--no-shuffle", "--out", self.rules]
        self.processes = []
        for log, backup, environment in zip(self.logs, backups, replica_worker.cluster(2), strict=True):
            command = [sys.executable, ROOT / "examples" / "several_hosts.py", *options, "--backup", backup]
            self.processes.append(
                subprocess.Popen(
                    [str(part) for part in command],
                    env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                    stdout=log.open("w"),
                    stderr=subprocess.STDOUT,
                )
            )

    def wait_for(self, text, seconds=300):
        """Waits until the first worker has printed a text."""
        end = time.monotonic() + seconds
        while text not in self.logs[0].read_text():
            assert time.monotonic() < end and self.processes[0].poll() is None, self.logs[0].read_text()
            time.sleep(0.02)

    def end(self):
        """The exit statuses of the workers, and what they printed."""
        try:
            statuses = [process.wait(timeout=300) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return statuses, [log.read_text() for log in self.logs]


def weights(work, rules):
    source = keras.models.load_model(work / "model.keras")
    return tlp.wrap_model(source, rule=rules).trainable_variables


def test_a_killed_worker_stops_the_others_and_the_training_resumes(work):
    whole = Workers(work, "whole", [work / "whole"] * 2)
    statuses, logs = whole.end()
    assert statuses == [0, 0], logs

    broken = Workers(work, "broken", [work / "backup"] * 2)
    broken.wait_for(f"Epoch 3/{EPOCHS}")
    broken.processes[1].send_signal(signal.SIGKILL)
    statuses, logs = broken.end()
    assert statuses[0] == 1 and not broken.rules.exists()
    assert "A worker has stopped, and the others can't go on without it. Start all" in logs[0]
    assert "Traceback" not in logs[0]

    # A worker that can't see the backup would start at the beginning.
    apart = Workers(work, "apart", [work / "backup", work / "elsewhere"])
    statuses, logs = apart.end()
    assert all(statuses), logs
    assert any("must start from the same state" in log for log in logs)

    resumed = Workers(work, "broken", [work / "backup"] * 2)
    statuses, logs = resumed.end()
    assert statuses == [0, 0] and f"Epoch 2/{EPOCHS}" not in logs[0], logs
    for one, other in zip(weights(work, resumed.rules), weights(work, whole.rules), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
