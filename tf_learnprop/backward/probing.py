"""What a graph tells before it runs: shapes of activations, and which rules a backward pass reaches."""

import math

import keras
import tensorflow as tf

from tf_learnprop import readouts, rules
from tf_learnprop.backward.runner import GraphRunner, rule_layers
from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.steps import BatchSize

#: Largest number of class and register tokens in front of those of a grid.
_MAX_OTHER_TOKENS = 8


def activation_calls(graph, paths):
    """The calls of the activations with these layer paths.

    Returns:
        list of (path, `Call`) in the order in which they run. An activation that is called twice, under two
        names perhaps, comes twice with one path.
    """
    paths = set(paths)
    path_of = {id(site.operation): site.path for site in graph.activations if site.path in paths}
    return [(path_of[id(call.operation)], call) for call in graph.calls if id(call.operation) in path_of]


def activation_shapes(graph, paths):
    """Shapes of the activations with these layer paths.

    Args:
        graph: `ModelGraph`.
        paths: iterable of str.

    Returns:
        list of (path, shape `(None, ..., c)`), one for each call, in the order in which they run.
    """
    if graph.exact_shapes:
        calls = activation_calls(graph, paths)
        found = [(path, graph.tensors[call.outputs[0]].shape) for path, call in calls]
    else:
        found = _traced_shapes(graph, paths)
    return [(path, (None, *shape[1:])) for path, shape in found]


def read_shapes(graph, rule_set, explained_input=0, output=0):
    """Shapes `(None, ..., c)` of what the readout of a `RuleSet` reads, in the order in which it does."""
    shapes = dict(enumerate(shape for _, shape in activation_shapes(graph, rule_set.paths)))
    shapes[readouts.INPUT] = tuple(graph.inputs[explained_input].shape)
    if readouts.FEATURE_MAP in rule_set.read:
        number = feature_map(graph, output, explained_input, rule_set.readout.grid)
        shapes[readouts.FEATURE_MAP] = graph.tensors[number].shape
    return [shapes[position] for position in rule_set.read]


def reached_paths(graph, paths, read, output=0, explained_input=0, reads_input=False, grid=None):
    """Layer paths whose rules a backward pass comes through.

    The pass starts at the explained logit and ends at the tensors that are read. A rule takes part if its
    activation lies between the two.

    Args:
        graph: `ModelGraph`.
        paths: iterable of str, activations with rules.
        read: iterable of ints, what the readout reads, as in `RuleSet`.
        output: int, the output that is explained.
        explained_input: int, the input that is explained.
        reads_input: bool, whether the readout needs the signal at the input.
        grid: tuple of ints or None, see `Readout`.

    Returns:
        set of str.
    """
    position_of, path_of = {}, {}
    for position, (path, call) in enumerate(activation_calls(graph, paths)):
        position_of[id(call)], path_of[id(call)] = position, path
    before = _ancestors(graph, output)
    # Numbers of the tensors that depend on something that is read.
    followed = {explained_input} if reads_input or readouts.INPUT in read else set()
    needs_map = readouts.FEATURE_MAP in read
    map_that_is_read = feature_map(graph, output, explained_input, grid) if needs_map else None
    reached = set()
    for call in graph.calls:
        dependent = {k for k in call.outputs if followed & set(call.sources(k))}
        if id(call) in position_of:
            if dependent and before & set(call.outputs):
                reached.add(path_of[id(call)])
            if position_of[id(call)] in read:
                dependent = set(call.outputs)
        dependent |= {map_that_is_read} & set(call.outputs)
        followed |= _floats(graph, dependent)
    return reached


def feature_map(graph, output=0, explained_input=0, grid=None):
    """The feature map that a readout reads: the last one, or the tokens of a grid that is named.

    Args:
        graph: `ModelGraph`.
        output: int, the output that is explained.
        explained_input: int, the input that is explained.
        grid: tuple of ints or None, see `Readout`.

    Returns:
        int, its number in `graph.tensors`; None if there is none and no grid is named. With a grid, it is
        `[n, *grid, c]` or `[n, tokens, c]`, where the tokens of the grid come last.

    Raises:
        ValueError: a grid that no tensor has.
    """
    found = last_feature_map(graph, output, explained_input)
    if grid is None or found is not None and tuple(graph.tensors[found].shape[1:-1]) == grid:
        return found
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


