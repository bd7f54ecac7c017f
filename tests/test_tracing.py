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
        """Images of ever new sizes."""
        graphs = []

        def double(x):
            graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
            return 2.0 * x

        function = tracing.for_any_length(double)
        for size in range(1, 41):
            x = np.ones((2, size), "float32")
            np.testing.assert_array_equal(function(x), 2 * x)
            assert function.traced.experimental_get_tracing_count() < 16
        gc.collect()
        assert len(graphs) == 40 and sum(graph() is not None for graph in graphs) <= 16

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

    def test_runs_eagerly_where_tensorflow_is_told_to(self, eagerly):
        graphs = []

        def double(x):
            graphs.append(not tf.executing_eagerly())
            return 2 * x

        for function in (tracing.for_any_length(double), tracing.for_length(double, 2)):
            np.testing.assert_array_equal(function(tf.ones((3, 2))), np.full((3, 2), 2.0))
        assert graphs == [False] * 3


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
