"""Maps that follow what a layer of finer places sees, beside slow loops over places."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import placing, readouts, resampling
from tf_learnprop.graph import geometry
from tf_learnprop.readouts import Signals
from tf_learnprop.readouts.guide import Guide, guide_position


def even(fine, coarse):
    """Where the centres of fine places lie among coarse ones that share out the same side."""
    return np.clip((np.arange(fine) + 0.5) * coarse / fine - 0.5, 0, coarse - 1)


def slow_finer(guide, one, rows, columns):
    """A map `[h, w]` at the places of a guide `[H, W, c]`, place by place.

    `rows` and `columns` are the positions of its places among those of the map.
    """
    guide, one = guide.astype(float), one.astype(float)

    def linear(position, coarse):
        return max(1 - abs(position - coarse), 0)

    def blurred(position, coarse, count):
        total = 0
        for here in range(count):
            gaussian = np.exp(-0.5 * ((np.arange(count) - here) / 0.5) ** 2)
            total += linear(position, here) * gaussian[coarse] / gaussian.sum()
        return total

    places = list(np.ndindex(guide.shape[:2]))
    means = {}
    for coarse in np.ndindex(one.shape):
        weights = [linear(rows[q], coarse[0]) * linear(columns[r], coarse[1]) for q, r in places]
        means[coarse] = np.average([guide[fine] for fine in places], axis=0, weights=weights)
    variance = guide.var((0, 1)).sum()
    found = np.zeros(guide.shape[:2])
    for fine in places:
        total = 0
        for coarse, mean in means.items():
            exponent = ((guide[fine] - mean) ** 2).sum() / (2 * 0.2**2 * variance)
            sides = zip((rows, columns), fine, coarse, one.shape, strict=True)
            weight = np.exp(-min(exponent, 50))
            weight *= np.prod([blurred(where[q], p, count) for where, q, p, count in sides])
            found[fine] += weight * one[coarse]
            total += weight
        found[fine] /= total
    return found


def scene(*shape, seed=0):
    """Activations in which neighbours are alike, of two samples."""
    noise = toys.normal(2, *shape, seed=seed)
    return np.cumsum(noise, 1) + np.cumsum(noise, 2)


class TestGuide:
    def test_is_the_slow_loop(self):
        guide, maps = scene(9, 12, 5), toys.normal(2, 3, 4, seed=1)
        fine, places = Guide(tf.constant(guide)).finer(tf.constant(maps))
        assert places is None
        for sample in range(2):
            expected = slow_finer(guide[sample], maps[sample], even(9, 3), even(12, 4))
            np.testing.assert_allclose(fine[sample], expected, atol=1e-4)

    def test_places_that_do_not_share_out_the_input(self):
        """Of 24 pixels, coarse places are centred at 4, 12 and 20, fine ones at 1, 3, …, 21."""
        coarse, fine = (
            geometry.SideMap(start, np.inf, np.inf, 0, 23, 24, side=0, places=places, step=step)
            for start, step, places in ((4.0, 8.0, 3), (1.0, 2.0, 11))
        )
        guide, maps = scene(11, 11, 3), toys.normal(2, 3, 3, seed=1)
        found, places = Guide(tf.constant(guide), (fine, fine)).finer(tf.constant(maps), (coarse, coarse))
        assert places == (fine, fine)
        centres = np.clip((1 + 2 * np.arange(11) - 4) / 8, 0, 2)
        np.testing.assert_allclose(found[1], slow_finer(guide[1], maps[1], centres, centres), atol=1e-4)

    def test_a_map_ends_where_the_guide_changes(self):
        """The object covers five of twelve columns, so its edge is inside the second of three places."""
        guide = np.repeat(np.where(np.arange(12) < 5, 1, -1)[None, None, :, None], 12, 1).astype("float32")
        maps = np.repeat(np.float32([[[1, 0.5, 0]]]), 3, 1)
        fine = Guide(tf.constant(guide)).finer(tf.constant(maps))[0].numpy()[0, 6]
        linear = placing.to_places(tf.constant(maps), None, tf.zeros([1, 12, 12]), None).numpy()[0, 6]
        assert fine[4] - fine[5] > 2 * (linear[4] - linear[5])

    def test_a_guide_that_sees_nothing_blurs_and_interpolates_linearly(self):
        maps = tf.constant(toys.normal(2, 3, 4))
        fine, _ = Guide(tf.ones([2, 9, 12, 3])).finer(maps)
        blurred = resampling.blur(maps[..., None], [0.5, 0.5])[..., 0]
        np.testing.assert_allclose(fine, placing.to_places(blurred, None, fine, None), atol=1e-5)

    def test_a_place_like_none_around_it_stays_finite(self):
        guide = np.zeros((1, 60, 60, 1), "float32")
        guide[0, 30, 30] = 1e4
        maps = tf.constant(toys.normal(1, 3, 3))
        fine, _ = Guide(tf.constant(guide)).finer(maps)
        blurred = resampling.blur(maps[..., None], [0.5, 0.5])[..., 0]
        linear = placing.to_places(blurred, None, fine, None)
        np.testing.assert_allclose(fine[0, 30, 30], linear[0, 30, 30], atol=1e-5)
        assert np.isfinite(fine).all()

    @pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e30])
    def test_only_ratios_of_activations_count(self, scale):
        guide, maps = scene(9, 12, 5), tf.constant(toys.normal(2, 3, 4, seed=1))
        found, _ = Guide(tf.constant(guide * np.float32(scale))).finer(maps)
        np.testing.assert_allclose(found, Guide(tf.constant(guide)).finer(maps)[0], atol=1e-4)

    def test_maps_of_fine_places_stay_as_they_are(self):
        maps = tf.constant(toys.normal(2, 6, 6))
        assert Guide(tf.constant(scene(12, 12, 3))).finer(maps)[0] is maps

    @pytest.mark.parametrize(
        ("shapes", "position"),
        [
            ([(24, 24), (12, 12), (12, 12), (6, 6), (4, 4)], 2),
            ([(12, 8), (4, 4)], None),
            ([(8, 8), (4, 4)], None),
            ([(24,), (4,)], None),
            ([(8, 8, 8), (2, 2, 2)], None),
            ([(None, None), (4, 4)], None),
            ([], None),
        ],
    )
    def test_the_last_layer_of_three_times_the_places_guides(self, shapes, position):
        activations = [tf.TensorSpec([None, *shape, 3]) for shape in shapes]
        assert guide_position(activations, [None] * len(shapes)) == position


def of_any_size(padding, guided, resized=None):
    """A wrapped model of images of any size, resized if a size is given, with an untrained rule."""
    keras.utils.set_random_seed(0)
    image = x = keras.Input((None, None, 3))
    if resized:
        x = layers.Resizing(*resized)(x)
    for _ in range(3):
        x = layers.Conv2D(4, 3, 2, padding, activation="relu")(x)
    model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    return tlp.wrap_model(model, rule="learned", readout=readouts.MultiLayerReadout(guided=guided))


def traced(wrapped):
    """From images to maps, in one trace for all sizes."""
    specs = [tf.TensorSpec([None, None, None, 3])]
    return tf.function(lambda images: wrapped.attribute(images).maps, input_signature=specs)


class TestGuidedReadout:
    def test_the_focus_and_the_last_layer_follow_the_guide(self):
        image, early, last = toys.normal(2, 12, 12, 3), scene(12, 12, 4, seed=1), toys.normal(2, 4, 4, 5)
        activations = [tf.constant(early), tf.constant(last)]
        signals = [tf.constant(toys.normal(*y.shape, seed=2)) for y in activations]
        evidence = toys.normal(2, 4, 4, 3, seed=3)
        readout, plain = (readouts.MultiLayerReadout(blur=0, guided=guided) for guided in (True, False))
        readout.build(2)
        plain.build(2)
        given = Signals(tf.constant(image), None, activations, signals, tf.constant(evidence))
        terms, relevance = plain.terms(activations, signals)
        focus = plain.focus_of(relevance, given.evidence)
        factor = focus.on(tf.ones([2, 4, 4])).numpy()
        mean = sum(term.numpy().mean((1, 2)) for term in terms)
        zero = focus.zero(tf.nn.relu(mean)).numpy()
        maps = readout(given)
        for sample in range(2):
            finer = [
                slow_finer(early[sample], one, even(12, 4), even(12, 4))
                for one in (terms[1].numpy()[sample], factor[sample])
            ]
            expected = (terms[0].numpy()[sample] + finer[0]) * finer[1] - zero[sample]
            np.testing.assert_allclose(maps[sample], expected, atol=1e-4)
        assert np.abs(maps - plain(given)).max() > 0.1

    @pytest.mark.parametrize("contrast", ["objects", None])
    def test_without_rivals_or_a_focus(self, contrast):
        readout = readouts.MultiLayerReadout(rivals=0, contrast=contrast, guided=True)
        readout.build(2)
        shapes = (2, 12, 12, 4), (2, 4, 4, 5)
        activations, signals = ([tf.constant(toys.normal(*s, seed=k)) for s in shapes] for k in (1, 2))
        assert np.isfinite(readout(Signals(tf.zeros([2, 12, 12, 3]), None, activations, signals))).all()

    @pytest.mark.parametrize("padding", ["same", "valid"])
    @pytest.mark.parametrize("size", [(24, 24), (47, 65), (64, 40)])
    def test_a_trace_of_any_size_has_the_guide_of_that_size(self, size, padding):
        guided, plain = (of_any_size(padding, guided=flag) for flag in (True, False))
        images = toys.normal(2, *size, 3)
        expected = guided.explain(images)
        np.testing.assert_allclose(traced(guided)(images), expected, atol=2e-5 * np.abs(expected).max())
        assert np.abs(plain.explain(images) - expected).max() > 0.02 * np.abs(expected).max()

    @pytest.mark.parametrize("padding", ["same", "valid"])
    @pytest.mark.parametrize("resized", [(32, 32), (33, 27)])
    def test_a_trace_of_any_size_behind_a_resize(self, resized, padding):
        """How far apart places lie depends on the size of the image, but not how much closer some are."""
        guided, plain = (of_any_size(padding, flag, resized) for flag in (True, False))
        images = toys.normal(2, 40, 47, 3)
        expected = guided.explain(images)
        np.testing.assert_allclose(traced(guided)(images), expected, atol=2e-5 * np.abs(expected).max())
        assert np.abs(plain.explain(images) - expected).max() > 0.02 * np.abs(expected).max()

    @pytest.mark.parametrize("size", [(None, None), (24, 32)])
    def test_outside_what_the_coarse_layer_sees(self, size):
        """The early layer sees all pixels, the others those within a crop: rows 4 to 20, columns 6 to 26.

        Its own term, and the focus with it, ends one place further out.
        """
        keras.utils.set_random_seed(0)
        image = keras.Input((*size, 3))
        x = layers.Cropping2D((2, 3))(layers.Conv2D(4, 3, 2, "same", activation="relu")(image))
        for _ in range(2):
            x = layers.Conv2D(4, 3, 2, "same", activation="relu")(x)
        model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
        guided, plain = (
            tlp.wrap_model(model, readout=readouts.MultiLayerReadout(blur=0, guided=flag)).explain(
                toys.normal(2, 24, 32, 3)
            )
            for flag in (True, False)
        )
        inside = np.zeros((24, 32), bool)
        inside[2:23, 4:29] = True
        largest = np.abs(plain).max()
        np.testing.assert_allclose(guided[:, ~inside], plain[:, ~inside], atol=1e-5 * largest)
        assert np.abs(guided - plain)[:, inside].max() > 0.02 * largest

    def test_too_many_weights(self, monkeypatch):
        """Maps of known sizes, and of sizes that are known at run time, are then interpolated linearly."""
        y, maps, images = scene(36, 48, 3), tf.constant(toys.normal(2, 12, 12)), toys.normal(2, 64, 64, 3)
        guided, explained = (
            Guide(tf.constant(y)).finer(maps)[0],
            of_any_size("same", guided=True).explain(images),
        )
        monkeypatch.setattr("tf_learnprop.readouts.guide._MOST_WEIGHTS", 36 * 48 * 12 * 12 - 1)
        found, _ = Guide(tf.constant(y)).finer(maps)
        blurred = resampling.blur(maps[..., None], [0.5, 0.5])[..., 0]
        np.testing.assert_allclose(found, placing.to_places(blurred, None, found, None), atol=1e-5)
        assert np.abs(found - guided).max() > 0.1
        monkeypatch.setattr("tf_learnprop.readouts.guide._MOST_WEIGHTS", 32 * 32 * 8 * 8 - 1)
        wrapped = of_any_size("same", guided=True)
        expected = wrapped.explain(images)
        np.testing.assert_allclose(traced(wrapped)(images), expected, atol=2e-5 * np.abs(expected).max())
        assert np.abs(expected - explained).max() > 0.02 * np.abs(expected).max()

    def test_bad_flag(self):
        with pytest.raises(ValueError, match="`guided` must be a bool. Received: guided=1"):
            readouts.MultiLayerReadout(guided=1)