def last_feature_map(graph, output=0, explained_input=0):
    """The last tensor in which places of the image are still apart, and which all paths to an output pass.

    Attention mixes places, and a token that is put in front of others moves them, so what follows does not
    count. In a model of tokens, that leaves what comes of the patches: the output of the convolution that
    embeds them, or the patches themselves.

    Args:
        graph: `ModelGraph`.
        output: int, the output that is explained.
        explained_input: int, the input that is explained.

    Returns:
        int, its number in `graph.tensors`; None if there is none but the input itself.
    """
    embeds = _is_integer(graph, explained_input)  # then it is the embedding itself
    rank = len(graph.inputs[explained_input].shape) + embeds
    moved = _descendants(graph, _joined(graph))
    found = _apart(graph, output, explained_input, rank, last_first=not embeds)
    return next((number for number in found if number not in moved), None)


def _apart(graph, output, explained_input, rank, last_first=False):
    """Yields the tensors `[n, *places, c]` of a rank before attention that all paths to an output pass."""
    target = keras.tree.flatten(graph.output_structure)[output]
    mixed = _descendants(graph, graph.attention_outputs)
    for call in reversed(graph.calls) if last_first else graph.calls:
        for number in set(call.outputs) - mixed:
            places = graph.tensors[number].shape[1:-1]
            is_float = keras.backend.is_float_dtype(graph.tensors[number].dtype)
            if len(places) + 2 == rank > 2 and 1 not in places and is_float and not call.enters:
                if target not in _descendants(graph, {explained_input}, without=number):
                    yield number


def _joined(graph):
    """Numbers of the tensors in which others lie side by side, such as a class token and other tokens."""
    return {
        number
        for call in graph.calls
        if type(call.operation).__name__ == "Concatenate"
        and keras_internals.is_keras_class(type(call.operation))
        for number in call.outputs
        if call.operation.axis not in (-1, len(graph.tensors[number].shape) - 1)
    }


def is_of_tokens(graph, output=0, explained_input=0):
    """Whether the places of the input become tokens, so that only the last feature map can be read as a map.

    That is so in a model with attention, and in one whose activations don't have the rank of the input.
    """
    rank = len(graph.inputs[explained_input].shape)
    if graph.attention_outputs or _is_integer(graph, explained_input):
        return True
    if last_feature_map(graph, output, explained_input) is None:
        return False
    sites = [site.path for site in graph.activations if site.kind == "activation" and site.reachable]
    shapes = [shape for _, shape in activation_shapes(graph, sites)]
    return not any(len(shape) == rank > 2 and 1 not in shape[1:-1] for shape in shapes)


def is_embedded(graph, output=0, explained_input=0):
    """Whether the explained input is integers `[n, tokens]` that become vectors `[n, tokens, c]`."""
    if not _is_integer(graph, explained_input) or len(graph.inputs[explained_input].shape) != 2:
        return False
    return last_feature_map(graph, output, explained_input) is not None


def _is_integer(graph, explained_input):
    return keras.backend.is_int_dtype(graph.inputs[explained_input].dtype)


def _descendants(graph, numbers, without=None):
    """Numbers of the tensors that depend on the values of some tensors, themselves included.

    A mask, which says where values count, is no such tensor. With `without`, by a path that does not pass
    that tensor.
    """
    found = set(numbers)
    for call in graph.calls:
        if isinstance(call.operation, BatchSize):
            continue
        carriers = {k for k in call.outputs if k != without and graph.tensors[k].dtype != "bool"}
        found.update(k for k in carriers if found & set(call.sources(k)))
    return found


def _ancestors(graph, output):
    """Numbers of the tensors that have a gradient of an output, its own among them."""
    number = keras.tree.flatten(graph.output_structure)[output]
    found = {number}
    for call in reversed(graph.calls):
        for made in found & set(call.outputs):
            found |= _floats(graph, call.sources(made))
    return found


def _floats(graph, numbers):
    """Those of some tensors, given by number, that can carry a gradient."""
    return {k for k in numbers if keras.backend.is_float_dtype(graph.tensors[k].dtype)}


def _traced_shapes(graph, paths):
    """As `activation_shapes`, by tracing the model; no values are computed."""
    layers = rule_layers(graph, {path: rules.GradientRule() for path in paths})
    runner = GraphRunner(graph, layers)
    found = []

    def run(inputs):
        found.extend((path, tensor.shape) for path, tensor in runner(inputs).activations)

    specs = keras.tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), graph.input)
    tf.function(run, autograph=False).get_concrete_function(specs)
    return found
