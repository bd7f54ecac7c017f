"""One optimizer step on the rules."""

import keras
import tensorflow as tf


def apply_if_finite(optimizer, variables, losses_of, sound=True):
    """Goes one step down the mean loss; a step that is not finite changes nothing.

    Args:
        optimizer: Keras optimizer.
        variables: list of Keras variables.
        losses_of: callable without arguments, dict of float32 `[n]` of which "loss" is minimised.
        sound: bool or bool scalar tensor, False withholds the step.

    Returns:
        What `losses_of` gave; its "loss" is NaN if the loss or a gradient was not finite.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for variable in variables:
            tape.watch(variable.value)
        losses = losses_of()
        loss = tf.reduce_mean(losses["loss"])
        scaled = optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, [v.value for v in variables], unconnected_gradients="zero")
    # A scaled loss overflows now and then; the optimizer that scales it sees to that by itself.
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    judged = [loss] if scales else [loss, *gradients]
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in judged])

    def update():
        optimizer.apply(gradients, variables)
        return True

    tf.cond(tf.logical_and(finite, sound), update, lambda: False)
    return {**losses, "loss": tf.where(finite, losses["loss"], float("nan"))}
