import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies
from scipy import special

import tf_learnprop as tlp
from tests import toys
from tests.joint_masks import slow_joint_mask
from tf_learnprop import fills, objectives
from tf_learnprop.graph.output_head import promote_class

slow_enough = hypothesis.settings(max_examples=25, deadline=None, derandomize=True)


def heavy_tailed(shape, seed):
    """Maps of which a few pixels are far larger than the rest, of either sign."""
    return np.random.default_rng(seed).standard_t(1.5, size=shape).astype("float32")


def slow_soft_mask(maps, area, width):
    masks = np.empty(maps.shape)
    for index, (one, fraction) in enumerate(zip(maps, area, strict=True)):
        flat = one.ravel().astype("float64")
        flat = flat / flat.std()
        descending = sorted(flat, reverse=True)

        def quantile(f, descending=descending):
            return descending[int(np.round(min(max(f, 0), 1) * (len(descending) - 1)))]

        edge = quantile(fraction)
        above = (quantile(fraction - width) - edge) / 2 + 1e-6
        below = (edge - quantile(fraction + width)) / 2 + 1e-6
        exponents = [(v - edge) / (above if v > edge else below) for v in flat]
        masks[index] = (1 / (1 + np.exp(-np.clip(exponents, -80, 80)))).reshape(one.shape)
    return masks


class Linear:
    """A softmax of a linear map of the image, in TensorFlow and in NumPy."""

    def __init__(self, features, classes=3):
        self.weights = np.random.default_rng(9).normal(size=(features, classes)).astype("float32")

    def __call__(self, images):
        flat = tf.reshape(images, [tf.shape(images)[0], -1])
        return tf.nn.log_softmax(flat @ self.weights)

    def probabilities(self, images):
        return special.softmax(images.reshape(len(images), -1) @ self.weights, -1)


@pytest.fixture
def problem():
    """(images, maps, classifier)"""
    generator = np.random.default_rng(1)
    images = generator.normal(size=(4, 6, 5, 2)).astype("float32")
    return images, heavy_tailed((4, 6, 5), 2), Linear(60)


def run(objective, images, maps, classify, **kwargs):
    image = tf.constant(images)
    losses = objective(image, tf.constant(maps), classify(image), classify=classify, **kwargs)
    return {name: value.numpy() for name, value in losses.items()}


class TestSoftMask:
    @slow_enough
    @hypothesis.given(
        shape=strategies.sampled_from([(3, 400), (2, 16, 16), (3, 20, 9), (1, 7, 8, 9)]),
        area=strategies.floats(0.05, 0.9),
        width=strategies.sampled_from([0.04, 0.15]),
        seed=strategies.integers(0, 99),
    )
    def test_keeps_about_the_area(self, shape, area, width, seed):
        maps = heavy_tailed(shape, seed)
        mask = objectives.soft_mask(tf.constant(maps), tf.fill([shape[0]], area), width).numpy()
        assert mask.shape == shape
        kept = mask.reshape(shape[0], -1).mean(1)
        # Within the width of either end the edge is cut off, and the mask is a little too large or small.
        near_end = area < width or area > 1 - width
        np.testing.assert_allclose(kept, area, atol=(0.6 if near_end else 0.2) * width + 0.01)

    @slow_enough
    @hypothesis.given(seed=strategies.integers(0, 99), area=strategies.floats(0.05, 0.9))
    def test_is_the_slow_loop(self, seed, area):
        maps = heavy_tailed((2, 5, 7), seed)
        areas = np.array([area, 0.3], "float32")
        mask = objectives.soft_mask(tf.constant(maps), tf.constant(areas), 0.15)
        np.testing.assert_allclose(mask, slow_soft_mask(maps, areas, 0.15), atol=1e-4)

    @pytest.mark.parametrize("scale", [1e-4, 0.1, 1e4])
    @pytest.mark.parametrize("offset", [0.0, -3.0, 20.0])
    def test_is_blind_to_scale_and_offset(self, scale, offset):
        maps = heavy_tailed((2, 12, 12), 0)
        area = tf.constant([0.1, 0.5])
        mask = objectives.soft_mask(tf.constant(maps), area)
        other = objectives.soft_mask(tf.constant(scale * (maps + offset)), area)
        np.testing.assert_allclose(other, mask, atol=2e-3)

    def test_orders_pixels_as_the_map_does(self):
        maps = heavy_tailed((1, 64), 0)
        mask = objectives.soft_mask(tf.constant(maps), tf.constant([0.5])).numpy()
        assert (np.diff(mask[0, np.argsort(maps[0])]) >= 0).all()
        assert mask.min() < 0.05 and mask.max() > 0.95

    def test_gradient_flows_through_the_quantile(self):
        # Raising the whole map changes no mask; with the quantile held fixed it would.
        maps = tf.constant(heavy_tailed((3, 10, 10), 0))
        with tf.GradientTape() as tape:
            tape.watch(maps)
            mean = tf.reduce_mean(objectives.soft_mask(maps, tf.constant([0.1, 0.3, 0.6])))
        gradient = tape.gradient(mean, maps).numpy()
        assert np.abs(gradient).max() > 1e-5
        np.testing.assert_allclose(gradient.sum((1, 2)), 0.0, atol=1e-6)

    def test_gradient_of_a_constant_map_is_finite(self):
        maps = tf.zeros([2, 6, 6])
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(objectives.soft_mask(maps, tf.constant([0.1, 0.5])) ** 2)
        assert np.isfinite(tape.gradient(total, maps)).all()


