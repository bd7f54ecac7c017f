"""`WrappedModel`: what wrapped models of one and of several explained inputs have in common."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import attribution
from tf_learnprop.backward.guidance import PREDICTED
from tf_learnprop.explanations import Attribution
from tf_learnprop.graph.model_graph import ModelGraph, input_from_config
from tf_learnprop.inputs import batches
from tf_learnprop.rule_files import rule_config
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.targets import choosing
from tf_learnprop.targets.base import Target
from tf_learnprop.targets.by_kind import TracedByKind
from tf_learnprop.training.trainer import RuleTrainer


class WrappedModel(RuleTrainer):
    """A source model with an attributor, which can be called, trained and asked for its scores.

    Args:
        source: The model that is explained. It is shared, not copied.

    Attributes:
        source: As passed.
    """

    def __init__(self, source: keras.Model, **kwargs: Any):
        # In the source's precision, but its inputs come to the source as they are.
        super().__init__(dtype=source.dtype_policy, autocast=False, **kwargs)
        self.source = source

    def _trace(self) -> Callable[[Callable], Any]:
        """Makes what depends on the attributor; returns how other functions of batches are traced."""
        traced = self.graph.traced
        self._scores = TracedByKind(self.attributor.scores, traced)
        self._logits = traced(self.attributor.logits)
        self.train_function = self.test_function = self.predict_function = None
        return traced

    @property
    def explains_several(self) -> bool:
        """Whether there is a map of each of several inputs."""
        return False

    @property
    def explained_inputs(self) -> Sequence[int]:
        """Numbers of the explained inputs."""
        raise NotImplementedError

    def in_order(self, maps: Any) -> list[Any]:
        """Maps, in the structure that `explain` returns, in a list in the order of the explained inputs.

        Raises:
            ValueError: If they have another structure.
        """
        return [maps]

    @property
    def graph(self) -> ModelGraph:
        """`ModelGraph` of the source model."""
        return self.attributor.explained.graph

    @property
    def class_count(self) -> int:
        """Number of classes of the explained output. A single unit counts as two classes, no and yes."""
        return self.attributor.head.class_count

    # -- what Keras asks for ---------------------------------------------------------------------------

    def call(self, inputs: Any) -> Any:
        self._follow_source()
        return self.attributor.outputs(inputs)

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    @property
    def non_trainable_weights(self) -> list[keras.Variable]:
        """All other weights, including those of the source model."""
        trained = {id(weight) for weight in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trained]

    def _source_config(self) -> dict[str, Any]:
        """The part of the configuration that says what is explained: name, source, inputs and output."""
        return {
            "name": self.name,
            "source": keras.saving.serialize_keras_object(self.source),
            "output": self.attributor.explained.output,
            **self.graph.input_config(),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "WrappedModel":
        config = dict(config)
        source = keras.saving.deserialize_keras_object(config.pop("source"), custom_objects)
        inputs = input_from_config(config.pop("input_specs", None), config.pop("input_structure", None))
        return cls._of_graph(ModelGraph(source, inputs), config)

    @classmethod
    def _of_graph(cls, graph: ModelGraph, config: dict[str, Any]) -> "WrappedModel":
        """The wrapped model of a graph, by the rest of its configuration."""
        raise NotImplementedError

    # -- what the model says ----------------------------------------------------------------------------

    @tf.autograph.experimental.do_not_convert  # as in `explain`; else it takes most of the time of a trace
    def attribute(self, inputs: Any, targets: Any = None) -> Attribution:
        """Computes maps from tensors, for use inside a `tf.function` or `tf.data.Dataset.map`.

        `explain` is faster outside of these, as it keeps its trace. Inputs are not checked for values that
        are not finite.

        Args:
            inputs: Tensors in the structure of the model's inputs, `[n, h, w, c]` (in general
                `[n, *spatial, c]` or `[n, features]`).
            targets: As for `explain`, with tensors or arrays.

        Returns:
            `tlp.Attribution`, a named tuple of tensors (maps, class_ids, probabilities). Its maps have the
            structure that `explain` returns.

        Raises:
            ValueError: If the inputs have the wrong shape, or targets don't fit the output.
            TypeError: If targets have another form.
            tf.errors.InvalidArgumentError: If a target is out of range or not finite, or their number is
                wrong.
        """
        self._follow_source()
        tensors = attribution.of_tensors(inputs, targets, self.attributor.explained)
        return attribution.attribute(self.attributor, *tensors)

    def scores(self, images: Any, targets: Any = None, *, batch_size: int = 32) -> np.ndarray:
        """Computes the explained score of each image, such as the logit of its class, without a map.

        The arguments and errors are those of `explain`.

        Returns:
            float32 NumPy array `[n]`.
        """
        self._follow_source()
        return self._over_batches(self._scores, images, self._target(targets), batch_size)

    def logits(self, images: Any, *, batch_size: int = 32) -> np.ndarray:
        """Computes the explained output before its final softmax or sigmoid.

        The arguments and errors are those of `explain`.

        Returns:
            float32 NumPy array in the shape of the output, such as `[n, units]`.
        """
        self._follow_source()
        return self._over_batches(lambda inputs, _: self._logits(inputs), images, PREDICTED, batch_size)

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
            filepath: Folder of the SavedModel; its name is a version number.
            format: Only "tf_saved_model" can hold the signatures that answer with maps.
            verbose: True prints where the SavedModel was written.
            input_signature: Must be None: the signatures follow from the model's inputs and the options.
            **options: Options of `tf_learnprop.serving.export`.

        Returns:
            `pathlib.Path` of the SavedModel.

        Raises:
            ValueError: If another `format` or an `input_signature` is given.
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
        from tf_learnprop import serving  # which imports modules that this one needs

        self._follow_source()
        path = serving.export(self, filepath, **options)
        if verbose:
            print(f"Wrote the SavedModel '{path}'.")
        return path

    def _target(self, targets: Any) -> Target:
        """A checked target of arrays."""
        return choosing.arrays(targets, self.attributor.explained)

    def _over_batches(self, function: Callable, images: Any, target: Target, batch_size: int) -> np.ndarray:
        count, stream = batches.split(images, target, self.graph, batch_size, self.explained_inputs)
        return attribution.joined((np.asarray(function(*batch)) for batch in stream), count)


def read_rules(rules: dict[str, Any], graph: ModelGraph) -> RuleSet:
    """The rules of a configuration for a source model that was read from it."""
    paths = {site.path for site in graph.activations}
    if any(row["path"] not in paths for row in rules["rules"]):
        # Keras has counted up the names of layers that the source's own Python code makes.
        rules = rule_config.for_model(rules, graph.structure, graph.activation_runs)
    return RuleSet.from_config(rules)
