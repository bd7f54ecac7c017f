"""Speed on the device at hand, by precision, XLA and batch size, and of several replicas."""

import itertools
import time

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import clock

#: MobileNetV2 and ResNet50 of random weights at a small size, so that the largest batches fit in memory.
SIDE = 96
MODELS = {"MobileNetV2": keras.applications.MobileNetV2, "ResNet50": keras.applications.ResNet50}
#: Of the images of a stream, which must come to an end. It lasts longer than it is measured.
_REPEATS = 10_000
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def device():
    """The GPUs in use, or that none could be used."""
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    names = ", ".join(details.get("device_name", "a GPU") for details in gpus)
    return names or "CPU; no GPU could be used"


def precision(name, policy, jit_compile, batch, rounds, training=True):
    """Dict from a side to (seconds an image, ratio to the plain gradient of the same precision)."""
    model = _model(name, policy)
    images = _images(batch)
    wrapped = tlp.wrap_model(model)
    attribute = tf.function(lambda x: wrapped.attribute(x).maps, jit_compile=jit_compile)
    sides = {
        "plain gradient": clock.plain_gradient(model, jit_compile),
        "explain": lambda x: attribute(tf.constant(x)).numpy(),
    }
    if training:
        trained = tlp.wrap_model(model, rule="learned")
        trained.compile(jit_compile=jit_compile)
        sides["training step"] = trained.train_on_batch
    times = clock.seconds({side: lambda f=f: f(images) for side, f in sides.items()}, rounds)
    return {side: (value / batch, value / times["plain gradient"]) for side, value in times.items()}


def throughput(name, seconds, gain=1.05):
    """Images a second through `explain_batches` from `tf.data`, and through the plain gradient.

    The batch is doubled until that makes `explain_batches` less than `gain` times as fast.

    Returns:
        Dict from a batch size to a dict from a side to images a second.
    """
    model = _model(name, "float32")
    wrapped, gradient = tlp.wrap_model(model), clock.plain_gradient(model)
    data = tf.data.Dataset.from_tensor_slices(_images(256)).repeat(_REPEATS)
    found, last = {}, 0.0
    for batch in (2**power for power in range(9)):
        batches = data.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        rows = {
            "plain gradient": _rate((gradient(x) for x in batches), batch, seconds),
            "explain_batches": _rate(wrapped.explain_batches(batches), batch, seconds),
        }
        found[batch] = rows
        if rows["explain_batches"] < gain * last:
            break
        last = rows["explain_batches"]
    return found


def replicas(name, count, batch, steps, rounds):
    """Seconds of a step of `fit` on one device and on some logical CPUs with the same batch, taking turns.

    Call it in a fresh process: TensorFlow divides the CPU only once. Steps are timed from one's end to the
    next one's, since `fit` may wait at its end for `tf.data` to let go of data that goes on.

    Returns:
        Dict from a side to the median seconds of a step; "ratio", the median ratio of the turns; and "CPU
        ratio", that of the processor's time, which other work on the machine changes little.
    """
    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    tf.config.set_logical_device_configuration(cpu, parts)
    several = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(count)])
    data = tf.data.Dataset.from_tensor_slices(_images(batch)).batch(batch).repeat()
    sides = {"one device": tf.distribute.get_strategy(), f"{count} replicas": several}
    fits = {}
    for side, strategy in sides.items():
        with strategy.scope():
            wrapped = tlp.wrap_model(_model(name, "float32"), rule="learned")
            wrapped.compile()
        fits[side] = wrapped.fit
    turns = {side: [] for side in fits}
    for turn, (side, fit) in itertools.product(range(rounds + 1), fits.items()):
        clocks = _Clocks()
        fit(data, steps_per_epoch=steps + 1, verbose=0, callbacks=[clocks])
        if turn:
            turns[side].append(np.mean(np.diff(clocks.ends, axis=0), 0))
    one, more = map(np.array, turns.values())
    ratio, cpu_ratio = np.median(more / one, 0)
    seconds = {side: float(np.median(values, 0)[0]) for side, values in turns.items()}
    return {**seconds, "ratio": float(ratio), "CPU ratio": float(cpu_ratio)}


class _Clocks(keras.callbacks.Callback):
    """Seconds and CPU seconds at the end of each step."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append([time.perf_counter(), time.process_time()])


def _model(name, policy):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        return MODELS[name](weights=None, input_shape=(SIDE, SIDE, 3), classifier_activation=None)
    finally:
        keras.config.set_dtype_policy("float32")


def _images(count):
    return np.random.default_rng(0).normal(size=(count, SIDE, SIDE, 3)).astype("float32")


def _rate(results, batch, seconds):
    """Images a second, after the first batch, over some seconds and at least two batches."""
    next(results)
    start = time.perf_counter()
    for done in itertools.count(1):
        next(results)
        spent = time.perf_counter() - start
        if done > 1 and spent > seconds:
            return done * batch / spent
