"""`GraphRunner`: runs a model's graph call by call, with rules behind some of its activations."""

import contextlib
import dataclasses
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.backward.rule_operation import RuleOperation
from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.activations import is_fused
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.folding import affine_values, folded_calls
from tf_learnprop.graph.layer_kinds import CLIPPING, is_one_of
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.reader import Call, first_argument
from tf_learnprop.graph.written_out import WrittenOut
from tf_learnprop.layers import RuleActivation
from tf_learnprop.readouts import FEATURE_MAP
from tf_learnprop.rules import PropagationRule
from tf_learnprop.rules.split import SplitRule

Args = tuple
Kwargs = dict[str, Any]
#: Takes the name of a tensor, here a `Position`, and the tensor.
Watch = Callable[[Any, tf.Tensor], None]
#: By `id` of an operation: its path, and what runs it. A `RuleActivation` is called with the input of the
#: activation, anything else with (operation, args, kwargs).
RuleLayers = dict[int, tuple[str, Callable[..., Any]]]

_NOTHING: Mapping[int, tf.Tensor] = types.MappingProxyType({})


@dataclasses.dataclass
class Trace:
    """What one run of the graph gave.

    Attributes:
        outputs: The model's outputs.
        logits: The explained output before its softmax or sigmoid, float32.
        activations: Path and output of each activation with a rule, as they ran.
    """

    outputs: Any = None
    logits: tf.Tensor | None = None
    activations: list[tuple[str, tf.Tensor]] = dataclasses.field(default_factory=list)


class GraphRunner:
    """Runs a model's graph with rules behind some activations, always in inference mode.

    An activation with a rule is left out of its layer's call, and its `RuleActivation` is called instead.

    Args:
        explained: The output and the input that are explained.
        rule_layers: What runs the sites with a rule; see `rule_layers`.
        feature_maps: Numbers of tensors that are watched as well.
        kept: Numbers of other tensors that must be there while it watches.
    """

    def __init__(
        self,
        explained: Explained,
        rule_layers: RuleLayers,
        feature_maps: Collection[int] = (),
        kept: Collection[int] = (),
    ):
        self.graph = graph = explained.graph
        self.rule_layers = rule_layers
        self._explained = explained
        self.output = output = explained.output
        self._feature_maps = frozenset(feature_maps)
        self._end = end = graph.ends[output]
        has_logits = end.activation and not end.mixed
        #: Calls whose output has passed the final softmax or sigmoid: the activation's own, and what follows.
        self._activation_call = end.call if has_logits else None
        self._after = frozenset(end.after) if has_logits else frozenset()
        #: The calls with their positions in the graph, as they are and with normalisations folded.
        self._calls = list(enumerate(graph.calls))
        folded = folded_calls(graph, {*kept, *feature_maps})
        self._folded = [
            (k, call) for k, call in ((k, folded.get(k, call)) for k, call in self._calls) if call
        ]

    @tf.autograph.experimental.do_not_convert  # no branch here depends on a tensor's values
    def __call__(
        self,
        inputs: Any,
        with_rules: bool = True,
        watch: Watch | None = None,
        replaced: Mapping[int, tf.Tensor] = _NOTHING,
    ) -> Trace:
        """One forward pass.

        Args:
            inputs: Tensors in the structure of the model's inputs.
            with_rules: False runs the model with its own backward pass.
            watch: Called with (position, tensor) for the output of each activation with a rule, and with
                (`readouts.FEATURE_MAP`, tensor) for a feature map, before anything else uses it. With it,
                a convolution runs as one with the batch normalisation behind it. Without it, outputs are
                those of the model bit for bit.
            replaced: Tensors of the graph, by number, that get other values than the calls give.
        """
        with self._scope():
            return self._run_graph(inputs, with_rules, watch, replaced)

    @tf.autograph.experimental.do_not_convert
    def tensor(self, inputs: Any, number: int) -> tf.Tensor:
        """A tensor of the graph, from a forward pass up to there.

        Args:
            inputs: Tensors in the structure of the model's inputs.
            number: Number of the tensor.
        """
        with self._scope():
            values = self._values(inputs)
            for call in self.graph.calls:
                if number in values:
                    break
                made = call.run(values) if call.enters else _call(call.operation, *call.arguments(values))
                values.update(zip(call.outputs, keras.tree.flatten(made), strict=True))
            return values[number]

    def activation_of(self, operation: keras.Operation) -> Callable[[tf.Tensor], tf.Tensor]:
        """What runs the activation of a layer, with its rule if it has one."""
        _, rule_layer = self.rule_layers.get(id(operation), ("", None))
        if isinstance(rule_layer, RuleActivation):
            return rule_layer
        return operation.activation if is_fused(operation) else operation

    @contextlib.contextmanager
    def _scope(self) -> Iterator[None]:
        # What a layer assigns to its variables or adds to its losses is gone after this block.
        # Within a scope, names of layers may begin with an underscore.
        with keras.StatelessScope(), tf.name_scope("source"):
            yield

    def _values(self, inputs: Any) -> dict[int, tf.Tensor]:
        """The tensors that the model takes, by number."""
        values = dict(enumerate(self.graph.standardized(inputs)))
        if self._explained.has_integer_pixels:  # which have a gradient as float32
            number = self._explained.input
            values[number] = tf.cast(keras.tree.flatten(inputs)[number], tf.float32)
        return values

    def _run_graph(
        self, inputs: Any, with_rules: bool, watch: Watch | None, replaced: Mapping[int, tf.Tensor]
    ) -> Trace:
        graph, trace = self.graph, Trace()
        logits: tf.Tensor | None = None
        values = self._values(inputs)
        if watch:
            values.update(affine_values(call for _, call in self._folded))
        for number, call in self._folded if watch else self._calls:
            taken = self._taken(number, values, watch)
            args, kwargs = call.arguments(taken)
            if call.enters:
                made = call.run(taken)
                if number in self._after:
                    logits = made[0] if logits is None else logits
            elif number == self._activation_call:
                logits, made = _apart(call.operation, args, kwargs)
                logits *= self._end.factor
            else:
                made = self._run(call, args, kwargs, with_rules, watch, trace)
                # A bound for probabilities is none for logits.
                if number in self._after and not is_one_of(call.operation, CLIPPING):
                    logits = call.run({call.inputs[0]: logits})
            values.update(zip(call.outputs, keras.tree.flatten(made), strict=True))
            for tensor in replaced.keys() & set(call.outputs):
                mask = keras_internals.mask_of(values[tensor])
                values[tensor] = tf.cast(replaced[tensor], values[tensor].dtype)
                keras_internals.set_mask(values[tensor], mask)
            if watch:
                self._watch_given(call, values, watch)
        trace.outputs = keras.tree.map_structure(values.__getitem__, graph.output_structure)
        output = keras.tree.flatten(trace.outputs)[self.output]
        if self._end.mixed:
            logits = self._end.logits_of(output)
        trace.logits = tf.cast(output if logits is None else logits, tf.float32)
        return trace

    def _taken(self, number: int, values: dict[int, tf.Tensor], watch: Watch | None) -> dict[int, tf.Tensor]:
        """The tensors by number, as call number k takes them."""
        return values

    def _watch_given(self, call: Call, values: dict[int, tf.Tensor], watch: Watch) -> None:
        """Watches what a call has given besides activations with rules."""
        for number in self._feature_maps.intersection(call.outputs):
            watch(FEATURE_MAP, values[number])

    def _rule_layers_at(self, call: Call) -> RuleLayers:
        """What runs the sites with a rule, for a call."""
        return self.rule_layers

    def _run(
        self, call: Call, args: Args, kwargs: Kwargs, with_rules: bool, watch: Watch | None, trace: Trace
    ) -> Any:
        operation, rule_layers = call.operation, self._rule_layers_at(call)
        if not with_rules or id(operation) not in rule_layers:
            return _call(operation, args, kwargs)
        path, rule_layer = rule_layers[id(operation)]
        if isinstance(rule_layer, RuleActivation):
            x = (
                _linear_twin(operation)(*args, **kwargs)
                if is_fused(operation)
                else first_argument(args, kwargs)
            )
            made = y = rule_layer(x)
            last = operation.last if isinstance(operation, WrittenOut) else operation
            if not isinstance(last, keras.layers.Layer):
                keras_internals.set_mask(y, None)  # bare operations pass no mask on
        else:
            made = rule_layer(operation, args, kwargs)
            y = keras.tree.flatten(made)[0]
        if watch:
            watch(len(trace.activations), y)
        trace.activations.append((path, y))
        return made


