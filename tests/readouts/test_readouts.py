import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import readouts
from tf_learnprop.readouts import Signals


def slow_to_image(one, size, blur):
    """One map resized by linear interpolation, then blurred, pixel by pixel along each axis."""
    for axis, target in enumerate(size):
        source = one.shape[axis]
        rows = []
        for index in range(target):
            centre = min(max((index + 0.5) * source / target - 0.5, 0), source - 1)
            low = int(centre)
            high = min(low + 1, source - 1)
            part = centre - low
            rows.append((1 - part) * np.take(one, low, axis) + part * np.take(one, high, axis))
        one = np.stack(rows, axis)
    for axis, length in enumerate(size):
        sigma = blur * length
        if sigma:
            rows = []
            for here in range(length):
                weights = np.exp(-0.5 * ((np.arange(length) - here) / sigma) ** 2)
                rows.append(np.tensordot(weights / weights.sum(), one, (0, axis)))
            one = np.stack(rows, axis)
    return one


def slow_multi_layer(image, activations, signals, weights, blur, strength=None):
    """The sum layer by layer; `strength` is κ, None for a readout without a focus."""
    maps = np.zeros(image.shape[:-1])
    for sample in range(len(image)):
        zero = 0
        head = (activations[-1][sample].astype(float) * signals[-1][sample]).sum(-1)
        head /= np.sqrt(np.mean(head**2))
        for layer, (y, dy) in enumerate(zip(activations, signals, strict=True)):
            speaks_for, against = np.zeros((2, *y.shape[1:-1]))
            for channel in range(y.shape[-1]):
                product = y[sample, ..., channel] * dy[sample, ..., channel]
                speaks_for += np.where(product > 0, product, 0)
                against += np.where(product < 0, -product, 0)
            weight, beta = weights[:, layer]
            one = weight * (speaks_for - beta * against) / np.sqrt(np.mean((speaks_for + against) ** 2))
            zero += one.mean() / 2
            if strength is not None:
                one /= 1 + np.exp(-strength * slow_to_image(head, one.shape, 0))
            maps[sample] += slow_to_image(one, image.shape[1:-1], blur)
        maps[sample] -= 0 if strength is None else max(zero, 0)
    return maps


def tensors(arrays):
    return [tf.constant(array) for array in arrays]


def slow_blur(evidence, sigma):
    """Gaussian mean around each place of `[*places, classes]`, from the distances between all places."""
    places = np.stack(np.indices(evidence.shape[:-1]), -1).reshape(-1, evidence.ndim - 1)
    square = ((places[:, None] - places[None]) ** 2).sum(-1)
    weights = np.exp(-square / (2 * sigma**2))
    means = weights @ evidence.reshape(len(places), -1) / weights.sum(1, keepdims=True)
    return means.reshape(evidence.shape)


class TestInputReadout:
    @pytest.mark.parametrize("shape", [(9,), (8, 6), (5, 4, 6)])
    @pytest.mark.parametrize("blur", [0.0, 0.1])
    def test_is_the_slow_loop(self, shape, blur):
        image, signal = toys.normal(2, *shape, 3), toys.normal(2, *shape, 3, seed=1)
        maps = readouts.InputReadout(blur)(Signals(tf.constant(image), tf.constant(signal)))
        for index in range(2):
            relevance = sum(image[index, ..., c] * signal[index, ..., c] for c in range(3))
            expected = slow_to_image(relevance, shape, blur)
            np.testing.assert_allclose(maps[index], expected, atol=1e-5)

    def test_features_are_gradient_times_input(self):
        image, signal = toys.normal(3, 5), toys.normal(3, 5, seed=1)
        maps = readouts.InputReadout()(Signals(tf.constant(image), tf.constant(signal)))
        np.testing.assert_allclose(maps, image * signal, rtol=1e-6)

    def test_reads_the_input_alone(self):
        readout = readouts.InputReadout()
        assert readout.needs == readouts.Needs(input_signal=True)
        assert not readout.reads((None, 8, 8, 4), (None, 16, 16, 3))


