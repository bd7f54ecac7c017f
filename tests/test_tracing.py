"""Functions that are traced once, and gradients that TensorFlow would keep for ever."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

import tf_learnprop as tlp
from tests import toys
from tests.closeness import assert_close
from tf_learnprop import tracing


def registered():
    return len(ops.gradient_registry._registry)


class TestForAnyShape:
    def test_layers_of_other_sizes_share_a_trace(self):
        traces = []

        @tracing.for_any_shape
        def product(x, y):
            traces.append((x.shape.rank, x.dtype))
            return x * y

        for shape in ((2, 8, 8, 3), (1, 5, 7, 9), (4, 8, 8, 3)):
            x, y = toys.images(shape[0], shape[1:]), toys.images(shape[0], shape[1:], seed=1)
            np.testing.assert_array_equal(product(x, y), x * y)
        assert traces == [(4, tf.float32)]
        product(np.ones((2, 3)), np.ones((2, 3)))
        assert traces[1:] == [(2, tf.float64)]

    def test_inside_functions_and_tapes(self):
        traces = []

        @tracing.for_any_shape
        def cube(x):
            traces.append(None)
            return x**3

        for length in (2, 3):
            x = tf.range(1.0, length + 1)

            @tf.function
            def gradient(x):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = cube(x)
                return tape.gradient(y, x)

            np.testing.assert_allclose(gradient(x), 3 * x**2)
        assert len(traces) == 1


class TestForAnyLength:
    def test_traces_of_many_sizes_do_not_pile_up(self):
        """Images of ever new sizes, of which each must be known."""
        graphs = []

        def double(x):
            graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
            return 2.0 * x + np.zeros(x.shape[1:], "float32")

        function = tracing.for_any_length(double)
        for size in range(1, 41):
            x = np.ones((2, size), "float32")
            np.testing.assert_array_equal(function(x), 2 * x)
            assert function.traced.experimental_get_tracing_count() < 16
        gc.collect()
        assert len(graphs) == 41 and sum(graph() is not None for graph in graphs) <= 16

    def test_batches_of_all_lengths_share_a_trace(self):
        function = tracing.for_any_length(lambda x, scale: x["a"] * scale)
        for length in (3, 1, 7):
            x = toys.images(length, (4,))
            np.testing.assert_array_equal(function({"a": tf.constant(x)}, tf.constant(2.0)), 2 * x)
        assert function.traced.experimental_get_tracing_count() == 1

    def test_none_is_an_argument_of_its_own(self):
        function = tracing.for_any_length(lambda x, y=None: x if y is None else x + y)
        x = tf.ones((2, 3))
        for _ in range(2):
            np.testing.assert_array_equal(function(x, None), x)
            np.testing.assert_array_equal(function(x, x), 2 * x)
        assert function.traced.experimental_get_tracing_count() == 2

    def test_other_sizes_are_traced_anew(self):
        function = tracing.for_any_length(lambda x: 2 * x)
        for side in (3, 4, 3):
            np.testing.assert_array_equal(function(tf.ones((2, side))), np.full((2, side), 2.0))
        assert function.traced.experimental_get_tracing_count() == 2

    def test_the_third_size_is_traced_for_all(self):
        shapes = []

        def total(x, scale):
            shapes.append(tuple(x.shape))
            return tf.reduce_sum(x * scale, [1, 2])

        function = tracing.for_any_length(total)
        for shape in ((2, 3, 5), (1, 4, 5), (2, 7, 5), (3, 9, 5), (2, 4, 5), (2, 1, 5)):
            result = function(tf.ones(shape), tf.constant(2.0))
            np.testing.assert_array_equal(result, np.full(shape[0], 2.0 * shape[1] * shape[2]))
        assert shapes == [(None, 3, 5), (None, 4, 5), (None, 7, 5), (None, None, 5)]
        assert function(tf.ones((1, 8, 6)), tf.constant(1.0)) == 48  # an axis that was the same so far
        assert shapes[4:] == [(None, 8, 6), (None, None, None)]
        assert function(tf.ones((1, 2, 2)), tf.constant(1.0)) == 4 and len(shapes) == 6

    @pytest.mark.parametrize("offset", [0.01, np.nan])
    def test_a_trace_that_gives_something_else_is_not_used(self, offset):
        function = tracing.for_any_length(lambda x: x + (offset if x.shape[1] is None else 0))
        for size in (2, 3, 4, 5):
            np.testing.assert_array_equal(function(tf.ones((1, size))), np.ones((1, size)))

    def test_a_layer_that_branches_on_the_size(self):
        """Its code can't be seen, and the sizes at which it does something else may come late."""

        class Coarse(keras.layers.Layer):
            def call(self, x):
                if isinstance(x, keras.KerasTensor):
                    raise NotImplementedError  # so that it can't be opened
                return 3 * x[:, ::2] if x.shape[1] and x.shape[1] > 30 else x

            def compute_output_shape(self, shape):
                return (None, None, *shape[2:])

        image = keras.Input((None, 8, 3))
        x = Coarse()(keras.layers.Conv2D(4, 3, activation="relu")(image))
        model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
        wrapped = tlp.wrap_model(model)
        for side in (16, 20, 24, 40):
            images = toys.normal(2, side, 8, 3)
            np.testing.assert_allclose(wrapped.logits(images), model(images), rtol=1e-4, atol=1e-5)
            assert_close(wrapped.explain(images), tlp.wrap_model(model).explain(images))

    def test_sizes_at_which_it_fails_are_traced(self):
        def grown(x):
            if x.shape[1] is None:
                tf.debugging.assert_less(tf.shape(x)[1], 9)
            return x + 1

        function = tracing.for_any_length(grown)
        for size in (2, 3, 4, 5, 12, 13):
            np.testing.assert_array_equal(function(tf.ones((1, size))), np.full((1, size), 2.0))
        assert function.traced.experimental_get_tracing_count() == 5

    def test_runs_eagerly_where_tensorflow_is_told_to(self, eagerly):
        graphs = []

        def double(x):
            graphs.append(not tf.executing_eagerly())
            return 2 * x

        for function in (tracing.for_any_length(double), tracing.for_length(double, 2)):
            np.testing.assert_array_equal(function(tf.ones((3, 2))), np.full((3, 2), 2.0))
        assert graphs == [False] * 3


