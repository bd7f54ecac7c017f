"""What the replicas of a `tf.distribute` strategy share in a training step.

Without a strategy there is one replica, and these functions add nothing to the graph.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import tracing

#: Begins the error of `with_samples_each`, which ends in the numbers of samples.
NO_SAMPLES = "Each replica must have at least one sample of each batch"


def total(tensors: Any) -> Any:
    """Sums of tensors over all replicas, in the structure of `tensors`."""
    context = _several()
    if context is None:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def position(count: tf.Tensor) -> tuple[tf.Tensor | int, tf.Tensor]:
    """Where the samples of this replica stand among those of all replicas.

    Args:
        count: int32 scalar. Number of samples of this replica.

    Returns:
        Number of samples of the replicas before this one, and of all replicas; ints.
    """
    context = _several()
    if context is None:
        return 0, count
    counts = _counts(context, count)
    return tf.reduce_sum(counts[: context.replica_id_in_sync_group]), tf.reduce_sum(counts)


def with_samples_each(inputs: Any) -> Any:
    """Checks that no replica is left without samples; TensorFlow's kernels fail on an empty batch.

    Args:
        inputs: Tensors `[n, ...]` of this replica, in any structure.

    Returns:
        The same tensors.

    Raises:
        InvalidArgumentError: If a replica has no samples. All replicas raise it, when the step runs.
    """
    context = _several()
    if context is None:
        return inputs
    counts = _counts(context, tf.shape(keras.tree.flatten(inputs)[0])[0])
    check = tf.debugging.Assert(tf.reduce_all(counts > 0), [NO_SAMPLES, counts], summarize=2**31 - 1)
    with tf.control_dependencies([] if check is None else [check]):
        return keras.tree.map_structure(tf.identity, inputs)


def uniform(rows: int, count: tf.Tensor, seed: keras.random.SeedGenerator | None) -> tf.Tensor:
    """Draws numbers for each sample, the same ones however the samples are divided among replicas.

    Args:
        rows: Number of draws for each sample.
        count: int32 scalar. Number of samples of this replica.
        seed: Seed of the draws.

    Returns:
        float32 `[rows, count]` in [0, 1).
    """
    start, everywhere = position(count)
    return keras.random.uniform([rows, everywhere], dtype="float32", seed=seed)[:, start : start + count]


def apply_if(
    condition: tf.Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
) -> None:
    """Applies gradients on all replicas if a condition holds.

    Args:
        condition: bool scalar, the same on all replicas.
        optimizer: Optimizer that holds their state.
        gradients: Summed over the replicas, so they are the same on all of them.
        variables: What they change.
    """
    context = tf.distribute.get_replica_context()
    # An optimizer clips the gradient of each replica and then adds them up. So that it clips their sum, one
    # replica passes this sum on, and the others nothing. What is not finite all of them pass on: an optimizer
    # that scales the loss must come to the same decision everywhere.
    if context.num_replicas_in_sync > 1:
        others = context.replica_id_in_sync_group > 0
        gradients = [
            tf.where(tf.logical_and(others, tf.math.is_finite(gradient)), tf.zeros_like(gradient), gradient)
            for gradient in gradients
        ]

    def apply(gradients: Sequence[tf.Tensor]) -> bool:
        optimizer.apply(gradients, variables)
        tracing.release_custom_gradients()  # Keras' optimizers register one in this branch
        return True

    if tf.__internal__.distribute.strategy_supports_no_merge_call():
        tf.cond(condition, lambda: apply(gradients), lambda: False)
        return

    # The replicas meet to apply gradients, and can't do so in a branch that each of them enters alone.
    def apply_together(strategy: tf.distribute.Strategy, conditions: Any, gradients: Any) -> None:
        def apply_on_each() -> bool:
            strategy.extended.call_for_each_replica(apply, args=(gradients,))
            return True

        tf.cond(strategy.experimental_local_results(conditions)[0], apply_on_each, lambda: False)

    context.merge_call(apply_together, args=(condition, gradients))


def _several() -> tf.distribute.ReplicaContext | None:
    """The context of this replica if there are others, else None."""
    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context


def _counts(context: tf.distribute.ReplicaContext, count: tf.Tensor) -> tf.Tensor:
    """Numbers of samples of all replicas, int32 `[replicas]`."""
    replica = tf.one_hot(context.replica_id_in_sync_group, context.num_replicas_in_sync, dtype=tf.int32)
    return total(count * replica)