class TestSaliencyReadout:
    @pytest.mark.parametrize("shape", [(9,), (8, 6)])
    def test_is_the_largest_channel(self, shape):
        image, signal = toys.normal(2, *shape, 3), toys.normal(2, *shape, 3, seed=1)
        maps = readouts.SaliencyReadout()(Signals(tf.constant(image), tf.constant(signal))).numpy()
        for place in np.ndindex(2, *shape):
            assert maps[place] == pytest.approx(max(abs(value) for value in signal[place]), rel=1e-5)

    def test_features(self):
        image, signal = toys.normal(3, 5), toys.normal(3, 5, seed=1)
        maps = readouts.SaliencyReadout()(Signals(tf.constant(image), tf.constant(signal)))
        np.testing.assert_array_equal(maps, np.abs(signal))

    def test_of_a_model_is_its_input_gradient(self):
        model, images = toys.small_cnn(), toys.images(3)
        wrapped = tlp.wrap_model(model, "gradient", readout="saliency")
        expected = np.abs(wrapped.input_signal(images, 1)).max(-1)
        np.testing.assert_allclose(wrapped.explain(images, 1), expected, rtol=1e-5, atol=1e-7)


class TestMultiLayerReadout:
    @pytest.mark.parametrize(
        ("size", "sources"),
        [
            ((12,), [(12,), (6,), (3,)]),
            ((8, 12), [(8, 12), (4, 6), (4, 6), (2, 3)]),
            ((4, 6, 8), [(2, 3, 4)]),
        ],
    )
    @pytest.mark.parametrize(("blur", "focus"), [(0.0, 0.0), (1 / 16, 0.0), (1 / 16, 3.0)])
    def test_is_the_slow_loop(self, size, sources, blur, focus):
        image = toys.normal(2, *size, 3)
        activations = [toys.normal(2, *source, 4 + k, seed=k) for k, source in enumerate(sources)]
        signals = [1e-4 * toys.normal(*y.shape, seed=9) for y in activations]
        readout = readouts.MultiLayerReadout(blur, focus=focus, guided=False)
        readout.build(len(sources))
        strength = None
        if focus:
            readout.raw_focus.assign(0.1)
            strength = focus * (0.5 + 0.5 * np.log1p(np.exp(1 + np.log(np.e - 1))))
            np.testing.assert_allclose(readout.focus_strength(), strength, rtol=1e-6)
        readout.raw_weights.assign(np.linspace(-0.3, 0.3, 2 * len(sources)).reshape(2, -1))
        raw = 10 * np.asarray(readout.raw_weights, np.float64)
        weights = np.stack([np.log1p(np.exp(raw[0] + np.log(np.e - 1))), 1 / (1 + np.exp(-raw[1]))])
        np.testing.assert_allclose(readout.layer_weights(), weights, rtol=1e-5)
        maps = readout(Signals(tf.constant(image), None, tensors(activations), tensors(signals)))
        expected = slow_multi_layer(image, activations, signals, weights, blur, strength)
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-4)

    def test_weights_start_at_one_and_a_half(self):
        readout = readouts.MultiLayerReadout()
        readout.build(5)
        np.testing.assert_allclose(readout.layer_weights(), [[1.0] * 5, [0.5] * 5], rtol=1e-6)
        np.testing.assert_allclose(readout.focus_strength(), readout.focus, rtol=1e-6)

    def test_without_a_focus_there_is_no_weight_for_it(self):
        readout = readouts.MultiLayerReadout(focus=0)
        readout.build(5)
        assert len(readout.weights) == 1 and readout.focus_strength() == 0

    def test_the_focus_takes_earlier_layers_where_the_last_one_speaks_for_the_class(self):
        """An even early layer, and a last one of which one half speaks for the class, the other against."""
        even = np.ones((1, 8, 8, 1), "float32")
        half = np.where(np.arange(4)[:, None] < 2, 1, -1) * np.ones((1, 4, 4, 1))
        cases = [one.astype("float32") for one in (half, np.swapaxes(half, 1, 2), -half)]
        for last in cases:
            readout = readouts.MultiLayerReadout(blur=0, focus=50)
            readout.build(2)
            terms, relevance = readout.terms(tensors([even, np.abs(last)]), tensors([even, last]))
            expected = np.repeat(np.repeat(last[..., 0] > 0, 2, 1), 2, 2)
            np.testing.assert_allclose(readout.focus_of(relevance, None).on(terms[0]), expected, atol=1e-5)

    @pytest.mark.parametrize("contrast", ["objects", "names"])
    @pytest.mark.parametrize(("signed", "region"), [(False, 0.0), (True, 0.0), (True, 1.5)])
    @pytest.mark.parametrize(("size", "source", "places"), [((8, 6), (4, 3), (2, 3)), ((12,), (6,), (5,))])
    def test_classes_compete_by_the_slow_loop(self, size, source, places, signed, region, contrast):
        """f is the softmax of the evidence, less its mean over the classes, over the RMS of a sample.

        Of objects, a rival counts for as much as its evidence lies elsewhere.
        """
        image, y = toys.normal(2, *size, 3), toys.normal(2, *source, 4, seed=1)
        dy, evidence = toys.normal(*y.shape, seed=2), toys.normal(2, *places, 4, seed=3)
        readout = readouts.MultiLayerReadout(
            blur=0,
            focus=3.0,
            rivals=3,
            signed=signed,
            region=region,
            contrast=contrast,
            guided=False,
        )
        readout.build(1)
        maps = readout(Signals(tf.constant(image), None, [y], [dy], tf.constant(1e-3 * evidence)))

        def share(evidence, strength):
            powers = weights * np.exp(strength * evidence / np.sqrt((evidence**2).mean()))
            return powers[..., 0] / powers.sum(-1)

        plain = readouts.MultiLayerReadout(blur=0, focus=0)
        plain.build(1)
        terms, _ = plain.terms([y], [dy])
        for sample in range(2):
            weights = np.ones(4)
            for rival in (1, 2, 3) if contrast == "objects" else ():
                alike = np.corrcoef(evidence[sample, ..., 0].ravel(), evidence[sample, ..., rival].ravel())
                weights[rival] = np.clip(1 - alike[0, 1], 1e-4, 1) ** 2
            centred = evidence[sample] - evidence[sample].mean(-1, keepdims=True)
            wide = 0.01 + 0.99 * share(slow_blur(centred, region), 3.0) if region else np.ones(places)
            focus = share(centred, 3.0) * wide
            term = terms[0][sample].numpy()
            expected = slow_to_image(term * slow_to_image(focus, source, 0), size, 0)
            zero = max(term.mean(), 0) * wide.max() / weights.sum() if signed else 0
            np.testing.assert_allclose(maps[sample], expected - zero, atol=1e-5)

    def test_other_names_of_the_object_do_not_compete(self):
        """The object is on the left; one rival is another name of it, the other one is elsewhere."""
        left = np.repeat([[2.0], [0.1]], 4, 0) * np.ones((8, 8))
        evidence = np.stack([left, 1.1 * left, left[::-1]], -1)[None]
        maps = tf.ones([1, 8, 8])

        def focus(contrast):
            readout = readouts.MultiLayerReadout(focus=2.0, rivals=2, region=0, contrast=contrast)
            readout.build(1)
            return readout.focus_of(maps, tf.constant(evidence, tf.float32)).on(maps).numpy()[0, [0, 7], 0]

        on_object, elsewhere = focus("objects")
        assert on_object > 0.95 and elsewhere < 0.05
        assert focus("names")[0] < 0.5

    @pytest.mark.parametrize("contrast", ["classes", True, 1])
    def test_unknown_contrast(self, contrast):
        with pytest.raises(ValueError, match="`contrast` must be 'objects', 'names' or None. Received"):
            readouts.MultiLayerReadout(contrast=contrast)

    def test_only_places_that_speak_for_the_class_are_above_zero(self):
        """Evenly relevant places; on one half the asked class wins, on the other a rival."""
        wins = np.repeat([[1.0], [-1.0]], 4, 0)[..., None] * [1, -1, 0] * np.ones((1, 8, 8, 3))
        even = np.ones((1, 8, 8, 2), "float32")
        readout = readouts.MultiLayerReadout(blur=0, focus=1.0, rivals=2, region=0)
        readout.build(1)
        (found,) = readout(
            Signals(tf.constant(even), None, [even], [even], tf.constant(wins, tf.float32))
        ).numpy()
        shares = np.exp([np.sqrt(1.5), -np.sqrt(1.5), 0])
        np.testing.assert_allclose(found[:4], shares[0] / shares.sum() - 1 / 3, atol=1e-5)
        np.testing.assert_allclose(found[4:], shares[1] / shares.sum() - 1 / 3, atol=1e-5)

    def test_the_same_evidence_counts_less_in_the_region_of_a_rival(self):
        """Half of the places speak for the class, half for a rival; one place in each says nothing."""
        wins = np.repeat([[1.0], [-1.0]], 8, 0)[..., None] * [1, -1] * np.ones((1, 16, 16, 2))
        wins[0, [3, 12], 8] = 0
        maps = tf.ones([1, 16, 16])

        def focus(region):
            readout = readouts.MultiLayerReadout(focus=2.0, rivals=1, region=region)
            readout.build(1)
            return readout.focus_of(maps, tf.constant(wins, tf.float32)).on(maps).numpy()[0, [3, 12], 8]

        np.testing.assert_allclose(focus(0), 0.5, atol=1e-6)
        own, other = focus(2.0)
        # Both halves are even: the share of a region is a softmax of ±κ, twice the evidence of the place.
        np.testing.assert_allclose(own, 0.5 * (0.01 + 0.99 / (1 + np.exp(-4.0))), atol=0.01)
        np.testing.assert_allclose(other, 0.5 * (0.01 + 0.99 / (1 + np.exp(4.0))), atol=0.01)

    def test_a_class_that_loses_everywhere_has_its_zero_where_it_loses_least(self):
        """A rival wins all places, on one half by less: there, a relevant place is still above zero."""
        lead = np.repeat([[1.0], [4.0]], 8, 0)[..., None] * [-1, 1] * np.ones((1, 16, 16, 2))
        y = np.ones((1, 16, 16, 2), "float32")
        y[0, [2, 13], 8] = 3
        readout = readouts.MultiLayerReadout(blur=0, focus=1.0, rivals=1)
        readout.build(1)
        (found,) = readout(Signals(tf.constant(y), None, [y], [y], tf.constant(lead, tf.float32))).numpy()
        assert found[2, 8] > 0 > found[13, 8]

    def test_pixels_keep_their_order_where_the_region_is_a_rivals(self):
        wins = np.array([-1.0, 1.0]) * np.ones((1, 8, 8, 2))
        maps = tf.constant(np.arange(64).reshape(1, 8, 8), tf.float32)
        readout = readouts.MultiLayerReadout(focus=20.0, rivals=1)
        readout.build(1)
        found = readout.focus_of(maps, tf.constant(wins, tf.float32)).on(maps)
        assert (np.diff(np.ravel(found)) > 0).all()

    @pytest.mark.parametrize("region", [-1.0, 1e4, True, None])
    def test_bad_region(self, region):
        with pytest.raises(ValueError, match="`region` must be a number in \\[0, 1000\\]. Received: region="):
            readouts.MultiLayerReadout(region=region)

    @pytest.mark.parametrize("rivals", [-1, 65, 2.0, True, None])
    def test_bad_rivals(self, rivals):
        with pytest.raises(ValueError, match="`rivals` must be an int in 0..64. Received: rivals="):
            readouts.MultiLayerReadout(rivals=rivals)

    def test_bad_sign(self):
        with pytest.raises(ValueError, match="`signed` must be a bool. Received: signed=1"):
            readouts.MultiLayerReadout(signed=1)

    def test_without_a_focus_there_is_no_zero(self):
        assert readouts.MultiLayerReadout().signed
        assert not readouts.MultiLayerReadout(focus=0).signed

    def test_weights_are_never_negative(self):
        readout = readouts.MultiLayerReadout()
        readout.build(3)
        readout.raw_weights.assign([[-100.0, -1.0, 100.0]] * 2)
        weights = readout.layer_weights().numpy()
        assert (weights >= 0).all() and np.isfinite(weights).all()
        assert (weights[1] <= 1).all()

    def test_a_layer_that_is_all_against_stays_finite(self):
        image, y = toys.normal(1, 8, 8, 3), np.abs(toys.normal(1, 4, 4, 5))
        readout = readouts.MultiLayerReadout(blur=0)
        readout.build(1)
        maps = readout(Signals(tf.constant(image), None, [tf.constant(y)], [tf.constant(-y)]))
        assert (maps.numpy() < 0).all() and np.abs(maps).max() < 10

    def test_is_blind_to_the_scale_of_the_signals(self):
        image, y, dy = toys.normal(1, 8, 8, 3), toys.normal(1, 4, 4, 5), toys.normal(1, 4, 4, 5, seed=1)
        readout = readouts.MultiLayerReadout()
        readout.build(1)
        one, other = (
            readout(Signals(tf.constant(image), None, [tf.constant(y)], [tf.constant(scale * dy)]))
            for scale in (1e-6, 1e3)
        )
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)

    def test_zero_signals_give_zero_maps_and_finite_gradients(self):
        readout = readouts.MultiLayerReadout()
        readout.build(1)
        dy = tf.zeros([2, 4, 4, 5])
        with tf.GradientTape() as tape:
            tape.watch(dy)
            maps = readout(
                Signals(tf.zeros([2, 8, 8, 3]), None, [tf.constant(toys.normal(2, 4, 4, 5))], [dy])
            )
        np.testing.assert_array_equal(maps, np.zeros((2, 8, 8)))
        assert np.isfinite(tape.gradient(maps, dy)).all()

    @pytest.mark.parametrize(
        ("shape", "read"),
        [
            ((None, 64, 64, 8), True),
            ((None, 65, 64, 8), False),
            ((None, 2, 2, 8), True),
            ((None, 1, 1, 8), False),
            ((None, 7, 1, 8), False),
            ((None, None, None, 8), True),
            ((None, 8), False),
            ((None, 8, 8), False),
            ((None, 4, 4, 4, 8), False),
        ],
    )
    def test_what_is_read_of_images(self, shape, read):
        assert readouts.MultiLayerReadout().reads(shape, (None, 224, 224, 3)) is read

    def test_what_is_read_of_other_inputs(self):
        readout = readouts.MultiLayerReadout(max_size=10)
        assert readout.reads((None, 10, 4), (None, 99, 2))
        assert not readout.reads((None, 11, 4), (None, 99, 2))
        assert not readout.reads((None, 5), (None, 7))
        assert readouts.MultiLayerReadout(max_size=None).reads((None, 500, 4), (None, 999, 2))

    def test_sizes_known_only_at_run_time(self):
        readout = readouts.MultiLayerReadout()
        readout.build(2)
        spec = tf.TensorSpec([None, None, None, 3])

        @tf.function(input_signature=[spec] * 3)
        def maps(image, large, small):
            return readout(Signals(image, None, [large, small], [large, small]))

        arrays = [toys.normal(2, 9, 12, 3), toys.normal(2, 9, 12, 3), toys.normal(2, 4, 5, 3)]
        pairs = tensors(arrays[1:])
        expected = readout(Signals(tf.constant(arrays[0]), None, pairs, pairs))
        np.testing.assert_allclose(maps(*arrays), expected, atol=1e-5)

    @pytest.mark.parametrize("focus", [-1, 1000.1, float("inf"), None])
    def test_bad_focus(self, focus):
        with pytest.raises(ValueError, match="`focus` must be a number in \\[0, 1000\\]. Received: focus="):
            readouts.MultiLayerReadout(focus=focus)

    @pytest.mark.parametrize("max_size", [1, 0, True, 10**9, 2.5, "all"])
    def test_bad_max_size(self, max_size):
        with pytest.raises(
            ValueError, match="`max_size` must be None or an int in 2..16777216. Received: max_size="
        ):
            readouts.MultiLayerReadout(max_size=max_size)


