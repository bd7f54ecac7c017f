"""Whole data sets: constant memory, and the rate of each engine against explaining batches in a loop.

JPEG-encoded CIFAR images, and a wrapped ResNet-20, which is exported. Each side runs in a fresh process, or
two that are compared take turns in one. Each part is written to RESULTS/scale/PART.json:

memory      peak memory of `explain_batches` over a `tf.data` stream, for few images and for many; a small CNN
stream      rate of `explain_batches` over a `tf.data` stream, against `explain` in a loop; one core
local       rate of `explain_dataset` in one process, against an `Explainer` in a loop; one core
ray         rate of `explain_dataset` for each core on Ray, two nodes of one core each here, against
            the local engine on one core; the start of the cluster and of its actors is not counted

Rates are images a second, and images a CPU second, which other work on the machine changes less.
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
import psutil
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import fresh, options, subjects

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
    return _shown(fresh.call(_stream_rates, arguments.chunk, arguments.rounds))


def _stream_rates(count, rounds):
    _pin()
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
    return _shown(fresh.call(_local_rates, arguments.chunk, arguments.rounds))


def _local_rates(count, rounds):
    _pin()
    with _data_set(count) as (model, images, out):
        explainer = tlp.serving.Explainer(model, _ENCODED)
        contents = [path.read_bytes() for path in sorted(images.iterdir())]

        def loop():
            for start in range(0, count, _BATCH):
                explainer(contents[start : start + _BATCH])

        def run():
            tlp.scale.explain_dataset(explainer, images, out, overwrite=True, batch_size=_BATCH)

        return _rates({"loop": loop, "explain_dataset": run}, count, rounds)


def ray(arguments):
    """The part `ray`: images a second and a core of both engines, and their ratio; the same of CPU time."""
    turns = {"local": [], "ray": []}
    for _ in range(arguments.ray_rounds):
        turns["local"].append(fresh.call(_local_rate, arguments.ray_images // 2))
        turns["ray"].append(fresh.call(_ray_rate, arguments.ray_images))
    (wall, cpu, _), (ray_wall, ray_cpu, ray_workers) = (np.median(rates, 0) for rates in turns.values())
    found = {
        "images/s": {"local, one core": wall, "ray, a core": ray_wall / 2},
        "images/CPU s": {"local": cpu, "ray": ray_cpu, "ray's actors alone": ray_workers},
        "turns": turns,
        "ratio": ray_wall / 2 / wall,
        "CPU ratio": ray_cpu / cpu,
    }
    return _shown(found)


def _local_rate(count):
    _pin()
    with _data_set(count) as (model, images, out):
        return _steady_rates(model, images, out)


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
            return _steady_rates(model, images, out, engine="ray", address=cluster.address)
    finally:
        package.shutdown()
        cluster.shutdown()


def _steady_rates(model, images, out, **engine):
    """Images a second, a CPU second of all processes, and a CPU second of Ray's actors.

    A first twentieth of the images is not counted: the model is loaded then.
    """
    marks = []

    def progress(done, total):
        if not marks and done >= total / 20 or done == total:
            marks.append(np.array([done, time.perf_counter(), *_cpu_seconds()]))

    tlp.scale.explain_dataset(model, images, out, progress=progress, **engine)
    count, *seconds = marks[-1] - marks[0]
    return [count / value if value else 0.0 for value in seconds]


def _cpu_seconds():
    """CPU seconds of this process and all that it has started, and of Ray's actors among them."""
    this = psutil.Process()
    everyone, actors = 0.0, 0.0
    for process in [this, *this.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it has ended
            times = process.cpu_times()
            everyone += times.user + times.system
            actors += (times.user + times.system) * process.cmdline()[0].startswith("ray::MapWorker")
    return everyone, actors


def _pin():
    """Keeps this process on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _rates(sides, count, rounds):
    """Medians of images a second and a CPU second, and their ratios; a first round is not counted."""
    clocks = {"s": time.perf_counter, "CPU s": time.process_time}
    times = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, function in sides.items():
            before = [clock() for clock in clocks.values()]
            function()
            times[name].append(
                [clock() - start for clock, start in zip(clocks.values(), before, strict=True)]
            )
    middle = {name: count / np.median(values[1:], 0) for name, values in times.items()}
    loop, ours = middle.values()
    rates = {
        f"images/{clock}": {name: rate[k] for name, rate in middle.items()} for k, clock in enumerate(clocks)
    }
    return {**rates, "ratio": ours[0] / loop[0], "CPU ratio": ours[1] / loop[1]}


def _shown(found):
    for unit in ("images/s", "images/CPU s"):
        print(f"{unit}: " + ", ".join(f"{side} {rate:.0f}" for side, rate in found[unit].items()))
    print(f"ratio {found['ratio']:.3f}, of CPU time {found['CPU ratio']:.3f}", flush=True)
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