class TestMapsOfManySizes:
    """A model of any size is traced for three sizes and then for all."""

    SIZES = ((40, 52), (33, 47), (52, 40), (24, 64), (33, 47))

    @staticmethod
    def model(front):
        keras.utils.set_random_seed(0)
        image = keras.Input((None, None, 3))
        x = front(image)
        for strides, padding in ((2, "valid"), (1, "same"), (2, "same")):
            x = keras.layers.Conv2D(6, 3, strides, padding, activation="relu")(x)
            x = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(x)
        return keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))

    def check(self, model, count, **options):
        traces = []

        def score(outputs):
            traces.append(None)
            return outputs[:, 2] - outputs[:, 1]

        wrapped = tlp.wrap_model(model, **options)
        for size in self.SIZES:
            images = toys.images(2, (*size, 3))
            expected = tlp.wrap_model(model, **options).explain(images, lambda outputs: score(outputs) * 1)
            traces.clear()
            maps = wrapped.explain(images, score)
            assert_close(maps, expected, 1e-5)
            count -= len(traces)
        assert count == 0

    @pytest.mark.parametrize("options", [{}, {"readout": "grad_cam"}], ids=str)
    def test_are_those_of_one_size(self, options):
        self.check(self.model(keras.layers.Identity()), 4, **options)

    def test_behind_a_crop_to_a_size(self):
        self.check(self.model(keras.layers.CenterCrop(24, 32)), 5)


class TestReleaseCustomGradients:
    def test_forgets_those_of_the_graph_alone(self):
        @tf.custom_gradient
        def doubled(x):
            return x * 1.0, lambda dy: dy * 2

        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = doubled(x)
            return tape.gradient(y, x)

        specs = [tf.TensorSpec([None], tf.float32)]
        start = registered()
        one, other = (tf.function(gradient, specs).get_concrete_function() for _ in range(2))
        assert registered() == start + 2
        tracing.release_custom_gradients(one.graph)
        assert registered() == start + 1
        tracing.release_custom_gradients(one.graph)
        assert registered() == start + 1
        np.testing.assert_array_equal(one(tf.ones(3)), np.full(3, 2.0))  # what was traced goes on to work
        tracing.release_custom_gradients(other.graph)
        assert registered() == start

    def test_of_the_graph_that_is_being_traced(self):
        start = registered()
        doubled = tf.custom_gradient(lambda x: (x * 1.0, lambda dy: dy * 2))

        @tf.function
        def released(x):
            y = doubled(x)
            tracing.release_custom_gradients()
            return y

        np.testing.assert_array_equal(released(tf.ones(3)), np.ones(3))
        assert registered() == start
        tf.function(doubled)(tf.ones(3))
        tracing.release_custom_gradients()  # eagerly there is none
        assert registered() == start + 1

    @pytest.mark.parametrize("rule", ["learned", "gradient"])
    def test_the_registry_does_not_grow_over_wraps(self, rule):
        source, images = toys.small_cnn(), toys.images(2)
        tlp.wrap_model(source, rule).explain(images)  # traces what all models of a process share
        start = registered()
        for _ in range(2):
            wrapped = tlp.wrap_model(source, rule)
            wrapped.explain(images)
            wrapped.explain(images, 1)
            wrapped.input_signal(images)
            wrapped.logits(images)
            assert registered() == start

    def test_nor_over_training_and_refinement(self):
        wrapped = tlp.wrap_model(toys.small_cnn(), rule="learned", readout="input")  # has little to trace
        start = registered()
        wrapped.compile()
        wrapped.fit(toys.images(2), verbose=0)
        wrapped.evaluate(toys.images(2), verbose=0)
        wrapped.predict(toys.images(2), verbose=0)
        wrapped.explain(toys.images(2), refine_steps=1)
        assert registered() == start

    def test_a_wrapped_model_is_freed(self):
        source = toys.small_cnn()
        wrapped = tlp.wrap_model(source, rule="learned")
        wrapped.explain(toys.images(2))
        alive = weakref.ref(wrapped.rule_set.rules[0])
        del wrapped
        keras.utils.clear_session()
        gc.collect()
        assert alive() is None


def test_a_tape_around_explain_records_the_rest():
    """Traced gradients were released, so a tape that asked for them would fail."""
    model, x = toys.small_cnn(), toys.images(2)
    wrapped = tlp.wrap_model(model, "learned")
    expected = wrapped.explain(x)
    with tf.GradientTape() as alone:
        loss = tf.reduce_sum(model(x) ** 2)
    with tf.GradientTape() as tape:
        loss_beside = tf.reduce_sum(model(x) ** 2)
        np.testing.assert_array_equal(wrapped.explain(x), expected)
        np.testing.assert_array_equal(tlp.wrap_model(model, "learned").explain(x), expected)  # a new trace
    pairs = zip(
        tape.gradient(loss_beside, model.trainable_variables),
        alone.gradient(loss, model.trainable_variables),
        strict=True,
    )
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
