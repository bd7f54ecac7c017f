"""Whole data sets: constant memory, and the rate of each engine against explaining batches in a loop.

JPEG-encoded CIFAR images, and a wrapped ResNet-20, which is exported. Each side runs in a fresh process, or
two that are compared take turns in one. Each part is written to RESULTS/scale/PART.json:

memory      peak memory of `explain_batches` over a `tf.data` stream, for few images and for many; a small CNN
stream      images a second of `explain_batches` over a `tf.data` stream, against `explain` in a loop
local       images a second of `explain_dataset` in one process, against an `Explainer` in a loop; one core
ray         images a second and a core of `explain_dataset` on Ray, two nodes of one core each on this
            machine, against the local engine; the start of the cluster and of its workers is not counted
"""

import contextlib
import json
import os
import pathlib
import platform
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import clock, fresh, options, subjects
from tf_learnprop import scale

_BATCH = 32
_ENCODED = "explain_encoded"
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def memory(arguments):
    """The part `memory`: MB at the peak, for few images and for many."""
    few, many, growth = fresh.call(_peaks, arguments.few, arguments.many)
    print(f"\npeak memory: {few:.0f} MB for {arguments.few:,} images, {many:.0f} MB for {arguments.many:,}")
    return {"few": arguments.few, "many": arguments.many, "mb": [few, many], "growth": growth}


def _peaks(few, many):
    wrapped = tlp.wrap_model(_quick_model())
    peaks = []
    for count in (few, many):
        for _ in wrapped.explain_batches(_stream(count)):
            pass
        peaks.append(fresh.peak_mb())
    return *peaks, peaks[1] - peaks[0]


def stream(arguments):
    """The part `stream`: images a second of both sides, and their ratio."""
    return _shown("explain_batches", fresh.call(_stream_rates, arguments.chunk, arguments.rounds))


def _stream_rates(count, rounds):
    wrapped = tlp.wrap_model(_resnet())
    data = _stream(count)
    batches = [batch.numpy() for batch in data]

    def run():
        for _ in wrapped.explain_batches(data):
            pass

    def loop():
        for batch in batches:
            wrapped.explain(batch, batch_size=_BATCH)

    return _rates({"loop": loop, "explain_batches": run}, count, rounds)


def local(arguments):
    """The part `local`: images a second of both sides, and their ratio."""
    return _shown("explain_dataset", fresh.call(_local_rates, arguments.chunk, arguments.rounds))


def _local_rates(count, rounds):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with _data_set(count) as (model, images, out):
        explainer = tlp.serving.Explainer(model, _ENCODED)
        contents = [path.read_bytes() for path in sorted(images.iterdir())]

        def loop():
            for start in range(0, count, _BATCH):
                explainer(contents[start : start + _BATCH])

        def run():
            scale.explain_dataset(explainer, images, out, overwrite=True, batch_size=_BATCH)

        return _rates({"loop": loop, "explain_dataset": run}, count, rounds)