class TestAreaGuidance:
    def expected(self, objective, images, maps, classify):
        """The loss without training, sample by sample."""
        rows = []
        images, maps = (np.concatenate([array] * objective.masks) for array in (images, maps))
        for index, (image, one) in enumerate(zip(images, maps, strict=True)):
            spread = (0.5 + index / 1.6180339887) % 1.0
            area = objective.min_area + (objective.max_area - objective.min_area) * spread
            mask = slow_soft_mask(one[None], [area], objective.width)[0]
            # Every sample gets one of the fills, in turn, and so do the masks of a sample.
            turn = index + index // (len(images) // objective.masks)
            name = objective.fills[turn % len(objective.fills)]
            fill = fills.BY_NAME[name](tf.constant(images)).numpy()[index]
            m = mask[..., None]
            p = classify.probabilities(image[None])[0]
            kept = classify.probabilities((m * image + (1 - m) * fill)[None])[0]
            removed = classify.probabilities((m * fill + (1 - m) * image)[None])[0]
            preserve = -np.sum(p * np.log(kept))
            destroy = -np.log(1 - removed[p.argmax()] + 1e-3)
            rows.append((preserve + destroy, preserve, destroy, mask.mean()))
        names = ("loss", "preserve", "destroy", "mask_area")
        means = np.reshape(rows, [objective.masks, -1, 4]).mean(0)
        return dict(zip(names, means.T, strict=True))

    @pytest.mark.parametrize("masks", [1, 3])
    @pytest.mark.parametrize("names", [("mean",), ("blur", "mean", "noise", "shift", "blocks")])
    def test_is_the_slow_loop(self, problem, names, masks):
        objective = objectives.AreaGuidance(min_area=0.1, max_area=0.6, width=0.1, fills=names, masks=masks)
        losses = run(objective, *problem, training=False)
        expected = self.expected(objective, *problem)
        assert losses.keys() == expected.keys() == {"loss", *objective.reported}
        for name, value in expected.items():
            np.testing.assert_allclose(losses[name], value, rtol=2e-3, atol=1e-4, err_msg=name)

    def test_takes_features(self):
        images = np.random.default_rng(0).normal(size=(5, 30)).astype("float32")
        losses = run(objectives.AreaGuidance(), images, images * 2.0, Linear(30), training=False)
        assert losses["loss"].shape == (5,)
        assert np.isfinite(losses["loss"]).all()

    def test_evaluation_draws_nothing(self, problem):
        objective = objectives.AreaGuidance()
        first, second = (run(objective, *problem, training=False) for _ in range(2))
        np.testing.assert_array_equal(first["loss"], second["loss"])

    def test_training_draws_by_the_seed(self, problem):
        def losses(seed):
            objective = objectives.AreaGuidance(seed=seed)
            return [run(objective, *problem, training=True)["loss"] for _ in range(4)]

        first = losses(0)
        np.testing.assert_array_equal(first, losses(0))
        assert all(np.abs(first[0] - other).max() > 1e-3 for other in first[1:])
        assert np.abs(np.subtract(first, losses(1))).max() > 1e-3

    def test_training_draws_areas_over_their_whole_range(self):
        objective = objectives.AreaGuidance(min_area=0.2, max_area=0.6)
        maps = np.random.default_rng(0).normal(size=(300, 100)).astype("float32")
        areas = run(objective, maps, maps, Linear(100), training=True)["mask_area"]
        assert abs(np.mean(areas) - 0.4) < 0.03
        assert 0.17 < np.min(areas) < 0.23 and 0.57 < np.max(areas) < 0.63

    def test_training_draws_every_fill(self):
        seen = []

        def classify(inputs):
            seen.append(inputs.numpy())
            return tf.nn.log_softmax(tf.zeros([tf.shape(inputs)[0], 2]))

        objective = objectives.AreaGuidance(0.3, 0.3, 0.01, fills=("mean", "shift"))
        images = np.repeat(np.arange(4.0, dtype="float32"), 50).reshape(4, 50)
        maps = np.random.default_rng(0).normal(size=(4, 50)).astype("float32")
        for _ in range(12):
            run(objective, images, maps, classify, training=True)
        # Sample 0 is all zeros; where it is masked it holds the mean, 1.5, or its neighbour, 3.
        filled = {round(float(inputs[0].max()), 2) for inputs in seen if len(inputs) == 8}
        assert filled == {1.5, 3.0}

    def test_perfect_and_inverted_maps(self):
        # One feature decides; a map that ranks it first is judged better than one that ranks it last.
        classify = Linear(40, 2)
        classify.weights[:] = 0.0
        classify.weights[7] = -4.0, 4.0
        images = np.random.default_rng(0).normal(size=(8, 40)).astype("float32")
        images[:, 7] = np.where(np.arange(8) % 2, 1.0, -1.0)
        maps = 0.01 * np.random.default_rng(1).normal(size=images.shape).astype("float32")
        maps[:, 7] = 1.0
        objective = objectives.AreaGuidance(fills=("mean",))
        good = run(objective, images, maps, classify, training=False)
        bad = run(objective, images, -maps, classify, training=False)
        assert good["preserve"].mean() < 0.2 < 0.5 < bad["preserve"].mean()
        assert good["destroy"].mean() < 1.0 < 2.0 < bad["destroy"].mean()

    @pytest.mark.parametrize(
        "arguments",
        [
            {"min_area": 0.0},
            {"max_area": 1.0},
            {"min_area": 0.6, "max_area": 0.5},
            {"min_area": float("nan")},
            {"width": 0.0},
            {"width": 1.0},
            {"fills": ()},
            {"fills": ("blur", "magic")},
            {"fills": "blur"},
            {"masks": 0},
            {"masks": 1.5},
            {"masks": True},
        ],
    )
    def test_bad_arguments(self, arguments):
        with pytest.raises(ValueError, match="Received"):
            objectives.AreaGuidance(**arguments)

    def test_config_round_trip(self, problem):
        objective = objectives.AreaGuidance(0.1, 0.5, 0.2, ("noise", "shift"), seed=7, masks=2)
        twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(objective))
        assert twin.get_config() == objective.get_config()
        assert (twin.fills, twin.seed) == (("noise", "shift"), 7)
        one, two = (run(each, *problem, training=True)["loss"] for each in (objective, twin))
        np.testing.assert_array_equal(one, two)


