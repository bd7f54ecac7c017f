"""Models of several branches that are pooled before they meet: their classes compete in all branches."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import toys
from tests.closeness import assert_close
from tf_learnprop import placing
from tf_learnprop.graph.geometry import SideMap

SIDE, CLASSES = 32, 4


def backbone(seed, strides=2, channels=3):
    keras.utils.set_random_seed(seed)
    image = x = keras.Input((SIDE, SIDE, channels))
    for width in (6, 8):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(strides)(x)
    return keras.Model(image, layers.Conv2D(8, 3, padding="same", activation="relu")(x))


def head(branches, kernel):
    """Pools the branches, puts them side by side, and multiplies them with the kernel."""
    image = keras.Input(branches[0].input_shape[1:])
    pooled = [layers.GlobalAveragePooling2D()(branch(image)) for branch in branches]
    features = layers.Concatenate()(pooled) if len(pooled) > 1 else pooled[0]
    output = layers.Dense(len(kernel[0]))
    model = keras.Model(image, output(features))
    output.set_weights([kernel, np.zeros(len(kernel[0]))])
    return model


@pytest.fixture
def kernel():
    return toys.rng(0).normal(size=(8, CLASSES)).astype("float32")


def images(count=3):
    return toys.rng(1).uniform(-1, 1, (count, SIDE, SIDE, 3)).astype("float32")


@pytest.mark.parametrize("classes", [CLASSES, 1], ids=["classes", "a single unit"])
def test_two_copies_of_a_backbone_have_the_map_of_one(kernel, classes):
    kernel = kernel[:, :classes]
    one = head([backbone(0)], kernel)
    two = head([backbone(0), backbone(0)], np.concatenate([kernel, kernel]) / 2)
    assert_close(two(images()), one(images()), 1e-5)
    assert tlp.wrap_model(two).explained.feature_map is None
    # The input would count once in both, and the universal rule weighs layers by their order.
    readout = tlp.readouts.MultiLayerReadout(max_size=16)
    ours, alone = (
        tlp.wrap_model(model, "learned", readout=readout).explain(images(), 0) for model in (two, one)
    )
    assert_close(ours, 2 * alone, 1e-4)


def test_the_order_of_the_branches_does_not_matter(kernel):
    first, second = backbone(0), backbone(1, strides=1)
    parts = [kernel, toys.rng(2).normal(size=kernel.shape)]
    readout = tlp.readouts.MultiLayerReadout(guided=False)  # a guide is an activation of one of the branches
    maps = [
        tlp.wrap_model(head(branches, np.concatenate(kernels)), "learned", readout=readout).explain(
            images(), 1
        )
        for branches, kernels in (([first, second], parts), ([second, first], parts[::-1]))
    ]
    assert_close(*maps, 1e-4)


def test_an_object_that_one_branch_sees_is_found_whichever_it_is():
    """Each branch sees a channel of its own, and adds what it sees to class 0."""
    image = keras.Input((SIDE, SIDE, 2))
    branches = []
    for channel, strides in ((0, 1), (1, 2)):
        one = backbone(0, strides, channels=1)
        one.set_weights([np.full(w.shape, 0.2 * (w.ndim > 1)) for w in one.get_weights()])
        branches.append(layers.GlobalAveragePooling2D()(one(image[..., channel : channel + 1])))
    output = layers.Dense(2)
    model = keras.Model(image, output(layers.Concatenate()(branches)))
    output.set_weights([np.repeat([[1.0, 0.0]], 16, 0), np.zeros(2)])
    pixels = np.zeros((2, SIDE, SIDE, 2), "float32")
    pixels[0, 6:10, 6:10, 0] = pixels[1, 22:26, 22:26, 1] = 1
    maps = tlp.wrap_model(model).explain(pixels, 0)
    positive = np.maximum(maps, 0)
    assert positive[0, 3:13, 3:13].sum() > 0.9 * positive[0].sum()
    assert positive[1, 19:29, 19:29].sum() > 0.9 * positive[1].sum()


def test_training_and_export(kernel, tmp_path):
    model = head([backbone(0), backbone(1, strides=1)], np.concatenate([kernel, kernel]))
    wrapped = tlp.wrap_model(model)
    wrapped.compile(keras.optimizers.Adam(1e-2))
    wrapped.fit(images(8), batch_size=4, epochs=1, verbose=0)
    maps = wrapped.explain(images())
    wrapped.export(tmp_path / "1")
    served = tf.saved_model.load(tmp_path / "1").signatures["serving_default"](images=tf.constant(images()))
    assert_close(served["maps"], maps, 1e-5)


def test_several_inputs_of_two_branches_each(kernel):
    inputs = [keras.Input((SIDE, SIDE, 3), name=name) for name in ("left", "right")]
    branches = [backbone(0), backbone(1)]
    pooled = [layers.GlobalAveragePooling2D()(branch(image)) for image in inputs for branch in branches]
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Concatenate()(pooled)))
    joint = tlp.wrap_model(model, explained_input="all")
    pair = [images(), images()[:, ::-1]]
    together = joint.explain(pair, 0)
    for number, maps in enumerate(together):
        alone = tlp.wrap_model(model, explained_input=number).explain(pair, 0)
        scale = np.abs(maps).sum((1, 2), keepdims=True) / np.abs(alone).sum((1, 2), keepdims=True)
        assert_close(maps, scale * alone, 1e-4)


def seeing(cut, class_id):
    """The weights for class 0 or 1 of a branch that sees what a layer leaves of one channel."""
    image = x = keras.Input((None, None, 1))
    for _ in range(2):
        x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    branch = keras.Model(image, x)
    branch.set_weights([np.full(w.shape, 0.2 * (w.ndim > 1)) for w in branch.get_weights()])
    return lambda image: layers.GlobalAveragePooling2D()(branch(cut(image))), np.eye(2)[[class_id] * 6]


def of_branches(*branches):
    image, output = keras.Input((SIDE, SIDE, 1)), layers.Dense(2)
    model = keras.Model(image, output(layers.Concatenate()([branch(image) for branch, _ in branches])))
    output.set_weights([np.concatenate([kernel for _, kernel in branches]), np.zeros(2)])
    return model


@pytest.mark.parametrize("order", [1, -1])
def test_a_branch_that_sees_a_part_competes_there_alone(order):
    """All for class 1 lies in a crop, up to its edge. Of two equal spots, the one outside has no rival."""
    crop = layers.Cropping2D(((16, 0), (16, 0)))
    model = of_branches(*[seeing(lambda image: image, 0), seeing(crop, 1)][::order])
    pixels = np.full((1, SIDE, SIDE, 1), 0.3, "float32")
    pixels[:, 4:8, 4:8] = pixels[:, 22:26, 22:26] = 1
    readout = tlp.readouts.MultiLayerReadout(guided=False, signed=False, contrast="names", region=0)
    wrapped = tlp.wrap_model(model, "gradient", readout=readout)
    (maps,) = wrapped.explain(pixels, 0)
    assert maps[4:8, 4:8].mean() > 10 * maps[22:26, 22:26].mean()


def test_evidence_at_other_places_keeps_its_sum():
    """Hand calculation: a crop's 4 places at 8 of the whole, and 2 places of twice the distance at 4."""
    side = functools.partial(SideMap, before=0.0, after=0.0, side=0)
    crop = side(start=2.0, low=2, high=5, length=8, places=4, step=1.0)
    whole = side(start=0.0, low=0, high=7, length=8, places=8, step=1.0)
    coarse = side(start=0.5, low=0, high=7, length=8, places=4, step=2.0)
    values = tf.constant([[1.0, 2.0, 3.0, 4.0]])
    moved = placing.sums_to_places(values, (crop,), tf.zeros([1, 8]), (whole,))
    np.testing.assert_allclose(moved, [[0, 0, 1, 2, 3, 4, 0, 0]])
    moved = placing.sums_to_places(values, (coarse,), tf.zeros([1, 8]), (whole,))
    np.testing.assert_allclose(moved, [[0.5, 0.625, 0.875, 1.125, 1.375, 1.625, 1.875, 2]])


def test_branches_of_which_none_sees_all_do_not_compete():
    left, right = layers.Cropping2D(((0, 0), (0, 16))), layers.Cropping2D(((0, 0), (16, 0)))
    model = of_branches(seeing(left, 0), seeing(right, 1))
    assert tlp.wrap_model(model).explained.competing_maps == ()


def test_a_path_around_all_maps_leaves_no_competition(kernel):
    image = keras.Input((SIDE, SIDE, 3))
    pooled = [layers.GlobalAveragePooling2D()(part) for part in (backbone(0)(image), image)]
    model = keras.Model(image, layers.Dense(CLASSES)(layers.Concatenate()(pooled)))
    assert tlp.wrap_model(model).explained.competing_maps == ()
