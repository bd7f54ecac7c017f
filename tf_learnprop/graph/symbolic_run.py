"""`SymbolicRun`: runs the `call` of a layer on KerasTensors and records what it does."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_learnprop.graph import keras_internals, over_time
from tf_learnprop.graph.activations import is_opaque
from tf_learnprop.graph.steps import (
    CannotOpen,
    Constants,
    MaskOf,
    Opened,
    SetMask,
    Step,
    WithAttributes,
    WithMask,
    make_step,
)

#: From a KerasTensor of a run to the one that takes its place.
Replace = Callable[[keras.KerasTensor], keras.KerasTensor]


class SymbolicRun:
    """One run of a layer's `call` on KerasTensors.

    Args:
        layer: Built Keras layer or model.
        args: The arguments of the call, with KerasTensors.
        kwargs: The arguments by keyword.
        masks: The masks of KerasTensors among them that may carry one, by the ids of these tensors.
        mask_ranks: As for `Reader`.
        sizes: Sizes of free axes in the run, by the number of the input and of the axis.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        args: tuple,
        kwargs: dict[str, Any],
        masks: dict[int, keras.KerasTensor] | None = None,
        mask_ranks: dict[int, int] | None = None,
        sizes: Mapping[tuple[int, int], int] | None = None,
    ):
        self.inputs: list[keras.KerasTensor] = []
        self.nodes: list[Any] = []
        #: (node, args, kwargs, attributes that are tensors) of each step.
        self.steps: list[tuple[Any, tuple, dict[str, Any], dict[str, Any]]] = []
        self.outputs: list[keras.KerasTensor] = []
        self.structure: Any = None
        # {id of a leaf: (leaf, KerasTensor, value)}
        self._constants: dict[int, tuple[Any, keras.KerasTensor, tf.Tensor]] = {}
        self._nothing: list[keras.KerasTensor] = []  # where a layer returns None
        self._carriers: list[keras.KerasTensor] = []  # inputs that carry a mask
        self._output_masks: list[keras.KerasTensor | None] = []
        # {id of a mask among the arguments: (input that carries it, KerasTensor)}
        self._masked: dict[int, tuple[keras.KerasTensor, keras.KerasTensor]] = {}
        # (tensor that will carry a mask, KerasTensor that stands for the mask)
        self._attached: list[tuple[keras.KerasTensor, keras.KerasTensor]] = []

        def stand_in(leaf: Any) -> Any:
            if not isinstance(leaf, keras.KerasTensor):
                return leaf
            number = len(self.inputs)
            shape = [(sizes or {}).get((number, axis), size) for axis, size in enumerate(leaf.shape)]
            self.inputs.append(keras.KerasTensor(shape, leaf.dtype, name=leaf.name))
            return self._carry_mask(self.inputs[-1], (masks or {}).get(id(leaf)))

        args, kwargs = keras.tree.map_structure(stand_in, (args, kwargs))
        twin = keras_internals.twin(layer)

        def symbolic_call(*args: Any, **kwargs: Any) -> Any:
            # Keras calls this within the scopes of the layer, which cast the weights that it reads.
            keras_internals.map_attributes(twin, self._symbolic_weights)
            self.structure = over_time.call_of(twin)(*args, **kwargs)
            self._read()
            return self.structure

        vars(twin)["symbolic_call"] = symbolic_call

        def values() -> list[tf.Tensor]:
            # Within a scope, names of layers may begin with an underscore.
            with self._results_as_tensors(layer, mask_ranks or {}), tf.name_scope("source"):
                results = twin(*args, **kwargs)
            if layer.supports_masking:  # other masks come from the layers inside, when they run
                self._output_masks = [*map(keras_internals.mask_of, keras.tree.flatten(results))]
            self._add_steps([mask for mask in self._output_masks if mask is not None])
            for node in self.nodes:
                keras_internals.forget(node)
            return [value for _, _, value in self._constants.values()]

        self.function = tf.function(values, autograph=False).get_concrete_function()

    def _carry_mask(self, tensor: keras.KerasTensor, mask: keras.KerasTensor | None) -> keras.KerasTensor:
        """An input, which now carries a mask if its leaf does."""
        if mask is None:
            return tensor
        if id(mask) not in self._masked:
            symbol = keras.KerasTensor(tensor.shape[: len(mask.shape)], mask.dtype)
            self._masked[id(mask)] = tensor, symbol
        self._carriers.append(tensor)
        return keras_internals.set_mask(tensor, self._masked[id(mask)][1])

    @property
    def masks(self) -> list[keras.KerasTensor]:
        """The KerasTensors that stand for masks that tensors carry when the layer runs."""
        return [symbol for _, symbol in [*self._masked.values(), *self._attached]]

    def _masks_read(self, node: Any, replace: Replace) -> list[Step]:
        """Steps that take the masks which a layer attaches to its outputs in its `call`."""
        outputs = {*map(id, node.outputs)}
        return [
            make_step(MaskOf(len(mask.shape)), (replace(tensor),), {}, [replace(mask)])
            for tensor, mask in self._attached
            if id(tensor) in outputs
        ]

    def _masks_set(self, node: Any, replace: Replace) -> list[Step]:
        """Steps that attach the masks which `call` attached to what a bare operation gives."""
        own = {*map(id, self.masks), *map(id, self.inputs)}
        pairs = [(tensor, keras_internals.mask_of(tensor)) for tensor in node.outputs]
        return [
            make_step(SetMask(), (replace(tensor), replace(mask)), {}, [])
            for tensor, mask in pairs
            if id(mask) in own
        ]

    @contextlib.contextmanager
    def _results_as_tensors(self, layer: keras.layers.Layer, mask_ranks: dict[int, int]) -> Iterator[None]:
        """Has layers inside `layer` return KerasTensors for all that their own `call` returns.

        That may be other tensors than those that the class below promises, None beside tensors, which a Keras
        node can't hold, and a mask that is attached in the `call`.
        """
        inside = keras_internals.sublayers(layer)[1:]
        parts = [part for part in inside if is_opaque(part) or id(part) in mask_ranks]

        def stand_in(leaf: Any) -> Any:
            if leaf is None:
                self._nothing.append(keras.KerasTensor(()))
            return self._nothing[-1] if leaf is None else leaf

        def with_mask(tensor: keras.KerasTensor, rank: int) -> keras.KerasTensor:
            if keras_internals.mask_of(tensor) is None:
                # It may have one entry for all along an axis.
                self._attached.append((tensor, keras.KerasTensor((None,) * rank, "bool")))
                keras_internals.set_mask(*self._attached[-1])
            return tensor

        def with_stand_ins(symbolic_call: Callable, rank: int | None) -> Callable:
            def call(*args: Any, **kwargs: Any) -> Any:
                results = keras.tree.map_structure(stand_in, symbolic_call(*args, **kwargs))
                return keras.tree.map_structure(lambda x: with_mask(x, rank), results) if rank else results

            return call

        stale = [part for part in inside if keras_internals.spec_is_stale(part)]
        for part in stale:
            vars(part)["compute_output_spec"] = keras_internals.spec_by_running(part)
        for part in parts:
            vars(part)["symbolic_call"] = with_stand_ins(part.symbolic_call, mask_ranks.get(id(part)))
        try:
            yield
        finally:
            for part in stale:
                del vars(part)["compute_output_spec"]
            for part in parts:
                del vars(part)["symbolic_call"]

    @property
    def constants(self) -> list[keras.KerasTensor]:
        """The KerasTensors that `function` returns the values of."""
        return [symbol for _, symbol, _ in self._constants.values()]

    def _symbolic_weights(self, value: Any) -> Any:
        """An attribute of the layer with KerasTensors in place of variables, alone or in a list."""
        if isinstance(value, keras.Variable):
            return self._constant(value)
        if isinstance(value, (list, tuple)) and value and all(isinstance(v, keras.Variable) for v in value):
            return [self._constant(v) for v in value]
        return value

    def _constant(self, leaf: keras.Variable | tf.Tensor) -> keras.KerasTensor:
        """The KerasTensor that stands for a variable or tensor that does not depend on the inputs."""
        if id(leaf) not in self._constants:
            value = tf.identity(leaf.value if isinstance(leaf, keras.Variable) else leaf)
            self._constants[id(leaf)] = leaf, keras.KerasTensor(value.shape, value.dtype.name), value
        return self._constants[id(leaf)][1]

    def _read(self) -> None:
        self.structure = keras.tree.map_structure(
            lambda leaf: self._symbolic(tf.zeros(()) if leaf is None else leaf), self.structure
        )
        self.outputs = keras.tree.flatten(self.structure)
        if not all(isinstance(tensor, keras.KerasTensor) for tensor in self.outputs):
            raise CannotOpen("it returns other things than tensors")
        self._add_steps(self.outputs)
        uses = self.outputs + [tensor for node in self.nodes for tensor in node.input_tensors]
        if {*map(id, uses)} & {*map(id, self._nothing)}:
            raise CannotOpen("it uses what a layer inside it returns as None")

    def _add_steps(self, tensors: list[keras.KerasTensor]) -> None:
        """Adds the steps that make some tensors."""
        nodes = keras_internals.nodes_before(tensors, self.nodes)
        self.nodes += nodes
        for node in nodes:
            if node.is_input:
                raise CannotOpen("it uses a tensor of another model")
            args, kwargs = keras_internals.node_arguments(node)
            if keras_internals.functional_of(node.operation) and kwargs.get("training"):
                raise CannotOpen(f"it runs '{node.operation.name}' in training mode")
            args, kwargs = keras.tree.map_structure(self._symbolic, (args, kwargs))
            symbolic = keras.tree.map_structure(self._symbolic, keras_internals.settings(node.operation))
            changed = {name: symbolic[name] for name in symbolic if _holds_tensors(symbolic[name])}
            self.steps.append((node, args, kwargs, changed))
        self._keep_used_constants()

    def _keep_used_constants(self) -> None:
        used = [self.outputs, [step[1:] for step in self.steps]]
        ids = {id(leaf) for leaf in keras.tree.flatten(used)}
        self._constants = {key: entry for key, entry in self._constants.items() if id(entry[1]) in ids}

    def _symbolic(self, leaf: Any) -> Any:
        return self._constant(leaf) if isinstance(leaf, (keras.Variable, tf.Tensor)) else leaf

    def opened(
        self,
        replace: Replace = lambda tensor: tensor,
        size_attributes: Mapping[int, dict[str, Any]] | None = None,
        size_arguments: Mapping[int, tuple[tuple, dict[str, Any]]] | None = None,
        size_steps: Sequence[Step] = (),
    ) -> Opened:
        """The `Opened`.

        Args:
            replace: Gives the KerasTensor that takes the place of one of this run.
            size_attributes: Attributes that depend on sizes, by the number of the step.
            size_arguments: (args, kwargs) that depend on sizes, by the number of the step.
            size_steps: Steps that come first: they compute the sizes, and constants that depend on them.
        """

        def fill(structure: Any) -> Any:
            return keras.tree.map_structure(
                lambda leaf: replace(leaf) if isinstance(leaf, keras.KerasTensor) else leaf, structure
            )

        steps = [
            make_step(MaskOf(len(mask.shape)), (replace(x),), {}, [replace(mask)])
            for x, mask in self._masked.values()
        ]
        dropped = [x for x in self._carriers if keras_internals.mask_of(x) is None]
        steps += [make_step(SetMask(), (replace(x),), {}, []) for x in dropped]
        if self.constants and not size_steps:
            steps.append(make_step(Constants(self.function), (), {}, self.constants))
        steps += size_steps
        for k, (node, args, kwargs, attributes) in enumerate(self.steps):
            operation, outputs = node.operation, [replace(tensor) for tensor in node.outputs]
            args, kwargs = (size_arguments or {}).get(k, (args, kwargs))
            args, kwargs, attributes = fill((args, kwargs, attributes))
            attributes = {**attributes, **(size_attributes or {}).get(k, {})}
            if attributes:
                operation, args = WithAttributes(operation), (attributes, *args)
            steps.append(make_step(operation, args, kwargs, outputs))
            steps += self._masks_read(node, replace)
            if not isinstance(node.operation, keras.layers.Layer):
                steps += self._masks_set(node, replace)
        outputs = [replace(tensor) for tensor in self.outputs]
        for k, mask in enumerate(self._output_masks):
            if mask is not None:
                plain, outputs[k] = outputs[k], keras.KerasTensor(outputs[k].shape, outputs[k].dtype)
                keras_internals.set_mask(outputs[k], replace(mask))
                steps.append(make_step(WithMask(), (plain, replace(mask)), {}, [outputs[k]]))
        structure = keras.tree.pack_sequence_as(self.structure, outputs)
        return Opened([*map(replace, self.inputs)], steps, outputs, structure)


def _holds_tensors(structure: Any) -> bool:
    return any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(structure))
