"""Speed and size of an exported model: a served map against `explain` and against a served forward pass.

    python benchmarks/serving.py            prints a table, writes results/serving.json

EfficientNet-Lite0 with its trained rules. What is served runs through TensorFlow's C API, which has the
loader and the session of TensorFlow Serving without its network. All sides run in one process, one after the
other in turn, and medians are compared.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
from speed import RESULTS, seconds

import tf_learnprop as tlp
from tf_learnprop import zoo

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples" / "serving"))
import c_api  # noqa: E402

RULES = ROOT / "saved_rules" / "efficientnet_lite0.keras"
FORWARD, EXPLAIN = "served forward pass", "explain"


def size(folder):
    """MB of the files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def first_request(path, request):
    """Seconds to load a model, and of its first request, which compiles."""
    start = time.perf_counter()
    model = c_api.SavedModel(path)
    loaded = time.perf_counter()
    model.run(*request)
    end = time.perf_counter()
    model.close()
    return {"load": loaded - start, "first request": end - loaded}


def measure(wrapped, served, forward, batch, rounds):
    """Rows of one batch size: dict side -> (seconds an image, ratios to a forward pass and to `explain`)."""
    shape = (batch, *wrapped.source.input_shape[1:])
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    photos = [tf.io.encode_jpeg(np.uint8(127 + 64 * np.clip(image, -1.9, 1.9))).numpy() for image in images]
    encoded = {"encoded": np.array(photos, object)}
    (name,) = forward.signatures["serving_default"][0]
    times = seconds(
        {
            FORWARD: lambda: forward.run("serving_default", {name: images}),
            EXPLAIN: lambda: wrapped.explain(images),
            "served map": lambda: served.run("serving_default", {"images": images}),
            "served map, photo to overlay": lambda: served.run("explain_encoded", encoded),
        },
        rounds,
    )
    return {
        side: (value / batch, value / times[FORWARD], value / times[EXPLAIN]) for side, value in times.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--rounds", type=int, default=21, help="counted rounds at batch 1; a third at larger")
    arguments = parser.parse_args()

    wrapped = tlp.wrap_model(zoo.efficientnet_lite0(), rule=RULES)
    report = {"tensorflow": tf.__version__, "batches": {}}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = wrapped.export(pathlib.Path(folder) / "model" / "1", preprocess=zoo.preprocess)
        report["export_seconds"] = time.perf_counter() - start
        source = pathlib.Path(folder) / "source"
        wrapped.source.export(source, verbose=False)
        report["mb"] = {"export": size(path), "source": size(source)}
        images = np.zeros((1, 224, 224, 3), "float32")
        report["seconds"] = first_request(path, ("serving_default", {"images": images}))
        print(json.dumps(report, indent=1))
        served, forward = c_api.SavedModel(path), c_api.SavedModel(source)
        for batch in arguments.batches:
            rounds = arguments.rounds if batch == 1 else max(3, arguments.rounds // 3)
            rows = measure(wrapped, served, forward, batch, rounds)
            report["batches"][batch] = rows
            print(f"\nbatch {batch}\n{'':32}{'ms/image':>10}{'x forward':>12}{'x explain':>12}")
            for side, (value, by_forward, by_explain) in rows.items():
                print(f"{side:32}{1e3 * value:10.1f}{by_forward:12.2f}{by_explain:12.2f}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving.json").write_text(json.dumps(report, indent=1))
    print(f"\nwritten to {RESULTS / 'serving.json'}")


if __name__ == "__main__":
    main()
