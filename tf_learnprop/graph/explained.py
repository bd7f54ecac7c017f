"""`Explained`: what is explained, as one value."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import resampling
from tf_learnprop.graph import geometry, probing
from tf_learnprop.graph.dense_head import DenseHead, dense_head
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.output_head import OutputHead

Shape = tuple[int | None, ...]

#: Size that is taken for sides of unknown size, to see which tensors are maps of the input.
_NOMINAL_SIDE = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Explained:
    """One output of a model, explained by one of its inputs.

    Attributes:
        graph: Graph of the model.
        output: Number of the output.
        input: Number of the input.
        grid: Sides of the grid that the model's tokens are, if a readout names them.
        layer: Name or path of the layer whose output is the feature map, if a readout names one.
    """

    graph: ModelGraph
    output: int = 0
    input: int = 0
    grid: tuple[int, ...] | None = None
    layer: str | None = None

    def of(self, model: keras.Model) -> "Explained":
        """The same output and input of another model of the same structure."""
        return dataclasses.replace(self, graph=ModelGraph(model, self.graph.input))

    def with_grid(self, grid: tuple[int, ...] | None) -> "Explained":
        """The same with another grid."""
        return self if grid == self.grid else dataclasses.replace(self, grid=grid)

    def with_layer(self, layer: str | None) -> "Explained":
        """The same with another layer whose output is the feature map; None for the last one."""
        return self if layer == self.layer else dataclasses.replace(self, layer=layer)

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

    @property
    def embedding(self) -> int | None:
        """Number of the vectors `[n, tokens, c]` that the ids `[n, tokens]` of the input become, or None."""
        return self._last_feature_map if self.holds_ids and len(self.input_shape) == 2 else None

    @property
    def is_embedded(self) -> bool:
        """Whether the input is ids `[n, tokens]` that become vectors `[n, tokens, c]`."""
        return self.embedding is not None

    @property
    def has_integers(self) -> bool:
        """Whether the input is of an integer dtype."""
        return keras.backend.is_int_dtype(self.input_tensor.dtype)

    @property
    def has_integer_pixels(self) -> bool:
        """Whether the input is integers that have a gradient as float32."""
        return self.has_integers and not self.holds_ids

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

    @property
    def is_series(self) -> bool:
        """Whether the input is a series `[n, length, c]`, with one axis of places that are no tokens."""
        return len(self.input_shape) == 3 and not self.is_of_tokens

    @functools.cached_property
    def feature_map(self) -> int | None:
        """Number of the feature map that a readout reads: the last one, a layer's, or the tokens of the grid.

        With a grid, it is `[n, *grid, c]` or `[n, tokens, c]`, where the tokens of the grid come last.

        Raises:
            ValueError: If no tensor has the grid, or the layer has no feature map.
        """
        if self.layer is not None:
            return self._feature_map_of(self.layer)
        last = self._last_feature_map
        if self.grid is None:
            return last
        if last is not None and self._grid_of(last) == self.grid:
            return last
        return probing.tokens_of_grid(self.graph, self.output, self.input, self.grid)

    @functools.cached_property
    def placements(self) -> list[geometry.Placement]:
        """Where the places of each tensor of the graph lie in the input, by number of the tensor."""
        return self._placements_at(self.input_shape)

    def placement(self, number: int, input_shape: Shape) -> geometry.Placement:
        """Where the places of a tensor lie in an input of some shape.

        Args:
            number: Number of the tensor.
            input_shape: Shape of the input, which may say more than the graph knows.
        """
        known = zip(self.input_shape[1:], input_shape[1:], strict=True)
        sides = [own if size is None else size for own, size in known]
        return self._placements_at((None, *sides))[number]

    @functools.cached_property
    def _placements_at(self) -> Callable[[Shape], list[geometry.Placement]]:
        return functools.lru_cache(maxsize=4)(
            lambda shape: geometry.placements(self.graph, self.input, shape)
        )

    def placement_of_map(self, number: int) -> geometry.Placement:
        """Where the places of a tensor lie; if an unknown size decides, in an input of some size."""
        placement = self.placements[number]
        if geometry.is_map(placement) or None not in self.input_shape[1:]:
            return placement
        return self.placement(number, self._nominal_shape)

    @property
    def _nominal_shape(self) -> Shape:
        """Shape of an input of some size."""
        return (None, *(_NOMINAL_SIDE if size is None else size for size in self.input_shape[1:]))

    def is_map(self, number: int) -> bool:
        """Whether a tensor has places along each side of the input, and of no other input."""
        return geometry.is_map(self.placement_of_map(number))

    def is_readable(self, number: int, shape: Shape) -> bool:
        """Whether a readout may read an activation; one with the rank of the input has to be a map of it."""
        if len(shape) == len(self.input_shape) > 2:
            return self.is_map(number)
        return self.placements[number].state is not geometry.State.OTHER_INPUT

    def reaches(self, number: int) -> bool:
        """Whether a tensor depends on the input."""
        return self.input in self.placements[number].inputs

    def holds_others(self, path: str) -> bool:
        """Whether another input has values of its own in the places of an activation, in any of its runs."""
        return any(map(self._holds_others, self.run_tensors([path])))

    def _holds_others(self, number: int) -> bool:
        placement = self.placements[number]
        if placement.state is geometry.State.UNKNOWN:  # a mask of integers is no such input
            dtypes = (self.graph.inputs[k].dtype for k in placement.inputs - {self.input})
            return any(map(keras.backend.is_float_dtype, dtypes))
        return placement.state is geometry.State.BOTH

    def why_no_map(self, number: int) -> str:
        """Why a tensor is no map of the input."""
        placement = self.placement_of_map(number)
        if placement.state is geometry.State.PLACED:
            return "it has no places along each side of the input"
        return placement.reason or placement.state.value

    def describe_places(self, number: int) -> str:
        """One line on where the places of a map lie."""
        placement = self.placements[number]
        if geometry.is_map(placement):
            return placement.describe()
        return "places that follow from the size of the input" if self.is_map(number) else ""

    def shape_on_sides(self, number: int, shape: Shape) -> Shape:
        """The shape of a tensor with its places in the order of the input's sides, if each has an axis."""
        placement = self.placements[number]
        if not geometry.is_map(placement) or len(placement.axes) - 2 != len(placement.sides):
            return shape
        return geometry.shape_on_sides(placement, shape)

    @functools.cached_property
    def dense_head(self) -> DenseHead | None:
        """What follows the feature map, if it is made of dense layers."""
        return None if self.feature_map is None else dense_head(self.graph, self.output, self.feature_map)

    @property
    def feature_map_shape(self) -> Shape | None:
        """Shape of the feature map, None if there is none."""
        return None if self.feature_map is None else tuple(self.graph.tensors[self.feature_map].shape)

    def _grid_of(self, number: int) -> Shape:
        """Number of places of a map along each side of the input."""
        placement, shape = self.placements[number], tuple(self.graph.tensors[number].shape)
        return (geometry.shape_on_sides(placement, shape) if geometry.is_map(placement) else shape)[1:-1]

    def has_channels_last(self, number: int) -> bool:
        """Whether the last axis of a tensor has no places, as far as is known."""
        axes = self.placements[number].axes
        return not axes or axes[-1] is None

    def map_placement(self, number: int, image: tf.Tensor) -> geometry.Placement | None:
        """As `map_placements`, of one tensor."""
        return self.map_placements([number], image)[0]

    @tf.autograph.experimental.do_not_convert  # no branch here depends on a tensor's values
    def map_placements(self, numbers: Sequence[int], image: tf.Tensor) -> list[geometry.Placement | None]:
        """Where the places of tensors lie in an input, None for one that is no map of that.

        For tokens of which a readout names another grid, it is None as well. The size of the input need not
        be known while this is traced.

        Raises:
            ValueError: If the size is not known, and where the places lie can't be computed without it.
        """
        sides = list(image.shape[1:-1])
        lengths = [geometry.length_of(k) if size is None else size for k, size in enumerate(sides)]
        shape = (None, *lengths, image.shape[-1])
        placements = {number: self.placement(number, shape) for number in numbers if self._lies(number)}
        maps = {number: placement for number, placement in placements.items() if geometry.is_map(placement)}
        if None in sides:
            self._check_no_maps({k: placements[k] for k in placements.keys() - maps.keys()}, image)
            run_time = geometry.at_run_time([*maps.values()], resampling.sides(image, len(sides)))
            maps = dict(zip(maps, run_time, strict=True))
        return [maps.get(number) for number in numbers]

    def _lies(self, number: int) -> bool:
        """Whether the places of a tensor lie on the grid that a readout names, if it names one."""
        return number != self.feature_map or self.grid in (None, self._grid_of(number))

    def _check_no_maps(self, placements: Mapping[int, geometry.Placement], image: tf.Tensor) -> None:
        """Raises ValueError if tensors without places in an input of any size have some in one of a size."""
        for number in filter(self.is_map, placements):
            placement = placements[number]
            raise ValueError(
                "The size of the input must be known to place the maps of this model, as of "
                f"`keras.Input((224, 224, 3))`. Received: shape {tuple(image.shape)}, and a layer of which "
                f"{placement.reason or placement.state.value}"
            )

    @functools.cached_property
    def competing_maps(self) -> tuple[int, ...]:
        """Numbers of the feature maps at which classes compete; none if they can't.

        That is `feature_map`; or the last map of each branch, if these meet where places are no longer apart,
        as in an ensemble of two backbones, and one of them covers all that the others see.
        """
        if self.feature_map is not None:
            maps = (self.feature_map,)
        elif self.is_of_tokens:
            maps = ()
        else:
            maps = probing.last_of_branches(self.graph, self.output, self.input, self.is_map)
        if len(maps) > 1 and self.covering_map(maps) is None:
            return ()
        return maps if all(map(self.has_channels_last, maps)) else ()

    def covering_map(self, numbers: Collection[int]) -> int | None:
        """The finest of some maps whose places cover all that those of the others do; None if none does."""
        regions = np.array([self._regions(number) for number in numbers])
        missed = np.maximum(
            regions[..., 0] - regions[..., 0].min(0), regions[..., 1].max(0) - regions[..., 1]
        )
        # Strides may leave out the last pixels.
        covering = [n for n, pixels in zip(numbers, missed, strict=True) if pixels.max() < self.distance(n)]
        return min(covering, key=self.distance, default=None)

    def _regions(self, number: int) -> list[tuple[float, float]]:
        """The first and last pixel along each side that a map covers, in an input of some size."""
        sides = self.placement(number, self._nominal_shape).sides
        return [side.seen for side in sorted(sides, key=lambda side: side.side)]

    @functools.cached_property
    def _last_feature_map(self) -> int | None:
        last = probing.last_feature_map(self.graph, self.output, self.input, self.is_map, self.holds_ids)
        if self.holds_ids:
            return last
        tokens = probing.first_grid(self.graph, self.output, self.input, self.is_map)
        if tokens is None or last is not None and self.distance(tokens) <= self.distance(last):
            return last
        return tokens

    def _feature_map_of(self, layer: str) -> int:
        """Number of the output of a layer, which must be a map that the explained output is computed from."""
        candidates = probing.outputs_of_layer(self.graph, layer)
        if not candidates:
            raise ValueError(
                f"`layer` must be the name or the path of a layer of model '{self.graph.model.name}'. "
                f"Received: layer={layer!r:.200}"
            )
        number = candidates[-1]
        if not self.is_map(number) or not probing.has_gradient(self.graph, self.output, number):
            shape = tuple(self.graph.tensors[number].shape)
            why = "" if self.is_map(number) else f": {self.why_no_map(number)}"
            raise ValueError(
                "`layer` must be one whose output has places in the explained input and leads to the "
                f"explained output. Received: layer={layer!r}, of shape {shape}{why}"
            )
        return number

    def distance(self, number: int) -> float:
        """Largest distance between places of a map, in pixels."""
        return max(abs(side.step) for side in self.placement_of_map(number).sides)

    def run_tensors(self, paths: Iterable[str]) -> list[int]:
        """Numbers of the tensors that activations give, one for each call, in their order."""
        return [call.outputs[0] for _, call in probing.activation_calls(self.graph, paths)]

    def activation_shapes(self, paths: Iterable[str]) -> list[tuple[str, Shape]]:
        """Paths and shapes `(None, ..., c)` of activations, one pair for each call, in their order."""
        return probing.activation_shapes(self.graph, paths)

    def placed_shapes(self, paths: Iterable[str]) -> list[Shape]:
        """As `activation_shapes`, without the paths, and with places in the order of the input's sides."""
        runs = zip(self.run_tensors(paths), self.activation_shapes(paths), strict=True)
        return [self.shape_on_sides(number, shape) for number, (_, shape) in runs]

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
