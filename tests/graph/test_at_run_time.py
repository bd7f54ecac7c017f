"""Places in inputs whose size is known only when the traced function runs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import placed_models as models
from tests.closeness import assert_close
from tf_learnprop.graph import geometry
from tf_learnprop.graph.geometry.varying import (
    AtRunTime,
    Unknown,
    Varying,
    largest,
    length_of,
    smallest,
)
from tf_learnprop.graph.model_graph import ModelGraph

SIZES = (48, 62), (63, 50)  # the readout reads no larger sides


def conv(*args, **kwargs):
    return layers.Conv2D(3, *args, activation="relu", **kwargs)


#: What stands between an image of any size and a convolution with "same" padding.
FRONTS = {
    "valid": lambda: models.chain(conv(5), conv(3, strides=2)),
    "odd strides": lambda: models.chain(
        conv(5, strides=3, padding="same"), layers.MaxPooling2D(3, 2, "same")
    ),
    "even strides": lambda: models.chain(conv(3, strides=2, padding="same"), layers.AveragePooling2D(2)),
    "crop": lambda: models.chain(layers.Cropping2D(((9, 0), (1, 5))), conv(3, strides=2)),
    "padding": lambda: models.chain(layers.ZeroPadding2D(((3, 17), (5, 0))), conv(3, strides=2)),
    "flip": lambda: models.chain(lambda x: x[:, ::-1, 3:-2], conv(3, strides=2)),
    "slice": lambda: models.chain(lambda x: x[:, 3::3, -38:], conv(3)),
    "swapped": lambda: models.chain(layers.Permute((2, 1, 3)), conv(3, strides=(2, 3))),
    "resize": lambda: models.chain(layers.Resizing(40, 49), conv(3, strides=2)),
    "upsampling": lambda: models.chain(
        conv(3, strides=5), layers.UpSampling2D(2), layers.Conv2DTranspose(3, 3, 2)
    ),
    "residual": lambda: models.chain(
        conv(3), lambda x: layers.Add()([conv(3, strides=2, padding="same")(x), conv(1, strides=2)(x)])
    ),
}


def model_for(shape, front):
    keras.utils.set_random_seed(0)
    image = keras.Input(shape)
    x = conv(3, padding="same")(front()(image))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def of_any_size(wrapped):
    (shape,) = {tuple(tensor.shape) for tensor in wrapped.source.inputs}
    signature = [tf.TensorSpec(shape)]
    return tf.function(lambda x: wrapped.attribute(x, 1).maps, autograph=False, input_signature=signature)


def check(build, shapes, **options):
    """Maps of the model of any size are those of models of a fixed size."""
    with_any = build((*(None for _ in shapes[0]), 2))
    traced = of_any_size(tlp.wrap_model(with_any, **options))
    for shape in shapes:
        images = np.random.default_rng(1).normal(size=(2, *shape, 2)).astype("float32")
        fixed = tlp.wrap_model(build((*shape, 2)), **options)
        assert_close(traced(tf.constant(images)), fixed.explain(images, 1), 1e-5)


#: Those that take the same ways through the code as others.
SLOW = ("padding", "flip", "swapped", "resize")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in FRONTS]
)
def test_maps_are_those_of_a_fixed_size(name):
    def build(shape):
        keras.utils.set_random_seed(0)
        image = keras.Input(shape)
        x = conv(3, padding="same")(FRONTS[name]()(image))
        return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))

    check(build, SIZES, rule="gradient", readout="multi_layer")


def test_class_activation():
    def build(shape):
        keras.utils.set_random_seed(0)
        image = keras.Input(shape)
        x = layers.GlobalAveragePooling2D()(conv(3, strides=2)(conv(5)(image)))
        return keras.Model(image, layers.Dense(3)(x))

    check(build, SIZES, rule="gradient", readout="grad_cam")


def test_tokens_of_patches():
    def build(shape):
        keras.utils.set_random_seed(0)
        image = keras.Input(shape)
        tokens = layers.Reshape((-1, 3))(conv(5, strides=4)(image))
        x = tokens + layers.MultiHeadAttention(1, 2)(tokens, tokens)
        return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))

    check(build, SIZES)


def test_series():
    def build(shape):
        keras.utils.set_random_seed(0)
        x = series = keras.Input(shape)
        for stride, padding in ((3, "valid"), (2, "same")):
            x = layers.Conv1D(3, 7, stride, padding, activation="relu")(x)
        return keras.Model(series, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))

    check(build, [(331,), (1500,)])


def test_a_side_of_known_length():
    def build(shape):
        keras.utils.set_random_seed(0)
        image = keras.Input((shape[0], 40, 2))
        x = layers.GlobalAveragePooling2D()(conv(3, strides=2)(conv(4, strides=3)(image)))
        return keras.Model(image, layers.Dense(3)(x))

    check(build, [(48, 40), (55, 40)], rule="gradient", readout="multi_layer")


@pytest.mark.parametrize(
    "front", [layers.CenterCrop(32, 32), layers.Resizing(32, 32, crop_to_aspect_ratio=True)]
)
def test_a_crop_to_a_size_needs_a_known_size(front):
    image = keras.Input((None, None, 2))
    x = layers.GlobalAveragePooling2D()(conv(3)(front(image)))
    wrapped = tlp.wrap_model(keras.Model(image, layers.Dense(3)(x)), "gradient", readout="multi_layer")
    with pytest.raises(ValueError, match="The size of the input must be known to place the maps"):
        of_any_size(wrapped)(tf.zeros((1, 40, 40, 2)))
    assert wrapped.explain(np.ones((1, 40, 50, 2))).shape == (1, 40, 50)


def test_an_application_is_placed_at_any_size():
    """Unpadded convolutions, branches and odd strides."""
    model = keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(None, None, 3))
    graph = ModelGraph(model)
    lengths = geometry.length_of(0), geometry.length_of(1)
    free = geometry.placements(graph, 0, (None, *lengths, 3))
    for sizes in ((224, 331), (139, 75)):
        value = AtRunTime(sizes)
        fixed = geometry.placements(graph, 0, (None, *sizes, 3))
        pairs = [pair for one, other in zip(free, fixed, strict=True) for pair in _sides(one, other)]
        assert len(pairs) > 600
        for own, expected in pairs[-40:]:
            for name in ("places", "start", "step", "low", "high"):
                assert np.isclose(value(getattr(own, name)), getattr(expected, name))


def _sides(own, expected):
    assert geometry.is_map(own) == geometry.is_map(expected)
    return zip(own.sides, expected.sides, strict=True)


class TestVarying:
    """Numbers that follow from a length, which have a value when it is known."""

    @pytest.mark.parametrize("length", [7, 32, 224, 225])
    @pytest.mark.parametrize(
        "formula",
        [
            lambda n: -(-n // 3) * 2 - n,
            lambda n: largest((n - 8) // 2 + 1, 0) / 5,
            lambda n: smallest(100, n, 50) % 7,
            lambda n: abs(10 - n) + 1000 // n + 1000 % n + 1.5 / n,
            lambda n: n.__ceil__() if isinstance(n, int) else -(-n // 1),
        ],
    )
    def test_has_the_value_of_its_formula(self, formula, length):
        value = AtRunTime([tf.constant(length)])(formula(length_of(0)))
        assert np.isclose(value, formula(length), rtol=1e-12)

    def test_equal_formulas_are_one_number(self):
        n = length_of(0)
        half = -(-n // 2)
        assert (half + half) / 2 is half + 0 is half * 1 is (n + 1) // 2 is half
        assert largest(n, 0) is n and smallest(n, 2**30) is not n and smallest(1, n) == 1
        assert n - n == 0 and not isinstance(n - n, Varying) and length_of(1) is not n
        assert n % 4096 is not n % 2048 and n // 4096 * 4096 is not n

    def test_layers_of_equal_places_share_them(self):
        """Layers of one size, and those that strides pad, are put onto the image once."""
        graph = ModelGraph(keras.applications.MobileNetV2((None, None, 3), include_top=False, weights=None))
        free = geometry.placements(graph, 0, (None, length_of(0), length_of(1), 3))
        sides = [side for one in geometry.at_run_time(free, (200, 133)) for side in one.sides]
        assert len(sides) > 200 and len(set(sides)) == 2 * (6 + 4)

    def test_decides_only_what_holds_for_any_length(self):
        n = length_of(0)
        assert n > 10 and n + 1 > n and n // 1 == n and n != n + 1
        with pytest.raises(Unknown, match="depends on the size of the input"):
            assert n % 2 > 0
        for function in (int, float, range, round):
            with pytest.raises(Unknown, match="not known"):
                function(n)
