import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tf_learnprop.inputs import checks


def model(*shapes, dtype="float32"):
    inputs = [keras.Input(shape, dtype=dtype, name=f"in{k}") for k, shape in enumerate(shapes)]
    outputs = [keras.layers.Flatten()(tensor) for tensor in inputs]
    return keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs)


IMAGES = np.arange(2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3)


class TestInputs:
    @pytest.mark.parametrize(
        "value",
        [
            IMAGES,
            IMAGES.astype("uint8"),
            IMAGES.astype("int64"),
            IMAGES.astype("float64"),
            IMAGES.astype("float16"),
            IMAGES.astype(ml_dtypes.bfloat16),
            tf.constant(IMAGES),
            list(IMAGES),
            tuple(IMAGES),
            [IMAGES],
            IMAGES.tolist(),
            {"in0": IMAGES},
        ],
        ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
    )
    def test_casts_to_what_the_model_takes(self, value):
        result = checks.inputs(value, model((4, 4, 3)))
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, IMAGES)

    def test_a_list_of_one_image_is_a_batch_of_one(self):
        result = checks.inputs([IMAGES[0]], model((4, 4, 3)))
        np.testing.assert_array_equal(result, IMAGES[:1])

    @pytest.mark.parametrize("structure", [lambda x: x, lambda x: [x], lambda x: {"in0": x}])
    def test_of_a_dict_with_more_the_input_by_its_name(self, structure):
        """As Keras does: a dataset of dicts holds labels too."""
        image = keras.Input((4, 4, 3), name="in0")
        one = keras.Model(structure(image), keras.layers.Flatten()(image))
        batch = {"id": np.arange(2), "in0": list(IMAGES), "label": np.arange(2)}
        np.testing.assert_array_equal(keras.tree.flatten(checks.inputs(batch, one)), [IMAGES])
        tensors = checks.tensors({**batch, "in0": tf.constant(IMAGES)}, one)
        np.testing.assert_array_equal(keras.tree.flatten(tensors), [IMAGES])
        with pytest.raises(ValueError, match=r"the keys \['in0'\]. Received: the keys \['id', 'x'\]"):
            checks.inputs({"id": np.arange(2), "x": IMAGES}, one)

    def test_a_dict_in_a_list_is_no_dict(self):
        two = model((4, 4, 3), (5,))
        with pytest.raises(ValueError, match="in a list or in a dict. Received: a list with a dict"):
            checks.inputs([{"in0": IMAGES, "in1": np.ones((2, 5))}], two)

    @pytest.mark.parametrize(
        "value, received",
        [(-1.0, "-1.0 to 7.0"), (256, "7 to 256"), (np.int64(300), "7 to 300"), (np.inf, "7.0 to inf")],
    )
    def test_numbers_that_an_integer_input_cannot_hold(self, value, received):
        """Cast, they would be other numbers."""
        with pytest.raises(
            ValueError, match=rf"'in0' must be in 0..255, as it is uint8. Received: {received}"
        ):
            checks.inputs(np.array([[7, value]]), model((2,), dtype="uint8"))

    def test_numbers_that_an_integer_input_holds(self):
        whole = checks.inputs(np.array([[0.0, 255.9]]), model((2,), dtype="uint8"))
        np.testing.assert_array_equal(whole, np.array([[0, 255]], np.uint8))

    def test_nested_numbers_are_a_batch(self):
        np.testing.assert_array_equal(checks.inputs([[0.5]], model((1,))), [[0.5]])

    def test_several_inputs_keep_their_structure(self):
        two = model((4, 4, 3), (5,))
        vectors = np.ones((2, 5))
        first, second = checks.inputs([IMAGES, vectors], two)
        np.testing.assert_array_equal(first, IMAGES)
        assert second.dtype == np.float32

    def test_a_dict_for_a_list_of_inputs_goes_by_name(self):
        """As in Keras, also where the names are not in the order of the inputs, and if there are more."""
        specs = [keras.Input((4, 4, 3), name=name) for name in ("right", "left")]
        two = keras.Model(specs, keras.layers.Subtract()(specs))
        value = {"left": IMAGES, "other": IMAGES, "right": IMAGES + 1}
        for checked in (checks.inputs(value, two), checks.tensors(value, two)):
            np.testing.assert_array_equal(two(checked), np.ones_like(IMAGES))

    @pytest.mark.parametrize("structure", [list, lambda specs: {spec.name: spec for spec in specs}])
    def test_a_dict_of_inputs_needs_their_names(self, structure):
        specs = [keras.Input((2,), name=name) for name in ("b", "c")]
        two = keras.Model(structure(specs), keras.layers.Subtract()(specs))
        with pytest.raises(ValueError, match=r"keys \['b', 'c'\]. Received: the keys \['a', 'b'\]"):
            checks.inputs({"a": np.ones((1, 2)), "b": np.ones((1, 2))}, two)

    def test_a_model_of_one_named_input_gets_its_own_structure(self):
        image = keras.Input((4, 4, 3), name="image")
        named = keras.Model({"image": image}, keras.layers.Flatten()(image))
        for value in (IMAGES, {"image": IMAGES}):
            result = checks.inputs(value, named)
            np.testing.assert_array_equal(result["image"], IMAGES)

    def test_unknown_sizes_fit_any(self):
        assert checks.inputs(IMAGES, model((None, None, 3))).shape == IMAGES.shape

    @pytest.mark.parametrize(
        "shape",
        [(4, 4, 3), (2, 4, 4), (2, 4, 5, 3), (2, 5, 4, 3), (2, 4, 4, 1), (1, 2, 4, 4, 3)],
    )
    def test_wrong_shape(self, shape):
        with pytest.raises(ValueError, match=r"'in0' must have shape .*Received: shape=") as error:
            checks.inputs(np.zeros(shape), model((4, 4, 3)))
        assert str(shape) in str(error.value)

    @pytest.mark.parametrize("shape", [(None, 4, 3), (4, 4, 3)])
    def test_one_image_is_no_batch(self, shape):
        with pytest.raises(ValueError, match=r"Received: shape=\(4, 4, 3\), which has no batch axis"):
            checks.inputs(IMAGES[0], model(shape))

    def test_empty(self):
        with pytest.raises(ValueError, match="at least one sample"):
            checks.inputs(IMAGES[:0], model((4, 4, 3)))

    @pytest.mark.parametrize(
        "value",
        [
            IMAGES.astype(str),
            IMAGES.astype(complex),
            IMAGES > 0,
            IMAGES.astype(object),
            np.zeros((2, 4, 4, 3), "datetime64[s]"),
        ],
        ids=lambda value: str(value.dtype),
    )
    def test_not_numbers(self, value):
        with pytest.raises(TypeError, match=r"must hold numbers\. Received: dtype="):
            checks.inputs(value, model((4, 4, 3)))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
    def test_not_finite_names_the_samples(self, bad, dtype):
        images = np.zeros((5, 4, 4, 3), dtype)
        images[[1, 3], 0, 0, 0] = bad
        with pytest.raises(ValueError, match=r"NaN or infinity in samples \[1 3\]"):
            checks.inputs(images, model((4, 4, 3)))

    def test_too_large_for_the_dtype_is_not_finite(self):
        images = IMAGES.astype("float64")
        images[1] = 1e300
        with pytest.raises(ValueError, match=r"samples \[1\]"):
            checks.inputs(images, model((4, 4, 3)))

    def test_nan_for_an_input_of_ints(self):
        with pytest.raises(ValueError, match=r"samples \[0\]"):
            checks.inputs(np.full((1, 2), np.nan), model((2,), dtype="int32"))

    def test_ragged_images(self):
        with pytest.raises(ValueError, match="must have the same shape"):
            checks.inputs([IMAGES[0], IMAGES[0, :2]], model((4, 4, 3)))

    def test_wrong_number_of_inputs(self):
        with pytest.raises(ValueError, match="has 2 inputs. Received: 1 arrays"):
            checks.inputs(IMAGES, model((4, 4, 3), (5,)))
        with pytest.raises(ValueError, match="has 2 inputs. Received: 3 arrays"):
            checks.inputs([IMAGES] * 3, model((4, 4, 3), (5,)))

    def test_inputs_of_different_length(self):
        with pytest.raises(ValueError, match=r"same length. Received: \[2, 3\]"):
            checks.inputs([IMAGES, np.ones((3, 5))], model((4, 4, 3), (5,)))


