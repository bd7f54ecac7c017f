"""Speed and memory of the maps, against the plain gradient of the same model.

    python benchmarks/speed.py            prints a table, writes results/speed.json

All sides of a comparison run in one process, one after the other in turn, and medians are compared.
"""

import argparse
import json
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from tf_learnprop import zoo

RESULTS = pathlib.Path(__file__).resolve().parent.parent / "results"
MODELS = {
    "EfficientNet-Lite0": zoo.efficientnet_lite0,
    "ResNet50": lambda: keras.applications.ResNet50(weights=None, classifier_activation=None),
    "VGG16": lambda: keras.applications.VGG16(weights=None, classifier_activation=None),
}
ALL_SIZES = tlp.readouts.MultiLayerReadout(max_size=None)
SIDES = {
    "relevance": {"rule": "relevance"},
    "relevance, all sizes read": {"rule": "relevance", "readout": ALL_SIZES},
    "channel_mixing": {"rule": "channel_mixing"},
}


def plain_gradient(model):
    """Function from images to ∂(highest logit)/∂x, compiled."""

    @tf.function
    def gradient(images):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            score = tf.reduce_sum(tf.reduce_max(model(images, training=False), -1))
        return tape.gradient(score, images)

    return lambda images: gradient(tf.constant(images)).numpy()


def forward(model):
    """Function from images to logits, compiled."""
    call = tf.function(lambda images: model(images, training=False))
    return lambda images: call(tf.constant(images)).numpy()


def seconds(sides, rounds):
    """Median seconds of each side, the sides taking turns; a first round is not counted."""
    times = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, function in sides.items():
            start = time.perf_counter()
            function()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(model, batch, rounds):
    """Rows of one model and batch size: dict side -> (seconds an image, ratio to the plain gradient)."""
    shape = (batch, *model.input_shape[1:])
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    functions = {"plain gradient": plain_gradient(model), "forward": forward(model)}
    for name, options in SIDES.items():
        functions[f"explain: {name}"] = tlp.wrap_model(model, **options).explain
    times = seconds({name: lambda f=f: f(images) for name, f in functions.items()}, rounds)
    base = times["plain gradient"]
    return {name: (value / batch, value / base) for name, value in times.items()}


def measure_training(model, batch, rounds):
    """A training step against a forward pass of the same batch."""
    images = np.random.default_rng(0).normal(size=(batch, *model.input_shape[1:])).astype("float32")
    wrapped = tlp.wrap_model(model)
    wrapped.compile()
    call = forward(model)
    sides = {"forward": lambda: call(images), "training step": lambda: wrapped.train_on_batch(images)}
    times = seconds(sides, rounds)
    return {name: (value / batch, value / times["forward"]) for name, value in times.items()}


def peak_memory(wrap):
    """Peak resident MiB of a fresh process that builds VGG16 and runs it, wrapped or not."""
    command = [sys.executable, __file__, "--memory-of", "wrapped" if wrap else "model"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.splitlines()[-1])


def run_for_memory(wrap):
    """The body of that process: prints its peak (Linux)."""
    model = MODELS["VGG16"]()
    runner = tlp.wrap_model(model) if wrap else model
    runner(np.zeros((1, *model.input_shape[1:]), "float32"))
    # Not `ru_maxrss`: on Linux a new process starts with its parent's.
    status = pathlib.Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024)


def print_rows(title, rows, against):
    """One table of `measure`."""
    print(f"\n{title}\n{'':42}{'ms/image':>10}{'x ' + against:>18}", flush=True)
    for name, (value, ratio) in rows.items():
        print(f"{name:42}{1e3 * value:10.1f}{ratio:18.2f}", flush=True)


def write(report):
    """Keeps what has been measured so far."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.json").write_text(json.dumps(report, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds at batch 1; a third at larger")
    parser.add_argument("--memory-of", choices=("model", "wrapped"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        return run_for_memory(arguments.memory_of == "wrapped")

    report = {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "processor": platform.processor() or platform.machine(),
        "explain": {},
        "training": {},
    }
    for name in arguments.models:
        keras.utils.set_random_seed(0)
        model = MODELS[name]()
        for batch in arguments.batches:
            rounds = arguments.rounds if batch == 1 else max(3, arguments.rounds // 3)
            rows = measure(model, batch, rounds)
            report["explain"][f"{name}, batch {batch}"] = rows
            print_rows(f"{name}, batch {batch}", rows, "plain gradient")
        rows = measure_training(model, 8, 3)
        report["training"][f"{name}, batch 8"] = rows
        print_rows(f"{name}, training, batch 8", rows, "forward")
        write(report)
    alone, wrapped = peak_memory(False), peak_memory(True)
    report["memory_mib"] = {"VGG16": alone, "VGG16 wrapped": wrapped, "ratio": wrapped / alone}
    print(f"\npeak memory: VGG16 {alone:.0f} MiB, wrapped {wrapped:.0f} MiB ({wrapped / alone:.3f}x)")
    write(report)
    print(f"written to {RESULTS / 'speed.json'}")


if __name__ == "__main__":
    main()
