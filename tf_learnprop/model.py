"""`PropagationModel`: a Keras model with propagation rules, which trains them and makes maps."""

import functools
import os
import pathlib
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop import explanations, saving, serving
from tf_learnprop.backward import probing, rule_config, tracing
from tf_learnprop.backward.attributor import Attributor
from tf_learnprop.backward.graph import ModelGraph, input_from_config
from tf_learnprop.backward.rule_set import RuleSet
from tf_learnprop.coverage import Coverage
from tf_learnprop.inputs import batches, checks
from tf_learnprop.training import objectives, refinement, replicas, step


def _over_data(method: Callable) -> Callable:
    """A method of Keras that follows the source first and has a plain error for a batch of a wrong shape."""

    @functools.wraps(method)
    def run(self, *args, **kwargs):
        self._follow_source()
        with checks.plain_shape_errors(self.graph):
            return method(self, *args, **kwargs)

    return run


@keras.saving.register_keras_serializable("tf_learnprop")
class PropagationModel(keras.Model):
    """A model whose activations follow propagation rules in the backward pass. Use `wrap_model` to make one.

    Calling it returns the outputs of the source model. `fit` trains the rules and the readout from images
    alone, without labels. The weights and statistics of the source model never change, and it always runs
    in inference mode.

    Args:
        source: `keras.Model`. It is shared, not copied.
        rule_set: `RuleSet` of this model.
        output: int. Index of the output whose class is explained.
        explained_input: int. Index of the input that is explained.
        graph: `ModelGraph` of the source model, if it has been read already.

    Attributes:
        graph: `ModelGraph` of the source model.
        attributor: `Attributor`, which computes the maps from tensors.
    """

    def __init__(
        self,
        source: keras.Model,
        rule_set: RuleSet,
        output: int = 0,
        explained_input: int = 0,
        *,
        graph: ModelGraph | None = None,
        **kwargs: Any,
    ):
        # In the source's precision, but its inputs come to the source as they are.
        super().__init__(dtype=source.dtype_policy, autocast=False, **kwargs)
        self.source = source
        self.rule_set = rule_set
        self.output_index = output
        self.input_index = explained_input
        self.objective: Any = None
        self._trackers = types.MappingProxyType({})  # a plain view: Keras would save a dict of metrics
        self._bind(graph or ModelGraph(source))
        self.built = True

    def _bind(self, graph):
        """Makes all that depends on how the source model is built."""
        missing = set(self.rule_set.paths) - {site.path for site in graph.activations}
        if missing:
            raise ValueError(
                f"The source model must keep the activations that have rules. Received: no activation at "
                f"{', '.join(sorted(missing))}. Wrap the model again with `wrap_model`."
            )
        self.graph = graph
        self.attributor = Attributor(graph, self.rule_set, self.output_index, self.input_index)
        self._maps = tracing.for_any_length(functools.partial(explanations.attribute, self.attributor))
        self._signal = tracing.for_any_length(self.attributor.input_signal)
        self._logits = tracing.for_any_length(self.attributor.logits)
        self._refiner = None
        self.train_function = self.test_function = self.predict_function = None

    def _follow_source(self):
        """Takes over changes of the source model: another activation, LoRA, quantization."""
        if not self.graph.is_current():
            self._bind(ModelGraph(self.source, self.graph.input))

    # -- what Keras asks for ---------------------------------------------------------------------------

    def call(self, inputs: Any) -> Any:
        self._follow_source()
        return self.attributor.outputs(inputs)

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Weights of the rules and the readout. Those of the source model are not trained."""
        return self.rule_set.trainable_variables

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The same as `trainable_variables`."""
        return self.rule_set.trainable_weights

    @property
    def non_trainable_weights(self) -> list[keras.Variable]:
        """All other weights, including those of the source model."""
        trained = {id(weight) for weight in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trained]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Means over the epoch of the loss and of what the objective reports."""
        return list(self._trackers.values())

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        objective: objectives.Objective | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures the model for `fit` and `evaluate`.

        Args:
            optimizer: Keras optimizer or its name. Default: Adam(5e-3, global_clipnorm=1).
            objective: `tf_learnprop.objectives.Objective`. Default: `AreaGuidance()`.
            **kwargs: `run_eagerly`, `steps_per_execution`, `auto_scale_loss` and `jit_compile`, as in
                `keras.Model.compile`. `jit_compile` is False by default, because XLA makes the gradients
                of convolutions many times slower on a CPU.

        Raises:
            TypeError: `objective` is not an `Objective`, or an argument such as `loss` or `metrics` has no
                meaning for the training of rules.
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
        if keras.backend.is_int_dtype(self.graph.inputs[self.input_index].dtype):
            raise ValueError(
                "Training masks the explained input, so it must be of a float dtype. Received: integers"
            )
        objective = objectives.AreaGuidance() if objective is None else objective
        if not isinstance(objective, objectives.Objective):
            raise TypeError(
                "`objective` must be a `tf_learnprop.objectives.Objective`. "
                f"Received: objective={objective!r}"
            )
        if optimizer is None:
            optimizer = keras.optimizers.Adam(5e-3, global_clipnorm=1.0)
        super().compile(optimizer=optimizer, **{"jit_compile": False, **kwargs})
        self.objective = objective
        self._refiner = None
        self._trackers = types.MappingProxyType(
            {name: keras.metrics.Mean(name) for name in ("loss", *objective.reported)}
        )
        if self.trainable_variables:
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        if self.objective is None:
            return None
        parts = {"optimizer": self.optimizer, "objective": self.objective}
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
            RuntimeError: The model has nothing to train, or `compile` was not called.
            ValueError: A batch does not fit the model's inputs.
            FloatingPointError: The loss or a gradient was not finite. The message names the step, and the
                rules are those of the step before.
        """
        if not self.trainable_variables:
            raise RuntimeError(
                "`fit` trains learned rules and readouts, and this model has none: wrap it with "
                "rule='universal'."
            )
        if self.objective is None:
            raise RuntimeError("Call `compile()` before `fit()`.")
        guard = _StopAtNaN()
        if isinstance(callbacks, keras.callbacks.CallbackList):
            params = callbacks.params or {}
            callbacks = keras.callbacks.CallbackList(
                [*callbacks.callbacks, guard], add_history=True, model=self, **params
            )
        else:
            callbacks = [*keras.tree.flatten(callbacks or []), guard]
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

    def make_train_function(self, force: bool = False) -> Callable:
        if self.train_function is None or force:
            super().make_train_function(force)
            made: Any = self.train_function
            self.train_function = replicas.one_step_at_a_time(self, made)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable:
        if self.test_function is None or force:
            super().make_test_function(force)
            made: Any = self.test_function
            self.test_function = replicas.one_step_at_a_time(self, made)
        return self.test_function

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs = self._inputs_of(data)
        losses = step.apply_if_finite(
            self.optimizer,
            self.trainable_variables,
            lambda: self.attributor.guidance(inputs, self.objective, training=True),
            # After a failed step, the remaining steps of the same execution must not be taken.
            enabled=tf.math.is_finite(self._trackers["loss"].result()),
        )
        return self._report(losses)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        inputs = self._inputs_of(data)
        losses = self.attributor.guidance(inputs, self.objective, training=False)
        tracing.release_custom_gradients()
        return self._report(losses)

    def predict_step(self, data: Any) -> Any:
        outputs = self(self._inputs_of(data))
        tracing.release_custom_gradients()
        return outputs

    def _inputs_of(self, data):
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return checks.tensors(inputs, self.graph)

    def _report(self, losses):
        missing = self._trackers.keys() - losses.keys()
        if missing:
            raise ValueError(
                f"`{type(self.objective).__name__}.call` must return 'loss' and everything that `reported` "
                f"names. Received: no {', '.join(map(repr, sorted(missing)))}"
            )
        for name, tracker in self._trackers.items():
            tracker.update_state(losses[name])
        return {name: tracker.result() for name, tracker in self._trackers.items()}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "source": keras.saving.serialize_keras_object(self.source),
            "rule_set": self.rule_set.get_config(),
            "output": self.output_index,
            "explained_input": self.input_index,
            **self.graph.input_config(),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "PropagationModel":
        config = dict(config)
        source = keras.saving.deserialize_keras_object(config.pop("source"), custom_objects)
        inputs = input_from_config(config.pop("input_specs", None), config.pop("input_structure", None))
        graph = ModelGraph(source, inputs)
        rules = config.pop("rule_set")
        paths = {site.path for site in graph.activations}
        if any(row["path"] not in paths for row in rules["rules"]):
            # Keras has counted up the names of layers that the source's own Python code makes.
            structure = graph.structure_for(len(rules["structure"]))
            rules = rule_config.for_model(rules, structure, graph.activation_runs)
        return cls(source, RuleSet.from_config(rules), graph=graph, **config)

    # -- maps --------------------------------------------------------------------------------------------

    @property
    def coverage(self) -> Coverage:
        """`Coverage`: lists each activation of the source model, whether it is swapped, and why not."""
        self._follow_source()
        return Coverage(self.graph, self.rule_set, self.output_index, self.input_index)

    @property
    def read_shapes(self) -> list[tuple[int | None, ...]]:
        """Shapes `(None, ..., c)` of what the readout reads, a list in the order of execution."""
        return probing.read_shapes(self.graph, self.rule_set, self.input_index, self.output_index)

    @property
    def class_count(self) -> int:
        """Number of classes of the explained output. A single unit counts as two classes, no and yes."""
        return self.attributor.head.class_count

    def explain(
        self,
        images: Any,
        targets: npt.ArrayLike | None = None,
        *,
        batch_size: int = 32,
        verbose: int = 0,
        refine_steps: int = 0,
        refine_rate: float = 0.05,
    ) -> np.ndarray:
        """Computes attribution maps with one forward and one backward pass.

        Args:
            images: Array or tensor `[n, h, w, c]` (in general `[n, *spatial, c]` or `[n, features]`; a list
                or dict for a model with several inputs), a `tf.data.Dataset` or other iterable of batches,
                or a `keras.utils.PyDataset`. Preprocessed as the model expects; cast to its input dtype.
            targets: What to explain: None for the predicted class of each image, an int class id, ids `[n]`,
                or weights `[n, classes]` of the class logits, one-hot or other.
            batch_size: int. Number of samples per batch, if `images` are arrays. In refinement, at most
                `batch_size` masked images run at once: 16 per sample, and always at least one sample.
            verbose: int. 0 is silent, 1 shows Keras' progress bar.
            refine_steps: int. Number of steps that refine the map of each sample. Refinement adds a coarse
                field of 8 values per side to the map and trains it with the objective; the rules stay as
                they are. It is much slower, as each step costs 32 passes. 20 steps are a good choice.
            refine_rate: float. Learning rate of Adam in these steps, in standard deviations of the map.

        Returns:
            float32 NumPy array `[n, h, w]` (in general `[n, *spatial]` or `[n, features]`). Larger values
            are more important; the scale is arbitrary.

        Raises:
            ValueError: The images have the wrong shape, are empty or are not finite; targets are out of
                range or of the wrong length; or `refine_steps` is given for an input without pixels.
            TypeError: The images are not numbers, or targets have another form.
        """
        count, results = self._explained(images, targets, batch_size, "raise", refine_steps, refine_rate)
        return _joined((result.maps for result in results), count, verbose)

    def explain_batches(
        self,
        data: Any,
        targets: npt.ArrayLike | None = None,
        *,
        batch_size: int = 32,
        on_error: str = "raise",
        refine_steps: int = 0,
        refine_rate: float = 0.05,
    ) -> Iterator[explanations.ExplainedBatch]:
        """Explains one batch after the other, so that any amount of data fits in memory.

        Args:
            data: As `images` of `explain`. A dataset or iterable may yield tuples: the first entry is
                explained, and the others, such as labels or file names, are returned with the maps.
            targets: As for `explain`.
            batch_size: int. Number of samples per batch, if `data` are arrays.
            on_error: str. What to do about a sample that is not finite, has the wrong size or does not hold
                numbers: "raise" an error, or "skip" it and explain the rest of its batch. The batches of an
                iterable may be lists of samples, so that samples of a wrong size fit in. An error of the
                data itself, which comes without a batch, is always raised.
            refine_steps: int. As for `explain`.
            refine_rate: float. As for `explain`.

        Yields:
            `tf_learnprop.explanations.ExplainedBatch`, a named tuple (maps, class_ids, probabilities, extras,
            errors).

        Raises:
            ValueError, TypeError: As `explain`. With "skip", only those that concern no single sample.
        """
        # Not a generator itself, so that bad arguments raise an error at once.
        return self._explained(data, targets, batch_size, on_error, refine_steps, refine_rate)[1]

    def attribute(self, inputs: Any, targets: Any = None) -> explanations.Attribution:
        """Computes maps from tensors, for use inside a `tf.function` or `tf.data.Dataset.map`.

        `explain` is faster outside of these, as it keeps its trace. Inputs are not checked for values that
        are not finite.

        Args:
            inputs: Tensors in the structure of the model's inputs, `[n, h, w, c]` (in general
                `[n, *spatial, c]` or `[n, features]`).
            targets: None for the predicted classes, an int class id, ints `[n]`, or weights `[n, classes]` of
                the class logits. Tensors or arrays.

        Returns:
            `tf_learnprop.explanations.Attribution`, a named tuple of tensors (maps, class_ids,
            probabilities).

        Raises:
            ValueError: The inputs have the wrong shape.
            TypeError: Targets have another form.
            tf.errors.InvalidArgumentError: A target is out of range or not finite, or their number is wrong.
        """
        self._follow_source()
        inputs = keras.tree.map_structure(tf.convert_to_tensor, inputs)
        inputs = checks.tensors(inputs, self.graph)
        inputs = keras.tree.map_structure(lambda x, spec: tf.cast(x, spec.dtype), inputs, self.graph.input)
        count = tf.shape(keras.tree.flatten(inputs)[0])[0]
        weights = explanations.class_weights(targets, count, self.class_count)
        return explanations.attribute(self.attributor, inputs, weights)

    def _explained(self, data, targets, batch_size, on_error, refine_steps, refine_rate):
        """Number of batches, None if unknown, and an iterator over `ExplainedBatch`."""
        checks.whole_number("refine_steps", refine_steps, 0)
        self._follow_source()
        refine = None
        if refine_steps:
            if self._refiner is None:
                self._refiner = refinement.Refiner(self)
            refine = self._refiner.begin(refine_steps, refine_rate, batch_size)
        count, stream = batches.stream(data, targets, self.graph, self.class_count, batch_size, on_error)
        return count, self._explain_stream(stream, refine)

    def _explain_stream(self, stream, refine):
        shape = tuple(side or 0 for side in self._map_shape)
        for batch in stream:
            result = None
            if len(batch.good):
                given = batch.inputs, batch.class_weights
                result = explanations.Attribution(*map(np.asarray, self._maps(*given)))
                if refine is not None:
                    result = result._replace(maps=refine(*given))
                shape = result.maps.shape[1:]
            yield explanations.with_errors(result, batch, shape)

    @property
    def _map_shape(self):
        shape = self.graph.inputs[self.input_index].shape
        return shape[1:-1] or shape[1:]

    def input_signal(
        self, images: Any, targets: npt.ArrayLike | None = None, *, batch_size: int = 32
    ) -> np.ndarray:
        """Computes ∂s/∂x under the rules, where s is the explained logit and x the explained input.

        The arguments and errors are those of `explain`.

        Returns:
            float32 NumPy array, in the shape of the explained input.
        """
        self._follow_source()
        return self._over_batches(self._signal, images, targets, batch_size)

    def logits(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """Computes the explained output before its final softmax or sigmoid.

        The arguments and errors are those of `explain`.

        Returns:
            float32 NumPy array `[n, units]`.
        """
        self._follow_source()
        return self._over_batches(lambda inputs, _: self._logits(inputs), images, None, batch_size)

    def _over_batches(self, function, images, targets, batch_size):
        count, stream = batches.split(images, targets, self.graph, self.class_count, batch_size)
        return _joined((np.asarray(function(*batch)) for batch in stream), count)

    def save_rules(self, path: str | os.PathLike) -> None:
        """Saves the rules and the readout, see `tf_learnprop.saving.save_rules`."""
        saving.save_rules(self.rule_set, path)

    def load_rules(self, path: str | os.PathLike) -> None:
        """Loads the weights of saved rules into the rules of this model.

        Args:
            path: str or path-like. Rule file of a model with the same structure and the same rules.

        Raises:
            ValueError: As `tf_learnprop.saving.load_rules`, or the file holds other rules. The rules of
                this model then stay as they are.
        """
        loaded = saving.load_rules_for(path, self.graph)
        if loaded.signature() != self.rule_set.signature():
            raise ValueError(
                f"'{path}' holds other rules than this model has. Use `wrap_model(model, rule=path)` to "
                "wrap the model with them."
            )
        self.rule_set.set_weights(loaded.get_weights())

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: None = None,
        **options: Any,
    ) -> pathlib.Path:
        """Writes a SavedModel that answers with maps.

        Args:
            filepath: str or path-like. Folder of the SavedModel; its name is a version number.
            format: str. Only "tf_saved_model" can hold the signatures that answer with maps.
            verbose: bool or None. True prints where the SavedModel was written.
            input_signature: None. The signatures follow from the model's inputs and the options.
            **options: Options of `tf_learnprop.serving.export`.

        Returns:
            `pathlib.Path` of the SavedModel.

        Raises:
            ValueError: Another `format`, or an `input_signature`.
            ValueError, OSError, ImportError: As `tf_learnprop.serving.export`.
        """
        if format != "tf_saved_model":
            raise ValueError(
                "`format` must be 'tf_saved_model', the format whose signatures can answer with maps. "
                f"Received: format={format!r}. To export the model alone, call `export` of its `source`."
            )
        if input_signature is not None:
            raise ValueError(
                "`input_signature` must be None: the signatures follow from the model's inputs and the "
                f"options of `tf_learnprop.serving.export`. Received: input_signature={input_signature!r}"
            )
        self._follow_source()
        path = serving.export(self, filepath, **options)
        if verbose:
            print(f"Wrote the SavedModel '{path}'.")
        return path


