"""What the replicas of a `tf.distribute` strategy share in a training step.

Without a strategy there is one replica, and these functions add nothing to the graph.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.backward import tracing


def total(tensors: Any) -> Any:
    """Sums of tensors over all replicas, in the structure of `tensors`."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def position(count: tf.Tensor) -> tuple[tf.Tensor | int, tf.Tensor]:
    """Where the samples of this replica stand among those of all replicas.

    Args:
        count: int32 scalar. Number of samples of this replica.

    Returns:
        Number of samples of the replicas before this one, and of all replicas; ints.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0, count
    replica = context.replica_id_in_sync_group
    counts = total(count * tf.one_hot(replica, context.num_replicas_in_sync, dtype=tf.int32))
    return tf.reduce_sum(counts[:replica]), tf.reduce_sum(counts)


def uniform(rows: int, count: tf.Tensor, seed: keras.random.SeedGenerator | None) -> tf.Tensor:
    """Draws numbers for each sample, the same ones however the samples are divided among replicas.

    Args:
        rows: int. Number of draws for each sample.
        count: int32 scalar. Number of samples of this replica.
        seed: `keras.random.SeedGenerator` or None.

    Returns:
        float32 `[rows, count]` in [0, 1).
    """
    start, everywhere = position(count)
    return keras.random.uniform([rows, everywhere], seed=seed)[:, start : start + count]


def apply_if(
    condition: tf.Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
) -> None:
    """Applies gradients on all replicas if a condition holds.

    Args:
        condition: bool scalar, the same on all replicas.
        optimizer: Keras optimizer.
        gradients: Summed over the replicas, so they are the same on all of them.
        variables: Keras variables.
    """
    context = tf.distribute.get_replica_context()
    # An optimizer clips the gradient of each replica and then adds them up. So that it clips their sum, one
    # replica passes this sum on, and the others nothing.
    if context.num_replicas_in_sync > 1:
        first = tf.equal(context.replica_id_in_sync_group, 0)
        gradients = [tf.where(first, gradient, tf.zeros_like(gradient)) for gradient in gradients]

    def apply():
        optimizer.apply(gradients, variables)
        tracing.release_custom_gradients()  # Keras' optimizers register one in this branch
        return True

    if tf.__internal__.distribute.strategy_supports_no_merge_call():
        tf.cond(condition, apply, lambda: False)
        return

    # The replicas meet to apply gradients, and can't do so in a branch that each of them enters alone.
    def apply_together(strategy, conditions, gradients):
        def apply_on_each():
            strategy.extended.call_for_each_replica(optimizer.apply, args=(gradients, variables))
            return True

        tf.cond(strategy.experimental_local_results(conditions)[0], apply_on_each, lambda: False)

    context.merge_call(apply_together, args=(condition, gradients))


def one_step_at_a_time(model: keras.Model, function: Callable) -> Callable:
    """The function of `fit` or `evaluate`, with a Python loop over the steps of an execution.

    Under a strategy with several replicas, the loop of Keras fails inside TensorFlow: "You must feed a value
    for placeholder tensor".

    Args:
        model: The model that has made the function.
        function: Takes an iterator over batches and returns the logs.
    """
    steps = model.steps_per_execution
    if steps == 1 or model.distribute_strategy.num_replicas_in_sync == 1:
        return function

    def run(iterator):
        logs = None
        model.steps_per_execution = 1  # of what Keras traces
        try:
            for _ in range(steps):
                try:
                    logs = function(iterator)
                except tf.errors.OutOfRangeError:
                    if logs is None:
                        raise
                    break
        finally:
            model.steps_per_execution = steps
        return logs

    return run