class TestSeveralInputs:
    """Photos of 30 pixels, tables of 4 columns and a single number, on one scale."""

    images = [toys.normal(4, *shape, seed=k) for k, shape in enumerate(((6, 5, 2), (4,), (1,)))]
    maps = [heavy_tailed((4, *shape), k) for k, shape in enumerate(((6, 5), (4,), (1,)))]
    maps = [one / np.float32(one[0].size) for one in maps]

    def classify(self, images):
        return Linear(65)(tf.concat([tf.reshape(one, [tf.shape(one)[0], -1]) for one in images], 1))

    def run(self, objective, training=False):
        tensors = [list(map(tf.constant, of)) for of in (self.images, self.maps)]
        losses = objective(*tensors, self.classify(tensors[0]), classify=self.classify, training=training)
        return {name: values.numpy() for name, values in losses.items()}

    @pytest.mark.parametrize("area", [0.03, 0.2, 0.37, 0.71])
    def test_one_threshold_for_all(self, area):
        found = objectives.soft_mask(list(map(tf.constant, self.maps)), tf.fill([4], area), 0.15)
        for index in range(4):
            expected = slow_joint_mask([one[index] for one in self.maps], area, 0.15)
            for mask, values in zip(found, expected, strict=True):
                np.testing.assert_allclose(mask[index], values, atol=1e-4)

    def test_each_input_has_the_same_area(self):
        """Of maps that follow one distribution, half of each is kept, however many places it has."""
        maps = [np.random.default_rng(k).normal(size=(1, size)) / size for k, size in enumerate((4000, 200))]
        masks = objectives.soft_mask([tf.constant(one, tf.float32) for one in maps], tf.constant([0.5]))
        np.testing.assert_allclose([np.mean(mask) for mask in masks], 0.5, atol=0.06)

    def test_a_list_of_one_is_one(self):
        maps = heavy_tailed((3, 40, 40), 5)
        areas = tf.constant([0.1, 0.4, 0.7])
        (of_list,) = objectives.soft_mask([tf.constant(maps)], areas)
        np.testing.assert_allclose(of_list, objectives.soft_mask(tf.constant(maps), areas), atol=5e-3)

    @pytest.mark.parametrize("name", ["mean", "shift"])
    def test_the_loss_is_the_slow_loop(self, name):
        objective = objectives.AreaGuidance(fills=(name,))
        found, classify = self.run(objective), Linear(65)

        def probabilities(images):
            return classify.probabilities(np.concatenate([one.ravel() for one in images])[None])[0]

        filled = [fills.BY_NAME[name](tf.constant(one)).numpy() for one in self.images]
        for index in range(4):
            area = 0.05 + 0.65 * ((0.5 + index / 1.6180339887) % 1.0)
            masks = slow_joint_mask([one[index] for one in self.maps], area, 0.15)
            rows = [(one[index], fill[index]) for one, fill in zip(self.images, filled, strict=True)]
            wide = [masks[0][..., None], *masks[1:]]
            p = probabilities([x for x, _ in rows])
            kept = [m * x + (1 - m) * b for m, (x, b) in zip(wide, rows, strict=True)]
            removed = [m * b + (1 - m) * x for m, (x, b) in zip(wide, rows, strict=True)]
            preserve = -np.sum(p * np.log(probabilities(kept)))
            destroy = -np.log(1 - probabilities(removed)[p.argmax()] + 1e-3)
            np.testing.assert_allclose(found["preserve"][index], preserve, rtol=2e-3)
            np.testing.assert_allclose(found["destroy"][index], destroy, rtol=2e-3)
            np.testing.assert_allclose(
                found["mask_area"][index], np.mean([m.mean() for m in masks]), rtol=2e-3
            )

    def test_no_two_inputs_get_the_same_noise(self):
        objective = objectives.AreaGuidance(fills=("noise",))
        image = [tf.constant(self.images[1])] * 2
        first, second = objective._fill(image, tf.constant(4), training=True)
        assert np.abs(first - second).max() > 0.1

    def test_masks_as_in_the_paper(self):
        found = self.run(objectives.MaskedOutputGuidance(fill="mean"))
        for index in range(4):
            values = [one[index] * one[index].size for one in self.maps]
            low, high = (extreme(np.concatenate(list(map(np.ravel, values)))) for extreme in (np.min, np.max))
            areas = [((one - low) / (high - low)).mean() for one in values]
            np.testing.assert_allclose(found["mask_area"][index], np.mean(areas), rtol=1e-4)


