"""What a target says of single samples goes with them: in batches, streams, and where samples are skipped."""

import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tests.targets import target_models
from tf_learnprop.targets import Contrast, Region, Value, choosing

IMAGES = toys.normal(7, 12, 12, 2)
MASKS = toys.rng(1).uniform(size=(7, 12, 12)) > 0.7
IDS = np.arange(7) % 3


@pytest.fixture(scope="module")
def wrapped():
    return tlp.wrap_model(target_models.unet(), "gradient", readout="input")


@pytest.fixture(scope="module")
def expected(wrapped):
    return wrapped.explain(IMAGES, Region(MASKS, IDS))


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_batches_of_arrays(wrapped, expected):
    close(wrapped.explain(IMAGES, Region(MASKS, IDS), batch_size=3), expected)


def test_streams(wrapped, expected):
    for stream in (
        tf.data.Dataset.from_tensor_slices(IMAGES).batch(2),
        iter([(IMAGES[:4], np.zeros(4)), (IMAGES[4:], np.zeros(3))]),
    ):
        close(wrapped.explain(stream, Region(MASKS, IDS)), expected)


def test_one_mask_for_a_stream(wrapped):
    stream = tf.data.Dataset.from_tensor_slices(IMAGES).batch(2)
    whole = wrapped.explain(IMAGES, Region(MASKS[:1].repeat(7, 0), [1] * 7))
    close(wrapped.explain(stream, Region(MASKS[0], 1)), whole)


def test_a_class_for_each_and_one_mask(wrapped):
    whole = wrapped.explain(IMAGES, Region(MASKS[:1].repeat(7, 0), IDS))
    close(wrapped.explain(iter([IMAGES[:2], IMAGES[2:]]), Region(MASKS[0], IDS)), whole)


@pytest.mark.parametrize("as_stream", [False, True])
def test_skipped_samples(wrapped, expected, as_stream):
    bad = IMAGES.copy()
    bad[[1, 5]] = np.nan
    data = iter([bad[:3], bad[3:]]) if as_stream else bad
    batches = list(wrapped.explain_batches(data, Region(MASKS, IDS), batch_size=3, on_error="skip"))
    maps = np.concatenate([batch.maps for batch in batches])
    good = [0, 2, 3, 4, 6]
    close(maps[good], expected[good])
    assert np.isnan(maps[[1, 5]]).all()
    np.testing.assert_array_equal(np.concatenate([b.class_ids for b in batches])[good], IDS[good])


def test_a_contrast_cuts_both(wrapped):
    target = Contrast(Region(MASKS, IDS), Region(~MASKS, 1))
    close(wrapped.explain(iter([IMAGES[:2], IMAGES[2:]]), target), wrapped.explain(IMAGES, target))
    bare = Contrast(Region(class_id=2), Value())
    close(wrapped.explain(iter([IMAGES[:2], IMAGES[2:]]), bare), wrapped.explain(IMAGES, bare))


def test_traces_once_for_a_kind(wrapped):
    fresh = tlp.PropagationModel(wrapped.source, wrapped.rule_set)
    for count in (2, 5, 1):
        fresh.explain(IMAGES[:count], Region(MASKS[:count], 1))
        fresh.explain(IMAGES[:count], Region(MASKS[0], IDS[:count]))
        fresh.explain(IMAGES[:count], Region(background=1))
    of_background = [fresh._maps.of_kind(Region(background=b).kind).traced for b in (0, 1)]
    assert [one.experimental_get_tracing_count() for one in of_background] == [1, 1]


def test_few_kinds_are_kept(wrapped):
    fresh = tlp.PropagationModel(wrapped.source, wrapped.rule_set)
    for index in range(3):
        fresh.scores(IMAGES, lambda y, k=index: tf.reduce_sum(y, [1, 2])[:, k])
    assert fresh._scores.of_kind.cache_info().currsize == 3
    assert fresh._scores.of_kind.cache_info().maxsize == 8


def test_data_of_another_length(wrapped):
    for target in (Region(MASKS[:6]), Region(class_id=IDS[:6]), Contrast(Region(MASKS[:6]), Region())):
        with pytest.raises(ValueError, match="must be of length 7"):
            wrapped.explain(IMAGES, target)
        with pytest.raises(ValueError, match="must be as long as the data"):
            wrapped.explain(iter([IMAGES]), target)
    with pytest.raises(ValueError, match="`class_id` must be of length 7"):
        wrapped.explain_batches(iter([IMAGES]), Region(MASKS, IDS[:6]))


def test_tensors_of_another_length(wrapped):
    explain = tf.function(lambda masks: wrapped.attribute(IMAGES, Region(masks)))
    with pytest.raises(ValueError, match="`mask` must be as long as the inputs. Received: 6 for 7 inputs"):
        explain(tf.constant(MASKS[:6]))
    any_length = tf.function(explain.python_function, [tf.TensorSpec([None, 12, 12], tf.bool)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="`mask` must be as long as the inputs"):
        any_length(tf.constant(MASKS[:6]))


def test_a_target_can_be_cut(wrapped):
    target = choosing.arrays(Region(MASKS, 2), wrapped.explained)
    assert target.length == 7
    part = target.for_samples(7).cut(slice(2, 4))
    np.testing.assert_array_equal(part.mask, MASKS[2:4])
    np.testing.assert_array_equal(part.class_id, [2, 2])
    assert choosing.arrays(Region(class_id=2), wrapped.explained).length is None
