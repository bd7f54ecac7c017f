"""`RuleTrainer`: how Keras' `fit`, `evaluate` and callbacks train rules."""

import functools
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop import objectives, processors, replicas, tracing
from tf_learnprop.backward.guidance import Guided
from tf_learnprop.inputs import checks
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.targets import choosing
from tf_learnprop.training import devices, guards, step


def _over_data(method: Callable) -> Callable:
    """A method of Keras that follows the source first and has a plain error for a batch of a wrong shape."""

    @functools.wraps(method)
    def run(self: "RuleTrainer", *args: Any, **kwargs: Any) -> Any:
        self._follow_source()
        devices.check(self)
        data = args[0] if args else kwargs.get("x")
        if isinstance(data, Mapping):  # Keras' own check fails for a dict without labels
            checks.check_lengths(keras.tree.flatten(data))
        with checks.plain_shape_errors(self.attributor.explained.graph), devices.plain_errors():
            return method(self, *args, **kwargs)

    return run


class RuleTrainer(keras.Model):
    """The part of a wrapped model that trains its rules; the source model never changes.

    Attributes:
        attributor: Computes the maps from tensors. What its `explained` has is explained.
        objective: What training minimises; None before `compile`.
        targets: What the maps of training explain; set by `compile`.
    """

    attributor: Guided
    train_function: Any
    test_function: Any
    predict_function: Any

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.objective: Any = None
        self._trackers = types.MappingProxyType({})  # a plain view: Keras would save a dict of metrics

    def _follow_source(self) -> None:
        """Takes over changes of the source model."""
        raise NotImplementedError

    @property
    def rule_sets(self) -> list[RuleSet]:
        """The rules and the readout of each explained input, which may share rules."""
        raise NotImplementedError

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Weights of the rules and the readouts. Those of the source model are not trained."""
        variables = [v for rule_set in self.rule_sets for v in rule_set.trainable_variables]
        return list({id(variable): variable for variable in variables}.values())

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The same as `trainable_variables`."""
        return self.trainable_variables

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over the epoch of the loss and of what the objective reports."""
        return list(self._trackers.values())

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        objective: objectives.Objective | None = None,
        targets: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configures the model for `fit` and `evaluate`.

        Args:
            optimizer: An optimizer or its name. Default: Adam(5e-3, global_clipnorm=1).
            objective: `tf_learnprop.objectives.Objective`. Default: `AreaGuidance()`.
            targets: What the maps of training explain, as for `explain`: one target for all samples, such as
                `tf_learnprop.targets.Region()`. None: the predicted class. Of classes, the objective may
                choose another than the target does.
            **kwargs: `run_eagerly`, `steps_per_execution`, `auto_scale_loss` and `jit_compile`, as in
                `keras.Model.compile`. `jit_compile` is False by default, because XLA makes the gradients
                of convolutions many times slower on a CPU; with True, a warning says so there.

        Raises:
            TypeError: If `objective` is not an `Objective`, or an argument such as `loss` or `metrics` has no
                meaning for the training of rules.
            ValueError: If `targets` do not fit the output or are for single samples.
        """
        unknown = kwargs.keys() - {
            "run_eagerly",
            "steps_per_execution",
            "auto_scale_loss",
            "jit_compile",
        }
        if unknown:
            raise TypeError(
                f"`compile` has no argument {', '.join(map(repr, sorted(unknown)))}: the loss and the "
                "metrics come from `objective`."
            )
        choosing.check_shared("targets", targets, self.attributor.explained)
        objective = objectives.AreaGuidance() if objective is None else objective
        if not isinstance(objective, objectives.Objective):
            raise TypeError(
                "`objective` must be a `tf_learnprop.objectives.Objective`. "
                f"Received: objective={objective!r}"
            )
        if optimizer is None:
            optimizer = keras.optimizers.Adam(5e-3, global_clipnorm=1.0)
        if kwargs.get("jit_compile") and processors.are_cpus():
            warnings.warn(
                "`jit_compile=True` makes the gradients of convolutions many times slower on a CPU.",
                stacklevel=2,
            )
        super().compile(optimizer=optimizer, **{"jit_compile": False, **kwargs})
        self.objective = objective
        self.targets = choosing.as_target(targets)
        self._trackers = types.MappingProxyType(
            {name: keras.metrics.Mean(name) for name in ("loss", *objective.reported)}
        )
        if self.trainable_variables:
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        if self.objective is None:
            return None
        parts = {"optimizer": self.optimizer, "objective": self.objective, "targets": self.targets}
        return {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})

    @_over_data
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
    ) -> keras.callbacks.History:
        """Trains the rules and the readout.

        The arguments are those of `keras.Model.fit`. Images are all that training needs: labels, class
        weights and sample weights are accepted and ignored.

        Returns:
            `keras.callbacks.History`.

        Raises:
            RuntimeError: If the model has nothing to train, or `compile` was not called.
            ValueError: If a batch does not fit the model's inputs.
            FloatingPointError: If the loss or a gradient was not finite. The message names the step, and the
                rules are those of the step before.
        """
        if not self.trainable_variables:
            raise RuntimeError(
                "`fit` trains learned rules and readouts, and this model has none: wrap it with "
                "rule='universal'."
            )
        if self.objective is None:
            raise RuntimeError("Call `compile()` before `fit()`.")
        added = guards.for_model(self)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            params = callbacks.params or {}
            callbacks = keras.callbacks.CallbackList(
                [*callbacks.callbacks, *added], add_history=True, model=self, **params
            )
        else:
            callbacks = [*keras.tree.flatten(callbacks or []), *added]
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            sample_weight=sample_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
        )

    evaluate = _over_data(keras.Model.evaluate)
    predict = _over_data(keras.Model.predict)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Nothing is left to build. Keras' own fails if the replicas get different numbers of samples."""

    def make_train_function(self, force: bool = False) -> Callable:
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = devices.run_steps(self, self.train_step, self.train_function)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable:
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = devices.run_steps(self, self.test_step, self.test_function)
        return self.test_function

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs = self._inputs_of(data)
        losses = step.apply_if_finite(
            self.optimizer,
            self.trainable_variables,
            lambda: self._guidance(inputs, training=True),
            # After a failed step, the remaining steps of the same execution must not be taken.
            enabled=tf.math.is_finite(self._trackers["loss"].result()),
        )
        return self._report(losses)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs = self._inputs_of(data)
        losses = self._guidance(inputs, training=False)
        tracing.release_custom_gradients()
        return self._report(losses)

    def predict_step(self, data: Any) -> Any:
        outputs = self(self._inputs_of(data))
        tracing.release_custom_gradients()
        return outputs

    def _guidance(self, inputs: Any, training: bool) -> dict[str, tf.Tensor]:
        count = tf.shape(keras.tree.flatten(inputs)[0])[0]
        target = choosing.tensors(self.targets, self.attributor.explained, count)
        return self.attributor.guidance(inputs, self.objective, training, target)

    def _inputs_of(self, data: Any) -> Any:
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return replicas.with_samples_each(checks.tensors(inputs, self.attributor.explained.graph))

    def _report(self, losses: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        missing = self._trackers.keys() - losses.keys()
        if missing:
            raise ValueError(
                f"`{type(self.objective).__name__}.call` must return 'loss' and everything that `reported` "
                f"names. Received: no {', '.join(map(repr, sorted(missing)))}"
            )
        for name, tracker in self._trackers.items():
            tracker.update_state(losses[name])
        return {name: tracker.result() for name, tracker in self._trackers.items()}
