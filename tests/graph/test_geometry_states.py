"""Where a tensor has no places, or not those of the explained input alone."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.graph import geometry_models as models
from tests.graph.geometry_models import IMAGE, ODD, SERIES, chain, conv
from tf_learnprop.graph.geometry import State, placements
from tf_learnprop.graph.model_graph import ModelGraph


class Closed(keras.layers.Layer):
    """A layer whose `call` can't be opened."""

    def call(self, x):
        return x if np.ndim(x) > 9 or bool(ops.sum(x) > 0) else -x

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def attention(x):
    return layers.MultiHeadAttention(2, 3)(x, x)


NONE = {
    "flatten": (IMAGE, layers.Flatten()),
    "dense-behind-flatten": (IMAGE, chain(layers.Flatten(), layers.Dense(3))),
    "global-pooling": (IMAGE, layers.GlobalAveragePooling2D()),
    "global-pooling-keepdims": (IMAGE, layers.GlobalMaxPooling2D(keepdims=True)),
    "mean": (IMAGE, lambda x: ops.mean(x, axis=(1, 2))),
    "dense-over-places": (SERIES, chain(layers.Permute((2, 1)), layers.Dense(4))),
    "mlp-mixer": (SERIES, chain(layers.Permute((2, 1)), layers.Dense(45), layers.Permute((2, 1)))),
    "lstm": (SERIES, layers.LSTM(3, return_sequences=True)),
    "bidirectional": (SERIES, layers.Bidirectional(layers.GRU(3, return_sequences=True))),
    "attention": (SERIES, attention),
    "behind-attention": (SERIES, lambda x: layers.Dense(3)(x + attention(x))),
    "attention-layer": (SERIES, lambda x: layers.Attention()([x, x])),
    "matmul-of-two": (SERIES, lambda x: ops.matmul(ops.transpose(x, (0, 2, 1)), x)),
    "windows": (IMAGE, models.windows(4, IMAGE, 2)),
    "frames-as-samples": ((3, 8, 9, 2), lambda x: ops.reshape(x, (-1, 8, 9, 2))),
    "reshape-that-mixes": (ODD, layers.Reshape((31, 25, 2))),
    "conv-over-tokens": (IMAGE, chain(conv(6, 6), layers.Reshape((24, 2)), layers.Conv1D(2, 3))),
    "class-token-alone": (
        IMAGE,
        chain(conv(6, 6), layers.Reshape((24, 2)), models.with_class_token, lambda x: x[:, 0]),
    ),
    "sum-with-flipped": (SERIES, lambda x: x + ops.flip(x, axis=1)),
    "sum-far-apart": (SERIES, lambda x: x[:, 5:] + x[:, :-5]),
    "running-sum": (SERIES, lambda x: ops.cumsum(x, axis=1)),
    "repeated-vector": (SERIES, chain(layers.GlobalMaxPooling1D(), layers.RepeatVector(4))),
    "simple-rnn": (SERIES, layers.SimpleRNN(3)),
}
UNKNOWN = {
    "roll": (IMAGE, lambda x: ops.roll(x, 3, axis=1)),
    "tile": (SERIES, lambda x: ops.tile(x, (1, 2, 1))),
    "take-out-of-order": (SERIES, lambda x: ops.take(x, [3, 1, 2], axis=1)),
    "closed-layer": (IMAGE, Closed()),
    "behind-closed-layer": (IMAGE, chain(Closed(), conv(3))),
    "places-side-by-side": (SERIES, lambda x: ops.concatenate([x, ops.flip(x, axis=1)], axis=1)),
    "flip-of-unknown-size": ((None, 2), lambda x: ops.flip(x, axis=1)),
    "random-crop": (IMAGE, layers.RandomCrop(8, 9)),
}


def outputs_of(model, explained_input=0):
    graph = ModelGraph(model)
    placed = placements(graph, explained_input)
    return [placed[number] for number in keras.tree.flatten(graph.output_structure)]


def placement_of(shape, function):
    image = keras.Input(shape)
    return outputs_of(keras.Model(image, function(image)))[0]


@pytest.mark.parametrize("name", NONE)
def test_no_entry_stands_for_a_region(name):
    placement = placement_of(*NONE[name])
    assert placement.state is State.NONE
    assert placement.describe() and not placement.sides


@pytest.mark.parametrize("name", UNKNOWN)
def test_places_that_are_not_known(name):
    placement = placement_of(*UNKNOWN[name])
    assert placement.state is State.UNKNOWN
    assert placement.describe() == placement.reason != ""


def test_global_pooling_behind_a_closed_layer_stays_unknown_but_a_gate_moves_nothing():
    def gated(x):
        return x * Closed()(layers.GlobalAveragePooling2D(keepdims=True)(x))

    assert placement_of(IMAGE, gated).state is State.PLACED