def ray(arguments):
    """The part `ray`: images a second and a core of both engines, and their ratio."""
    rates = {"local, one core": [], "ray, a core": []}
    for _ in range(arguments.ray_rounds):
        rates["local, one core"].append(fresh.call(_local_rate, arguments.ray_images // 2))
        rates["ray, a core"].append(fresh.call(_ray_rate, arguments.ray_images) / 2)
    middle = {name: float(np.median(values)) for name, values in rates.items()}
    ratio = middle["ray, a core"] / middle["local, one core"]
    return _shown("ray, a core", {"images/s": middle, "all": rates, "ratio": ratio})


def _local_rate(count):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with _data_set(count) as (model, images, out):
        return _steady_rate(model, images, out)


def _ray_rate(count):
    import ray as package
    from ray.cluster_utils import Cluster

    cores = sorted(os.sched_getaffinity(0))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for core in (cores[0], cores[-1]):
            os.sched_setaffinity(0, {core})  # the processes of a node inherit it
            cluster.add_node(num_cpus=1)
        os.sched_setaffinity(0, cores)
        with _data_set(count) as (model, images, out):
            return _steady_rate(model, images, out, engine="ray", address=cluster.address)
    finally:
        package.shutdown()
        cluster.shutdown()


def _steady_rate(model, images, out, **engine):
    """Images a second, after a twentieth of the images are done."""
    moments = []
    scale.explain_dataset(
        model, images, out, progress=lambda done, total: moments.append((time.perf_counter(), done)), **engine
    )
    moments = [moment for moment in moments if moment[1] >= moments[-1][1] / 20]
    (start, before), (end, after) = moments[0], moments[-1]
    return (after - before) / (end - start)


def _rates(sides, count, rounds):
    times = clock.seconds(sides, rounds)
    loop, ours = times
    rates = {name: count / value for name, value in times.items()}
    return {"images/s": rates, "ratio": times[loop] / times[ours]}


def _shown(name, found):
    rates = ", ".join(f"{side} {rate:.0f}" for side, rate in found["images/s"].items())
    print(f"\nimages a second: {rates}; ratio {found['ratio']:.3f}", flush=True)
    return found


def _resnet():
    return keras.models.load_model(subjects._folder("cifar10", "resnet20.keras"))


def _quick_model():
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((32, 32, 3)),
        keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
        keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10),
    ]
    return keras.Sequential(layers)


def _jpegs(count):
    """Encoded images, from the start again after the last."""
    with np.load(subjects._folder("cifar10", "train_10k_jpeg.npz")) as archive:
        joined, offsets = archive["jpeg"], archive["offsets"]
    for number in range(count):
        k = number % (len(offsets) - 1)
        yield joined[offsets[k] : offsets[k + 1]].tobytes()


def _stream(count):
    """A dataset of `count` decoded images, a few thousand again and again."""
    data = tf.data.Dataset.from_tensor_slices(list(_jpegs(min(count, 5000)))).repeat().take(count)
    return data.map(_decoded, tf.data.AUTOTUNE).batch(_BATCH).prefetch(2)


def _decoded(encoded):
    return _preprocess(tf.cast(tf.io.decode_jpeg(encoded, 3), tf.float32))


def _preprocess(photos):
    return (tf.ensure_shape(photos, [*photos.shape[:-3], 32, 32, 3]) / 255 - _MEAN) / _STD


@contextlib.contextmanager
def _data_set(count):
    """Yields an exported ResNet-20, a folder of images, and a folder for their maps."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = tlp.wrap_model(_resnet()).export(folder / "served" / "1", preprocess=_preprocess)
        (folder / "images").mkdir()
        for number, content in enumerate(_jpegs(count)):
            (folder / "images" / f"{number:06}.jpg").write_bytes(content)
        yield model, folder / "images", folder / "maps"


PARTS = {"memory": memory, "stream": stream, "local": local, "ray": ray}


def add_options(parser):
    whole = options.at_least(1)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--few", type=whole, default=1000, help="images of memory")
    parser.add_argument("--many", type=whole, default=100_000, help="images of memory")
    parser.add_argument("--chunk", type=whole, default=2048, help="images of a turn of stream and local")
    parser.add_argument("--rounds", type=whole, default=5, help="turns of each side of stream and local")
    parser.add_argument("--ray-images", type=whole, default=20_000, help="images of ray; half for one core")
    parser.add_argument("--ray-rounds", type=whole, default=1, help="turns of each side of ray")


def run(arguments):
    folder = pathlib.Path(arguments.results) / "scale"
    folder.mkdir(parents=True, exist_ok=True)
    machine = {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
    }
    for name in arguments.parts:
        path = folder / f"{name}.json"
        path.write_text(json.dumps({**machine, name: PARTS[name](arguments)}, indent=1))
        print(f"written to {path}")
