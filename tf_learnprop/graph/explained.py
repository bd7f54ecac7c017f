"""`Explained`: what is explained, as one value."""

import dataclasses
import functools
from collections.abc import Collection, Iterable

import keras

from tf_learnprop.graph import probing
from tf_learnprop.graph.linear_head import LinearHead, linear_head
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.output_head import OutputHead

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Explained:
    """One output of a model, explained by one of its inputs.

    Attributes:
        graph: Graph of the model.
        output: Number of the output.
        input: Number of the input.
        grid: Sides of the grid that the model's tokens are, if a readout names them.
    """

    graph: ModelGraph
    output: int = 0
    input: int = 0
    grid: tuple[int, ...] | None = None

    def of(self, model: keras.Model) -> "Explained":
        """The same output and input of another model of the same structure."""
        return dataclasses.replace(self, graph=ModelGraph(model, self.graph.input))

    def with_grid(self, grid: tuple[int, ...] | None) -> "Explained":
        """The same with another grid."""
        return self if grid == self.grid else dataclasses.replace(self, grid=grid)

    @property
    def input_tensor(self) -> keras.KerasTensor:
        """The explained input."""
        return self.graph.inputs[self.input]

    @property
    def output_tensor(self) -> keras.KerasTensor:
        """The explained output."""
        return self.graph.outputs[self.output]

    @property
    def input_shape(self) -> Shape:
        """Shape of the explained input."""
        return tuple(self.input_tensor.shape)

    @property
    def map_shape(self) -> Shape:
        """Shape of the map of one sample: the sides of the input, or its features."""
        return self.input_shape[1:-1] or self.input_shape[1:]

    @functools.cached_property
    def head(self) -> OutputHead:
        """How the output is read as classes."""
        return self.graph.head(self.output)

    @functools.cached_property
    def holds_ids(self) -> bool:
        """Whether the input is ids of an embedding, of any dtype, so that it has no gradient."""
        return probing.reaches_only_embeddings(self.graph, self.input)

    @functools.cached_property
    def is_embedded(self) -> bool:
        """Whether the input is ids `[n, tokens]` that become vectors `[n, tokens, c]`."""
        return self.holds_ids and len(self.input_shape) == 2 and self._last_feature_map is not None

    @property
    def has_integers(self) -> bool:
        """Whether the input is of an integer dtype."""
        return keras.backend.is_int_dtype(self.input_tensor.dtype)

    @functools.cached_property
    def has_gradient(self) -> bool:
        """Whether the output has a gradient at the input, or at the embedding of its ids."""
        return self.holds_ids or probing.has_gradient(self.graph, self.output, self.input)

    @functools.cached_property
    def is_of_tokens(self) -> bool:
        """Whether the places of the input become tokens, so that only the last feature map is read as a map.

        That is so in a model with attention, in one whose activations don't have the rank of the input, and
        where a grid of tokens is named.
        """
        if self.grid is not None or self.graph.attention_outputs or self.holds_ids:
            return True
        if self._last_feature_map is None:
            return False
        sites = [site.path for site in self.graph.activations if site.kind == "activation" and site.reachable]
        rank = len(self.input_shape)
        shapes = [shape for _, shape in self.activation_shapes(sites)]
        return not any(len(shape) == rank > 2 and 1 not in shape[1:-1] for shape in shapes)

    @functools.cached_property
    def feature_map(self) -> int | None:
        """Number of the feature map that a readout reads: the last one, or the tokens of the grid.

        With a grid, it is `[n, *grid, c]` or `[n, tokens, c]`, where the tokens of the grid come last.

        Raises:
            ValueError: If no tensor has the grid.
        """
        last = self._last_feature_map
        if self.grid is None:
            return last
        if last is not None and tuple(self.graph.tensors[last].shape[1:-1]) == self.grid:
            return last
        return probing.tokens_of_grid(self.graph, self.output, self.input, self.grid)

    @functools.cached_property
    def linear_head(self) -> LinearHead | None:
        """What follows the feature map, if it is linear."""
        return None if self.feature_map is None else linear_head(self.graph, self.output, self.feature_map)

    @property
    def feature_map_shape(self) -> Shape | None:
        """Shape of the feature map, None if there is none."""
        return None if self.feature_map is None else tuple(self.graph.tensors[self.feature_map].shape)

    @functools.cached_property
    def _last_feature_map(self) -> int | None:
        return probing.last_feature_map(self.graph, self.output, self.input, self.holds_ids)

    def activation_shapes(self, paths: Iterable[str]) -> list[tuple[str, Shape]]:
        """Paths and shapes `(None, ..., c)` of activations, one pair for each call, in their order."""
        return probing.activation_shapes(self.graph, paths)

    def reached_paths(
        self,
        paths: Iterable[str],
        read: Collection[int | str],
        reads_input: bool = False,
        reads_feature_map: bool = False,
    ) -> set[str]:
        """Paths of the activations whose rules a backward pass comes through.

        The pass starts at the explained logit and ends at the tensors that are read. A rule takes part if its
        activation lies between the two.

        Args:
            paths: Activations with rules.
            read: Those that are read, by their position among the runs of all these activations.
            reads_input: Whether the signal at the input is read.
            reads_feature_map: Whether the feature map is read.
        """
        feature_map = self.feature_map if reads_feature_map else None
        sources = {self.input} if reads_input else set()
        return probing.reached_paths(self.graph, paths, read, self.output, sources, feature_map)
