"""What the ablation and the distillation compute, on a small model."""

import ablation
import distillation
import keras
import numpy as np
import pytest
import toys
from evaluation import measures, subjects

import tf_learnprop as tlp
from tf_learnprop.backward import universal


@pytest.fixture
def subject():
    model = toys.small_cnn(activation=None)
    images = toys.images(24)
    labels = np.asarray(model(images)).argmax(1)
    return subjects.Subject(
        "cifar_toy", model, subjects.forward(model), None, images, None, images[:6], labels[:6], 1.0
    )


def test_images_set_aside_are_not_measured(monkeypatch, tmp_path):
    model = toys.small_cnn(activation=None)
    images = toys.images(subjects.SET_ASIDE + 8)
    labels = np.asarray(model(images)).argmax(1)
    wrong = labels.copy()
    wrong[[0, -1]] = (labels[[0, -1]] + 1) % 4
    data = {"train": images, "tune": images[:4], "test": images, "test_labels": wrong}
    monkeypatch.setitem(subjects._SUBJECTS, "toy", (lambda *_: (model, None), lambda: data))
    found = subjects.load("toy", tmp_path)
    np.testing.assert_array_equal(found.test, images[subjects.SET_ASIDE + 1 : -1])
    np.testing.assert_array_equal(found.labels, labels[subjects.SET_ASIDE + 1 : -1])


def test_each_row_of_the_ablation(subject, tmp_path):
    context = measures.Context(subject, 6, 4, 0, 0, 0)
    rows = ablation.rows(subject, universal.HyperNetwork(seed=0), seed=0)
    assert len(rows) == 15
    untrained = "untrained, input readout"
    for name, (wrap, objective) in rows.items():
        if name == untrained or "masked output" in name:
            found = ablation.measured(subject, context, wrap, objective, 1, 0, tmp_path)
            assert np.shape(found["fidelity"]) == np.shape(found["randomised"]) == (6,)
            assert np.isfinite(found["fidelity"]).all()
    assert not list(tmp_path.iterdir())
    wrapped = tlp.wrap_model(subject.model, rule="gradient")
    expected = measures.fidelity(context, wrapped.explain(context.images, context.labels))
    wrap, objective = rows[untrained]
    found = ablation.measured(subject, context, wrap, objective, 1, 0, tmp_path)
    np.testing.assert_allclose(found["fidelity"], expected["fidelity"], atol=1e-6)


def test_correlation_is_pearsons():
    maps, others = toys.rng(0).normal(size=(2, 5, 8, 8)).astype("float32")
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(maps, others, strict=True)]
    np.testing.assert_allclose(distillation.correlation(maps, others), expected, atol=1e-5)


def test_rules_come_nearer_to_the_maps_that_teach_them(subject):
    keras.utils.set_random_seed(0)
    wrapped = tlp.wrap_model(subject.model)
    teachers = tlp.wrap_model(subject.model, rule="guided_backprop").explain(subject.train)
    before = distillation.correlation(wrapped.explain(subject.train), teachers).numpy().mean()
    weights = subject.model.get_weights()
    distillation.distil(wrapped, subject.train, teachers, 20.0, 40, 8, 0)
    after = distillation.correlation(wrapped.explain(subject.train), teachers).numpy().mean()
    assert after > before + 0.02
    for weight, old in zip(subject.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, old)