@pytest.mark.parametrize("blur", [-0.1, 1.01, 1e9, float("nan"), float("inf"), "wide", True])
@pytest.mark.parametrize("readout", [readouts.InputReadout, readouts.MultiLayerReadout])
def test_bad_blur(readout, blur):
    with pytest.raises(ValueError, match="`blur` must be a number in \\[0, 1\\]. Received: blur="):
        readout(blur=blur)


@pytest.mark.parametrize(
    "readout",
    [
        readouts.InputReadout(0.2),
        readouts.MultiLayerReadout(0.1, max_size=None, guided=False),
        readouts.SeriesReadout(3.0, input_weight=0.1, max_size=99, rivals=4),
    ],
)
def test_config_round_trip(readout):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(readout))
    assert type(twin) is type(readout)
    assert twin.get_config() == readout.get_config()


class TestSeriesReadout:
    @pytest.mark.parametrize("smoothing", [0.0, 1.5])
    @pytest.mark.parametrize("signed", [True, False])
    def test_is_the_slow_loop(self, smoothing, signed):
        """Each layer is blurred at its own places, then resized; the input's relevance is added."""
        series, gradient = toys.normal(2, 24, 3), toys.normal(2, 24, 3, seed=1)
        activations = [toys.normal(2, places, 4, seed=places) for places in (24, 12, 6)]
        signals = [toys.normal(*y.shape, seed=9) for y in activations]
        readout = readouts.SeriesReadout(smoothing, input_weight=0.3, signed=signed)
        readout.build(3)
        received = Signals(tf.constant(series), tf.constant(gradient), tensors(activations), tensors(signals))
        maps = readout(received)
        assert maps.shape == (2, 24)
        for index, one in enumerate(maps):
            head = (activations[-1][index] * signals[-1][index]).sum(-1)
            head /= np.sqrt(np.mean(head**2))
            total, zero = 0, 0
            for y, dy in zip(activations, signals, strict=True):
                product = y[index] * dy[index]
                speaks_for, against = np.maximum(product, 0).sum(-1), np.maximum(-product, 0).sum(-1)
                term = (speaks_for - against / 2) / np.sqrt(np.mean((speaks_for + against) ** 2))
                zero += term.mean() / 2
                term /= 1 + np.exp(-2 * slow_to_image(head, term.shape, 0))
                if smoothing:
                    term = slow_blur(term[:, None], smoothing)[:, 0]
                total += slow_to_image(term, (24,), 0)
            own = (series[index] * gradient[index]).sum(-1)
            expected = (total - signed * max(zero, 0)) / np.sqrt(np.mean(total**2))
            expected += 0.3 * own / np.sqrt(np.mean(own**2))
            np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)

    def test_reads_layers_of_any_length(self):
        assert readouts.SeriesReadout().reads((None, 10**6, 4), (None, 10**6, 2))
        assert not readouts.SeriesReadout(max_size=99).reads((None, 100, 4), (None, 999, 2))
        assert readouts.SeriesReadout().needs.input_signal

    @pytest.mark.parametrize("option", ["smoothing", "input_weight"])
    @pytest.mark.parametrize("value", [-1, 1001, float("nan"), "2", None])
    def test_bad_options(self, option, value):
        with pytest.raises(
            ValueError, match=f"`{option}` must be a number in \\[0, 1000\\]. Received: {option}="
        ):
            readouts.SeriesReadout(**{option: value})


