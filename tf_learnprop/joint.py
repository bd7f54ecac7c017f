"""`JointModel`: a model that several of its inputs explain, on one scale."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

import keras
import numpy as np

from tf_learnprop import attribution
from tf_learnprop.backward.guidance import PREDICTED
from tf_learnprop.backward.joint import JointAttributor
from tf_learnprop.explanations import Attribution, Explanations
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.inputs import batches
from tf_learnprop.model import PropagationModel
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.targets.base import Target
from tf_learnprop.targets.by_kind import TracedByKind
from tf_learnprop.wrapped import WrappedModel, read_rules


@keras.saving.register_keras_serializable("tf_learnprop")
class JointModel(WrappedModel):
    """A model and several of its inputs, explained by one forward and one backward pass.

    `wrap_model(model, explained_input="all")` makes one. Maps are on one scale: in each sample, the absolute
    values of all maps sum to 1, and those of one input to its share of the attribution, see
    `tf_learnprop.shares`. `joint["photo"]` is the wrapped model of one input, with the rules that are used
    here, which is trained and exported as any other.

    `compile`, `fit` and `evaluate` are those of `PropagationModel`. Masks act on all explained inputs at
    once, cut at one threshold, see `tf_learnprop.objectives.soft_mask`. An objective of your own gets lists,
    with a tensor for each input.

    Args:
        parts: The wrapped model of each explained input, of one source and one output.
        is_whole: Whether the inputs are all of the model's, so that maps come in its own structure.

    Attributes:
        names: Names of the explained inputs; their keys if the model has a dict of inputs.
        source: The model that is explained.
    """

    attributor: JointAttributor

    def __init__(self, parts: Sequence[PropagationModel], is_whole: bool, **kwargs: Any):
        super().__init__(parts[0].source, **kwargs)
        self._parts, self._is_whole = list(parts), is_whole
        keys = parts[0].graph.input_keys
        self.names = [
            keys[part.explained.input] if keys else part.explained.input_tensor.name for part in parts
        ]
        self._centres: list[np.ndarray] = []
        self._bind(parts[0].graph)
        self.built = True

    def _bind(self, graph: ModelGraph) -> None:
        """Makes all that depends on how the source model is built."""
        for part in self._parts:
            part.use_graph(graph)
        attributors = [part.attributor for part in self._parts]
        self.attributor = JointAttributor(attributors, self._pack, self._centres)
        self._traced = self._trace()
        self._maps = TracedByKind(functools.partial(attribution.attribute, self.attributor), self._traced)

    def _follow_source(self) -> None:
        """Takes over changes of the source model, after which the contributions have no centre."""
        if not self.graph.is_current():
            self._centres = []
            self._bind(ModelGraph(self.source, self.graph.input))

    # -- what Keras asks for ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        return {
            **self._source_config(),
            "rule_sets": [rule_set.get_config() for rule_set in self.rule_sets],
            "explained_inputs": self.explained_inputs,
            "is_whole": self._is_whole,
        }

    @classmethod
    def _of_graph(cls, graph: ModelGraph, config: dict[str, Any]) -> "JointModel":
        output, parts = config.pop("output"), []
        for number, rules in zip(config.pop("explained_inputs"), config.pop("rule_sets"), strict=True):
            explained = Explained(graph, output, number)
            others = [(part.explained, part.rule_set) for part in parts]
            rule_set = sharing_rules(read_rules(rules, graph), explained, others)
            parts.append(PropagationModel(graph.model, rule_set, explained))
        return cls(parts, config.pop("is_whole"), **config)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        for number, centre in enumerate(self._centres):
            store[f"centre_{number}"] = centre

    def load_own_variables(self, store: Any) -> None:
        arrays = {name: np.asarray(store[name]) for name in store.keys()}
        count = len(self.attributor.ends) if "centre_0" in arrays else 0
        self._centres = [arrays.pop(f"centre_{number}") for number in range(count)]
        self._bind(self.graph)
        super().load_own_variables(arrays)

    # -- the inputs ------------------------------------------------------------------------------------

    def __getitem__(self, which: int | str) -> PropagationModel:
        """The wrapped model of an input, by its name or its place among the explained ones."""
        if isinstance(which, str) and which in self.names:
            which = self.names.index(which)
        if not isinstance(which, int) or not -len(self._parts) <= which < len(self._parts):
            raise KeyError(f"The explained inputs are {self.names}. Received: {which!r}")
        self._follow_source()
        return self._parts[which]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self._parts)

    def __getattr__(self, name: str) -> NoReturn:
        if not name.startswith("_") and hasattr(self._parts[0], name):
            raise AttributeError(
                f"`{name}` is for one explained input. Use that of each, such as "
                f"`joint[{self.names[0]!r}].{name}`. Received: a model with the explained inputs {self.names}"
            )
        raise AttributeError(f"'JointModel' has no attribute {name!r}")

    @property
    def explains_several(self) -> bool:
        """True, also if one input was named in a list."""
        return True

    @property
    def explained_inputs(self) -> list[int]:
        """Numbers of the explained inputs."""
        return [part.explained.input for part in self._parts]

    @property
    def rule_sets(self) -> list[RuleSet]:
        """The rules and the readout of each explained input. Where inputs have met, they share rules."""
        return [part.rule_set for part in self._parts]

    def explain(self, inputs: Any, targets: Any = None, *, batch_size: int = 32, verbose: int = 0) -> Any:
        """Computes a map of each explained input.

        Args:
            inputs: Arrays in the structure of the model's inputs, or batches, as for
                `PropagationModel.explain`.
            targets: What to explain, as there.
            batch_size: Number of samples per batch, if `inputs` are arrays.
            verbose: 0 is silent, 1 shows Keras' progress bar.

        Returns:
            float32 NumPy arrays `[n, *spatial]` or `[n, features]`: in the structure of the model's inputs if
            all are explained; else in a dict by their keys if the model has a dict of inputs, or a list in
            the order in which `wrap_model` was given them.

        Raises:
            TypeError, ValueError: As `PropagationModel.explain`.
        """
        count, results = self._explained(inputs, targets, batch_size, "raise")
        return attribution.joined((result.maps for result in results), count, verbose)

    def explain_batches(
        self, data: Any, targets: Any = None, *, batch_size: int = 32, on_error: str = "raise"
    ) -> Iterator[Explanations]:
        """Explains one batch after the other, see `PropagationModel.explain_batches`.

        `maps` of each `Explanations` are arrays in the structure that `explain` returns.
        """
        return self._explained(data, targets, batch_size, on_error)[1]

    def centre(self, inputs: Any, *, batch_size: int = 32) -> None:
        """Makes what typical samples give on average the zero of the contributions.

        Without it, they are measured from activations of 0: what an input gives all samples alike, such as
        brightness that a bias takes away again, then counts as its attribution.

        Args:
            inputs: A few hundred samples, or batches of them, as for `explain`.
            batch_size: Number of samples per batch, if `inputs` are arrays.

        Raises:
            TypeError, ValueError: As `explain`.
        """
        self._follow_source()
        _, stream = batches.split(inputs, PREDICTED, self.graph, batch_size, self.explained_inputs)
        ends_of, count = self._traced(self.attributor.ends_of), 0
        totals: list[Any] = [0.0] * len(self.attributor.ends)
        for batch, _ in stream:
            ends = [np.asarray(end, np.float64).sum(0, keepdims=True) for end in ends_of(batch)]
            totals = [total + end for total, end in zip(totals, ends, strict=True)]
            count += len(keras.tree.flatten(batch)[0])
        self._centres = [np.asarray(total / count, np.float32) for total in totals]
        self._bind(self.graph)

    def checked(self, inputs: Any) -> Any:
        """Samples as arrays in the structure and the dtypes of the model's inputs.

        Args:
            inputs: Arrays, or batches, as for `explain`.

        Raises:
            TypeError, ValueError: As `explain`.
        """
        self._follow_source()
        count, stream = batches.split(inputs, PREDICTED, self.graph, 1024, self.explained_inputs)
        return attribution.joined((batch for batch, _ in stream), count)

    def in_order(self, maps: Any) -> list[Any]:
        expected = self._pack(list(self.names))
        try:
            keras.tree.assert_same_structure(expected, maps)
        except (TypeError, ValueError):
            received = keras.tree.map_structure(lambda one: getattr(one, "shape", type(one)), maps)
            raise ValueError(
                f"`maps` must have the structure that `explain` returns, {expected}. "
                f"Received: {received!r:.200}"
            ) from None
        if self._is_whole or not self.graph.input_keys:
            return keras.tree.flatten(maps)
        return [maps[name] for name in self.names]

    def _explained(
        self, data: Any, targets: Any, batch_size: int, on_error: str
    ) -> tuple[int | None, Iterator[Explanations]]:
        """Number of batches, None if unknown, and an iterator over `Explanations`."""
        self._follow_source()
        target = self._target(targets)
        count, stream = batches.stream(data, target, self.graph, batch_size, on_error, self.explained_inputs)
        none = self._pack([attribution.no_maps(part.explained) for part in self._parts])
        return count, attribution.explanations(stream, self._explain, none)

    def _explain(self, inputs: Any, target: Target) -> Attribution:
        result = keras.tree.map_structure(np.asarray, self._maps(inputs, target))
        flat = [maps.reshape(len(maps), -1) for maps in keras.tree.flatten(result.maps)]
        attribution.warn_if_meaningless(np.concatenate(flat, 1))
        return result

    def _pack(self, maps: list[Any]) -> Any:
        if self._is_whole:
            return keras.tree.pack_sequence_as(self.graph.input, maps)
        return dict(zip(self.names, maps, strict=True)) if self.graph.input_keys else maps


def sharing_rules(
    rule_set: RuleSet, explained: Explained, others: Iterable[tuple[Explained, RuleSet]]
) -> RuleSet:
    """The rule set of one of several inputs, with the rules that other inputs have where they have met it.

    Args:
        rule_set: Rules and readout of the input.
        explained: The output and the input.
        others: The same output and other inputs, with their rule sets; the first comes first.
    """
    rule_of = dict(zip(rule_set.paths, rule_set.rules, strict=True))
    for other, known in reversed(list(others)):
        for path, rule in zip(known.paths, known.rules, strict=True):
            runs = explained.run_tensors([path])
            if path in rule_of and any(explained.reaches(run) and other.reaches(run) for run in runs):
                rule_of[path] = rule
    entries = zip(rule_set.paths, rule_of.values(), rule_set.shapes, strict=True)
    return RuleSet(list(entries), rule_set.readout, rule_set.read, rule_set.structure)
