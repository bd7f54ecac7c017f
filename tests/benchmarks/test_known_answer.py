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
    methods,
    subjects,
    token_methods,
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

    def test_swin_classifier_is_flat_with_the_operation_between(self):
        pytest.importorskip("keras_hub", reason="install tf-learnprop[keras-hub] to run this test")
        model = token_models.swin((32, 32, 3), 4, width=8, depths=(1, 1), heads=(1, 2))
        x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
        np.testing.assert_allclose(subjects.flat(model)(x), model(x), atol=1e-5)


class TestTokenMethods:
    def slow_rollout(self, scores, gradients=None):
        """One image, one pair of tokens at a time."""
        tokens = scores[0].shape[-1]
        joined = np.eye(tokens)
        for number, layer in enumerate(scores):
            step = np.zeros((tokens, tokens))
            for to in range(tokens):
                for source in range(tokens):
                    if gradients is None:
                        own = np.mean([head[to, source] for head in layer[0]])
                        step[to, source] = 0.5 * own + 0.5 * (to == source)
                    else:
                        pairs = zip(layer[0], gradients[number][0], strict=True)
                        step[to, source] = np.mean([max(a[to, source] * g[to, source], 0) for a, g in pairs])
            moved = np.array(
                [
                    [sum(step[a, k] * joined[k, b] for k in range(tokens)) for b in range(tokens)]
                    for a in range(tokens)
                ]
            )
            joined = moved if gradients is None else joined + moved
        return joined

    def test_equal_slow_loops(self):
        generator = np.random.default_rng(0)
        scores = [generator.random((1, 2, 4, 4)) for _ in range(3)]
        gradients = [generator.normal(size=(1, 2, 4, 4)) for _ in range(3)]
        np.testing.assert_allclose(token_methods.rollout(scores)[0], self.slow_rollout(scores))
        np.testing.assert_allclose(
            token_methods.gradient_times_attention(scores, gradients)[0],
            self.slow_rollout(scores, gradients),
        )

    @pytest.mark.parametrize("head", ["gap", "cls"])
    def test_of_a_model_and_leave_it_as_it_was(self, head):
        keras.utils.set_random_seed(0)
        model = token_models.vit(SHAPE, 5, head, width=16, blocks=2, heads=2)
        x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype("float32")
        before = np.asarray(model(x))
        found = {
            method.name: method.explain(x, np.array([0, 4, 2])) for method in token_methods.methods(model)
        }
        assert list(found) == ["attention rollout", "gradient × attention"]
        for maps in found.values():
            assert maps.shape == (3, 16, 16) and np.isfinite(maps).all() and maps.std() > 0
        np.testing.assert_array_equal(model(x), before)
        assert "_compute_attention" not in vars(model.get_layer("attention_0"))

    def test_grad_cam_needs_feature_maps(self):
        assert methods.feature_maps(token_models.mixer(SHAPE, 5, width=16, blocks=1)) == []
        model = known_models.conv_net(SHAPE, 5)
        assert model.get_layer(methods.feature_maps(model)[-1]) is model.layers[-3]

    def test_a_model_without_attention_has_none(self):
        assert token_methods.methods(token_models.mixer(SHAPE, 5, width=16, blocks=1)) == []


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