class TestMaskedOutputGuidance:
    @pytest.mark.parametrize("fill", ["blur", "shift"])
    def test_is_the_slow_loop(self, problem, fill):
        images, maps, classify = problem
        losses = run(objectives.MaskedOutputGuidance(0.7, fill), *problem)
        filled = fills.BY_NAME[fill](tf.constant(images)).numpy()
        for index, (image, one) in enumerate(zip(images, maps, strict=True)):
            mask = (one - one.min()) / (one.max() - one.min())
            masked = mask[..., None] * image + (1 - mask[..., None]) * filled[index]
            p, q = classify.probabilities(np.stack([image, masked]))
            preserve = -np.sum(p * np.log(q))
            np.testing.assert_allclose(losses["preserve"][index], preserve, rtol=1e-3)
            np.testing.assert_allclose(losses["mask_area"][index], mask.mean(), rtol=1e-4)
            total = preserve + 0.7 * mask.mean()
            np.testing.assert_allclose(losses["loss"][index], total, rtol=1e-3)

    def test_constant_maps_are_finite(self, problem):
        images, maps, classify = problem
        losses = run(objectives.MaskedOutputGuidance(), images, np.zeros_like(maps), classify)
        assert np.isfinite(losses["loss"]).all()

    @pytest.mark.parametrize(
        "arguments",
        [{"area_weight": -1.0}, {"area_weight": float("nan")}, {"area_weight": np.inf}, {"fill": "x"}],
    )
    def test_bad_arguments(self, arguments):
        with pytest.raises(ValueError, match="Received"):
            objectives.MaskedOutputGuidance(**arguments)

    def test_config_round_trip(self):
        objective = objectives.MaskedOutputGuidance(0.3, "mean", seed=2)
        twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(objective))
        assert (twin.area_weight, twin.fill, twin.seed) == (0.3, "mean", 2)