class TestTwoInputs:
    def test_a_shared_layer_gives_two_tensors_with_a_placement_each(self):
        first, second = keras.Input(IMAGE), keras.Input(IMAGE)
        shared = conv(3, 2)
        model = keras.Model([first, second], [shared(first), shared(second)])
        for explained in (0, 1):
            outputs = outputs_of(model, explained)
            assert [p.state for p in outputs][explained] is State.PLACED
            assert [p.state for p in outputs][1 - explained] is State.OTHER_INPUT

    @pytest.mark.parametrize("join", [layers.Add(), layers.Concatenate(), layers.Multiply()])
    def test_two_inputs_meet(self, join):
        first, second = keras.Input(IMAGE), keras.Input(IMAGE)
        model = keras.Model([first, second], conv(3)(join([conv(3, 2)(first), conv(3, 2)(second)])))
        (placement,) = outputs_of(model)
        assert placement.state is State.BOTH and placement.inputs == {0, 1}
        assert [side.start for side in placement.sides] == [3.0, 3.0]

    def test_an_input_that_is_the_same_for_all_places_does_not_meet_them(self):
        image, numbers = keras.Input(IMAGE), keras.Input((5,))
        gate = layers.Reshape((1, 1, 2))(layers.Dense(2)(numbers))
        (placement,) = outputs_of(keras.Model([image, numbers], layers.Multiply()([image, gate])))
        assert placement.state is State.PLACED and placement.inputs == {0, 1}

    def test_a_mask_of_another_input_does_not_meet_the_places(self):
        series, count = keras.Input((9, 2)), keras.Input((9, 1))
        model = keras.Model([series, count], ops.where(count > 0, series, 0.0))
        (placement,) = outputs_of(model)
        assert placement.state is State.PLACED and placement.inputs == {0}

    def test_places_of_another_input_before_those_of_the_explained_one(self):
        first, second = keras.Input((5, 2)), keras.Input((7, 2))
        model = keras.Model([first, second], layers.Concatenate(axis=1)([first, second]))
        before, behind = outputs_of(model, 1)[0], outputs_of(model, 0)[0]
        assert (before.axes[1].first, before.sides[0].places) == (5, 7)
        assert (behind.axes[1].first, behind.sides[0].places) == (0, 5)
        assert before.state is behind.state is State.PLACED


class TestIds:
    def test_embedded_ids_keep_their_places(self):
        ids = keras.Input((9,), dtype="int32")
        (placement,) = outputs_of(keras.Model(ids, layers.Embedding(20, 3)(ids)))
        assert placement.state is State.PLACED and placement.matches((None, 9))
        assert [axis is None for axis in placement.axes] == [True, False, True]

    def test_ids_of_unknown_length(self):
        ids = keras.Input((None,), dtype="int32")
        x = layers.Conv1D(2, 3, 2, "same")(layers.Embedding(20, 3, mask_zero=True)(ids))
        (placement,) = outputs_of(keras.Model(ids, x))
        (side,) = placement.sides
        assert (side.places, side.step, side.exact) == (None, 2.0, False)


class TestMatches:
    def test_tokens_behind_a_class_token_are_a_map_of_the_image(self):
        tokens = chain(conv(6, 6), layers.Reshape((24, 2)), models.with_class_token)
        placement = placement_of(IMAGE, tokens)
        assert placement.matches((None, *IMAGE))
        assert placement.axes[1].first == 1
        assert [side.places for side in placement.axes[1].sides] == [4, 6]
        assert placement.pixels(1) == placement.sides and placement.pixels(2) == ()

    @pytest.mark.parametrize(
        "function",
        [
            layers.Permute((2, 1, 3)),
            layers.Permute((3, 1, 2)),
            lambda x: ops.mean(x, axis=1),
            layers.Flatten(),
            Closed(),
        ],
    )
    def test_others_are_none(self, function):
        assert not placement_of(IMAGE, function).matches((None, *IMAGE))


class TestDescribe:
    def test_all_of_the_input(self):
        assert placement_of((64, 64, 3), conv(4, 4)).describe() == "16 × 16 places, 4 px apart"

    def test_a_crop(self):
        function = chain(layers.Cropping2D(((70, 25), (0, 0))), conv(5, 5))
        assert placement_of((160, 320, 3), function).describe() == "13 × 64 places, 5 px apart, rows 70–134"

    def test_a_series_backwards(self):
        placement = placement_of(SERIES, lambda x: x[:, ::-1])
        assert placement.describe() == "45 places, 1 px apart, positions backwards"

    def test_steps_that_differ(self):
        assert placement_of((20, 30, 1), conv((2, 3), (2, 3))).describe() == "10 × 10 places, 2 × 3 px apart"

    def test_an_unknown_size(self):
        assert placement_of((None, None, 3), conv(2, 2)).describe() == "? × ? places, 2 px apart"


def test_a_model_for_any_size_has_exact_places_once_the_size_is_known():
    image = keras.Input((None, None, 3))
    x = conv(3, 2, "same")(layers.Resizing(30, 40)(conv(3, 2, "same")(image)))
    graph = ModelGraph(keras.Model(image, x))
    assert placements(graph)[-1].state is State.UNKNOWN
    expected = placement_of(
        (31, 50, 3), chain(conv(3, 2, "same"), layers.Resizing(30, 40), conv(3, 2, "same"))
    )
    placement = placements(graph, input_shape=(None, 31, 50, 3))[-1]
    assert placement.sides == expected.sides and all(side.exact for side in placement.sides)


def test_sizes_reach_into_a_nested_model_that_was_built_without():
    inner = keras.Input((None, None, 2))
    backbone = keras.Model(inner, conv(3, 2, "same")(inner))
    placement = placement_of(ODD, backbone)
    assert [side.places for side in placement.sides] == [13, 16]
    assert all(side.exact for side in placement.sides)


def test_conv_lstm_keeps_the_places_of_a_frame():
    placement = placement_of((4, 12, 13, 1), layers.ConvLSTM2D(2, 3, 2, return_sequences=True))
    assert [side.side for side in placement.sides] == [1, 2]
    assert [side.step for side in placement.sides] == [2.0, 2.0]
