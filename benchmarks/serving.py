"""Speed and size of an exported model: a served map against `explain` and against a served forward pass.

EfficientNet-Lite0 with its trained rules. The exported models run through TensorFlow's C API, which has the
loader and the session of TensorFlow Serving without its network. All sides run in one process and take turns,
and medians are compared. Written to RESULTS/serving.json.
"""

import json
import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import clock, options, results
from examples.serving import c_api
from tf_learnprop import zoo
from tf_learnprop.serving import contract

DEFAULT, OF_FILES = contract.SERVING_DEFAULT.name, contract.EXPLAIN_ENCODED.name
RULES = results.ROOT / "saved_rules" / "efficientnet_lite0.keras"
FORWARD, EXPLAIN = "served forward pass", "explain"


def size(folder):
    """MB of the files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def first_request(path, request):
    """Seconds to load a model, and to answer its first request, which compiles."""
    start = time.perf_counter()
    model = c_api.SavedModel(path)
    loaded = time.perf_counter()
    model.run(*request)
    end = time.perf_counter()
    model.close()
    return {"load": loaded - start, "first request": end - loaded}


def measure(wrapped, served, forward, batch, rounds):
    """Dict from a side to (seconds an image, ratio to a served forward pass, ratio to `explain`)."""
    shape = (batch, *wrapped.source.input_shape[1:])
    images = np.random.default_rng(0).normal(size=shape).astype("float32")
    photos = [tf.io.encode_jpeg(np.uint8(127 + 64 * np.clip(image, -1.9, 1.9))).numpy() for image in images]
    encoded = {contract.ENCODED: np.array(photos, object)}
    (name,) = forward.signatures[DEFAULT][0]
    times = clock.seconds(
        {
            FORWARD: lambda: forward.run(DEFAULT, {name: images}),
            EXPLAIN: lambda: wrapped.explain(images),
            "served map": lambda: served.run(DEFAULT, {contract.IMAGES: images}),
            "served map, photo to overlay": lambda: served.run(OF_FILES, encoded),
        },
        rounds,
    )
    return {
        side: (value / batch, value / times[FORWARD], value / times[EXPLAIN]) for side, value in times.items()
    }


def add_options(parser):
    whole = options.at_least(1)
    parser.add_argument("--batches", nargs="+", type=whole, default=[1, 16])
    parser.add_argument("--rounds", type=whole, default=21, help="at batch 1; a third at larger batches")


def run(arguments):
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
        report["seconds"] = first_request(path, (DEFAULT, {contract.IMAGES: images}))
        print(json.dumps(report, indent=1))
        served, forward = c_api.SavedModel(path), c_api.SavedModel(source)
        for batch in arguments.batches:
            rounds = arguments.rounds if batch == 1 else max(3, arguments.rounds // 3)
            rows = measure(wrapped, served, forward, batch, rounds)
            report["batches"][batch] = rows
            print(f"\nbatch {batch}\n{'':32}{'ms/image':>10}{'x forward':>12}{'x explain':>12}")
            for side, (value, by_forward, by_explain) in rows.items():
                print(f"{side:32}{1e3 * value:10.1f}{by_forward:12.2f}{by_explain:12.2f}", flush=True)
    path = arguments.results / "serving.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1))
    print(f"\nwritten to {path}")
