"""Follows the places of the explained input through the calls of a graph."""

import dataclasses
from collections.abc import Collection
from typing import Any

import keras

from tf_learnprop.graph import keras_internals, steps
from tf_learnprop.graph.geometry import joining
from tf_learnprop.graph.geometry.catalogue import OF_SEVERAL, Rule, rule_of
from tf_learnprop.graph.geometry.layout import (
    Axis,
    Layout,
    Lost,
    Size,
    Unknown,
    free_axis,
    of_input,
    unplaced,
)
from tf_learnprop.graph.geometry.placement import Placement, State, of_layout
from tf_learnprop.graph.geometry.visit import Shape, Visit, size_at
from tf_learnprop.graph.layer_kinds import SWAPPABLE, is_valueless
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.graph.reader import Call
from tf_learnprop.graph.written_out import WrittenOut


def placements(
    graph: ModelGraph, explained_input: int = 0, input_shape: Shape | None = None
) -> list[Placement]:
    """Where the places of each tensor of a graph lie in the explained input.

    Args:
        graph: Graph of the model.
        explained_input: The input that is explained.
        input_shape: Shape of that input; by default as the graph knows it. With one that is known, there is
            an answer for models that take any size as well.

    Returns:
        The placements, by number of the tensor.
    """
    shape = tuple(graph.inputs[explained_input].shape) if input_shape is None else tuple(input_shape)
    inputs = {k: _not_explained({k}) for k in range(len(graph.inputs))}
    inputs[explained_input] = of_layout(of_input(shape), frozenset({explained_input}))
    return _followed(graph, inputs, explained_input)


def _followed(graph: ModelGraph, inputs: dict[int, Placement], explained: int) -> list[Placement]:
    known = dict(inputs)
    for call in graph.calls:
        known.update(zip(call.outputs, _outputs(graph, call, known, explained), strict=True))
    return [known.get(k, _not_explained(())) for k in range(len(graph.tensors))]


def _not_explained(inputs: Collection[int]) -> Placement:
    return Placement(State.OTHER_INPUT, (), frozenset(inputs), State.OTHER_INPUT.value)


def _outputs(graph: ModelGraph, call: Call, known: dict[int, Placement], explained: int) -> list[Placement]:
    """The placements of what a call gives."""
    shapes = [tuple(graph.tensors[number].shape) for number in call.outputs]
    if call.enters and len(call.inputs) == len(call.outputs):
        return [_entered(known[k], shape) for k, shape in zip(call.inputs, shapes, strict=True)]
    args, kwargs = keras_internals.node_arguments(call.node)
    numbers, operation = list(call.inputs), call.operation
    if isinstance(operation, WrittenOut) and operation.activation not in SWAPPABLE:
        return _step_by_step(graph, operation, known | {operation.source: known[numbers[0]]}, explained)
    if isinstance(operation, steps.WithAttributes):  # its first argument are attributes of the batch's size
        operation, attributes, args = operation.operation, args[0], args[1:]
        numbers = numbers[_count_tensors(attributes) :]
    operands, operand_shapes = [], []
    for leaf in keras.tree.flatten((args, kwargs)):
        if isinstance(leaf, keras.KerasTensor):
            number = numbers.pop(0)
            operands.append(_operand(graph.tensors[number], known[number]))
            operand_shapes.append(_exact_shape(known[number], tuple(graph.tensors[number].shape)))
        elif hasattr(leaf, "shape"):  # a constant
            operands.append(_not_explained(()))
            operand_shapes.append(tuple(leaf.shape))
    return visited(
        Visit(operation, args, kwargs, tuple(operands), tuple(operand_shapes), tuple(shapes), explained)
    )


def _step_by_step(
    graph: ModelGraph, operation: WrittenOut, known: dict[int, Placement], explained: int
) -> list[Placement]:
    """The placement of a normalisation or a head that is written out."""
    for step in operation.calls:
        known.update(zip(step.outputs, _outputs(graph, step, known, explained), strict=True))
    return [known[operation.result]]


def _operand(tensor: keras.KerasTensor, placement: Placement) -> Placement:
    """A tensor as an operation takes it; a mask does not bring the values of another input along."""
    is_mask = tensor.dtype == "bool" and placement.state is State.OTHER_INPUT
    return _not_explained(()) if is_mask else placement


def _count_tensors(structure: Any) -> int:
    return sum(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(structure))


def _entered(placement: Placement, shape: Shape) -> Placement:
    """A tensor as a nested model takes it, maybe with another rank."""
    if placement.layout is not None and len(placement.layout.axes) != len(shape):
        return _unknown(placement.inputs, "a nested model takes another shape")
    return placement


def _exact_shape(placement: Placement, shape: Shape) -> Shape:
    """The shape of a tensor, with sizes that its graph does not know."""
    if placement.layout is None or len(placement.layout.axes) != len(shape):
        return shape
    return tuple(
        own if size is None else size for size, own in zip(shape, placement.layout.shape, strict=True)
    )


def _unknown(inputs: frozenset[int], reason: str) -> Placement:
    return Placement(State.UNKNOWN, (), inputs, reason)