def _joined(results, count, verbose=0):
    """One array from those of the batches, with a progress bar for `count` of them."""
    progress = keras.utils.Progbar(count, verbose=verbose)
    arrays: list[np.ndarray] = []
    for result in results:
        if arrays and result.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                "All images must have the same size, as the results are returned in one array. Received: "
                f"batch {len(arrays) + 1} gives {result.shape[1:]}, and the ones before it "
                f"{arrays[0].shape[1:]}"
            )
        arrays.append(result)
        progress.update(len(arrays))
    return np.concatenate(arrays)


class _StopAtNaN(keras.callbacks.Callback):
    """Stops training at the first step whose loss is not finite, unless an earlier callback has done so."""

    def __init__(self):
        super().__init__()
        self._steps = self._steps_before_epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._steps_before_epoch = self._steps

    def on_train_batch_end(self, batch, logs=None):
        last = self._steps
        self._steps = self._steps_before_epoch + batch + 1
        if not np.isfinite((logs or {}).get("loss", 0.0)) and not self.model.stop_training:
            one = self._steps == last + 1
            where = f"step {self._steps}" if one else f"one of steps {last + 1} to {self._steps}"
            raise FloatingPointError(
                f"Training stopped at {where}: the loss or a gradient is not finite. The rules are "
                "those of the step before. Check the images, or lower the learning rate."
            )