def test_an_objective_must_write_call():
    with pytest.raises(NotImplementedError, match="Objective must implement `call`"):
        objectives.Objective().call(None, None, None, None)


def test_cross_entropy_by_value():
    target = tf.constant([[0.25, 0.75], [1.0, 0.0]])
    log_probability = tf.math.log([[0.5, 0.5], [0.1, 0.9]])
    expected = [np.log(2), -np.log(0.1)]
    np.testing.assert_allclose(objectives.cross_entropy(target, log_probability), expected, rtol=1e-6)


def test_masked_by_value():
    image, fill = tf.constant([[[2.0, 4.0]]]), tf.constant([[[0.0, 8.0]]])
    np.testing.assert_allclose(objectives.masked(image, tf.constant([[0.25]]), fill), [[[0.5, 7.0]]])
    features = objectives.masked(tf.constant([[2.0]]), tf.constant([[0.25]]), tf.constant([[4.0]]))
    np.testing.assert_allclose(features, [[3.5]])


class TestCollages:
    """Sample k is filled with the number k, so that a pixel says which sample it was taken from."""

    @staticmethod
    def numbered(count, *shape):
        numbers = np.arange(count, dtype="float32").reshape(-1, *[1] * len(shape))
        return tf.constant(np.broadcast_to(numbers, (count, *shape)).copy())

    @pytest.mark.parametrize("shape", [(12, 3), (12, 9, 3), (6, 9, 12, 1)])
    def test_each_is_cut_once_across_one_axis(self, shape):
        count = 64
        seed = keras.random.SeedGenerator(3)
        result = objectives.cutmix_images(self.numbered(count, *shape), 1.0, seed).numpy()[..., 0]
        axes_seen = set()
        for number, sample in enumerate(result):
            before = (number - 1) % count
            cut = [
                axis
                for axis in range(sample.ndim)
                if (np.take(sample, 0, axis) == number).all() and (np.take(sample, -1, axis) == before).all()
            ]
            assert len(cut) == 1
            line = np.moveaxis(sample, cut[0], 0).reshape(sample.shape[cut[0]], -1)
            assert (line == line[:, :1]).all()
            kept = (line[:, 0] == number).mean()
            assert (line[:, 0] == np.where(np.arange(len(line)) < kept * len(line), number, before)).all()
            assert 1 / 3 - 1e-6 <= kept <= 2 / 3 + 1 / len(line)
            axes_seen.add(cut[0])
        assert axes_seen == set(range(len(shape) - 1))

    def test_share_of_the_samples(self):
        image = self.numbered(400, 6, 6, 1)
        for share, low, high in ((0.0, 0, 0), (0.25, 70, 130), (1.0, 400, 400)):
            result = objectives.cutmix_images(image, share, keras.random.SeedGenerator(0))
            cut = int(np.any(result != image, axis=(1, 2, 3)).sum())
            assert low <= cut <= high

    def test_features_stay_as_they_are(self):
        image = self.numbered(5, 4)
        np.testing.assert_array_equal(objectives.cutmix_images(image, 1.0), image)

    def test_sizes_known_only_at_run_time(self):
        function = tf.function(
            lambda image: objectives.cutmix_images(image, 1.0, None),
            input_signature=[tf.TensorSpec([None, None, None, 2])],
        )
        assert function(self.numbered(3, 5, 4, 2)).shape == (3, 5, 4, 2)

    def test_the_objective_makes_them(self):
        image = self.numbered(8, 6, 6, 1)
        assert np.any(objectives.AreaGuidance(cutmix=1.0).augment(image) != image)
        np.testing.assert_array_equal(objectives.AreaGuidance(cutmix=0).augment(image), image)
        np.testing.assert_array_equal(objectives.MaskedOutputGuidance().augment(image), image)

    @pytest.mark.parametrize("cutmix", [-0.1, 1.5, float("nan")])
    def test_bad_share(self, cutmix):
        with pytest.raises(ValueError, match=r"`cutmix` must be a number in \[0, 1\]. Received: cutmix="):
            objectives.AreaGuidance(cutmix=cutmix)


