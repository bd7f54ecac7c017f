"""Files that are damaged or made to harm: each is one clear error, and costs little memory."""

import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

import tf_learnprop as tlp
from tests import hostile_files, toys

SUFFIXES = [".keras", ".weights.h5"]


@pytest.fixture(scope="module")
def wrapped():
    return toys.jolt(tlp.wrap_model(toys.small_cnn(), "channel_mixing"))


@pytest.fixture(scope="module")
def outcomes(wrapped, tmp_path_factory):
    """What a fresh process makes of each hostile file: {name: [class of the error, message, MB]}."""
    folder = tmp_path_factory.mktemp("files")
    for suffix in SUFFIXES:
        wrapped.save_rules(folder / f"good{suffix}")
    for name, (suffix, _, write) in hostile_files.EXAMPLES.items():
        path = folder / f"bad_{name}{suffix}"
        path.write_bytes((folder / f"good{suffix}").read_bytes())
        write(path)
    command = [sys.executable, hostile_files.__file__, str(folder)]
    paths = [str(pathlib.Path(tlp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_good_files_are_read(outcomes, suffix):
    assert outcomes[f"good{suffix}"][0] == "none"


@pytest.mark.parametrize("name", hostile_files.EXAMPLES)
def test_hostile_files(outcomes, name):
    suffix, expected, _ = hostile_files.EXAMPLES[name]
    error, message, megabytes = outcomes[f"bad_{name}{suffix}"]
    assert error == "ValueError"
    assert expected in message and f"bad_{name}{suffix}" in message and len(message) < 2000
    assert megabytes < 200


def mutated(content, generator):
    """The content with a random damage: flipped bits, a cut, a piece replaced, moved, removed or put in."""
    content = bytearray(content)
    start, source = generator.integers(len(content), size=2)
    length = generator.integers(1, 256)
    kind = generator.integers(6)
    if kind < 2:
        for position in generator.integers(len(content), size=generator.integers(1, 4)):
            content[position] ^= 1 << generator.integers(8)
    elif kind == 2:
        del content[start:]
    elif kind == 3:
        content[start : start + length] = content[source : source + length]
    elif kind == 4:
        content[start : start + length] = generator.bytes(length)
    else:
        content[start : start + length * generator.integers(2)] = b"\0" * length
    return bytes(content)


def check_mutations(wrapped, path, seeds):
    """Each mutation of the file is a `ValueError`, or gives the rules that were saved."""
    wrapped.save_rules(path)
    content = path.read_bytes()
    expected, config = wrapped.rule_set.get_weights(), wrapped.rule_set.get_config()
    for seed in seeds:
        path.write_bytes(mutated(content, toys.rng(seed)))
        try:
            loaded = tlp.load_rules(path, wrapped.source)
        except ValueError:
            continue
        assert loaded.get_config() == config, seed
        for one, other in zip(loaded.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=str(seed))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_mutations(wrapped, tmp_path, suffix):
    check_mutations(wrapped, tmp_path / f"rules{suffix}", range(20))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many_random_mutations(wrapped, tmp_path, suffix):
    check_mutations(wrapped, tmp_path / f"rules{suffix}", range(100, 600))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_checksum_is_sha256_of_configuration_and_weights(wrapped, tmp_path, suffix):
    path = tmp_path / f"rules{suffix}"
    wrapped.save_rules(path)
    content = path.read_bytes()
    if suffix == ".keras":
        content = zipfile.ZipFile(path).read("model.weights.h5")
    arrays = {}
    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(
            lambda name, item: (
                arrays.update({f"/{name}": item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    text = arrays.pop("/vars/config").tobytes()
    found = json.loads(text)["checksum"]
    expected = hashlib.sha256(text.replace(found.encode(), b"0" * 64))
    for name in sorted(arrays):
        expected.update(f"{name} float32 {arrays[name].shape}".encode() + arrays[name].tobytes())
    assert len(arrays) == len(wrapped.rule_set.weights)
    assert found == expected.hexdigest()
