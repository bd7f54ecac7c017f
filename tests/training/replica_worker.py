"""Trains small models on several logical CPUs. TensorFlow divides the CPU only once in a process.

Takes the number of replicas (0 for no strategy) and the file to write: weights, optimizer variables, losses.
With TF_CONFIG in the environment, this process is one of several workers, each of which is a replica.
"""

import json
import os
import socket
import sys
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from tf_learnprop import objectives

SIDE = 8
#: Of batches of 8, 8 and 7 samples in turn; the last divides into unequal parts.
STEPS = 20
#: Exponent of the first scale of the loss, by precision: some of the first steps overflow.
SCALES = {"float32": 127, "mixed_float16": 24, "mixed_bfloat16": 127}


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, SIDE, SIDE, 3)).astype(np.float32)


def model(policy: str = "float32", optimizer: Any = None, **kwargs: Any) -> tlp.PropagationModel:
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    source = keras.Model(image, keras.layers.Dense(3, dtype="float32")(x))
    wrapped = tlp.wrap_model(source)
    # The other fills, and `cutmix`, take something from the rest of the batch: from that of the replica.
    wrapped.compile(optimizer, objectives.AreaGuidance(fills=("blur",), cutmix=0.0), **kwargs)
    return wrapped


def joint_model() -> tlp.JointModel:
    """A photo and a table, of which both are masked."""
    keras.utils.set_random_seed(1)
    photo, table = keras.Input((SIDE, SIDE, 3), name="photo"), keras.Input((3,), name="table")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(photo)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Concatenate()([x, keras.layers.Dense(4, "relu")(table)])
    source = keras.Model({"photo": photo, "table": table}, keras.layers.Dense(3)(x))
    wrapped = tlp.wrap_model(source, "learned", explained_input="all")
    wrapped.compile(objective=objectives.AreaGuidance(fills=("blur",)))
    return wrapped


def batches(x: np.ndarray, size: int = 8) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(x).batch(size)


def state(wrapped: tlp.PropagationModel | tlp.JointModel) -> list[keras.Variable]:
    return [*wrapped.trainable_variables, *wrapped.optimizer.variables]


def cluster(count: int) -> list[dict[str, str]]:
    """The environments that make processes the workers of one cluster on this machine."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    workers = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    tasks = [{"type": "worker", "index": index} for index in range(count)]
    return [{"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": task})} for task in tasks]


class Recorder:
    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}

    def record(self, name: str, wrapped: tlp.PropagationModel | tlp.JointModel, history: Any = None) -> None:
        for number, variable in enumerate(state(wrapped)):
            copies = getattr(variable.value, "values", [variable.value])  # of the replicas in this process
            for copy in copies:  # all hold the same
                np.testing.assert_array_equal(copy.numpy(), copies[0].numpy())
            self.arrays[f"{name}/{number}"] = copies[0].numpy()
        if history is not None:
            self.arrays[f"{name}/loss"] = history.history["loss"]


def run(strategy: tf.distribute.Strategy, path: str) -> None:
    recorder = Recorder()
    with strategy.scope():
        wrapped = model()
    history = wrapped.fit(batches(images(23)).repeat(), epochs=4, steps_per_epoch=5, verbose=0)
    recorder.record("plain", wrapped, history)
    assert wrapped.optimizer.iterations.numpy() == STEPS
    recorder.arrays["evaluate"] = wrapped.evaluate(batches(images(23)), verbose=0)

    with strategy.scope():
        joint = joint_model()
    photos = images(16)
    tables = np.tile(photos[:2, 0, 0], (8, 1))  # of one mean, which fills them, in each replica's part
    data = tf.data.Dataset.from_tensor_slices({"photo": photos, "table": tables}).batch(8)
    recorder.record("joint", joint, joint.fit(data, verbose=0))

    # The last batch leaves nothing for the last replica.
    try:
        wrapped.fit(batches(images(8 + strategy.num_replicas_in_sync - 1)), verbose=0)
    except ValueError as error:
        recorder.arrays["small"] = str(error)

    # A bad sample of the last replica stops all of them, at the second step.
    x = images(24)
    x[15] = np.nan
    with strategy.scope():
        wrapped = model()
    try:
        wrapped.fit(batches(x), verbose=0)
    except FloatingPointError as error:
        recorder.arrays["message"] = str(error)
    recorder.record("stopped", wrapped)

    if strategy.num_replicas_in_sync > 1:
        wrapped.compile(jit_compile=True)
        try:
            wrapped.fit(batches(images(8)), verbose=0)
        except ValueError as error:
            recorder.arrays["jit"] = str(error)

    if strategy.num_replicas_in_sync < 4:
        for policy in SCALES:
            scaled(strategy, policy, recorder)
    np.savez(path, **recorder.arrays)


def scaled(strategy: tf.distribute.Strategy, policy: str, recorder: Recorder) -> None:
    """Trains with a scaled loss and several steps per execution."""
    with strategy.scope():
        inner = keras.optimizers.Adam(5e-3, global_clipnorm=1.0)
        optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0 ** SCALES[policy])
        wrapped = model(policy, optimizer, steps_per_execution=3)
    history = wrapped.fit(batches(images(24)), epochs=4, verbose=0)
    recorder.record(policy, wrapped, history)
    recorder.arrays[f"scale_{policy}"] = optimizer.dynamic_scale.numpy()
    recorder.arrays[f"{policy}/evaluate"] = wrapped.evaluate(batches(images(24)), verbose=0)


def main(replicas: int, path: str) -> None:
    if "TF_CONFIG" in os.environ:
        return run(tf.distribute.MultiWorkerMirroredStrategy(), path)
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration() for _ in range(max(replicas, 1))]
    tf.config.set_logical_device_configuration(cpu, devices)
    strategy = tf.distribute.get_strategy()
    if replicas:
        strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(replicas)])
    assert strategy.num_replicas_in_sync == max(replicas, 1)
    run(strategy, path)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
