import itertools
import math

import keras
import numpy as np
import pytest

from tests.graph import geometry_models as models
from tf_learnprop.graph.geometry import State, placements
from tf_learnprop.graph.model_graph import ModelGraph

#: Pixels per place before places were multiplied: within such a place, they may be off by half of it.
GRAIN = {"upsampling": 1, "repeat": 1, "transposed": 1, "op-resize": 1, "pad-images": 1, "depth-to-space": 2}


def output_placement(model, explained_input=0):
    graph = ModelGraph(model)
    number = keras.tree.flatten(graph.output_structure)[0]
    return placements(graph, explained_input)[number]


def responses(model, placement):
    """How much each place changes with each pixel, `[*sides of the input, *places]`.

    A pixel changes by far more than the values of others, so that it wins each maximum that it takes part in.
    """
    shape = model.inputs[0].shape[1:]
    sides = shape[:-1] if len(shape) > 1 else shape
    image = np.random.default_rng(0).uniform(0, 1, shape).astype("float32")
    pixels = 100 * np.eye(math.prod(sides), dtype="float32").reshape(-1, *sides)
    pixels = pixels[..., None] if len(shape) > 1 else pixels
    changed, before = (np.asarray(model(x, training=False)) for x in (image + pixels, image[None]))
    changed = changed - before
    others = tuple(k for k, axis in enumerate(placement.axes) if axis is None and k)
    changed = np.abs(changed).sum(others)
    for k, axis in enumerate([axis for axis in placement.axes if axis], 1):
        count = math.prod(side.places for side in axis.sides)
        changed = np.take(changed, range(axis.first, axis.first + count), k)
    return changed.reshape(*sides, *(side.places for side in placement.sides))


def centres(placement, indices):
    """Where a place lies along each side that it has: {side: coordinate}."""
    where = {}
    for side, index in zip(placement.sides, indices, strict=True):
        where[side.side] = where.get(side.side, side.start) + index * side.step
    return where


def check_place(placement, indices, response, grain):
    """Checks what acts on one place, `[*sides]`; returns whether its centre was checked as well.

    No pixel outside of what it may see acts on it; and if it may see no padding, the centre of mass of those
    that do is its centre, within half a step.
    """
    where = centres(placement, indices)
    by_side = {side.side: side for side in placement.sides}
    is_inside = True
    for k, centre in where.items():
        side = by_side[k]
        first, last = centre - side.before, centre + side.after
        profile = response.sum(tuple(j for j in range(response.ndim) if j != k))
        pixels = np.flatnonzero(profile > 1e-5 * max(profile.max(), 1e-9))
        if profile.max() > 1e-3:
            assert max(first, side.low) - 1e-3 <= pixels[0] and pixels[-1] <= min(last, side.high) + 1e-3
        is_inside &= first >= side.low - 1e-6 and last <= side.high + 1e-6
    if not is_inside or response.max() < 1e-3:  # a transposed convolution may leave places out
        return False
    for k, centre in where.items():
        profile = response.sum(tuple(j for j in range(response.ndim) if j != k))
        mass = (profile * np.arange(len(profile))).sum() / profile.sum()
        assert abs(mass - centre) <= max(abs(by_side[k].step), grain) / 2 + 1e-2, (k, indices, mass, centre)
    return True


def check_model(model, grain=0):
    """Checks the places of a model's output; all of them, or every few."""
    placement = output_placement(model)
    assert placement.state is State.PLACED, placement.describe()
    response = responses(model, placement)
    places = list(itertools.product(*(range(side.places) for side in placement.sides)))
    inputs = len(model.inputs[0].shape) - (2 if len(model.inputs[0].shape) > 2 else 1)
    pixels = (slice(None),) * inputs
    stride = max(len(places) // 300, 1)
    checked = [check_place(placement, p, response[(*pixels, *p)], grain) for p in places[::stride]]
    assert any(checked), "no place sees nothing but pixels"


def grain_of(name):
    return next((pixels for start, pixels in GRAIN.items() if name.startswith(start)), 0)


@pytest.mark.parametrize("name", models.PLACED)
def test_places_lie_where_the_pixels_do_that_change_them(name):
    check_model(models.build(*models.PLACED[name]), grain_of(name))


@pytest.mark.parametrize("name", models.GATED)
def test_a_gate_or_norm_over_all_places_moves_none_but_lets_each_see_all(name):
    placement = output_placement(models.build(*models.GATED[name]))
    assert placement.state is State.PLACED
    assert all(math.isinf(side.before) and math.isinf(side.after) for side in placement.sides)