class Task(keras.Model):
    """What KerasHub's tasks are like: `predict` and `fit` preprocess, and calls do not."""

    def preprocess_samples(self, x):
        return self.preprocessor(x)


class TestPreprocessor:
    """Of a task, raw and preprocessed pixels give other maps; the model can't see which it gets."""

    def task(self, preprocessor):
        image = keras.Input((4, 4, 3))
        outputs = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.ReLU()(image)))
        task = Task(image, outputs, name="task")
        task.preprocessor = preprocessor
        return task

    def test_warns_where_the_model_is_wrapped(self):
        task = self.task(keras.layers.Rescaling(1 / 255))
        match = "^Model 'task' has a preprocessor, .*Pass preprocessed inputs, `model.preprocessor"
        with pytest.warns(UserWarning, match=match) as caught:
            tlp.wrap_model(task, "gradient")
        assert [warning.filename for warning in caught] == [__file__]

    def test_without_one_there_is_nothing_to_say(self, recwarn):
        tlp.wrap_model(self.task(None), "gradient")
        plain = model((4, 4, 3))
        plain.preprocessor = "not KerasHub's"
        checks.warn_of_preprocessor(plain)
        assert not list(recwarn)

    def test_a_task_of_keras_hub(self):
        hub = pytest.importorskip("keras_hub", reason="needs keras-hub")
        backbone = hub.models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[3],
            stackwise_num_filters=[64, 8],
            stackwise_num_blocks=[1, 1],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
            image_shape=(None, None, 3),
        )
        converter = hub.layers.ResNetImageConverter(image_size=(32, 32), scale=1 / 255)
        preprocessor = hub.models.ResNetImageClassifierPreprocessor(converter)
        task = hub.models.ImageClassifier(backbone=backbone, preprocessor=preprocessor, num_classes=5)
        photos = np.random.default_rng(0).uniform(0, 255, (2, 40, 40, 3)).astype("float32")
        with pytest.warns(UserWarning, match=f"'{task.name}' has a preprocessor"):
            wrapped = tlp.wrap_model(task, "gradient")
        expected = task.predict(photos, verbose=0)
        np.testing.assert_allclose(wrapped.predict(task.preprocessor(photos), verbose=0), expected, atol=1e-5)
        # What the warning is for.
        assert np.abs(wrapped.predict(photos, verbose=0) - expected).max() > 10


