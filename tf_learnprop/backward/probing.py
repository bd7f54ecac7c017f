"""What a graph tells before it runs: shapes of activations, and which rules a backward pass reaches."""

import keras
import tensorflow as tf

from tf_learnprop.backward import readouts, rules
from tf_learnprop.backward.runner import GraphRunner, rule_layers


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


def read_shapes(graph, rule_set, explained_input=0):
    """Shapes `(None, ..., c)` of what the readout of a `RuleSet` reads, in the order in which it does."""
    shapes = dict(enumerate(shape for _, shape in activation_shapes(graph, rule_set.paths)))
    shapes[readouts.INPUT] = tuple(graph.inputs[explained_input].shape)
    return [shapes[position] for position in rule_set.read]


def reached_paths(
    graph, paths, read, output=0, explained_input=0, reads_input=False, reads_feature_map=False
):
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
        reads_feature_map: bool, whether the readout reads the last feature map.

    Returns:
        set of str.
    """
    position_of, path_of = {}, {}
    for position, (path, call) in enumerate(activation_calls(graph, paths)):
        position_of[id(call)], path_of[id(call)] = position, path
    before = _ancestors(graph, output)
    # Numbers of the tensors that depend on something that is read.
    followed = {explained_input} if reads_input or readouts.INPUT in read else set()
    if reads_feature_map:
        followed.add(last_feature_map(graph, output, explained_input))
    reached = set()
    for call in graph.calls:
        dependent = {k for k in call.outputs if followed & set(call.sources(k))}
        if id(call) in position_of:
            if dependent and before & set(call.outputs):
                reached.add(path_of[id(call)])
            if position_of[id(call)] in read:
                dependent = set(call.outputs)
        followed |= _floats(graph, dependent)
    return reached


def last_feature_map(graph, output=0, explained_input=0):
    """The last tensor in which places of the image are still apart, and which all paths to an output pass.

    Args:
        graph: `ModelGraph`.
        output: int, the output that is explained.
        explained_input: int, the input that is explained.

    Returns:
        int, its number in `graph.tensors`; None if there is none but the input itself.
    """
    rank = len(graph.inputs[explained_input].shape)
    target = keras.tree.flatten(graph.output_structure)[output]
    for call in reversed(graph.calls):
        for number in call.outputs:
            sides = graph.tensors[number].shape[1:-1]
            if len(sides) + 2 == rank > 2 and 1 not in sides and not call.enters:
                if target not in _descendants(graph, explained_input, without=number):
                    return number
    return None


def _descendants(graph, number, without):
    """Numbers of the tensors that depend on a tensor by a path that does not pass another one."""
    found = {number}
    for call in graph.calls:
        found.update(k for k in call.outputs if k != without and found & set(call.sources(k)))
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
