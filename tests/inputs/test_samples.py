import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import toys
from tf_learnprop.inputs import samples

IMAGES = toys.images(5)


@pytest.fixture(scope="module")
def model():
    return toys.small_cnn()


def two_inputs():
    first, second = keras.Input((3,), name="first"), keras.Input((2,), name="second")
    output = keras.layers.Concatenate()([first, second])
    return keras.Model({"first": first, "second": second}, output)


def test_a_good_batch_stays_whole(model):
    for value in (IMAGES, tf.constant(IMAGES), list(IMAGES), [IMAGES]):
        inputs, good, errors = samples.sort_out(value, model)
        np.testing.assert_array_equal(inputs, IMAGES)
        np.testing.assert_array_equal(good, range(5))
        assert errors == {}


BAD = {
    "not finite": (np.full_like(IMAGES[0], np.inf), "must be finite. Received: NaN or infinity$"),
    "size": (IMAGES[0, :7], r"must have shape \(None, 16, 16, 3\).*Received: shape=\(1, 7, 16, 3\)"),
    "rank": (IMAGES[0, ..., 0], r"must have shape .*Received: shape=\(1, 16, 16\)"),
    "type": (IMAGES[0].astype(str), "must hold numbers"),
    "none": (None, "must hold numbers"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("position", [0, 2, 4])
def test_a_bad_sample_in_a_list(kind, position, model):
    sample, message = BAD[kind]
    value = list(IMAGES)
    value[position] = sample
    inputs, good, errors = samples.sort_out(value, model)
    assert list(errors) == [position]
    with pytest.raises(ValueError, match=message):
        raise ValueError(errors[position])
    np.testing.assert_array_equal(good, [k for k in range(5) if k != position])
    np.testing.assert_array_equal(inputs, IMAGES[good])


def test_all_samples_are_bad(model):
    inputs, good, errors = samples.sort_out(np.full_like(IMAGES, np.nan), model)
    assert inputs is None and len(good) == 0 and sorted(errors) == [0, 1, 2, 3, 4]
    assert sorted(samples.sort_out(IMAGES[:, :8], model)[2]) == [0, 1, 2, 3, 4]


def test_a_sample_is_bad_if_one_of_its_inputs_is():
    first, second = np.ones((3, 3)), np.ones((3, 2))
    first[0, 0] = second[2, 1] = np.nan
    inputs, good, errors = samples.sort_out({"first": first, "second": second}, two_inputs())
    assert "'first' must be finite" in errors[0] and "'second' must be finite" in errors[2]
    np.testing.assert_array_equal(good, [1])
    assert inputs["first"].shape == (1, 3) and inputs["second"].shape == (1, 2)


def test_samples_of_free_size_must_agree():
    value = [IMAGES[0, :8], IMAGES[1], IMAGES[2, :8], None]
    inputs, good, errors = samples.sort_out(value, toys.small_cnn(shape=(None, None, 3)))
    np.testing.assert_array_equal(inputs, IMAGES[[0, 2], :8])
    np.testing.assert_array_equal(good, [0, 2])
    assert "All samples of a batch must have shapes [(8, 16, 3)]. Received: [(16, 16, 3)]" == errors[1]
    assert sorted(errors) == [1, 3]


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (IMAGES[0], "has no batch axis"),
        (IMAGES[:0], "at least one sample"),
        ({"a": IMAGES, "b": IMAGES}, r"must have the keys .* Received: the keys \['a', 'b'\]"),
    ],
)
def test_what_has_no_samples_is_an_error(value, match, model):
    for function in (samples.sort_out, lambda *args: samples.cut(*args, 2)):
        with pytest.raises(ValueError, match=match):
            function(value, model)


def test_cut(model):
    for value in (IMAGES, list(IMAGES)):
        total, parts = samples.cut(value, model, 2)
        parts = list(parts)
        assert total == 5 and [len(part) for part in parts] == [2, 2, 1]
        np.testing.assert_array_equal(np.concatenate(parts), IMAGES)
    first, second = np.arange(9.0).reshape(3, 3), np.arange(6.0).reshape(3, 2)
    _, parts = samples.cut({"first": first, "second": second}, two_inputs(), 2)
    part = list(parts)[1]
    np.testing.assert_array_equal(part["first"], first[2:])
    np.testing.assert_array_equal(part["second"], second[2:])
