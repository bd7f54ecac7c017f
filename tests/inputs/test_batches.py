import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import toys
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.inputs import batches
from tf_learnprop.targets import choosing

IMAGES = toys.images(7)
CLASSES = 4


@pytest.fixture(scope="module")
def model():
    return toys.small_cnn(CLASSES)


class Sequence(keras.utils.PyDataset):
    """The images in batches of 3, with labels."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return IMAGES[3 * index : 3 * index + 3], np.zeros(3)


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return IMAGES


def threes():
    return [IMAGES[start : start + 3] for start in (0, 3, 6)]


def with_labels(kind):
    return [kind((batch, np.zeros(len(batch)))) for batch in threes()]


def dataset(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0]).batch(3)


def split(images, targets, model, batch_size):
    target = choosing.arrays(targets, Explained(ModelGraph(model)))
    return batches.split(images, target, model, batch_size)


def read(images, targets, model, batch_size=3):
    count, stream = split(images, targets, model, batch_size)
    inputs, cut = zip(*stream, strict=True)
    return count, list(inputs), [target.weights for target in cut]


STREAMS = {
    "arrays": lambda: IMAGES,
    "dataset": lambda: dataset(IMAGES),
    "dataset with labels": lambda: dataset(IMAGES, np.zeros(7)),
    "dataset with labels and weights": lambda: dataset(IMAGES, np.zeros(7), np.ones(7)),
    "PyDataset": lambda: Sequence(),
    "generator": lambda: iter(threes()),
    "generator with labels": lambda: iter(with_labels(tuple)),
    "loader that gives lists": lambda: iter(with_labels(list)),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("targets", [None, 2, [0, 1, 2, 3, 0, 1, 2], "weights"])
def test_batches_are_the_slices(name, targets, model):
    weights = toys.rng().normal(size=(7, CLASSES)).astype("float32")
    if isinstance(targets, str):
        targets = weights
    elif targets is not None:
        weights = np.eye(CLASSES)[np.broadcast_to(targets, 7)]
    count, inputs, class_weights = read(STREAMS[name](), targets, model)
    assert count == (3 if "generator" not in name and "loader" not in name else None)
    assert [len(batch) for batch in inputs] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(inputs), IMAGES)
    if targets is None:
        assert class_weights == [None] * 3
    else:
        np.testing.assert_array_equal(np.concatenate(class_weights), weights)


@pytest.mark.parametrize(("batch_size", "lengths"), [(1, [1] * 7), (4, [4, 3]), (7, [7]), (32, [7])])
def test_batch_size(batch_size, lengths, model):
    count, inputs, _ = read(IMAGES, None, model, batch_size)
    assert count == len(lengths)
    assert [len(batch) for batch in inputs] == lengths


def test_several_inputs_are_cut_alike():
    first, second = keras.Input((3,)), keras.Input((2,))
    model = keras.Model([first, second], keras.layers.Concatenate()([first, second]))
    one, two = np.arange(12.0).reshape(4, 3), np.arange(8.0).reshape(4, 2)
    _, inputs, _ = read([one, two], None, model)
    np.testing.assert_array_equal(inputs[1][0], one[3:])
    np.testing.assert_array_equal(inputs[1][1], two[3:])
    stream = iter([((one, two), np.zeros(4))])
    np.testing.assert_array_equal(read(stream, None, model)[1][0][1], two)


@pytest.mark.parametrize("batch_size", [0, -2, 2.5, True])
def test_bad_batch_size(batch_size, model):
    with pytest.raises(ValueError, match="`batch_size` must be an int >= 1"):
        split(IMAGES, None, model, batch_size)


@pytest.mark.parametrize("images", [None, 3, 2.5, "photo.jpg"])
def test_not_images(images, model):
    with pytest.raises(TypeError, match=r"`images` must be arrays.*Received: "):
        split(images, None, model, 3)


def test_arrays_are_checked_at_once(model):
    with pytest.raises(ValueError, match="must have shape"):
        split(IMAGES[:, :5], None, model, 3)
    with pytest.raises(ValueError, match="of length 7"):
        split(IMAGES, [1, 2], model, 3)


def test_endless_data(model):
    for images in (Endless(), dataset(IMAGES).repeat()):
        with pytest.raises(ValueError, match="must come to an end"):
            split(images, None, model, 3)


@pytest.mark.parametrize("targets", [[0] * 6, [0] * 8, [0]])
def test_targets_of_another_length_than_the_stream(targets, model):
    with pytest.raises(ValueError, match="must be as long as the data"):
        read(dataset(IMAGES), targets, model)


def test_a_bad_batch_in_a_stream(model):
    def stream():
        yield IMAGES
        yield np.full_like(IMAGES, np.nan)

    _, batch = split(stream(), None, model, 3)
    assert len(next(batch)[0]) == 7
    with pytest.raises(ValueError, match="^Batch 2: .* must be finite"):
        next(batch)


@pytest.mark.parametrize(("bad", "error"), [(IMAGES[:, :5], ValueError), (IMAGES.astype(str), TypeError)])
def test_an_error_in_a_stream_names_the_batch(bad, error, model):
    _, stream = split(iter([*threes(), bad]), None, model, 3)
    assert len([next(stream) for _ in range(3)]) == 3
    with pytest.raises(error, match="^Batch 4: input "):
        next(stream)


def test_errors_of_the_stream_itself_are_left_as_they_are(model):
    def stream():
        yield IMAGES
        raise ValueError("the disk is full")

    _, batch = split(stream(), None, model, 3)
    next(batch)
    with pytest.raises(ValueError, match="^the disk is full"):
        next(batch)


def test_an_empty_stream(model):
    with pytest.raises(ValueError, match="at least one batch"):
        read(iter([]), None, model)
    with pytest.raises(ValueError, match="at least one batch"):
        read(dataset(IMAGES).take(0), 1, model)


@pytest.mark.parametrize("asked", [None, True, False])
def test_autotuning_is_off_unless_it_is_asked_for(asked):
    """It makes the end of a loop over the data wait, up to a minute."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 3
    if asked is not None:
        options.autotune.enabled = asked
    data = tf.data.Dataset.range(3).with_options(options)
    released = batches.released_at_once(data)
    assert released.options().autotune.enabled is bool(asked)
    assert released.options().threading.private_threadpool_size == 3
    assert list(released.as_numpy_iterator()) == [0, 1, 2]
