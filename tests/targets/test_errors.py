"""Targets that don't fit: one clear error before any work starts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tests.targets import target_models
from tf_learnprop.targets import Contrast, Pixel, Region, Similarity, Token, Value

IMAGES = toys.normal(2, 12, 12, 2)
MASK = np.ones((12, 12))


def wrap(model, **arguments):
    return tlp.wrap_model(model, "gradient", readout="input", **arguments)


@pytest.fixture(scope="module")
def segmenter():
    return wrap(target_models.unet())


@pytest.fixture(scope="module")
def classifier():
    return wrap(target_models.regressor(3))


@pytest.mark.parametrize("targets", [None, 1, [0, 1], np.eye(3)[:2]])
def test_a_class_of_a_segmenter(targets, segmenter):
    text = (
        r"^A class needs an output \[n, classes\]. Received: output 'pixels' of shape \(None, 12, 12, 3\). "
        r"Use `targets=tlp.targets.Region\(...\)` or `targets=tlp.targets.Pixel\(...\)` there, or a function"
    )
    with pytest.raises(ValueError, match=text):
        segmenter.explain(IMAGES, targets)
    with pytest.raises(ValueError, match=text):
        segmenter.explain_batches(iter([IMAGES]), targets)


@pytest.mark.parametrize(
    ("target", "form"),
    [
        (Region(), "`Region` needs an output [n, *places, classes]"),
        (Pixel(0, 0), "`Pixel` needs an output [n, h, w, classes]"),
        (Token(), "`Token` needs an output [n, positions, vocabulary]"),
        (Contrast(1, Region()), "`Region` needs an output"),
    ],
)
def test_another_kind_of_output(target, form, classifier):
    with pytest.raises(ValueError) as error:
        classifier.explain(IMAGES, target)
    assert str(error.value).startswith(form)
    assert "of shape (None, 3)" in str(error.value)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Region(MASK[:6]), r"`mask` must have the size of the output, \[12, 12\].*size \[6, 12\]"),
        (Region(np.ones((3, 2, 12, 12))), r"`mask` must have shape \[any, any\] or \[n, any, any\]"),
        (
            Region([MASK, 0 * MASK]),
            r"`mask` must be above 0 somewhere. Received: one that is not in samples \[1\]",
        ),
        (Region(-MASK), "`mask` must be >= 0"),
        (Region(np.nan * MASK), "`mask` must be finite"),
        (Region(MASK, 3), r"`class_id` must be class ids in 0\.\.2. Received: ids from 3 to 3"),
        (Pixel(12, 0), r"`row` must be rows in 0\.\.11. Received: ids from 12 to 12"),
        (Pixel(0, [0, -1]), r"`column` must be columns in 0\.\.11. Received: ids from -1 to 0"),
        (Value(3), r"`index` must be an int in 0\.\.2 for output 'pixels' of shape .*Received: index=3"),
        (Value(reference=[0.0, np.inf]), "`reference` must be finite"),
        (lambda y: y, r"must return scores \[n\].*Received: shape \(None, 12, 12, 3\)"),
        (lambda y: tf.reduce_sum(y), r"must return scores \[n\].*Received: shape \(\)"),
        (lambda y: 3.0, r"must return scores \[n\].*Received: float"),
        (lambda y: tf.argmax(y[:, 0, 0], -1), r"must return scores \[n\], of floats"),
        (lambda y: tf.zeros(2), "score must depend on what the map is read from"),
    ],
)
def test_values(target, text, segmenter):
    with pytest.raises(ValueError, match=text):
        segmenter.explain(IMAGES, target)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Region("cat"), "`mask` must hold numbers"),
        (Region(MASK, 1.5), r"`class_id` must be None, an int class id or int class ids \[n\]"),
        (Pixel(0.5, 1), "`row` must be None, an int row or int rows"),
    ],
)
def test_types(target, text, segmenter):
    with pytest.raises(TypeError, match=text):
        segmenter.explain(IMAGES, target)


def test_tensors_are_checked_when_they_run(segmenter):
    explain = tf.function(lambda mask, ids: segmenter.attribute(IMAGES, Region(mask, ids)).maps)
    assert explain(tf.ones((12, 12)), tf.constant([0, 1])).shape == (2, 12, 12)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`mask` must be above 0 somewhere"):
        explain(tf.zeros((12, 12)), tf.constant([0, 1]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`class_id` must be class ids in 0\.\.2"):
        explain(tf.ones((12, 12)), tf.constant([0, 3]))


def test_embeddings_of_another_length(classifier):
    with pytest.raises(ValueError, match=r"`to` must have shape \[3\] or \[n, 3\]. Received: shape=\(4,\)"):
        classifier.explain(IMAGES, Similarity(np.ones(4)))
    with pytest.raises(ValueError, match="`to` must be of length 2. .* comes without this axis"):
        classifier.explain(IMAGES, Similarity(np.ones((1, 3))))
    with pytest.raises(TypeError, match=r"`to` must be a vector \[d\], or vectors \[n, d\]. Received: None"):
        classifier.explain(IMAGES, Similarity(None))
    with pytest.raises(ValueError, match="`kind` must be 'cosine' or 'dot'. Received: kind='sine'"):
        Similarity(np.ones(3), "sine")


def test_nothing_is_similar_to_a_vector_of_zeros(classifier):
    rule = "`to` must be other than 0 somewhere"
    for kind in ("cosine", "dot"):
        with pytest.raises(ValueError, match=f"{rule}. Received: one that is not$"):
            classifier.explain(IMAGES, Similarity(np.zeros(3), kind))
    with pytest.raises(ValueError, match=rf"{rule}. Received: one that is not in samples \[1\]"):
        classifier.explain(IMAGES, Similarity([[0.0, 0.0, 1e-30], [0.0, 0.0, 0.0]]))
    explain = tf.function(lambda to: classifier.attribute(IMAGES, Similarity(to)).maps)
    assert explain(tf.eye(3)[:2]).shape == (2, 12, 12)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rule):
        explain(tf.eye(3)[:2] * [[1.0], [0.0]])


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Token(7), r"`position` must be ints in -7\.\.6. Received: 7 to 7"),
        (Token([0, -8]), r"`position` must be ints in -7\.\.6. Received: -8 to 0"),
        (Token(token=11), r"`token` must be tokens in 0\.\.10. Received: ids from 11 to 11"),
        (Token(rather_than=-1), r"`rather_than` must be tokens in 0\.\.10"),
        (Token([1]), "`position` must be of length 2. Received: length 1. What is the same for all samples"),
    ],
)
def test_tokens(target, text):
    wrapped = tlp.wrap_model(target_models.language_model(), "gradient")
    with pytest.raises(ValueError, match=text):
        wrapped.explain(np.zeros((2, 7), int), target)


@pytest.mark.parametrize("position", [None, 1.5, "last"])
def test_positions_are_ints(position):
    wrapped = tlp.wrap_model(target_models.language_model(), "gradient")
    with pytest.raises(TypeError, match=r"`position` must be an int or ints \[n\]. Received: "):
        wrapped.explain(np.zeros((2, 7), int), Token(position))


@pytest.mark.parametrize("position", [7, -8])
def test_positions_of_texts_of_any_length(position):
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(5)(keras.layers.Embedding(9, 4)(ids)))
    wrapped = tlp.wrap_model(model, "gradient")
    with pytest.raises(ValueError, match="^`position` must be a position of the output$"):
        wrapped.explain(np.zeros((2, 7), int), Token(position))


@pytest.mark.parametrize(("pixel", "name"), [(Pixel(8, 2), "row"), (Pixel(2, [7, 8]), "column")])
def test_pixels_of_images_of_any_size(pixel, name):
    image = keras.Input((None, None, 3))
    wrapped = tlp.wrap_model(keras.Model(image, keras.layers.Conv2D(4, 3, 2, "same")(image)), "gradient")
    with pytest.raises(ValueError, match=f"^`{name}` must be a {name} of the output$"):
        wrapped.scores(np.zeros((2, 16, 16, 3), "float32"), pixel)


def test_a_value_without_an_axis_has_no_classes():
    wrapped = wrap(target_models.flat_regressor())
    with pytest.raises(ValueError, match=r"shape \(None,\). Use `targets=tlp.targets.Value\(\)` there"):
        wrapped.explain(IMAGES)


def test_refinement_of_a_region(segmenter):
    refined = segmenter.explain(IMAGES, Region(MASK, 1), refine_steps=1)
    assert np.isfinite(refined).all() and np.any(refined != segmenter.explain(IMAGES, Region(MASK, 1)))