def rule_layers(graph: ModelGraph, rules: Mapping[str, PropagationRule]) -> RuleLayers:
    """What runs the sites with a rule, for `GraphRunner`.

    Args:
        graph: The graph of the model.
        rules: The rule of each layer path.
    """
    layers: RuleLayers = {}
    for site in graph.activations:
        rule = rules.get(site.path)
        if rule is None:
            continue
        if site.kind == "activation":
            activation = site.operation.activation if site.fused else site.operation
            layers[id(site.operation)] = (site.path, RuleActivation(activation, rule))
        elif isinstance(rule, SplitRule):
            layers[id(site.operation)] = (site.path, RuleOperation(site.kind, rule))
        else:
            layers[id(site.operation)] = (site.path, _call)  # keeps its gradient
    return layers


def _apart(operation: keras.Operation, args: Args, kwargs: Kwargs) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits and output of the call that ends in the output's own softmax or sigmoid."""
    if is_fused(operation):
        logits = _linear_twin(operation)(*args, **kwargs)
        return logits, operation.activation(logits)
    return first_argument(args, kwargs), _call(operation, args, kwargs)


def _call(operation: keras.Operation, args: Args, kwargs: Kwargs) -> Any:
    """Calls an operation, with a plain error for one that TensorFlow can't put into a graph."""
    try:
        return operation(*args, **kwargs)
    except tf.errors.OperatorNotAllowedInGraphError:
        raise ValueError(
            f"Layer '{operation.name}' branches on values in its `call`, which TensorFlow can't do in a "
            "graph. Use `keras.ops.where` or `keras.ops.cond` there."
        ) from None


def _linear_twin(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A second object with the attributes of a layer and the same weights, but with a linear activation.

    The user's layer itself is never touched, not even for the time of a call, so that other threads
    may use it.
    """
    return keras_internals.twin(layer, activation=keras.activations.linear)
