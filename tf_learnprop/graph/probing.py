"""What a graph tells before it runs: shapes, the last feature map, and what a backward pass reaches.

Others ask `Explained`, which knows the output and the input, and keeps the answers.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator

import keras

from tf_learnprop.graph.activations import is_fused, is_transparent
from tf_learnprop.graph.layer_kinds import JOINING, is_one_of, is_valueless
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.reader import Call

Shape = tuple[int | None, ...]

#: Largest number of class and register tokens in front of those of a grid.
_MAX_OTHER_TOKENS = 8


def activation_calls(graph: ModelGraph, paths: Iterable[str]) -> list[tuple[str, Call]]:
    """Paths and calls of activations, in the order in which they run.

    An activation that is called twice, under two names perhaps, comes twice with one path.
    """
    path_of = _path_of_operation(graph, paths)
    return [(path_of[id(call.operation)], call) for call in graph.calls if id(call.operation) in path_of]


def _path_of_operation(graph: ModelGraph, paths: Iterable[str]) -> dict[int, str]:
    paths = set(paths)
    return {id(site.operation): site.path for site in graph.activations if site.path in paths}


def activation_shapes(graph: ModelGraph, paths: Iterable[str]) -> list[tuple[str, Shape]]:
    """Paths and shapes `(None, ..., c)` of activations, one pair for each call, in the order of the run."""
    calls = activation_calls(graph, paths)
    return [(path, (None, *graph.tensors[call.outputs[0]].shape[1:])) for path, call in calls]


def reached_paths(
    graph: ModelGraph,
    paths: Iterable[str],
    read: Collection[int | str],
    output: int,
    sources: set[int],
    feature_map: int | None,
) -> set[str]:
    """See `Explained.reached_paths`.

    Args:
        graph: The graph.
        paths: Activations with rules.
        read: Positions of those that are read.
        output: Number of the output.
        sources: Numbers of the tensors before all activations at which the pass may end.
        feature_map: Number of the feature map that is read, or None.
    """
    position_of, path_of = {}, {}
    for position, (path, call) in enumerate(activation_calls(graph, paths)):
        position_of[id(call)], path_of[id(call)] = position, path
    before = _ancestors(graph, output, sources)
    followed = set(sources)  # numbers of the tensors that depend on something that is read
    reached = set()
    for call in graph.calls:
        dependent = {k for k in call.outputs if followed & set(call.sources(k))}
        if id(call) in position_of:
            if dependent and before & set(call.outputs):
                reached.add(path_of[id(call)])
            if position_of[id(call)] in read:
                dependent = set(call.outputs)
        dependent |= {k for k in call.outputs if k == feature_map}
        followed |= _carriers(graph, dependent, sources)
    return reached


def tokens_of_grid(graph: ModelGraph, output: int, explained_input: int, grid: tuple[int, ...]) -> int:
    """Number of the first tensor `[n, tokens, c]` before attention that has the tokens of a grid.

    Raises:
        ValueError: If there is none.
    """
    shape = tuple(graph.inputs[explained_input].shape)
    if len(grid) != len(shape) - 2:
        raise ValueError(
            "`grid` must have one size for each side of an input `[n, *sides, c]`. "
            f"Received: grid={grid} for an input of shape {shape}"
        )
    count, tokens = math.prod(grid), {}
    for number in _apart(graph, output, explained_input, rank=3):
        tokens.setdefault(graph.tensors[number].shape[1], number)  # the first, where evidence enters
    for others in range(min(_MAX_OTHER_TOKENS, count - 1) + 1):
        if count + others in tokens:
            return tokens[count + others]
    raise ValueError(
        f"`grid` must multiply to the number of tokens, less at most {_MAX_OTHER_TOKENS} in front of those "
        "of the grid. The tokens are those of a tensor `[n, tokens, c]` before attention that all paths to "
        f"the output pass. Received: grid={grid}, and numbers of tokens {sorted(tokens, key=str)}"
    )


def reaches_only_embeddings(graph: ModelGraph, explained_input: int) -> bool:
    """Whether all that uses an input is embeddings, behind casts and reshapes at most."""
    values, embeds = {explained_input}, False
    for call in graph.calls:
        if not values & set(call.inputs) or is_valueless(call.operation):
            continue
        if isinstance(call.operation, keras.layers.Embedding):
            embeds = True
        elif call.enters:
            values |= {k for k in call.outputs if values & set(call.sources(k))}
        elif is_transparent(call.operation):
            values |= set(call.outputs)
        elif any(graph.tensors[k].dtype != "bool" for k in call.outputs):  # else a mask
            return False
    return embeds


def has_gradient(graph: ModelGraph, output: int, number: int) -> bool:
    """Whether an output has a gradient at a tensor, as far as the dtypes between them tell."""
    return number in _ancestors(graph, output, {number})


def outputs_of_layer(graph: ModelGraph, layer: str) -> list[int]:
    """Numbers of the tensors that a layer gives, in the order in which they are made.

    Args:
        graph: The graph.
        layer: Name of the layer, its path, or the path of a layer around others.
    """
    calls = (call for call in graph.calls if not call.enters and f"/{layer}/" in f"/{call.path}/")
    return [call.outputs[0] for call in calls]


def last_feature_map(
    graph: ModelGraph,
    output: int,
    explained_input: int,
    is_map: Callable[[int], bool],
    holds_ids: bool = False,
) -> int | None:
    """The last tensor in which places of the image are still apart, and which all paths to an output pass.

    `is_map` says which tensors have places in the explained input, of those that have its rank.

    Attention mixes places, and a token that is put in front of others moves them, so what follows does not
    count. In a model of tokens, that leaves what comes of the patches: the output of the convolution that
    embeds them, or the patches themselves. Of ids, it is their embedding.

    Returns:
        Its number in `graph.tensors`; None if there is none but the input itself.
    """
    rank = len(graph.inputs[explained_input].shape) + holds_ids
    moved = _descendants(graph, _joined(graph))
    candidates = _apart(graph, output, explained_input, rank, last_first=not holds_ids)
    return next((number for number in candidates if number not in moved and is_map(number)), None)


def last_of_branches(
    graph: ModelGraph, output: int, explained_input: int, is_map: Callable[[int], bool]
) -> tuple[int, ...]:
    """The last feature maps of branches that meet behind them, where places are no longer apart.

    Returns:
        Their numbers in `graph.tensors`, in the order in which they are made; none if there is a path to the
        output that passes none of them.
    """
    rank = len(graph.inputs[explained_input].shape)
    possible = _ancestors(graph, output, {explained_input}) - _logits_and_after(graph, output)
    possible -= _descendants(graph, graph.attention_outputs | _joined(graph))
    found: list[int] = []
    leads_to_one: set[int] = set()
    for call in reversed(graph.calls):
        for number in call.outputs:
            if (
                number in possible - leads_to_one
                and _has_places(graph, call, number, rank)
                and is_map(number)
            ):
                found.append(number)
                leads_to_one.add(number)
            if number in leads_to_one:
                leads_to_one |= set(call.sources(number))
    return tuple(reversed(found)) if _separates(graph, found, output, explained_input) else ()


def first_grid(
    graph: ModelGraph, output: int, explained_input: int, is_map: Callable[[int], bool]
) -> int | None:
    """The first tensor `[n, tokens, c]` before attention whose tokens are a grid of places of the input.

    All paths to the output pass it. There is none for an input that is itself of this rank.
    """
    if len(graph.inputs[explained_input].shape) <= 3:
        return None
    candidates = _apart(graph, output, explained_input, rank=3)
    return next((number for number in candidates if is_map(number)), None)


def _apart(
    graph: ModelGraph, output: int, explained_input: int, rank: int, last_first: bool = False
) -> Iterator[int]:
    """Yields the tensors `[n, *places, c]` of a rank before attention that all paths to an output pass."""
    left_out = _descendants(graph, graph.attention_outputs) | _logits_and_after(graph, output)
    for call in reversed(graph.calls) if last_first else graph.calls:
        for number in set(call.outputs) - left_out:
            if _has_places(graph, call, number, rank) and _separates(
                graph, {number}, output, explained_input
            ):
                yield number


def _has_places(graph: ModelGraph, call: Call, number: int, rank: int) -> bool:
    """Whether a tensor that a call gives may be a feature map `[n, *places, c]` of a rank, by its shape."""
    places = graph.tensors[number].shape[1:-1]
    is_float = keras.backend.is_float_dtype(graph.tensors[number].dtype)
    return len(places) + 2 == rank > 2 and 1 not in places and is_float and not call.enters


def _separates(graph: ModelGraph, numbers: Collection[int], output: int, explained_input: int) -> bool:
    """Whether all paths from an input to an output pass one of some tensors."""
    target = keras.tree.flatten(graph.output_structure)[output]
    return target not in _descendants(graph, {explained_input}, without=numbers)


def _logits_and_after(graph: ModelGraph, output: int) -> set[int]:
    """Numbers of the tensors that hold an output, before its softmax or sigmoid and after: no features."""
    end, found = graph.ends[output], {keras.tree.flatten(graph.output_structure)[output]}
    for call in (graph.calls[k] for k in (end.call, *end.after) if k is not None):
        found |= set(call.outputs)
        if end.activation and not is_fused(call.operation):
            found |= set(call.inputs)
    return found


def _joined(graph: ModelGraph) -> set[int]:
    """Numbers of the tensors in which others lie side by side, such as a class token and other tokens."""
    return {
        number
        for call in graph.calls
        if is_one_of(call.operation, JOINING)
        for number in call.outputs
        if call.operation.axis not in (-1, len(graph.tensors[number].shape) - 1)
    }


def _descendants(graph: ModelGraph, numbers: Iterable[int], without: Collection[int] = ()) -> set[int]:
    """Numbers of the tensors that depend on the values of some tensors, themselves included.

    A mask, which says where values count, is no such tensor. With `without`, by a path that does not pass
    those tensors.
    """
    descendants = set(numbers)
    for call in graph.calls:
        if is_valueless(call.operation):
            continue
        carriers = {k for k in call.outputs if k not in without and graph.tensors[k].dtype != "bool"}
        descendants.update(k for k in carriers if descendants & set(call.sources(k)))
    return descendants


def _ancestors(graph: ModelGraph, output: int, sources: Collection[int]) -> set[int]:
    """Numbers of the tensors that have a gradient of an output, its own among them; see `_carriers`."""
    number = keras.tree.flatten(graph.output_structure)[output]
    ancestors = {number}
    for call in reversed(graph.calls):
        for output_number in ancestors & set(call.outputs):
            ancestors |= _carriers(graph, call.sources(output_number), sources)
    return ancestors


def _carriers(graph: ModelGraph, numbers: Iterable[int], sources: Collection[int]) -> set[int]:
    """Those of some tensors, given by number, that can carry a gradient of others, the sources.

    Sources of integers are pixels. They run in float32, and so does what keeps their dtype, as a crop does.
    """
    dtypes = {graph.tensors[k].dtype for k in sources}
    return {
        k
        for k in numbers
        if graph.tensors[k].dtype in dtypes or keras.backend.is_float_dtype(graph.tensors[k].dtype)
    }
