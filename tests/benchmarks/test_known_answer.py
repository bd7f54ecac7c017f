"""Images with known evidence, models for them, and the methods and measures of `known_answer`."""

import functools
import sys

import keras
import numpy as np
import pytest

from benchmarks import known_answer
from benchmarks.evaluation import (
    cifar_models,
    images,
    known_images,
    known_models,
    measures,
    subjects,
    token_models,
)

SHAPE = (16, 16, 3)


def grey_photos(count, side=32):
    return np.full((count, side, side, 3), 0.5)


class TestImages:
    labels = np.arange(70) % len(known_images.CLASSES)

    @pytest.fixture
    def shown(self):
        return known_images.make(grey_photos(70), self.labels, seed=1)

    def test_the_mask_is_the_box_of_the_class(self, shown):
        for label, mask in zip(self.labels, shown.masks, strict=True):
            rows, columns = np.nonzero(mask)
            if label == 0:
                assert not mask.any()
                continue
            assert mask.sum() == 64
            assert np.ptp(rows) == np.ptp(columns) == known_images.BOX - 1

    def test_boxes_do_not_overlap(self, shown):
        pasted = (np.abs(shown.images - known_images.normalised(grey_photos(70))) > 1e-6).any(-1)
        assert pasted.sum((1, 2)).max() == 3 * 64  # noise covers a box, or all but a pixel or two
        assert pasted.sum((1, 2)).min() > 3 * 64 - 8
        assert (pasted & shown.masks).sum() >= shown.masks.sum() - 8

    def test_the_evidence_decides_the_class(self, shown):
        """A colour is brightest in its own channels; stripes change along one axis alone."""
        photos = shown.images * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
        for label, photo, mask in zip(self.labels, photos, shown.masks, strict=True):
            if not label:
                continue
            box = photo[mask].reshape(8, 8, 3)
            mean = box.mean((0, 1))
            name = known_images.CLASSES[label]
            if label in known_images.KINDS["colour"]:
                assert {"magenta": 1, "lime": 2, "orange": 2}[name] == mean.argmin()
                assert np.ptp(mean) > 0.4
            else:
                assert np.ptp(mean) < 0.05
                down, across = (np.abs(np.diff(box.mean(-1), axis=axis)).mean() for axis in (0, 1))
                assert (down > 2 * across) == (name == "rows")
                assert (across > 2 * down) == (name == "columns")

    def test_seeds(self, shown):
        same = known_images.make(grey_photos(70), self.labels, seed=1)
        other = known_images.make(grey_photos(70), self.labels, seed=2)
        np.testing.assert_array_equal(same.images, shown.images)
        assert not np.array_equal(other.masks, shown.masks)

    def test_of_the_benchmark(self, data_dir, monkeypatch):
        monkeypatch.setenv("TF_LEARNPROP_DATA", str(data_dir))
        parts = images.known()
        assert parts["train"].shape == (images.TRAIN, 32, 32, 3)
        assert parts["test_masks"].shape == parts["test"].shape[:3]
        assert (parts["test_masks"].sum((1, 2)) == 64).all()
        assert set(parts["test_labels"]) == set(range(1, 7))
        assert parts["train_photos"].shape == (images.CIFAR_TRAIN, 32, 32, 3)


