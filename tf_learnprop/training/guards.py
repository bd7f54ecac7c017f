"""Callbacks that `fit` adds to those of the user: they stop a training that would go wrong."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def for_model(model: keras.Model) -> list[keras.callbacks.Callback]:
    """The guards that a model's training needs."""
    strategy = model.distribute_strategy
    several_workers = (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.num_replicas_in_sync > 1
    )
    return [StopAtNaN(), SameStart()] if several_workers else [StopAtNaN()]


class StopAtNaN(keras.callbacks.Callback):
    """Stops training at the first step whose loss is not finite, unless an earlier callback has done so."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = self._steps_before_epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._steps_before_epoch = self._steps

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        last = self._steps
        self._steps = self._steps_before_epoch + batch + 1
        if not np.isfinite((logs or {}).get("loss", 0.0)) and not self.model.stop_training:
            one = self._steps == last + 1
            where = f"step {self._steps}" if one else f"one of steps {last + 1} to {self._steps}"
            raise FloatingPointError(
                f"Training stopped at {where}: the loss or a gradient is not finite. The rules are "
                "those of the step before. Check the images, or lower the learning rate."
            )


class SameStart(keras.callbacks.Callback):
    """Checks that all workers of a `MultiWorkerMirroredStrategy` start with the same state.

    They would not if only some of them found a backup, and nothing would ever bring them together.
    """

    def on_train_begin(self, logs: dict | None = None) -> None:
        strategy = self.model.distribute_strategy

        @tf.function(autograph=False)
        def gather() -> Any:
            def state() -> tf.Tensor:
                sums = [tf.reduce_sum(tf.abs(weight)) for weight in self.model.trainable_variables]
                own = tf.stack([tf.cast(self.model.optimizer.iterations, tf.float32), tf.add_n(sums)])
                return tf.distribute.get_replica_context().all_gather(own[None], axis=0)

            return strategy.run(state)

        states = strategy.experimental_local_results(gather())[0].numpy()
        if not np.allclose(states, states[0]):
            steps, sums = (", ".join(f"{value:g}" for value in column) for column in states.T)
            raise RuntimeError(
                "All workers must start from the same state: keep a backup where all of them can read it. "
                f"Received: workers after {steps} steps, with rules whose weights sum to {sums}"
            )
