"""Large batches sample by sample, so that no value on the way is as large as the batch."""

from collections.abc import Callable

import tensorflow as tf

from tf_learnprop import processors

#: Most values of a tensor, 32 MB, whose memory is kept for others. That of larger ones comes from the system,
#: which clears it first.
LARGE = 2**23


def by_sample(function: Callable[..., tf.Tensor], *tensors: tf.Tensor) -> tf.Tensor:
    """What a function gives for tensors `[n, ...]`, one sample after the other if the first tensor is large.

    On other devices than CPUs it takes all samples at once: they keep their memory, and each step costs more.

    Args:
        function: Takes tensors `[n, ...]` and gives one, float32 `[n, ...]`. No sample may depend on another.
        *tensors: What it takes.
    """
    if not processors.are_cpus():
        return function(*tensors)

    @tf.custom_gradient
    def run(*tensors: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def backward(signal: tf.Tensor) -> list[tf.Tensor]:
            # Not that of the loop, in which the gradient of each sample is as large as the batch.
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(tensors)
                result = function(*tensors)
            return tape.gradient(result, tensors, signal)

        is_large = tf.size(tensors[0], tf.int64) > LARGE
        return tf.cond(is_large, lambda: _looped(function, *tensors), lambda: function(*tensors)), backward

    return run(*tensors)


def _looped(function: Callable[..., tf.Tensor], *tensors: tf.Tensor) -> tf.Tensor:
    count = tf.shape(tensors[0])[0]

    def step(k: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        sample = (_sample(tensor, k) for tensor in tensors)
        return k + 1, results.write(k, function(*sample)[0])

    results = tf.TensorArray(tf.float32, count)
    _, results = tf.while_loop(lambda k, _: k < count, step, (0, results), parallel_iterations=1)
    return results.stack()


def _sample(tensor: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """`tensor[k : k + 1]`, which is not copied, of a size that XLA knows."""
    others = tf.shape(tensor)[1:]
    return tf.slice(tensor, tf.concat([[k], tf.zeros_like(others)], 0), tf.concat([[1], others], 0))