class TestTensors:
    def test_unknown_shapes_pass(self):
        seen = []

        @tf.function(input_signature=[tf.TensorSpec(None)])
        def check(images):
            seen.append(checks.tensors(images, model((4, 4, 3))))
            return 0

        check.get_concrete_function()
        assert seen[0].shape.as_list() == [None, 4, 4, 3]  # what the run will check

    def test_a_list_of_one_is_unpacked(self):
        images = tf.constant(IMAGES)
        assert checks.tensors([images], model((4, 4, 3))) is images

    def test_wrong_shape(self):
        with pytest.raises(ValueError, match=r"must have shape \(None, 4, 4, 3\)"):
            checks.tensors(tf.zeros([2, 4, 5, 3]), model((4, 4, 3)))

    def test_wrong_number(self):
        with pytest.raises(ValueError, match="has 1 inputs. Received: 2 arrays"):
            checks.tensors([tf.zeros([2, 4, 4, 3])] * 2, model((4, 4, 3)))


class TestPlainShapeErrors:
    """Shapes that only the run of a graph shows."""

    def run(self, *values, shapes=((None, 4, 3), (5,))):
        two = model(*shapes)

        @tf.function(input_signature=[[tf.TensorSpec(None)] * len(values)])
        def check(inputs):
            return [tensor + 0.0 for tensor in checks.tensors(inputs, two)]

        with checks.plain_shape_errors(two):
            return check([tf.constant(value, tf.float32) for value in values])

    def test_right_shapes_pass(self):
        vectors = np.ones((2, 5))
        for value, result in zip((IMAGES, vectors), self.run(IMAGES, vectors), strict=True):
            np.testing.assert_array_equal(result, value)
            assert result.shape.rank == value.ndim

    def test_names_the_input(self):
        with pytest.raises(ValueError, match=r"^input 'in1' must have shape \(None, 5\).*shape=\(2, 6\)$"):
            self.run(IMAGES, np.ones((2, 6)))
        with pytest.raises(ValueError, match=r"^input 'in0' .*shape=\(2, 4, 3, 3\)$"):
            self.run(IMAGES[:, :, :3], np.ones((2, 5)))
        with pytest.raises(ValueError, match=r"^input 'in1' .*shape=\(5,\), which has no batch axis"):
            self.run(IMAGES, np.ones(5))
        with pytest.raises(ValueError, match=r"^input 'in1' .*shape=\(\)$"):
            self.run(IMAGES, 1.0)

    def test_other_errors_are_left_as_they_are(self):
        check = tf.function(lambda tensor: tf.ensure_shape(tensor, [7]), [tf.TensorSpec(None)])
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"compatible with expected shape \[7\]"):
            with checks.plain_shape_errors(model((5,))):
                check(tf.zeros([2]))
