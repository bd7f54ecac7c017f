"""`PropagationModel`: a Keras model with propagation rules, which trains them and makes maps."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from tf_learnprop import argument_checks, attribution, readouts
from tf_learnprop.backward.attributor import Attributor
from tf_learnprop.coverage import Coverage
from tf_learnprop.explanations import Attribution, Explanations
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.inputs import batches
from tf_learnprop.rule_files import saving
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.targets.by_kind import TracedByKind
from tf_learnprop.training import refinement
from tf_learnprop.wrapped import WrappedModel, read_rules


@keras.saving.register_keras_serializable("tf_learnprop")
class PropagationModel(WrappedModel):
    """A model whose activations follow propagation rules in the backward pass. Use `wrap_model` to make one.

    Calling it returns the outputs of the source model. `fit` trains the rules and the readout from images
    alone, without labels. The weights and statistics of the source model never change, and it always runs
    in inference mode.

    Args:
        source: The model to explain. It is shared, not copied.
        rule_set: The rules of this model, and the readout.
        explained: The output and the input of the source model that are explained. By default
            they are the first ones.

    Attributes:
        explained: What is explained. Its `graph` is the graph of the source model.
        attributor: Computes the maps from tensors.
    """

    attributor: Attributor

    def __init__(
        self,
        source: keras.Model,
        rule_set: RuleSet,
        explained: Explained | None = None,
        **kwargs: Any,
    ):
        super().__init__(source, **kwargs)
        self.rule_set = rule_set
        self._bind(explained or Explained(ModelGraph(source)))
        self.built = True

    def _bind(self, explained: Explained) -> None:
        """Makes all that depends on how the source model is built."""
        missing = set(self.rule_set.paths) - {site.path for site in explained.graph.activations}
        if missing:
            raise ValueError(
                f"The source model must keep the activations that have rules. Received: no activation at "
                f"{', '.join(sorted(missing))}. Wrap the model again with `wrap_model`."
            )
        needs = self.rule_set.readout.needs
        self.explained = explained.with_grid(needs.grid).with_layer(needs.layer)
        self.attributor = Attributor(self.explained, self.rule_set)
        traced = self._trace()
        self._maps = TracedByKind(functools.partial(attribution.attribute, self.attributor), traced)
        self._signal = TracedByKind(self.attributor.input_signal, traced)
        self._refiner: refinement.Refiner | None = None

    def _follow_source(self) -> None:
        """Takes over changes of the source model: another activation, LoRA, quantization."""
        if not self.graph.is_current():
            self._bind(self.explained.of(self.source))

    def use_graph(self, graph: ModelGraph) -> None:
        """Takes another graph of the source model, such as one that several wrapped models share."""
        if graph is not self.graph:
            self._bind(dataclasses.replace(self.explained, graph=graph))

    @property
    def explained_inputs(self) -> list[int]:
        """The number of the explained input, in a list."""
        return [self.explained.input]

    @property
    def rule_sets(self) -> list[RuleSet]:
        """The rules and the readout of the input, in a list."""
        return [self.rule_set]

    # -- what Keras asks for ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        return {
            **self._source_config(),
            "rule_set": self.rule_set.get_config(),
            "explained_input": self.explained.input,
        }

    @classmethod
    def _of_graph(cls, graph: ModelGraph, config: dict[str, Any]) -> "PropagationModel":
        rule_set = read_rules(config.pop("rule_set"), graph)
        explained = Explained(graph, config.pop("output"), config.pop("explained_input"))
        return cls(graph.model, rule_set, explained, **config)

    # -- maps --------------------------------------------------------------------------------------------

    @property
    def coverage(self) -> Coverage:
        """`Coverage`: lists each activation of the source model, whether it is swapped, and why not."""
        self._follow_source()
        return Coverage(self.explained, self.rule_set)

    @property
    def read_shapes(self) -> list[tuple[int | None, ...]]:
        """Shapes `(None, ..., c)` of what the readout reads, a list in the order of execution."""
        shape_of: dict[readouts.Position, Any] = {
            readouts.INPUT: self.explained.input_shape,
            readouts.FEATURE_MAP: self.explained.feature_map_shape,
            **dict(enumerate(self.explained.placed_shapes(self.rule_set.paths))),
        }
        return [shape_of[position] for position in self.rule_set.read]

    def with_contrast(self, contrast: str | None) -> "PropagationModel":
        """The same model and rules, asked another question; see `tf_learnprop.readouts.MultiLayerReadout`.

        The source model is shared, and the weights of the rules and the readout are copied. The new model
        isn't compiled. If no class competes in this readout, `focus`, `rivals` and `signed` of the new one
        have their defaults, and its focus starts at its initial value.

        Args:
            contrast: "objects": where is the object? "names": what tells the class from its rivals? None: no
                class competes.

        Raises:
            TypeError: If the readout is no `MultiLayerReadout`.
            ValueError: If `contrast` has another value.
        """
        self._follow_source()
        readout = self.rule_set.readout
        if not isinstance(readout, readouts.MultiLayerReadout):
            raise TypeError(
                "Classes compete in a `MultiLayerReadout` alone. "
                f"Received: a model with the readout {type(readout).__name__}"
            )
        rule_set = self.rule_set.copy(readout.with_contrast(contrast))
        return PropagationModel(self.source, rule_set, self.explained)

    def explain(
        self,
        images: Any,
        targets: Any = None,
        *,
        batch_size: int = 32,
        verbose: int = 0,
        refine_steps: int = 0,
        refine_rate: float = 0.05,
        method: Any = None,
        **options: Any,
    ) -> np.ndarray:
        """Computes attribution maps with one forward and one backward pass, or with another method.

        Args:
            images: Array or tensor `[n, h, w, c]` (in general `[n, *spatial, c]` or `[n, features]`; a list
                or dict for a model with several inputs), a `tf.data.Dataset` or other iterable of batches,
                or a `keras.utils.PyDataset`. Preprocessed as the model expects; cast to its input dtype.
            targets: What to explain: None for the predicted class of each image, an int class id, ids `[n]`,
                weights `[n, classes]` of the class logits, one-hot or other, one of `tf_learnprop.targets`,
                or a function that makes scores `[n]` of the model's outputs. An output that is not
                `[n, classes]` needs one of the last two.
            batch_size: Number of samples per batch, if `images` are arrays. In refinement, at most
                `batch_size` masked images run at once: 16 per sample, and always at least one sample.
            verbose: 0 is silent, 1 shows Keras' progress bar.
            refine_steps: Number of steps that refine the map of each sample. Refinement adds a coarse
                field of 8 values per side to the map and trains it with the objective; the rules stay as
                they are. It is much slower, as each step costs 32 passes. 20 steps are a good choice.
            refine_rate: Learning rate of Adam in these steps, in standard deviations of the map.
            method: None for the rules of this model; or a name of `tf_learnprop.methods` or a `Method`, which
                explains the source model. For more than one call, `tf_learnprop.methods.make` is faster.
            **options: Options of the method, such as `steps` or `masks`.

        Returns:
            float32 NumPy array `[n, h, w]` (in general `[n, *spatial]` or `[n, features]`). Larger values
            are more important; the scale is arbitrary.

        Raises:
            ValueError: If the images have the wrong shape, are empty or are not finite; targets don't fit the
                output, are out of range or of the wrong length; or `refine_steps` is given for an input
                without pixels.
            TypeError: If the images are not numbers, targets have another form, or there are options without
                a method, or that it does not have.
        """
        if method is not None or options:
            explainer = self._explainer(method, options, refine_steps)
            return explainer.explain(images, targets, batch_size=batch_size, verbose=verbose)
        count, results = self._explained(images, targets, batch_size, "raise", refine_steps, refine_rate)
        return attribution.joined((result.maps for result in results), count, verbose)

    def _explainer(self, method: Any, options: dict[str, Any], refine_steps: int) -> Any:
        """Another method on the source model."""
        from tf_learnprop import methods  # which make models like this one

        if method is None:
            raise TypeError(f"`explain` has no argument {', '.join(map(repr, sorted(options)))}.")
        if refine_steps:
            raise ValueError(
                "`refine_steps` refines the maps of a model's rules, so it can't be used with `method`. "
                f"Received: refine_steps={refine_steps}"
            )
        return methods.make(self, method, **options)

    def explain_batches(
        self,
        data: Any,
        targets: Any = None,
        *,
        batch_size: int = 32,
        on_error: str = "raise",
        refine_steps: int = 0,
        refine_rate: float = 0.05,
    ) -> Iterator[Explanations]:
        """Explains one batch after the other, so that any amount of data fits in memory.

        Args:
            data: As `images` of `explain`. A dataset or iterable may yield tuples: the first entry is
                explained, and the others, such as labels or file names, are returned with the maps.
            targets: As for `explain`.
            batch_size: Number of samples per batch, if `data` are arrays.
            on_error: What to do about a sample that is not finite, has the wrong size or does not hold
                numbers: "raise" an error, or "skip" it and explain the rest of its batch. The batches of an
                iterable may be lists of samples, so that samples of a wrong size fit in. An error of the
                data itself, which comes without a batch, is always raised.
            refine_steps: As for `explain`.
            refine_rate: As for `explain`.

        Yields:
            `tlp.Explanations`, a named tuple (maps, class_ids, probabilities, extras, errors).

        Raises:
            ValueError, TypeError: As `explain`. With "skip", only those that concern no single sample.
        """
        # Not a generator itself, so that bad arguments raise an error at once.
        return self._explained(data, targets, batch_size, on_error, refine_steps, refine_rate)[1]

    def _explained(
        self,
        data: Any,
        targets: Any,
        batch_size: int,
        on_error: str,
        refine_steps: int,
        refine_rate: float,
    ) -> tuple[int | None, Iterator[Explanations]]:
        """Number of batches, None if unknown, and an iterator over `Explanations`."""
        argument_checks.integer("refine_steps", refine_steps, 0)
        self._follow_source()
        target = self._target(targets)
        refine = None
        if refine_steps:
            if self._refiner is None or self._refiner.compiled is not self.objective:
                self._refiner = refinement.Refiner(self)
            refine = self._refiner.begin(refine_steps, refine_rate, batch_size)
        count, stream = batches.stream(data, target, self.graph, batch_size, on_error, self.explained.input)
        return count, self._explain_stream(stream, refine)

    def _explain_stream(
        self, stream: Iterator[batches.Batch], refine: Callable | None
    ) -> Iterator[Explanations]:
        def explain(*arguments: Any) -> Attribution:
            result = Attribution(*map(np.asarray, self._maps(*arguments)))
            attribution.warn_if_meaningless(result.maps)
            return result if refine is None else result._replace(maps=refine(*arguments))

        return attribution.explanations(stream, explain, attribution.no_maps(self.explained))

    def input_signal(self, images: Any, targets: Any = None, *, batch_size: int = 32) -> np.ndarray:
        """Computes ∂s/∂x under the rules, where s is the explained score and x the explained input.

        The arguments and errors are those of `explain`.

        Returns:
            float32 NumPy array, in the shape of the explained input.
        """
        self._follow_source()
        return self._over_batches(self._signal, images, self._target(targets), batch_size)

    def save_rules(self, path: str | os.PathLike) -> None:
        """Saves the rules and the readout, see `tf_learnprop.save_rules`."""
        saving.save_rules(self.rule_set, path)

    def load_rules(self, path: str | os.PathLike) -> None:
        """Loads the weights of saved rules into the rules of this model.

        Args:
            path: Rule file of a model with the same structure and the same rules.

        Raises:
            ValueError: As `tf_learnprop.load_rules`, or if the file holds other rules. The rules of
                this model then stay as they are.
        """
        loaded = saving.load_rules_for(path, self.graph)
        if loaded.signature() != self.rule_set.signature():
            raise ValueError(
                f"'{path}' holds other rules than this model has. Use `wrap_model(model, rule=path)` to "
                "wrap the model with them."
            )
        self.rule_set.set_weights(loaded.get_weights())
