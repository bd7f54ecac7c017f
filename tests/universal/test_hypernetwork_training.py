"""Training of the universal rule on several models."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import universal
from tf_learnprop.universal import hypernetwork_training

IMAGES = toys.images(32)


@pytest.fixture(scope="module")
def models():
    """A CNN that knows its classes, and an untrained one with another input and activation."""
    other = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            keras.layers.Conv2D(8, 3, padding="same", activation="silu"),
            keras.layers.Conv2D(8, 3, padding="same", activation="silu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    striped, _ = toys.stripes(64)
    return [(toys.stripe_classifier(), striped), (other, toys.images(16, (12, 12, 3)))]


def train(models, **options):
    losses = []
    options = {"steps": 12, "batch_size": 8, **options}
    trained = tlp.train_universal_rule(models, on_step=lambda step, found: losses.append(found), **options)
    return trained, np.array(losses)


def wrapped_with(model, trained):
    wrapped = tlp.wrap_model(model, rule="universal", readout=tlp.readouts.MultiLayerReadout(focus=0))
    universal.initialise(wrapped.rule_set, wrapped.read_shapes, wrapped.class_count, trained)
    return wrapped


def loss(model, images, trained):
    """The objective's loss on images, without random draws."""
    wrapped = wrapped_with(model, trained)
    wrapped.compile()
    return wrapped.evaluate(images, batch_size=64, verbose=0, return_dict=True)["loss"]


def test_training_lowers_the_loss_changes_all_weights_and_can_be_saved(models, tmp_path):
    before = [model.get_weights() for model, _ in models]
    trained, losses = train(models, steps=30, learning_rate=0.02)
    assert losses.shape == (30, 2)
    for (model, _), weights in zip(models, before, strict=True):
        for now, then in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(now, then)
    start = universal.HyperNetwork(seed=0)
    for now, then in zip(trained.variables, start.variables, strict=True):
        if not now.name.startswith("split"):  # these models have no attention
            assert np.abs(now.numpy() - then.numpy()).max() > 1e-3, now.name

    model, images = models[0]
    assert loss(model, images, trained) < loss(model, images, start) - 0.05

    trained.save(tmp_path / "universal.keras")
    loaded = keras.models.load_model(tmp_path / "universal.keras")
    maps = [wrapped_with(model, one).explain(images[:4]) for one in (trained, loaded)]
    np.testing.assert_array_equal(*maps)


def test_the_seed_decides_the_result(models, eagerly):
    (first, again, other) = (train(models[1:], steps=2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[1], again[1])
    for a, b in zip(first[0].get_weights(), again[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(first[1] - other[1]).max() > 1e-4


def test_training_goes_on_from_a_given_hypernetwork_with_a_short_dataset(models, eagerly):
    start = universal.HyperNetwork(seed=5)
    kernel = start.feature_kernel.numpy()
    model, images = models[1]
    batches = tf.data.Dataset.from_tensor_slices((images, np.zeros(16))).batch(8)  # two, for three steps
    trained, losses = train([(model, batches)], steps=3, hypernetwork=start)
    assert trained is start
    assert np.isfinite(losses).all()
    assert np.abs(trained.place_output).max() > 0
    assert np.abs(trained.feature_kernel - kernel).max() < 0.02


def test_a_single_input_may_stand_in_a_dict(models, eagerly):
    model, images = models[1]
    image = keras.Input((12, 12, 3), name="photo")
    in_dict = keras.Model({"photo": image}, model(image))
    _, losses = train([(in_dict, images.astype("float64"))], steps=1)
    _, expected = train(models[1:], steps=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


class TestErrors:
    def test_arrays_for_several_inputs(self):
        inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
        x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Add()(inputs))
        model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
        with pytest.raises(ValueError, match="must be a `tf.data.Dataset` of batches. Received: 2 arrays"):
            train([(model, [toys.images(2, (8, 8, 3))] * 2)])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"steps": 0}, "`steps` must be an int >= 1"),
            ({"batch_size": 2.5}, "`batch_size` must be an int >= 1"),
            ({"learning_rate": -1.0}, "`learning_rate` must be a number > 0"),
        ],
    )
    def test_numbers_out_of_range(self, models, options, message):
        with pytest.raises(ValueError, match=message):
            train(models, **options)

    def test_no_model(self):
        with pytest.raises(ValueError, match="at least one model"):
            tlp.train_universal_rule([])

    def test_a_loss_that_is_not_finite_keeps_the_step_before(self, models, eagerly):
        model, images = models[1]
        broken = tf.data.Dataset.from_tensor_slices(images[:8] * np.float32(np.nan)).batch(8)
        start = universal.HyperNetwork(seed=0)
        with pytest.raises(FloatingPointError, match="stopped at step 1"):
            train([(model, broken)], hypernetwork=start)
        for now, then in zip(start.get_weights(), universal.HyperNetwork().get_weights(), strict=True):
            np.testing.assert_array_equal(now, then)


def test_the_gradient_is_that_of_finite_differences():
    """The chain rule from the rules' gradients to the hypernetwork's weights."""
    start = universal.HyperNetwork()
    draws = toys.rng(4)
    for variable in start.variables:  # none of them zero
        variable.assign(draws.normal(size=variable.shape) / 4)
    member = hypernetwork_training.Member(toys.small_cnn(activation=None), IMAGES, 32, start, seed=0)
    draws = toys.rng(1)
    pattern = draws.normal(size=(16, 16)).astype(np.float32) / 100

    class Smooth(tlp.objectives.Objective):
        """A loss without quantiles, which jump; random masks would hide small steps."""

        def call(self, image, maps, original, classify, training=False):
            return {"loss": tf.reduce_sum(tf.square(maps) * pattern, [1, 2])}

    member.objective = Smooth()
    batch = tf.constant(IMAGES)
    _, gradients = member.gradients(batch)
    before = start.get_weights()
    direction = [draws.normal(size=weight.shape).astype(np.float32) for weight in before]
    losses = []
    for step in (3e-3, -3e-3):
        start.set_weights([w + step * d for w, d in zip(before, direction, strict=True)])
        losses.append(float(member.gradients(batch)[0]))
    numeric = (losses[0] - losses[1]) / 6e-3
    along = sum(float(np.sum(g * d)) for g, d in zip(gradients, direction, strict=True))
    norm = np.sqrt(sum(float(np.sum(np.square(g))) for g in gradients))
    assert norm < 0.999  # not clipped
    assert along == pytest.approx(numeric, rel=0.03)