class TestGet:
    def test_names(self):
        assert isinstance(readouts.get("input"), readouts.InputReadout)
        assert isinstance(readouts.get("multi_layer"), readouts.MultiLayerReadout)
        assert isinstance(readouts.get("saliency"), readouts.SaliencyReadout)

    def test_a_readout_is_copied(self):
        readout = readouts.MultiLayerReadout(0.2, 7, 2.0, 3, True)
        readout.build(3)
        copy = readouts.get(readout)
        assert copy is not readout and not copy.built
        settings = (copy.blur, copy.max_size, copy.focus, copy.needs.rivals, copy.signed)
        assert settings == (0.2, 7, 2.0, 3, True)

    def test_unknown(self):
        with pytest.raises(ValueError, match="one of .*'tokens'.*'multi_layer'.*Received: readout='x'"):
            readouts.get("x")
        with pytest.raises(TypeError, match="must be a name or a `Readout`"):
            readouts.get(readouts.InputReadout)


def test_a_readout_must_write_call():
    with pytest.raises(NotImplementedError, match="Readout must implement `call"):
        readouts.Readout().call(None)


class TestRegistry:
    def test_a_name_for_a_readout_of_ones_own(self):
        @readouts.register("squared_signal")
        class Squared(readouts.Readout):
            needs = readouts.Needs(input_signal=True)

            def call(self, signals):
                return tf.reduce_sum(signals.input_signal**2, -1)

        model, images = toys.small_cnn(), toys.images(2)
        wrapped = tlp.wrap_model(model, "gradient", readout="squared_signal")
        expected = (wrapped.input_signal(images) ** 2).sum(-1)
        np.testing.assert_allclose(wrapped.explain(images), expected, rtol=1e-5)
        assert "squared_signal" in readouts.names()

    def test_each_name_belongs_to_one_readout(self):
        with pytest.raises(
            ValueError, match="name of its own. Received: 'input', which is InputReadout, for"
        ):
            readouts.register("input")(readouts.SaliencyReadout)


class ReadsNothing(readouts.Readout):
    """Needs activations, and reads none."""


def test_needs_that_a_model_can_not_meet():
    with pytest.raises(ValueError, match="ReadsNothing needs activations, and this model has none"):
        tlp.wrap_model(toys.small_cnn(), "gradient", readout=ReadsNothing())
