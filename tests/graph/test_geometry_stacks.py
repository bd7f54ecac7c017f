"""Random stacks of layers that move places."""

import itertools

import keras
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from keras import layers, ops

from tests.graph import geometry_models as models
from tests.graph.test_geometry import check_place, output_placement, responses
from tf_learnprop.graph.geometry import State

PADDING = st.sampled_from(["valid", "same"])
SMALL = st.integers(1, 3)


@st.composite
def steps(draw):
    """One function of an image that moves its places, and how much it multiplies them."""
    kind = draw(
        st.sampled_from(
            ["conv", "dilated", "pool", "average", "crop", "pad", "slice", "flip", "permute", "patches"]
        )
    )
    size, stride, padding, more = draw(SMALL), draw(SMALL), draw(PADDING), draw(SMALL)
    return {
        "conv": lambda x: models.conv((size, size + 1), (stride, 1), padding)(x),
        "dilated": lambda x: models.conv(size, 1, padding, dilation_rate=stride)(x),
        "pool": lambda x: layers.MaxPooling2D((size + 1, more), (stride, more), padding)(x),
        "average": lambda x: layers.AveragePooling2D(size, stride, padding)(x),
        "crop": lambda x: layers.Cropping2D(((size - 1, more - 1), (stride - 1, size - 1)))(x),
        "pad": lambda x: layers.ZeroPadding2D(((size - 1, more - 1), (stride - 1, size - 1)))(x),
        "slice": lambda x: x[:, size - 1 :: stride, :-more],
        "flip": lambda x: ops.flip(x, axis=size if size < 3 else (1, 2)),
        "permute": lambda x: ops.transpose(x, (0, 2, 1, 3)),
        "patches": lambda x: layers.Dense(2, use_bias=False)(ops.image.extract_patches(x, size)),
    }[kind]


def stack(functions, shape):
    """The model of several steps, or None if nothing would be left."""
    image = keras.Input(shape)
    x = image
    for function in functions:
        if min(x.shape[1:3]) < 5:
            break
        x = function(x)
    if min(x.shape[1:3]) < 1:
        return None
    model = keras.Model(image, x)
    for weight in model.weights:
        weight.assign(ops.ones(weight.shape))
    return model


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(steps(), min_size=1, max_size=5), st.integers(14, 21), st.integers(14, 21))
def test_places_of_a_stack_lie_where_the_pixels_do_that_change_them(functions, rows, columns):
    model = stack(functions, (rows, columns, 1))
    assume(model is not None)
    placement = output_placement(model)
    assert placement.state is State.PLACED, placement.describe()
    assert tuple(side.places for side in placement.sides) == tuple(model.output.shape[1:3])
    response = responses(model, placement)
    for place in itertools.product(*(range(side.places) for side in placement.sides)):
        check_place(placement, place, response[(..., *place)], 0)
