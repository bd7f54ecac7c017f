"""Ways to ask an exported model, none of which has `tf_learnprop` in its process."""

import functools
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

Requests = list[tuple[str, dict[str, Any]]]

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXAMPLES = ROOT / "examples" / "serving"

_TENSORFLOW_ALONE = """
import pickle, sys
sys.modules["tf_learnprop"] = None  # an import of it would fail
import tensorflow as tf
path, requests = pickle.load(sys.stdin.buffer)
model = tf.saved_model.load(path)
answers = []
for name, inputs in requests:
    tensors = {key: tf.constant(array) for key, array in inputs.items()}
    answers.append({key: tensor.numpy() for key, tensor in model.signatures[name](**tensors).items()})
pickle.dump(answers, sys.stdout.buffer)
"""


class _Worker:
    """A process that asks one model after the other through the C API; see `serving_worker`."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, HERE / "serving_worker.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
            cwd=HERE.anchor,
        )

    def ask(self, message: tuple[str, Requests, int]) -> list[Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        try:
            pickle.dump(message, stdin)
            stdin.flush()
            return pickle.load(stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"exit status {code}\n{self._errors.read().decode()[-2000:]}") from error


# One process for all tests, since loading TensorFlow's library takes a second. It ends with this one, which
# closes its standard input.
_worker = functools.cache(_Worker)


def ask(path: str | pathlib.Path, requests: Requests, threads: int = 1) -> list[Any]:
    """Answers of a SavedModel through the C API, in a process of its own.

    Args:
        path: Folder of the SavedModel.
        requests: Pairs of a signature and a dict of arrays.
        threads: Number of threads that send them.

    Returns:
        Dicts of arrays; for a request that failed, the message.
    """
    try:
        return _worker().ask((str(path), requests, threads))
    except RuntimeError:
        _worker.cache_clear()  # the process has ended: the next call starts another
        raise


def ask_tensorflow(path: str | pathlib.Path, requests: Requests) -> list[Any]:
    """As `ask`, from a fresh interpreter with TensorFlow and none of this library."""
    done = subprocess.run(
        [sys.executable, "-c", _TENSORFLOW_ALONE],
        input=pickle.dumps((str(path), requests)),
        capture_output=True,
        cwd=HERE.anchor,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-2000:])
    return pickle.loads(done.stdout)


def ask_command_line(
    path: str | pathlib.Path, signature: str, inputs: dict[str, Any], folder: pathlib.Path
) -> dict[str, np.ndarray]:
    """Answer of `saved_model_cli run`, which reads and writes files in an empty folder."""
    answers = folder / "answers"
    arguments = ["--dir", path, "--tag_set", "serve", "--signature_def", signature, "--outdir", answers]
    for name, array in inputs.items():
        np.save(folder / f"{name}.npy", array)
    files = ";".join(f"{name}={folder / name}.npy" for name in inputs)
    program = pathlib.Path(sys.executable).with_name("saved_model_cli")
    subprocess.run([program, "run", *arguments, "--inputs", files], check=True, capture_output=True)
    return {file.stem: np.load(file) for file in answers.glob("*.npy")}


def strings(*contents: Any) -> np.ndarray:
    """A batch of strings, as `ask` takes it."""
    return np.array(contents, object)
