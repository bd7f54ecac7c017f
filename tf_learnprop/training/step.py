"""One optimizer step on the rules."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tf_learnprop import replicas, tracing


def apply_if_finite(
    optimizer: keras.optimizers.Optimizer,
    variables: Sequence[keras.Variable],
    compute_losses: Callable[[], dict[str, tf.Tensor]],
    enabled: bool | tf.Tensor = True,
) -> dict[str, tf.Tensor]:
    """Takes one step that lowers the mean loss, unless the loss or a gradient is not finite.

    A step that is not taken changes neither the variables nor the optimizer.

    Under a `tf.distribute` strategy, each replica calls this with its part of the batch. The mean is over the
    samples of all replicas, which take the step together or not at all.

    Args:
        optimizer: A `LossScaleOptimizer` expects gradients that overflow and handles them
            itself, so for that one only the loss has to be finite.
        variables: What is trained.
        compute_losses: Returns float32 `[n]` by name. The mean of "loss"
            is minimised.
        enabled: False computes the losses and takes no step.

    Returns:
        The dict of `compute_losses`; its "loss" is NaN if the loss or a gradient was not finite.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for variable in variables:
            tape.watch(variable.value)
        losses = compute_losses()
        # The share of these samples in the mean over those of all replicas, of which one may have fewer.
        count = replicas.total(tf.cast(tf.size(losses["loss"]), tf.float32))
        loss = tf.reduce_sum(losses["loss"]) / count
        scaled = optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, [v.value for v in variables], unconnected_gradients="zero")
    # A traced gradient may have lost its shape, which Keras' Muon asks for.
    gradients = [tracing.with_shape(dv, v.shape) for dv, v in zip(gradients, variables, strict=True)]
    loss, *gradients = replicas.total([loss, *gradients])
    tracing.release_custom_gradients()  # only here have all replicas computed theirs
    handles_overflow = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    checked = [loss] if handles_overflow else [loss, *gradients]
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in checked])
    replicas.apply_if(tf.logical_and(finite, enabled), optimizer, gradients, variables)
    return {**losses, "loss": tf.where(finite, losses["loss"], float("nan"))}
