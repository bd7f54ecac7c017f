import concurrent.futures
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import objectives, targets
from tf_learnprop.training import refinement

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


def loss_of(wrapped, image, maps):
    """The mean loss of 64 masks of one map, by areas and fills that the refinement does not draw."""
    count = 64
    _, answer = wrapped.attributor.maps_to_compare(tf.constant(image[None]))
    repeated = [tf.repeat(tensor, count, 0) for tensor in (image[None], maps[None], *answer.tensors)]
    repeated[2:] = [answer.with_tensors(repeated[2:])]
    objective = objectives.AreaGuidance(fills=("blur", "noise"))
    return float(
        tf.reduce_mean(wrapped.attributor.loss_of_maps(*repeated, objective, training=False)["loss"])
    )


def test_refined_maps_differ_and_the_rules_stay(wrapped, unchanged):
    plain = wrapped.explain(IMAGES)
    refined = wrapped.explain(IMAGES, refine_steps=3)
    assert refined.shape == plain.shape and refined.dtype == np.float32
    assert (np.abs(refined - plain).max((1, 2)) > 1e-4).all()
    np.testing.assert_array_equal(wrapped.explain(IMAGES), plain)


def test_the_loss_falls_on_the_sample(wrapped, unchanged):
    plain, refined = wrapped.explain(IMAGES), wrapped.explain(IMAGES, refine_steps=20)
    for image, before, after in zip(IMAGES, plain, refined, strict=True):
        assert loss_of(wrapped, image, after) < loss_of(wrapped, image, before) - 1e-3


def test_is_adam_on_a_field_that_is_added_to_the_map(wrapped, unchanged):
    """Two steps, by hand, with a rate of their own."""
    image = tf.constant(IMAGES[:1])
    maps, answer = wrapped.attributor.maps_to_compare(image)
    # Linear interpolation from 8 to 16 values, then a Gaussian of one pixel, both by their definitions.
    centres = np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7)
    enlarge = np.maximum(1 - np.abs(centres[:, None] - np.arange(8)), 0)
    smooth = np.exp(-0.5 * (np.arange(16)[:, None] - np.arange(16)) ** 2.0)
    along = (smooth / smooth.sum(1, keepdims=True) @ enlarge).astype(np.float32)
    objective = objectives.AreaGuidance(fills=("mean", "shift"))
    field = keras.Variable(np.zeros((1, 8, 8), np.float32))
    optimizer = keras.optimizers.Adam(2e-2)
    optimizer.build([field])

    def refined():
        return maps + np.std(maps) * (along @ field.value @ along.T)

    for _ in range(2):
        with tf.GradientTape() as tape:
            repeated = [tf.repeat(tensor, 8, 0) for tensor in (image, refined(), *answer.tensors)]
            repeated[2:] = [answer.with_tensors(repeated[2:])]
            loss = tf.reduce_mean(
                wrapped.attributor.loss_of_maps(*repeated, objective, training=True)["loss"]
            )
        optimizer.apply([tape.gradient(loss, field.value)], [field])
    result = wrapped.explain(IMAGES[:1], refine_steps=2, refine_rate=2e-2)
    np.testing.assert_allclose(result, refined(), rtol=1e-3, atol=1e-3)
    assert np.abs(field.numpy()).max() > 0.03


def test_repeats_itself_whatever_the_order_and_the_batches(wrapped, unchanged):
    first = wrapped.explain(IMAGES, refine_steps=2)
    np.testing.assert_array_equal(wrapped.explain(IMAGES, refine_steps=2), first)
    close = dict(rtol=1e-4, atol=1e-4 * first.std())
    for together in (3, 32, 48, 64):  # one, two, three and four samples side by side
        backwards = wrapped.explain(IMAGES[::-1], refine_steps=2, batch_size=together)
        np.testing.assert_allclose(backwards[::-1], first, **close)
    np.testing.assert_allclose(wrapped.explain(IMAGES[2:3], refine_steps=2), first[2:3], **close)


@pytest.mark.parametrize("shape", [(3,), (2, 4, 4)])
def test_adam_is_keras(shape):
    draw = np.random.default_rng(0).normal
    variable = keras.Variable(draw(size=shape).astype(np.float32))
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build([variable])
    have, first, second = tf.convert_to_tensor(variable.value), tf.zeros(shape), tf.zeros(shape)
    for step in range(1, 6):
        gradient = tf.constant(draw(size=shape), tf.float32)
        optimizer.apply([gradient], [variable])
        move, first, second = refinement.adam(gradient, first, second, float(step))
        have -= 0.1 * move
        np.testing.assert_allclose(have, variable.numpy(), atol=1e-5)


