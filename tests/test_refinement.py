import keras
import numpy as np
import pytest
import tensorflow as tf
import toys

import tf_learnprop as tlp
from tf_learnprop import objectives, refinement

IMAGES = toys.images(4)


@pytest.fixture(scope="module")
def wrapped():
    keras.utils.set_random_seed(3)
    model = tlp.wrap_model(toys.small_cnn(), "channel_mixing")
    model.compile(objective=objectives.AreaGuidance(fills=("mean", "shift")))
    model.fit(toys.images(16, seed=8), batch_size=8, verbose=0)
    return model


@pytest.fixture
def unchanged(wrapped):
    """Checks after the test that no variable of the model has moved."""
    variables = wrapped.variables + wrapped.optimizer.variables
    before = [v.numpy() for v in variables]
    yield
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)


def loss_of(wrapped, rule_set, image):
    """The objective of `MASKS` masks of one image under some rules."""
    engine = tlp.attribution.Engine(wrapped.source, rule_set)
    image = tf.constant(image[None])
    maps, logits = engine.maps_and_logits(image)
    count = refinement.Refiner.MASKS
    repeated = (tf.repeat(tensor, count, 0) for tensor in (image, maps, logits))
    return float(tf.reduce_mean(engine.judge(*repeated, wrapped.objective, training=False)["loss"]))


def test_refined_maps_differ_and_the_rules_stay(wrapped, unchanged):
    plain = wrapped.explain(IMAGES)
    refined = wrapped.explain(IMAGES, refine_steps=3)
    assert refined.shape == plain.shape and refined.dtype == np.float32
    assert (np.abs(refined - plain).max((1, 2)) > 1e-4).all()
    np.testing.assert_array_equal(wrapped.explain(IMAGES), plain)


def test_the_loss_falls_on_the_sample(wrapped, unchanged):
    refiner = refinement.Refiner(wrapped)
    function = refiner.begin(wrapped.rule_set, 10, 5e-3)
    for image in IMAGES[:2]:
        function(image[None], None)
        refined = loss_of(wrapped, refiner.rule_set, image)
        assert refined < loss_of(wrapped, wrapped.rule_set, image) - 1e-3


def test_is_adam_on_the_objective(wrapped, unchanged):
    """Two steps, by hand, with a rate of their own."""
    image = tf.constant(IMAGES[:1])
    rules = wrapped.rule_set.copy()
    engine = tlp.attribution.Engine(wrapped.source, rules)
    optimizer = keras.optimizers.Adam(2e-2, global_clipnorm=1.0)
    for _ in range(2):
        with tf.GradientTape() as tape:
            maps, logits = engine.maps_and_logits(image)
            repeated = [tf.repeat(tensor, 16, 0) for tensor in (image, maps, logits)]
            losses = engine.judge(*repeated, wrapped.objective, training=False)
            loss = tf.reduce_mean(losses["loss"])
        variables = rules.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        optimizer.apply(
            [tf.zeros(v.shape) if g is None else g for g, v in zip(gradients, variables, strict=True)],
            variables,
        )
    result = wrapped.explain(IMAGES[:1], refine_steps=2, refine_rate=2e-2)
    np.testing.assert_allclose(result, engine.maps(image), rtol=1e-3, atol=1e-3)


def test_repeats_itself_whatever_the_order_and_the_batches(wrapped, unchanged):
    first = wrapped.explain(IMAGES, refine_steps=2)
    np.testing.assert_array_equal(wrapped.explain(IMAGES, refine_steps=2), first)
    backwards = wrapped.explain(IMAGES[::-1], refine_steps=2, batch_size=3)
    np.testing.assert_array_equal(backwards[::-1], first)
    np.testing.assert_array_equal(wrapped.explain(IMAGES[2:3], refine_steps=2), first[2:3])


def test_targets_choose_the_class(wrapped, unchanged):
    predicted = wrapped.logits(IMAGES).argmax(1)
    free = wrapped.explain(IMAGES, refine_steps=2)
    named = wrapped.explain(IMAGES, predicted, refine_steps=2)
    np.testing.assert_allclose(named, free, atol=1e-5)
    other = wrapped.explain(IMAGES, (predicted + 1) % 4, refine_steps=2)
    assert (np.abs(other - free).max((1, 2)) > 1e-2).all()


def test_an_exception_on_the_way_leaves_the_rules(wrapped, unchanged):
    def stream():
        yield IMAGES[:2]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        wrapped.explain(stream(), refine_steps=2)
    with pytest.raises(ValueError, match="must be finite"):
        wrapped.explain(iter([IMAGES[:1], IMAGES * np.nan]), refine_steps=2)


def test_starts_from_the_rules_of_now(wrapped):
    before = wrapped.rule_set.get_weights()
    for shift in (0.0, 0.05):
        wrapped.rule_set.set_weights([value + shift for value in before])
        unrefined = wrapped.explain(IMAGES[:1], refine_steps=1, refine_rate=1e-9)
        np.testing.assert_allclose(unrefined, wrapped.explain(IMAGES[:1]), atol=1e-4)
    wrapped.rule_set.set_weights(before)
    assert np.abs(unrefined - wrapped.explain(IMAGES[:1])).max() > 1e-2


def test_traces_once(wrapped):
    wrapped.explain(IMAGES[:1], refine_steps=1)
    refiner = wrapped._refiner
    for count in (1, 3):
        wrapped.explain(IMAGES[:count], refine_steps=2, refine_rate=1e-3)
    assert wrapped._refiner is refiner
    assert refiner._step.experimental_get_tracing_count() == 1
    assert refiner._maps.experimental_get_tracing_count() <= 2


def test_a_step_that_is_not_finite_changes_nothing(wrapped):
    class Broken(objectives.Objective):
        def call(self, image, maps, original, classify, training=False):
            return {"loss": tf.reduce_sum(maps, [1, 2]) * float("nan")}

    broken = tlp.wrap_model(wrapped.source, "channel_mixing")
    broken.compile(objective=Broken())
    np.testing.assert_array_equal(broken.explain(IMAGES[:1], refine_steps=2), broken.explain(IMAGES[:1]))


@pytest.mark.parametrize("steps", [-1, 1.5, True, None])
def test_bad_steps(wrapped, steps):
    with pytest.raises(ValueError, match="`refine_steps` must be an int >= 0"):
        wrapped.explain(IMAGES, refine_steps=steps)


@pytest.mark.parametrize("rate", [0, -1e-3, float("nan"), "fast"])
def test_bad_rates(wrapped, rate):
    with pytest.raises(ValueError, match="`refine_rate` must be a number > 0"):
        wrapped.explain(IMAGES, refine_steps=1, refine_rate=rate)


def test_nothing_to_refine(wrapped):
    plain = tlp.wrap_model(wrapped.source, "gradient")
    with pytest.raises(RuntimeError, match="adapts learned rules and readouts, and this model has none"):
        plain.explain(IMAGES, refine_steps=1)
