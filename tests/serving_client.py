"""Ways to ask an exported model, none of which has `tf_learnprop` in its process."""

import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
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


def ask(path, requests, threads=1):
    """Answers of a SavedModel through the C API, in a fresh process.

    Args:
        path: folder of the SavedModel.
        requests: list of (signature, dict of arrays).
        threads: int, number of threads that send them.

    Returns:
        list of dicts of arrays; for a request that failed, the message.
    """
    command = [sys.executable, ROOT / "tests" / "serving_worker.py"]
    return _talk(command, (str(path), requests, threads), {"PYTHONPATH": str(EXAMPLES)})


def ask_tensorflow(path, requests):
    """As `ask`, from a fresh interpreter with TensorFlow and none of this library."""
    return _talk([sys.executable, "-c", _TENSORFLOW_ALONE], (str(path), requests))


def ask_command_line(path, signature, inputs, folder):
    """Answer of `saved_model_cli run`, which reads and writes files in an empty folder."""
    answers = folder / "answers"
    arguments = ["--dir", path, "--tag_set", "serve", "--signature_def", signature, "--outdir", answers]
    for name, array in inputs.items():
        np.save(folder / f"{name}.npy", array)
    files = ";".join(f"{name}={folder / name}.npy" for name in inputs)
    program = pathlib.Path(sys.executable).with_name("saved_model_cli")
    subprocess.run([program, "run", *arguments, "--inputs", files], check=True, capture_output=True)
    return {file.stem: np.load(file) for file in answers.glob("*.npy")}


def _talk(command, message, environment=()):
    """Sends a pickle to a process and gives the one that comes back."""
    done = subprocess.run(
        command,
        input=pickle.dumps(message),
        capture_output=True,
        env={**os.environ, **dict(environment)},
        cwd=pathlib.Path(__file__).anchor,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-2000:])
    return pickle.loads(done.stdout)


def strings(*contents):
    """A batch of strings, as `ask` takes it."""
    return np.array(contents, object)
