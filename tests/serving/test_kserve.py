"""examples/kserve_predictor.py: what its server answers."""

import base64
import contextlib
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import requests

import tf_learnprop as tlp
from tests import toys
from tests.serving import serving_client
from tests.serving.serving_toys import assert_same_maps, photo, png, preprocess
from tests.targets import target_models

SIDE = toys.SIDE
PIXELS = np.stack([photo(SIDE, SIDE, seed) for seed in range(3)])


@pytest.fixture(scope="module")
def url(small):
    with served(small) as address:
        yield address


@contextlib.contextmanager
def served(path):
    """The address of a server of an exported model."""
    pytest.importorskip("kserve")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = serving_client.ROOT / "examples" / "kserve_predictor.py"
    options = [
        "--saved_model",
        path,
        "--model_name",
        "toy",
        "--http_port",
        str(port),
        "--enable_grpc",
        "false",
    ]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([sys.executable, program, *options], stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}/v1/models/toy"
            wait_until_ready(address, process, log)
            yield address
        finally:
            process.kill()
            process.wait()


def wait_until_ready(address, process, log):
    while True:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(address, timeout=10).json().get("ready") in (True, "True"):
                return
        if process.poll() is not None:
            log.seek(0)
            raise RuntimeError(log.read()[-2000:])
        time.sleep(0.2)


def ask(url, verb, instances):
    return requests.post(f"{url}:{verb}", json={"instances": instances}, timeout=60)


def encoded(content):
    return {"encoded": {"b64": base64.b64encode(content).decode()}}


def test_predict(url, wrapped):
    answer = ask(url, "predict", [encoded(png(one)) for one in PIXELS]).json()
    expected = wrapped.source(preprocess(np.float32(PIXELS))).numpy()
    assert len(answer["predictions"]) == 3
    for classes, row in zip(answer["predictions"], expected, strict=True):
        assert [one["class_id"] for one in classes] == np.argsort(-row).tolist()
        np.testing.assert_allclose([one["probability"] for one in classes], np.sort(row)[::-1], rtol=1e-4)


def test_explain(url, wrapped):
    instances = [encoded(png(one)) for one in PIXELS]
    instances[1]["class_id"] = 2
    images = preprocess(np.float32(PIXELS))
    outputs = wrapped.source(images).numpy()
    ids = outputs.argmax(-1)
    ids[1] = 2
    answer = ask(url, "explain", instances).json()["explanations"]
    assert [one["class_id"] for one in answer] == ids.tolist()
    np.testing.assert_allclose([one["probability"] for one in answer], outputs[range(3), ids], rtol=1e-4)
    assert_same_maps(np.array([one["map"] for one in answer]), wrapped, images, ids)


def test_a_model_with_a_target(tmp_path):
    wrapped = tlp.wrap_model(target_models.regressor(2, channels=3))
    path = wrapped.export(tmp_path / "1", target=tlp.targets.Value(1), preprocess=preprocess)
    with served(path) as address:
        instances = [encoded(png(photo(12, 12, seed))) for seed in range(2)]
        answer = ask(address, "explain", instances).json()["explanations"]
        refused = ask(address, "predict", instances)
    images = preprocess(np.stack([photo(12, 12, seed) for seed in range(2)]).astype("float32"))
    maps = np.array([one["map"] for one in answer])
    np.testing.assert_allclose(maps, wrapped.explain(images, tlp.targets.Value(1)), rtol=1e-3, atol=1e-5)
    assert [(one["class_id"], one["probability"]) for one in answer] == [(-1, None)] * 2
    assert refused.status_code == 400 and "exported with a target" in refused.json()["error"]


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([{"photo": 1}], "a request must be"),
        ([{"encoded": {"b64": "no base64!"}}], "a request must be"),
        ([encoded(b"no photo")], "Unknown image file format"),
        ([encoded(png(PIXELS[0])) | {"class_id": 9}], "instance 0: `class_ids` must be in 0..3"),
        ([], "at least one sample"),
    ],
)
def test_bad_requests_and_then_an_answer(url, instances, message):
    answer = ask(url, "explain", instances)
    assert answer.status_code == 400 and message in answer.json()["error"]
    assert ask(url, "predict", [encoded(png(PIXELS[0]))]).ok
