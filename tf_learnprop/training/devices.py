"""How `fit` and `evaluate` run their steps on several devices and hosts."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import replicas

#: TensorFlow's error of `replicas.with_samples_each`.
_NO_SAMPLES = re.compile(re.escape(replicas.NO_SAMPLES) + r"[^\[]*\[([\d ]+)\]")

#: TensorFlow's error on all other workers when one of them has stopped, with its reason.
_LOST_WORKER = re.compile("Collective ops is aborted by: (.*)")


def check(model: keras.Model) -> None:
    """Checks that a model can run on the devices that it is asked to use.

    Raises:
        ValueError: If a `keras.distribution` with several devices is set, or XLA would have to compile a
            step of several replicas.
    """
    distribution = keras.distribution.distribution()
    if distribution is not None and distribution.device_mesh.devices.size > 1:
        raise ValueError(
            "A `keras.distribution` divides the work among devices with the JAX backend alone: with "
            "TensorFlow, one device would do all of it. Use `tf.distribute.MirroredStrategy`, after "
            f"`keras.distribution.set_distribution(None)`. Received: distribution={distribution}"
        )
    count = model.distribute_strategy.num_replicas_in_sync
    if count > 1 and model.compiled and model.jit_compile:
        raise ValueError(
            "`jit_compile` must be False under a strategy with several replicas: XLA can't compile a step "
            f"that they take together. Received: jit_compile={model.jit_compile}, {count} replicas"
        )


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turns TensorFlow's errors of several replicas into plain ones.

    Raises:
        ValueError: If a batch was too small to give a sample to each replica.
        ConnectionError: If a worker has stopped.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if match := _NO_SAMPLES.search(error.message):
            counts = [int(count) for count in match[1].split()]
            raise ValueError(
                f"{replicas.NO_SAMPLES}. Received: {sum(counts)} for {len(counts)} replicas, which get "
                f"{', '.join(map(str, counts))}. Use larger batches, and `batch(size, drop_remainder=True)` "
                "if the last one is too small."
            ) from None
        if match := _LOST_WORKER.search(error.message):
            raise ConnectionError(
                "A worker has stopped, and the others can't go on without it. Start all of them again; with "
                "`keras.callbacks.BackupAndRestore` they go on from the last backup. "
                f"TensorFlow's reason: {match[1]}"
            ) from None
        raise


def run_steps(model: keras.Model, step: Callable, function: Callable) -> Callable:
    """Makes the function that `fit` or `evaluate` calls for each execution.

    With one replica, it is Keras' own. With several, Keras' own brings the results of each step from the
    replicas to the host. This fails with several steps per execution, and with replicas in several processes.
    All results are the state of the model's metrics, so it is enough to read these at the end.

    Args:
        model: The compiled model.
        step: `train_step` or `test_step` of the model.
        function: The function that Keras has made of it.

    Returns:
        Callable that takes an iterator over batches and returns the logs, a dict of scalar tensors. It raises
        StopIteration if there are no more batches.
    """
    strategy = model.distribute_strategy
    steps = model.steps_per_execution
    if strategy.num_replicas_in_sync == 1:
        return function

    def run_step(batch: Any) -> None:
        strategy.run(step, args=(batch,))

    def run(iterator: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        def goes_on(count: tf.Tensor, batch: Any) -> tf.Tensor:
            return tf.logical_and(count < steps, batch.has_value())

        def body(count: tf.Tensor, batch: Any) -> tuple[tf.Tensor, Any]:
            run_step(batch.get_value())
            more = count + 1 < steps
            return count + 1, tf.cond(more, iterator.get_next_as_optional, lambda: batch)

        count, _ = tf.while_loop(goes_on, body, [0, iterator.get_next_as_optional()], parallel_iterations=1)
        return count, {metric.name: metric.result() for metric in model.metrics}

    if not model.run_eagerly:
        run_step = tf.function(run_step, autograph=False, reduce_retracing=True)
        run = tf.function(run, autograph=False, reduce_retracing=True)

    def execute(iterator: Any) -> dict[str, tf.Tensor]:
        if not isinstance(iterator, tf.distribute.DistributedIterator):
            return function(iterator)  # `train_on_batch` and `test_on_batch`
        count, logs = run(iterator)
        if count == 0:
            raise StopIteration
        return logs

    return execute
