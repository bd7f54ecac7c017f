"""What Keras asks of any layer, of the rule layers with every rule and several activations."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import testing

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import rules
from tf_learnprop.layers import RuleActivation

RULES = ["gradient", "deconvnet", "guided_backprop", "learned", "channel_mixing", "universal"]
WEIGHTS = {"learned": 4, "universal": 4, "channel_mixing": 5}


class TestKerasOwnChecks(testing.TestCase):
    """`run_layer_test`: configuration, serialisation, building, dtypes, training in a model."""

    def check(self, rule, activation="relu", shape=(2, 5, 5, 3), extra=0):
        weights = WEIGHTS.get(rule, 0)
        self.run_layer_test(
            RuleActivation,
            init_kwargs={"activation": activation, "rule": rule},
            input_shape=shape,
            expected_output_shape=shape,
            expected_num_trainable_weights=weights + extra,
            expected_num_non_trainable_weights=0,
            expected_num_seed_generators=0,
            expected_num_losses=0,
            supports_masking=True,
            # The rule's weights act in the backward pass alone, on which a first derivative does not depend.
            run_training_check=not weights,
            run_mixed_precision_check=False,
        )

    def test_every_rule(self):
        for rule in RULES:
            self.check(rule)

    def test_activations(self):
        for activation in ("relu6", "silu", "gelu", "tanh", "elu"):
            self.check("gradient", activation)

    def test_ranks(self):
        for shape in ((2, 3), (2, 7, 3), (2, 4, 4, 4, 3)):
            self.check("learned", shape=shape)


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_float16", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("rule", RULES)
def test_dtype_policies(rule, policy):
    """The output has the input's dtype, the signal as well; what is computed between has float32."""
    dtype = keras.DTypePolicy(policy).compute_dtype
    layer = RuleActivation("relu", rule, dtype=policy)
    x = tf.cast(toys.images(2), dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    dx = tape.gradient(y, x, tf.ones_like(y))
    assert y.dtype == dx.dtype == dtype
    np.testing.assert_array_equal(tf.cast(y, "float32"), np.maximum(tf.cast(x, "float32"), 0))
    assert np.isfinite(tf.cast(dx, "float32")).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_saved_layer_keeps_its_backward_pass(rule, tmp_path):
    image = keras.Input((6, 6, 3))
    model = keras.Model(image, RuleActivation(keras.layers.PReLU(), rule)(image))
    generator = toys.rng(1)
    for weight in model.weights:
        weight.assign(generator.normal(size=weight.shape))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x, dy = (tf.constant(toys.images(3, (6, 6, 3), seed)) for seed in (2, 3))

    def both(model):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x)
        return y, tape.gradient(y, x, dy)

    for found, expected in zip(both(again), both(model), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_masks_pass_through():
    sequence = keras.Sequential(
        [
            keras.Input((4, 3)),
            keras.layers.Masking(),
            RuleActivation("relu", "gradient"),
            keras.layers.LSTM(2),
        ]
    )
    x = toys.images(1, (4, 3))
    longer = np.concatenate([x, np.zeros((1, 2, 3), np.float32)], 1)
    padded = keras.Sequential([keras.Input((6, 3)), *sequence.layers])
    np.testing.assert_allclose(padded(longer), sequence(x), atol=1e-6)


@pytest.mark.parametrize("rule", [name for name in RULES if WEIGHTS.get(name)])
def test_rules_survive_their_configuration(rule):
    first = rules.get(rule)
    again = type(first).from_config(first.get_config())
    for made in (first, again):
        made.build((None, 5, 5, 3))
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in first.weights]
    assert again.get_config() == first.get_config()


def test_no_sizes_known_before_run_time():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    wrapped = tlp.wrap_model(model, rule="learned")
    for side in (8, 12):
        assert wrapped.explain(toys.images(2, (side, side, 3))).shape == (2, side, side)
