"""What `quality` keeps of a subject, and when it measures again; on a small model, without xplique."""

import numpy as np
import pytest

from benchmarks.evaluation import comparison, learned_rules, measures, methods, results, subjects
from tests import toys

MINE = "benchmarks/evaluation/tables.py"  # stands for the code of the rules, which the test changes


@pytest.fixture(scope="module")
def subject():
    model = toys.small_cnn(activation=None)
    images = toys.images(24)
    labels = np.asarray(model(images)).argmax(1)
    parts = (images, images[:6], images[:8], labels[:8])
    return subjects.Subject("cifar_toy", model, subjects.forward(model), None, *parts, 1.0, "digest")


@pytest.fixture
def run(subject, monkeypatch, tmp_path, eagerly):
    """Function that measures the named methods; returns their results, and names of those that it ran."""
    monkeypatch.setattr(methods, "methods", lambda model, seed, **settings: methods.baselines(seed))
    monkeypatch.setattr(learned_rules, "schedule", lambda name, quick: (1, 4))
    measure = comparison.Comparison._measured

    def run(*names, count=3):
        store = results.ResultStore(tmp_path / "quality.jsonl")
        compared = comparison.Comparison(subject, store, tmp_path / "cache", count, quick=True)
        ran = []

        def counted(self, method):
            ran.append(method.name)
            return measure(self, method)

        with monkeypatch.context() as patch:
            patch.setattr(comparison.Comparison, "_measured", counted)
            found = {
                method.name: compared.result(method) for method in compared.methods() if method.name in names
            }
        return found, ran

    return run


def test_results_are_kept_by_the_code_that_decides_them(run, monkeypatch):
    names = ["untrained rules", "centre Gaussian"]
    first, ran = run(*names)
    assert ran == names
    for result in first.values():
        assert np.shape(result["measures"]["fidelity"]) == (3,)
    again, ran = run(*names)
    assert again == first and ran == []

    # Other rules change what rules give, not a baseline.
    monkeypatch.setattr(results, "RULES", (*results.RULES, MINE))
    assert run(*names)[1] == ["untrained rules"]
    monkeypatch.setattr(results, "MEASURES", (*results.MEASURES, MINE))
    assert run(*names)[1] == names
    assert run("centre Gaussian", count=4)[1] == ["centre Gaussian"]


def test_known_evidence_is_measured_where_it_is_given(subject, tmp_path):
    masks = np.zeros(subject.test.shape[:3], bool)
    masks[:, 2:5, 3:6] = True
    context = measures.Context(subject._replace(masks=masks), 3, 4, 0, 0, 0)
    found = measures.known_answer(context, masks[:3].astype(float))
    np.testing.assert_array_equal(found["known_ranks"], np.ones(3))
    assert measures.known_answer(measures.Context(subject, 3, 4, 0, 0, 0), masks[:3].astype(float)) == {}


def test_trained_rules_are_kept_by_their_settings_and_code(subject, monkeypatch, tmp_path):
    trained = []

    class Rules:
        def save_rules(self, file):
            file.write_text("rules")

    def fit(wrapped, images, steps, batch_size, seed):
        trained.append((steps, seed))
        return Rules()

    monkeypatch.setattr(learned_rules, "fit", fit)

    monkeypatch.setattr(learned_rules, "untrained", lambda model, rule: model)

    def path(seed=0, quick=True):
        return learned_rules.path(subject, tmp_path, quick, seed)

    first = path()
    assert path() == first and trained == [(100, 0)]
    assert path(seed=1) != first
    path(quick=False)
    assert trained == [(100, 0), (100, 1), (800, 0)]
    monkeypatch.setattr(results, "RULES", (*results.RULES, MINE))
    assert path() != first
    assert len(trained) == 4