def test_targets_choose_the_class(wrapped, unchanged):
    predicted = wrapped.logits(IMAGES).argmax(1)
    free = wrapped.explain(IMAGES, refine_steps=2)
    named = wrapped.explain(IMAGES, predicted, refine_steps=2)
    np.testing.assert_allclose(named, free, atol=1e-5)
    other = (predicted + 1) % 4
    moved = wrapped.explain(IMAGES, other, refine_steps=2) - wrapped.explain(IMAGES, other)
    # The field, too, follows the class that is asked for.
    assert (np.abs(moved - (free - wrapped.explain(IMAGES))).max((1, 2)) > 1e-2).all()


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
    run = refiner._run.of_kind(targets.Classes().kind)
    traces = run.traced.experimental_get_tracing_count()
    assert traces > 0
    for count in (1, 3):
        wrapped.explain(IMAGES[:count], refine_steps=2, refine_rate=1e-3)
    assert wrapped._refiner is refiner
    assert refiner._run.of_kind.cache_info().currsize == 1
    assert run.traced.experimental_get_tracing_count() == traces


def test_draws_leave_the_training_alone(wrapped):
    state = wrapped.objective.seed_generator.state.numpy()
    wrapped.explain(IMAGES[:1], refine_steps=2)
    np.testing.assert_array_equal(wrapped.objective.seed_generator.state.numpy(), state)


def test_a_step_that_is_not_finite_changes_nothing(wrapped):
    class Broken(objectives.Objective):
        def call(self, image, maps, original, classify, training=False):
            return {"loss": tf.reduce_sum(maps, [1, 2]) * float("nan")}

    broken = tlp.wrap_model(wrapped.source, "channel_mixing")
    broken.compile(objective=Broken())
    one, two = (broken.explain(IMAGES[:1], refine_steps=steps) for steps in (1, 2))
    np.testing.assert_array_equal(one, two)
    # Without any step it is another graph, whose rounding may differ in the last digit.
    np.testing.assert_allclose(two, broken.explain(IMAGES[:1]), rtol=1e-6, atol=1e-6)


def test_a_step_that_is_not_finite_changes_nothing_after_one_that_is(wrapped):
    plain = tlp.wrap_model(wrapped.source, "gradient").explain(IMAGES[:2])

    class Bounded(objectives.Objective):
        """Lets one of the two maps rise without an end, the other one step."""

        def call(self, image, maps, original, classify, training=False):
            total = tf.reduce_sum(maps, [1, 2])
            is_second = tf.reduce_all(image == IMAGES[1], [1, 2, 3])
            risen = total > plain[1].sum() + 1e-3
            return {"loss": tf.where(is_second & risen, float("nan"), -total)}

    bounded = tlp.wrap_model(wrapped.source, "gradient")
    bounded.compile(objective=Bounded())
    one, many = (bounded.explain(IMAGES[:2], refine_steps=steps) for steps in (1, 5))
    assert (one.sum((1, 2)) > plain.sum((1, 2)) + 1e-3).all()
    np.testing.assert_array_equal(many[1], one[1])
    assert many[0].sum() > one[0].sum() + 1e-3


@pytest.mark.parametrize("steps", [-1, 1.5, True, None])
def test_bad_steps(wrapped, steps):
    with pytest.raises(ValueError, match="`refine_steps` must be an int >= 0"):
        wrapped.explain(IMAGES, refine_steps=steps)


@pytest.mark.parametrize("rate", [0, -1e-3, float("nan"), "fast"])
def test_bad_rates(wrapped, rate):
    with pytest.raises(ValueError, match="`refine_rate` must be a number > 0"):
        wrapped.explain(IMAGES, refine_steps=1, refine_rate=rate)


def test_any_rule(wrapped):
    plain = tlp.wrap_model(wrapped.source, "gradient")
    maps = plain.explain(IMAGES)
    assert np.abs(plain.explain(IMAGES, refine_steps=2) - maps).max() > 1e-2 * maps.std()


def test_an_input_without_pixels():
    wrapped = tlp.wrap_model(toys.linear(np.eye(6, 3, dtype=np.float32)), rule="learned")
    with pytest.raises(ValueError, match=r"needs an input with pixels.*Received: .*\(None, 6\)"):
        wrapped.explain(np.ones((2, 6), np.float32), refine_steps=1)


def test_threads_get_the_same_maps_as_one(wrapped):
    expected = [wrapped.explain(IMAGES[k : k + 1], refine_steps=5) for k in range(4)]
    barrier = threading.Barrier(4)

    def explain(index):
        barrier.wait(60)
        return [wrapped.explain(IMAGES[index : index + 1], refine_steps=5) for _ in range(3)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for maps, alone in zip(pool.map(explain, range(4)), expected, strict=True):
            for again in maps:
                np.testing.assert_allclose(again, alone, atol=1e-6 * np.abs(alone).max())