def visited(visit: Visit) -> list[Placement]:
    """The placements of what an operation gives."""
    name, shapes = type(visit.operation).__name__, visit.output_shapes
    operands = () if is_valueless(visit.operation) else visit.operands
    inputs = frozenset().union(*(operand.inputs for operand in operands))
    if visit.explained not in inputs:
        return [_not_explained(inputs)] * len(shapes)
    try:
        layouts = _layouts(visit)
        if len(layouts) != len(shapes):
            raise Unknown(f"{name} gives several tensors")
        layouts = [_fitted(layout, shape) for layout, shape in zip(layouts, shapes, strict=True)]
        return [of_layout(layout, inputs, _meets(visit, layout), _reason(visit)) for layout in layouts]
    except Lost as why:
        origins = next(p.layout.origins for p in visit.operands if p.layout)
        return [of_layout(unplaced(shape, origins), inputs, reason=str(why)) for shape in shapes]
    except Unknown as why:
        return [_unknown(inputs, str(why))] * len(shapes)


def _layouts(visit: Visit) -> list[Layout]:
    """The layouts of what an operation gives."""
    name = type(visit.operation).__name__
    dependent = visit.dependent
    known = [*visit.layouts.values()]
    if len(known) == len(dependent) and not any(layout.sides for layout in known):
        return [unplaced(shape, known[0].origins) for shape in visit.output_shapes]
    rule = _WRAPPERS.get(name) or rule_of(visit.operation)
    if not known:
        raise Unknown(visit.operands[dependent[0]].reason)
    if rule is None:
        raise Unknown(f"what {name} does to places is not known")
    if rule not in OF_SEVERAL and dependent != [0]:
        raise Unknown(f"{name} takes several tensors that depend on the input")
    layouts = rule(visit)
    return layouts if isinstance(layouts, list) else [layouts]


def _fitted(layout: Layout, shape: Shape) -> Layout:
    """The layout with sizes that only the graph knows."""
    if len(layout.axes) != len(shape):
        raise Unknown("the shape is another one than expected")
    return layout.with_axes(_fitted_axis(axis, size) for axis, size in zip(layout.axes, shape, strict=True))


def _fitted_axis(axis: Axis, size: Size) -> Axis:
    if size is None or axis.size == size:
        return axis
    if axis.size is not None:
        raise Unknown("the shape is another one than expected")
    if not axis.sides:
        return free_axis(size)
    if len(axis.strands) > 1:
        return axis
    strand = dataclasses.replace(axis.strands[0], size=size - axis.lead - axis.trail)
    return dataclasses.replace(axis, strands=(strand,))


def _meets(visit: Visit, layout: Layout) -> bool:
    """Whether values of another input, which differ from place to place, are in the result."""
    if any(placement.state is State.BOTH for placement in visit.operands):
        return True
    placed = [k - len(layout.axes) for k, axis in enumerate(layout.axes) if axis.sides]
    if type(visit.operation).__name__ == "Concatenate":
        axis = visit.setting("axis")
        placed = [k for k in placed if k not in (axis, axis - len(layout.axes))]
    others = [k for k, p in enumerate(visit.operands) if p.inputs and not visit.depends(k)]
    return any(size_at(visit.shapes[k], axis) != 1 for k in others for axis in placed)


def _reason(visit: Visit) -> str:
    """Why the result has no places, if it has none."""
    before = [p.reason for p in visit.operands if p.state is State.NONE]
    return before[0] if before else f"{type(visit.operation).__name__} takes its places together"


def _same_as_wrapped(visit: Visit) -> list[Layout]:
    """`SpectralNormalization`."""
    return _layouts(dataclasses.replace(visit, operation=visit.operation.layer))


def _time_distributed(visit: Visit) -> Layout:
    """A layer, or a model, for each step in time."""
    samples, times, *rest = visit.layout.axes
    if times.lead or times.trail:
        raise Lost("places are mixed with entries that are none")
    inside = visit.layout.with_axes([Axis(samples.strands + times.strands), *rest])
    shape = visit.output_shapes[0]
    inner = dataclasses.replace(
        visit,
        operation=visit.operation.layer,
        operands=(of_layout(inside, visit.operands[0].inputs),),
        shapes=((None, *visit.shapes[0][2:]),),
        output_shapes=((None, *shape[2:]),),
    )
    layout = _of_one(inner)
    if layout.axes[0].strands != inside.axes[0].strands:
        raise Unknown("a layer changes the number of steps")
    return layout.with_axes([samples, times, *layout.axes[1:]])


def _of_one(visit: Visit) -> Layout:
    """The layout of a layer or a model with one output."""
    if keras_internals.functional_of(visit.operation) is None:
        placement = visited(visit)[0]
    else:
        graph = ModelGraph(visit.operation)
        numbers = keras.tree.flatten(graph.output_structure)
        if len(graph.inputs) > 1 or len(numbers) > 1:
            raise Unknown("a model with several inputs or outputs runs for each step")
        operand = dataclasses.replace(visit.operands[0], inputs=frozenset({0}))
        placement = _followed(graph, {0: operand}, 0)[numbers[0]]
    if placement.layout is None:
        raise Unknown(placement.reason)
    return placement.layout


_WRAPPERS: dict[str, Rule] = {
    "SpectralNormalization": _same_as_wrapped,
    "TimeDistributed": _time_distributed,
    "WrittenOut": joining.elementwise,  # an activation
}
