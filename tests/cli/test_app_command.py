"""`tf-learnprop app`: bad usage, and the start and end of its server. `tests/app` tests the page."""

import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("gradio"), reason="needs Gradio")

ROOT = pathlib.Path(__file__).parents[2]
MODEL = ["--model", "{model}", "--preprocess", "tf"]
SERVED = ["--served", "http://127.0.0.1:9/v1/models/toy"]

BAD = {
    "neither": ([], "either --model or --served must be given"),
    "both": ([*MODEL, *SERVED], "either --model or --served must be given"),
    "missing model": (["--model", "no.keras"], "--model must be a file that exists"),
    "no image model": (["--model", "{work}/table.keras", "--preprocess", "none"], "must take images"),
    "rules of a served model": ([*SERVED, "--rules", "universal"], "--rules can't be used with --served"),
    "not the url of a model": (["--served", "http://localhost:8501"], "--served must be that of a model"),
    "missing class names": ([*SERVED, "--class-names", "no.txt"], "--class-names: no.txt can't be read"),
    "foreign address": (
        [*MODEL, "--host", "203.0.113.1"],
        "must be free to listen on. Received: 203.0.113.1",
    ),
    "no port": ([*MODEL, "--port", "70000"], "--port must be an int in 1..65535. Received: 70000"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_usage(fails, case):
    arguments, expected = BAD[case]
    assert expected in fails("app", *arguments)


def test_a_port_in_use(fails):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Received: 127.0.0.1, {port} (Address already in use)" in fails(
            "app", *MODEL, "--port", str(port)
        )


def test_a_server_that_is_down(run):
    status, out, err = run("app", *SERVED)
    assert status == 1 and out == ""
    assert err.splitlines()[-1].startswith(
        "tf-learnprop: no server answers at http://127.0.0.1:9/v1/models/toy"
    )


def test_without_gradio(fails, monkeypatch):
    for name in ("server", "page", "handlers"):
        monkeypatch.delitem(sys.modules, f"tf_learnprop.app.{name}", raising=False)
        monkeypatch.delattr(f"tf_learnprop.app.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "the app needs Gradio: pip install 'tf-learnprop[app]'" in fails("app", *MODEL)


def test_starts_on_this_machine_alone_and_ends_with_ctrl_c(work, tmp_path):
    command = [
        sys.executable,
        "-m",
        "tf_learnprop",
        "app",
        "--model",
        work / "model.keras",
        "--preprocess",
        "tf",
    ]
    process = subprocess.Popen(
        [*command, "--json", "--no-browser"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        url = json.loads(process.stdout.readline())["url"]
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url) as reply:
            assert reply.headers["Content-Security-Policy"].startswith("default-src 'self' ")
        assert len(list(tmp_path.glob("tf-learnprop-*"))) == 1
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and out == ""
    assert len(err.splitlines()) == 1 and err.startswith("interrupted")
    assert not list(tmp_path.glob("tf-learnprop-*")), "uploaded photos are deleted at the end"