class TestQuestions:
    """Which class a training step explains."""

    @pytest.mark.parametrize("gap", [0.1, 0.5, 2.0, 20.0])
    @pytest.mark.parametrize("runner_up", [0.0, 0.25, 0.5])
    def test_share_of_the_samples(self, gap, runner_up):
        """The second class is asked for as often as its share of both probabilities says."""
        logits = np.tile(np.float32([1.0, -30.0, 1.0 - gap]), (2000, 1))
        asked = objectives.AreaGuidance(runner_up=runner_up).select_target(tf.constant(logits))
        # The first class keeps samples, the second gets the rest, and the third none.
        moved = float(np.mean(asked[:, 2] > asked[:, 0]))
        expected = 2 * runner_up / (1 + np.exp(gap))
        assert abs(moved - expected) < 0.035  # three standard deviations at most
        assert not np.any(np.argmax(asked, 1) == 1)

    def test_a_single_unit(self):
        """No and yes: with z = 0.5, 2·½·σ(−0.5) of the samples ask for no."""
        asked = objectives.AreaGuidance().select_target(tf.tile([[-0.25, 0.25]], [2000, 1]))
        assert abs(float(np.mean(asked[:, 0] > 0)) - 1 / (1 + np.exp(0.5))) < 0.035

    @pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
    def test_bad_share(self, share):
        with pytest.raises(ValueError, match=r"`runner_up` must be a number in \[0, 1\]"):
            objectives.AreaGuidance(runner_up=share)

    @pytest.mark.parametrize("share", [0.0, 1.0])
    def test_a_step_judges_the_map_of_the_class_it_asks_for(self, share):
        """The loss of a training step is that of maps and logits for the class in question, by hand."""
        model = toys.small_cnn()
        images = tf.constant(toys.images(4))
        wrapped = tlp.wrap_model(model, rule="learned")
        attributor = wrapped.attributor
        found = attributor.guidance(images, objectives.AreaGuidance(cutmix=0, runner_up=share), training=True)

        objective = objectives.AreaGuidance(cutmix=0, runner_up=share)
        logits = wrapped.logits(images)
        classes = np.argmax(objective.select_target(tf.constant(logits)), 1)  # the same draws as above
        assert np.any(classes != np.argmax(logits, 1)) == bool(share)
        maps = tf.constant(wrapped.explain(images, classes))
        asked = tf.nn.log_softmax(promote_class(logits, classes))
        answer = attributor.maps_to_compare(images)[1]._replace(class_ids=classes, log_probabilities=asked)
        expected = attributor.loss_of_maps(images, maps, answer, objective, training=True)
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-3)
