"""`GraphRunner`: runs a model's graph call by call, with rules behind some of its activations."""

import dataclasses

import keras
import tensorflow as tf

from tf_learnprop.backward import keras_internals
from tf_learnprop.backward.activations import is_fused
from tf_learnprop.backward.layers import RuleActivation


@dataclasses.dataclass
class Trace:
    """What one run of the graph gave.

    Attributes:
        outputs: the model's outputs.
        logits: the explained output before its softmax or sigmoid, float32.
        activations: list of (path, tensor), outputs of the activations with rules, as they ran.
    """

    outputs: object = None
    logits: object = None
    activations: list = dataclasses.field(default_factory=list)


class GraphRunner:
    """Runs a model's graph with rules behind some activations, always in inference mode.

    An activation with a rule is left out of its layer's call, and its `RuleActivation` is called instead.

    Args:
        graph: `ModelGraph`.
        rule_layers: dict from the `id` of an operation to (path, `RuleActivation`).
        output: int, which of the model's outputs is explained.
        feature_map: int or None, number of a tensor that is watched as well.
    """

    #: What `watch` gets in place of a position for the feature map.
    FEATURE_MAP = "feature map"

    def __init__(self, graph, rule_layers, output=0, feature_map=None):
        self.graph = graph
        self.rule_layers = rule_layers
        self.output = output
        self._feature_map = feature_map
        end = graph.ends[output]
        #: Calls whose output has passed the final softmax or sigmoid: the activation's own, and what follows.
        self._activation_call = end.call if end.activation else None
        self._after = frozenset(end.after) if end.activation else frozenset()

    @tf.autograph.experimental.do_not_convert  # no branch here depends on a tensor's values
    def __call__(self, inputs, with_rules=True, watch=None):
        """One forward pass.

        Args:
            inputs: tensors in the structure of the model's inputs.
            with_rules: bool, False runs the model with its own backward pass.
            watch: callable or None, called with (position, tensor) for the output of each activation with a
                rule, and with (`FEATURE_MAP`, tensor) for the feature map, before anything else uses it.

        Returns:
            `Trace`.
        """
        graph, trace, logits = self.graph, Trace(), None
        model_inputs = keras_internals.standardize_inputs(keras_internals.functional_of(graph.model), inputs)
        values = dict(enumerate(model_inputs))
        for number, call in enumerate(graph.calls):
            args, kwargs = call.arguments(values)
            if call.enters:
                entered = _first(args, kwargs)
                made = keras_internals.standardize_inputs(call.operation, entered)
                if number in self._after:
                    logits = made[0] if logits is None else logits
            elif number == self._activation_call:
                logits, made = _apart(call.operation, args, kwargs)
            else:
                made = self._run(call, args, kwargs, with_rules, watch, trace)
                if number in self._after:
                    logits = call.operation(logits)
            values.update(zip(call.outputs, keras.tree.flatten(made), strict=True))
            if watch and self._feature_map in call.outputs:
                watch(self.FEATURE_MAP, values[self._feature_map])
        trace.outputs = keras.tree.map_structure(values.__getitem__, graph.output_structure)
        output = keras.tree.flatten(trace.outputs)[self.output]
        trace.logits = tf.cast(output if logits is None else logits, tf.float32)
        return trace

    def _run(self, call, args, kwargs, with_rules, watch, trace):
        operation = call.operation
        if not with_rules or id(operation) not in self.rule_layers:
            return _call(operation, args, kwargs)
        path, rule_activation = self.rule_layers[id(operation)]
        x = _linear_twin(operation)(*args, **kwargs) if is_fused(operation) else _first(args, kwargs)
        y = rule_activation(x)
        if watch:
            watch(len(trace.activations), y)
        trace.activations.append((path, y))
        return y


def rule_layers(graph, rules):
    """The `RuleActivation`s of a model: dict from `id(operation)` to (path, layer), for `GraphRunner`.

    Args:
        graph: `ModelGraph`.
        rules: dict from layer path to `PropagationRule`.
    """
    layers = {}
    for site in graph.activations:
        if site.path in rules:
            activation = site.operation.activation if site.fused else site.operation
            layers[id(site.operation)] = (site.path, RuleActivation(activation, rules[site.path]))
    return layers


def _apart(operation, args, kwargs):
    """Logits and output of the call that ends in the output's own softmax or sigmoid."""
    if is_fused(operation):
        logits = _linear_twin(operation)(*args, **kwargs)
        return logits, operation.activation(logits)
    return _first(args, kwargs), _call(operation, args, kwargs)


def _first(args, kwargs):
    """The first argument of a call; an operation may have been called by keyword alone."""
    return args[0] if args else next(iter(kwargs.values()))


def _call(operation, args, kwargs):
    """Calls an operation, without the loss that an `activity_regularizer` would leave in it."""
    if getattr(operation, "activity_regularizer", None) is not None:
        operation = _twin(operation)
    return operation(*args, **kwargs)


def _linear_twin(layer):
    """The same layer with a linear activation."""
    return _twin(layer, activation=keras.activations.linear)


def _twin(layer, **changes):
    """A second object with the attributes of a layer and the same weights, but for some changes.

    The user's layer itself is never touched, not even for the time of a call, so that other threads
    may use it.
    """
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__, activity_regularizer=None, **changes)
    return twin
