"""The command, killed at random moments or stopped with Ctrl-C, and run again: the same bytes as without."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.scale.scale_toys import OPTIONS, contents

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def command(served, photos, tmp_path):
    """Starts the command in a process of its own."""
    arguments = [sys.executable, "-m", "tf_learnprop", "explain-dataset", served, "--images", photos]
    for name, value in OPTIONS.items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    place = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start():
        return subprocess.Popen(
            [*arguments, "--out", "maps"], cwd=tmp_path, env=place, stderr=subprocess.PIPE, text=True
        )

    return start


def wait_for(command, count, folder):
    """Waits until a number of files are finished."""
    while command.poll() is None and len(contents(folder)) < count:
        time.sleep(0.005)


def test_killed_three_times(command, once, tmp_path):
    generator = random.Random(0)
    counts = []
    for count in (1, 3, 6):
        process = command()
        wait_for(process, count, tmp_path / "maps")
        time.sleep(generator.uniform(0, 0.05))  # in the middle of a file
        process.kill()
        process.communicate()
        counts.append(len(contents(tmp_path / "maps")))
    assert counts == sorted(counts) and 0 < counts[0] and counts[-1] < len(once), counts
    process = command()
    _, err = process.communicate()
    assert process.returncode == 1, err  # one image is broken
    assert contents(tmp_path / "maps") == once
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["manifest.json", *sorted(once)]


def test_stopped_with_ctrl_c(command, once, tmp_path):
    process = command()
    wait_for(process, 2, tmp_path / "maps")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    last = "interrupted; what was finished is kept, and the same command goes on with it"
    assert err.splitlines()[-1] == last and "Traceback" not in err
    found = contents(tmp_path / "maps")
    assert 0 < len(found) < len(once) and found.items() <= once.items()
    assert list((tmp_path / "maps").glob(".*")) == []
