"""The samples and models of `benchmarks targets`: what they call evidence, and how maps are judged."""

import keras
import numpy as np
import pytest

from benchmarks import targets
from benchmarks.evaluation import target_cases, target_models, target_series, target_texts
from benchmarks.evaluation import target_images as images

COUNT = 6


class TestImages:
    def test_things_lie_apart(self):
        generator = np.random.default_rng(0)
        for _ in range(50):
            held = np.zeros((32, 32), int)
            for place in images.apart(generator, (9, 8, 4, 4), held.shape):
                held[place] += 1
            assert held.max() == 1 and held.sum() == 81 + 64 + 2 * 16

    def test_the_colour_of_the_marker_is_the_class_of_the_disc(self):
        known = images.marked(COUNT, 0)
        for image, mask, class_id in zip(
            known.inputs, known.parts["marker"], known.asked["class_id"], strict=True
        ):
            red, _, blue = image[mask].mean(0)
            assert class_id == (images.BY_RED if red > blue else images.BY_BLUE)
        disc = known.asked["mask"]
        assert (known.answers[disc] == known.asked["class_id"].repeat(disc.sum((1, 2)))).all()
        np.testing.assert_array_equal(known.evidence, disc | known.parts["marker"])
        square = images.square_of(known)
        assert (known.answers[square.evidence] == images.OF_SQUARE).all()
        assert not (square.evidence & square.parts["other"]).any()

    def test_boxes_hold_the_textures(self):
        known = images.boxed(COUNT, 0)
        for mask, box, number, labels in zip(
            known.evidence, known.asked["box"], known.asked["class_id"], known.answers["labels"], strict=True
        ):
            rows, columns = np.nonzero(mask)
            assert tuple(box) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert (labels[mask] == number + 1).all() and len(np.unique(labels)) == 3

    def test_dots_and_hands(self):
        dots = images.dots(COUNT, 0)
        np.testing.assert_array_equal(dots.evidence.sum((1, 2)), dots.answers * images.disc(5).sum())
        dials = images.dials(COUNT, 0)
        columns = np.arange(32) - 15.5
        sides = (dials.evidence * columns).sum((1, 2)) / dials.evidence.sum((1, 2))
        assert (np.sign(sides) == np.sign(dials.answers)).all()
        assert dials.inputs[dials.evidence].min() > 0.8

    def test_the_blob_is_long_along_its_axis(self):
        known = images.blobs(COUNT, 0)
        for mask, axis in zip(known.evidence, known.answers, strict=True):
            assert np.ptp(np.argwhere(mask), 0).argmax() == axis
        assert known.inputs[known.evidence].min() > 0.6

    def test_both_views_show_one_object(self):
        known = images.views(COUNT, 0)
        for first, second, mask in zip(known.inputs, known.asked["view"], known.evidence, strict=True):
            rows, columns = (slice(index.min(), index.max() + 1) for index in np.nonzero(mask))
            own = first[rows, columns]
            places = np.lib.stride_tricks.sliding_window_view(second, own.shape).reshape(-1, *own.shape)
            assert np.abs(places - own).max((1, 2, 3)).min() < 1e-6


class TestSeries:
    def test_the_evidence_is_the_spikes_of_the_answer(self):
        known = target_series.trains(COUNT, 0)
        for series, mask, answer in zip(known.inputs, known.evidence, known.answers, strict=True):
            assert mask.sum() == target_series.OWN and (series[mask].argmax(-1) == answer).all()
            assert (
                (np.argsort(-series[:, answer])[: target_series.OWN][:, None] == np.flatnonzero(mask))
                .any(1)
                .all()
            )

    def test_the_value_is_what_goes_up(self):
        known = target_series.rectified(COUNT, 0)
        for series, mask, answer in zip(known.inputs[..., 0], known.evidence, known.answers, strict=True):
            np.testing.assert_allclose(series[mask].sum(), answer, atol=0.8)
            assert series[mask].min() > series[~mask].max() and (series < -0.4).sum() == 4


class TestTexts:
    def test_evidence_is_words_of_the_class(self):
        known = target_texts.planted(COUNT, 0)
        words = known.inputs[known.evidence].reshape(COUNT, 2)
        np.testing.assert_array_equal(words // target_texts.OWN, known.answers[:, None].repeat(2, 1))
        own = known.inputs // target_texts.OWN == known.answers[:, None]
        np.testing.assert_array_equal(own, known.evidence)

    def test_evidence_is_what_comes_next(self):
        known = target_texts.copied(COUNT, 0)
        np.testing.assert_array_equal(known.inputs[known.evidence], known.asked["token"])
        is_last = known.asked["position"] == target_texts.COPY_LENGTH - 1
        following = known.inputs[np.arange(COUNT), (known.asked["position"] + 1) % target_texts.COPY_LENGTH]
        assert (following == known.asked["token"])[~is_last].all()


class TestModels:
    def test_the_detector_learns_boxes_and_classes(self):
        known = images.boxed(COUNT, 0)
        answers = target_models.detector_answers(known)
        cells = target_models.cell_of(known.asked["box"])
        at = np.arange(COUNT), cells
        np.testing.assert_array_equal(answers["boxes"][at], known.asked["box"])
        np.testing.assert_array_equal(answers["scores"][at].argmax(-1), known.asked["class_id"])
        assert (answers["scores"].sum((1, 2)) == 8).all()  # two objects of four cells
        assert float(keras.ops.max(target_models.box_loss(answers["boxes"], answers["boxes"]))) == 0

    @pytest.mark.parametrize(
        "name", ["segmenter_marker", "detector", "volume", "spikes_lstm", "language_model"]
    )
    def test_cases_are_explained_before_any_training(self, name, monkeypatch):
        keras.utils.set_random_seed(0)
        case = target_cases.CASES[name]
        model = case.train.args[0]()
        known = case.make(2, 0)
        found = targets.explainers(case)[targets.OURS](model, known)
        assert found.shape == known.evidence.shape and np.isfinite(found).all()
        assert case.is_right(model, known).shape == (2,)


def test_maps_that_are_the_masks_score_one():
    known = images.marked(COUNT, 0)
    found = targets.measured(known.evidence.astype(float), known)
    np.testing.assert_allclose([found["ranks"], found["mass"]], 1)
    np.testing.assert_allclose(
        found["marker"], known.parts["marker"].sum((1, 2)) / known.evidence.sum((1, 2))
    )
    np.testing.assert_allclose(found["other"], 0)