class TestModels:
    @pytest.mark.parametrize("head", ["gap", "cls", "flat"])
    def test_vit(self, head, tmp_path):
        model = token_models.vit(SHAPE, 5, head, width=16, blocks=2, heads=2)
        assert model.output_shape == (None, 5)
        tokens = 16 + (head == "cls")
        assert model.get_layer("attention_1").output.shape == (None, tokens, 16)
        self.check_saved(model, tmp_path)

    def test_mixer(self, tmp_path):
        self.check_saved(token_models.mixer(SHAPE, 5, width=16, blocks=2), tmp_path)

    def check_saved(self, model, folder):
        x = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
        model.save(folder / "model.keras")
        again = keras.models.load_model(folder / "model.keras")
        np.testing.assert_allclose(again(x), model(x), atol=1e-6)

    def test_patches_are_the_images(self):
        x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype("float32")
        found = np.asarray(token_models.Patches(2)(x))
        assert found.shape == (2, 6, 12)
        for number in range(6):
            row, column = 2 * (number // 3), 2 * (number % 3)
            expected = x[:, row : row + 2, column : column + 2].reshape(2, 12)
            np.testing.assert_allclose(found[:, number], expected)

    @pytest.mark.slow
    def test_training_is_repeatable_and_leaves_no_checkpoint(self, monkeypatch, tmp_path):
        generator = np.random.default_rng(0)
        photos = generator.integers(0, 256, (100, *SHAPE), np.uint8)
        build = functools.partial(token_models.vit, head="gap", width=8, blocks=1, heads=1)
        monkeypatch.setitem(known_models._MODELS, "known_vit_gap", (build, 2))
        monkeypatch.setitem(cifar_models._MODELS, "cifar_vit", (build, 2))
        images, labels = photos.astype("float32") / 255, generator.integers(0, 4, 100)
        for train in (
            lambda: known_models.trained("known_vit_gap", photos),
            lambda: cifar_models.trained("cifar_vit", images, labels, tmp_path / "state"),
        ):
            first, second = train(), train()
            assert first.output_shape[-1] in (4, len(known_images.CLASSES))
            np.testing.assert_allclose(first(images), second(images), atol=1e-5)
        assert not list(tmp_path.iterdir())

    def test_models_of_keras_hub_say_that_it_is_missing(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "keras_hub", None)
        data = {name: np.zeros((4, 32, 32, 3)) for name in ("train", "tune", "test")}
        monkeypatch.setitem(subjects._SUBJECTS, "known_swin", (None, lambda: data))
        with pytest.raises(images.MissingData, match=r"can't be imported.*tf-learnprop\[keras-hub\]"):
            subjects.load("known_swin", tmp_path)


class TestPeers:
    @pytest.mark.parametrize("head", ["gap", "cls"])
    def test_of_a_model_of_tokens(self, head):
        keras.utils.set_random_seed(0)
        model = token_models.vit(SHAPE, 5, head, width=16, blocks=2, heads=2)
        x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype("float32")
        found = {method.name: method.explain(x, np.array([0, 4, 2])) for method in known_answer.peers(model)}
        assert list(found)[2:] == ["grad_cam", "attention_rollout", "gradient_x_attention"]
        for name in ("attention_rollout", "gradient_x_attention"):
            maps = found[name]
            assert maps.shape == (3, 16, 16) and np.isfinite(maps).all() and maps.std() > 0

    def test_a_model_without_attention_has_none(self):
        model = token_models.mixer(SHAPE, 5, width=16, blocks=1)
        assert not any("attention" in method.name for method in known_answer.peers(model))


class TestMeasures:
    @pytest.fixture
    def context(self, monkeypatch):
        keras.utils.set_random_seed(0)
        model = token_models.vit((32, 32, 3), 7, "gap", width=16, blocks=1, heads=2)
        labels = 1 + np.arange(8) % 6
        shown = known_images.make(grey_photos(8), labels, seed=0)
        subject = subjects.Subject(
            "known_toy",
            model,
            subjects.forward(model),
            None,
            shown.images,
            shown.images[:2],
            shown.images,
            labels,
            1.0,
            "digest",
            shown.masks,
        )
        return measures.Context(subject, 6, 4, 0, 0, 0)

    def test_maps_that_are_the_masks_score_one(self, context):
        found = known_answer.measured(context, context.masks.astype(float))
        for name in ("known_ranks", "known_mass"):
            np.testing.assert_allclose(found[name], np.ones(6))
        assert len(found["known_ranks/colour"]) == len(found["known_ranks/texture"]) == 3
        assert np.shape(found["fidelity"]) == (6,)

    def test_oracle_of_patches(self, context):
        oracle = known_answer.patch_oracle(context.masks)
        corners = oracle[:, ::4, ::4]
        np.testing.assert_array_equal(oracle, corners.repeat(4, 1).repeat(4, 2))
        np.testing.assert_allclose(oracle.sum((1, 2)), 64)
        scores = measures.known_answer(context, oracle)["known_ranks"]
        aligned = known_answer.patch_oracle(np.kron(np.eye(4, dtype=bool), np.ones((8, 8), bool))[None])
        assert scores.mean() > 0.6 and aligned.max() == 1 and set(aligned.ravel()) == {0, 1}

    @pytest.mark.slow
    def test_rows_explain_and_train(self, context):
        rows = known_answer.ROWS
        before = known_answer.explained(context, rows["universal rule"], 1)
        after = known_answer.explained(context, rows["universal rule, trained"], 1)
        assert before.shape == after.shape == (6, 32, 32)
        assert not np.array_equal(before, after)
        for name in rows:
            assert name.endswith(", trained") == rows[name].trained
