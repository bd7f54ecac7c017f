"""What the ablation and the distillation compute, on a small model."""

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from benchmarks import __main__ as command
from benchmarks import ablation, distillation
from benchmarks.evaluation import measures, results, subjects
from benchmarks.evaluation.images import SET_ASIDE
from tests import toys


@pytest.fixture
def subject():
    model = toys.small_cnn(activation=None)
    images = toys.images(24)
    labels = np.asarray(model(images)).argmax(1)
    return subjects.Subject(
        "cifar_toy", model, subjects.forward(model), None, images, None, images[:6], labels[:6], 1.0, "digest"
    )


def test_images_set_aside_are_not_measured(monkeypatch, tmp_path):
    model = toys.small_cnn(activation=None)
    images = toys.images(SET_ASIDE + 8)
    labels = np.asarray(model(images)).argmax(1)
    wrong = labels.copy()
    wrong[[0, -1]] = (labels[[0, -1]] + 1) % 4
    data = {"train": images, "tune": images[:4], "test": images, "test_labels": wrong}
    monkeypatch.setitem(subjects._SUBJECTS, "toy", (lambda *_: (model, None), lambda: data))
    found = subjects.load("toy", tmp_path)
    np.testing.assert_array_equal(found.test, images[SET_ASIDE + 1 : -1])
    np.testing.assert_array_equal(found.labels, labels[SET_ASIDE + 1 : -1])


UNTRAINED, PLAIN = "untrained, input readout", "… masked output guidance (the paper's, plainly read)"


def wrap_of(row):
    return lambda model: tlp.wrap_model(model, rule=row.rule, readout=row.readout)


def test_rows_of_the_ablation(subject, eagerly):
    context = measures.Context(subject, 6, 4, 0, 0, 0)
    rows = ablation.rows(seed=0)
    assert len(rows) == 17
    found = {}
    for name in (UNTRAINED, PLAIN):
        found[name] = ablation.measured(context, rows[name], wrap_of(rows[name]), 1)
        assert np.shape(found[name]["fidelity"]) == np.shape(found[name]["randomised"]) == (6,)
        assert np.isfinite(found[name]["fidelity"]).all()
    wrapped = tlp.wrap_model(subject.model, rule="gradient")
    expected = measures.fidelity(context, wrapped.explain(context.images, context.labels))
    np.testing.assert_allclose(found[UNTRAINED]["fidelity"], expected["fidelity"], atol=1e-6)


def test_settings_of_rows_are_their_own_and_repeat():
    """Names of layers, which Keras counts up, are no part of them."""
    first, again, other = (
        {name: results.key(row.settings, []) for name, row in ablation.rows(seed).items()}
        for seed in (0, 0, 1)
    )
    assert len(set(first.values())) == 17
    assert first == again
    assert {name for name in first if first[name] != other[name]} == {
        name for name, row in ablation.rows(0).items() if row.objective
    }


def test_the_ablation_goes_on_and_measures_changed_rows_anew(subject, monkeypatch, tmp_path, capsys):
    measured = []

    def measure(context, row, wrap, steps):
        measured.append((row.rule, steps))
        if len(measured) == 3:
            raise KeyboardInterrupt
        one = np.full(6, 0.5)
        scores = dict.fromkeys(("fidelity", "fidelity_unseen", "class_sensitivity", "randomised"), one)
        return {"seconds": 1.0, **scores}

    rows = {"a": ablation.Row("gradient"), "b": ablation.Row("learned"), "c": ablation.Row("deconvnet")}
    monkeypatch.setattr(ablation, "measured", measure)
    monkeypatch.setattr(ablation, "rows", lambda seed: rows)
    monkeypatch.setattr(subjects, "load", lambda name, cache: subject)

    def run(steps="5"):
        measured_before = len(measured)
        command.main(["ablation", "--results", str(tmp_path), "--steps", steps])
        return measured[measured_before:]

    with pytest.raises(KeyboardInterrupt):
        run()
    assert run() == [("deconvnet", 5)]  # those before the interruption are kept
    assert run() == []
    rows = {"new": ablation.Row("guided_backprop"), **rows, "b": ablation.Row("channel_mixing")}
    assert run() == [("guided_backprop", 5), ("channel_mixing", 5)]
    assert len(run("6")) == 4
    assert "| b | .500 [.500, .500] |" in capsys.readouterr().out


def test_correlation_is_pearsons():
    maps, others = toys.rng(0).normal(size=(2, 5, 8, 8)).astype("float32")
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(maps, others, strict=True)]
    np.testing.assert_allclose(distillation.correlation(maps, others), expected, atol=1e-5)


def test_rules_come_nearer_to_the_maps_that_teach_them(subject):
    keras.utils.set_random_seed(0)
    wrapped = tlp.wrap_model(subject.model, rule="learned")
    teachers = tlp.wrap_model(subject.model, rule="guided_backprop").explain(subject.train)
    before = distillation.correlation(wrapped.explain(subject.train), teachers).numpy().mean()
    weights = subject.model.get_weights()
    distillation.distil(wrapped, subject.train, teachers, 20.0, 40, 8, 0)
    after = distillation.correlation(wrapped.explain(subject.train), teachers).numpy().mean()
    assert after > before + 0.02
    for weight, old in zip(subject.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, old)
