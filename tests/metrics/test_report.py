"""The report: its figures by the metrics themselves, its notes on maps that are bad in a known way."""

import ast
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests.metrics.known_models import SIDE, quadrant, quadrant_map
from tf_learnprop import metrics

FILLS = ("mean", "noise", "image")


def images_of_both_classes(count):
    """Half of them with a bright first quadrant, half with a dark one: all that `quadrant` sees."""
    images = np.random.default_rng(0).uniform(0, 1, (count, SIDE, SIDE, 1))
    images[::2, : SIDE // 2, : SIDE // 2] += 0.3
    images[1::2, : SIDE // 2, : SIDE // 2] -= 0.3
    return images.astype("float32")


class Subject:
    """The model `quadrant` with maps by a function of (images, ids), by default the perfect ones."""

    def __init__(self, explain=None, logits=quadrant):
        self.explain = explain or self._perfect
        self.logits = logits

    @staticmethod
    def _perfect(images, ids):
        return signed(quadrant_map(len(images)), images, ids)


def signed(maps, images, ids):
    """The maps for the predicted class, their negatives for the other."""
    return maps * np.where(quadrant(images).argmax(1) == ids, 1, -1)[:, None, None]


def centre(images, ids):
    place = np.linspace(-1, 1, SIDE)
    return signed(-(place**2) - place[:, None] ** 2, images, ids)


@pytest.fixture(scope="module")
def perfect():
    return metrics.report(Subject(), images_of_both_classes(30), fills=FILLS, steps=8)


class TestFigures:
    def test_are_those_of_the_metrics(self, perfect):
        images = images_of_both_classes(30)
        ids = quadrant(images).argmax(1)
        direct = metrics.insertion_deletion(quadrant, images, quadrant_map(30), ids, fills=FILLS, step=8)
        y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
        blob = np.broadcast_to(-(x**2) - y**2, images.shape[:3])
        other = metrics.insertion_deletion(quadrant, images, blob, ids, fills=FILLS, step=8)
        assert [row.fill for row in perfect.rows] == [*FILLS, "all fills"]
        for row, fill in zip(perfect.rows, FILLS, strict=False):
            inserted, deleted = direct.insertion[fill].scores, direct.deletion[fill].scores
            baseline = other.insertion[fill].scores - other.deletion[fill].scores
            assert row.insertion == metrics.bootstrap_interval(inserted)
            assert row.deletion == metrics.bootstrap_interval(deleted)
            assert row.score == metrics.bootstrap_interval(inserted - deleted)
            np.testing.assert_allclose(row.centre, metrics.bootstrap_interval(baseline), rtol=1e-6)
            gain = inserted - deleted - baseline
            np.testing.assert_allclose(row.over_centre, metrics.bootstrap_interval(gain), rtol=1e-6)
            assert row.beats_centre == (gain > 0).mean()
        np.testing.assert_allclose(perfect.rows[-1].score, metrics.bootstrap_interval(direct.scores))
        logits = quadrant(images)
        chance = 1 / (1 + np.exp(-np.abs(logits[:, 1] - logits[:, 0])))
        np.testing.assert_allclose(perfect.confidence, chance.mean(), rtol=1e-6)
        np.testing.assert_allclose(perfect.class_correlation, -1)
        assert perfect.images == 30

    def test_a_perfect_map_beats_the_baselines_and_has_no_notes(self, perfect):
        assert perfect.notes == []
        total = perfect.rows[-1]
        assert total.over_random.low > 0.2 and total.over_centre.low > 0.2
        assert total.beats_random == total.beats_centre == 1
        # A random order is its own reverse on average, so insertion and deletion have one mean.
        assert abs(total.random.mean) < 0.05

    def test_targets_are_followed(self):
        images = images_of_both_classes(6)
        result = metrics.report(Subject(), images, 1, fills="mean", steps=8)
        np.testing.assert_allclose(result.confidence, (1 / (1 + np.exp(-quadrant(images)[:, 1]))).mean())
        direct = metrics.insertion_deletion(
            quadrant, images, Subject().explain(images, 1), 1, fills="mean", step=8
        )
        np.testing.assert_array_equal(result.results["map"].scores, direct.scores)

    def test_default_curves_have_14_steps(self):
        images = np.random.default_rng(0).normal(size=(2, 28, 28, 1))
        subject = Subject(lambda x, ids: x[..., 0], lambda x: np.asarray(x)[:, 0, :2, 0])
        result = metrics.report(subject, images)
        assert list(result.results["map"].insertion) == ["mean", "blur", "noise", "image", "neighbours"]
        for curve in result.results["map"].deletion.values():
            assert curve.curves.shape == (2, 15)

    def test_follows_the_seed(self):
        images = images_of_both_classes(6)
        one, same, other = (
            metrics.report(Subject(), images, fills="mean", steps=4, seed=seed) for seed in (1, 1, 2)
        )
        assert one.rows == same.rows
        assert one.rows[0].random != other.rows[0].random


def test_the_model_runs_once_on_the_images():
    seen = []

    def logits(images):
        seen.append(len(images))
        return quadrant(images)

    metrics.report(Subject(logits=logits), images_of_both_classes(6), fills=FILLS, steps=4)
    # Insertion and deletion of three maps, which share their first and last points.
    assert sum(seen) == 6 + 6 * 3 * len(FILLS) * (2 * 4)


def notes_of(explain, count=30, **options):
    options = {"fills": FILLS, "steps": 8, **options}
    return metrics.report(Subject(explain), images_of_both_classes(count), **options).notes


class TestNotes:
    def test_few_images(self):
        (note,) = notes_of(None, count=12)
        assert "12 images are few" in note

    def test_no_better_than_the_centre(self):
        notes = notes_of(centre)
        assert any("not shown to be better than a blob at the centre: by 0.00" in note for note in notes)

    def test_no_better_than_chance(self):
        generator = np.random.default_rng(5)
        notes = notes_of(lambda images, ids: generator.random(images.shape[:3]))
        assert any("not shown to be better than a random map" in note for note in notes)

    def test_constant_maps(self):
        notes = notes_of(lambda images, ids: np.ones(images.shape[:3]))
        assert any("30 of 30 maps are constant" in note for note in notes)
        assert any("random map" in note for note in notes)

    def test_maps_that_ignore_the_class(self):
        (note,) = notes_of(lambda images, ids: quadrant_map(len(images)))
        assert "hardly depend on the class" in note and "1.00" in note

    def test_a_fill_that_shows_nothing(self):
        (note,) = notes_of(None, fills={"mean": "mean", "itself": images_of_both_classes(30)})
        assert "Under some fills (itself)" in note


class TestVerdict:
    def verdict(self, explain, fills=FILLS):
        return metrics.report(Subject(explain), images_of_both_classes(30), fills=fills, steps=8).verdict

    def test_a_perfect_map(self, perfect):
        assert perfect.verdict == (
            "The maps find what the model uses: on 100% of the images they are better than a blob at the "
            "centre."
        )
        assert str(perfect).splitlines()[0] == perfect.verdict == perfect.to_dict()["verdict"]

    def test_maps_no_better_than_a_baseline(self):
        generator = np.random.default_rng(5)
        chance = self.verdict(lambda images, ids: generator.random(images.shape[:3]))
        assert "not shown to be better than a random map" in chance

        def central(images):  # looks at the centre alone
            seen = np.asarray(images)[:, 2:6, 2:6].mean((1, 2, 3))
            return np.stack([np.zeros(len(seen)), 20 * (seen - 0.5)], 1)

        images = images_of_both_classes(30)
        images[:, 2:6, 2:6] += np.where(np.arange(30) % 2, 0.3, -0.3)[:, None, None, None]
        y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
        subject = Subject(lambda images, ids: np.broadcast_to(-(x**2) - y**2, images.shape[:3]), central)
        verdict = metrics.report(subject, images, fills=FILLS, steps=8).verdict
        assert "not shown to be better than a blob at the centre" in verdict

    def test_maps_that_ignore_the_class(self):
        assert "not why the model chose its class" in self.verdict(
            lambda images, ids: quadrant_map(len(images))
        )

    def test_a_fill_that_shows_nothing(self):
        verdict = self.verdict(None, {"mean": "mean", "itself": images_of_both_classes(30)})
        assert verdict.endswith("This is not shown under every fill (itself).")


class TestOutput:
    def test_table_has_the_figures(self, perfect):
        lines = str(perfect).splitlines()
        for row in perfect.rows:
            (line,) = (line for line in lines if line.startswith(row.fill + " "))
            cells = line[len(row.fill) :].split()
            means = (row.insertion, row.deletion, row.score, row.random, row.centre)
            have = [float(cell) for cell in cells[:5]]
            np.testing.assert_allclose(have, [mean.mean for mean in means], atol=0.005)
            expected = "".join("{:.2f}[{:.2f},{:.2f}]".format(*gain) for gain in row[6:8])
            assert "".join(cells[5:-2]) == expected
            assert cells[-2:] == [f"{100 * row.beats_centre:.0f}", "%"]
        assert "-1.00 [-1.00, -1.00]" in str(perfect)
        assert "Note" not in str(perfect)
        assert " -0.00" not in str(perfect)

    def test_notes_are_printed(self):
        text = str(metrics.report(Subject(), images_of_both_classes(4), fills="mean", steps=4))
        assert "Note: 4 images are few" in text

    def test_json_holds_what_the_report_does(self, perfect):
        loaded = json.loads(perfect.to_json())
        assert loaded == perfect.to_dict()
        assert loaded["images"] == 30 and loaded["notes"] == []
        for row, read in zip(perfect.rows, loaded["rows"], strict=True):
            assert read["fill"] == row.fill and read["beats_centre"] == row.beats_centre
            assert read["over_centre"] == dict(zip(("mean", "low", "high"), row.over_centre, strict=True))

    def test_figure_shows_the_mean_curves(self, perfect):
        figure = perfect.figure()
        axes = np.reshape(figure.axes, (2, 3))
        for r, kind in enumerate(("insertion", "deletion")):
            for c, fill in enumerate(FILLS):
                for line, name in zip(axes[r, c].lines, ("map", "centre", "random"), strict=True):
                    curve = getattr(perfect.results[name], kind)[fill]
                    np.testing.assert_array_equal(line.get_xdata(), curve.fractions)
                    np.testing.assert_allclose(line.get_ydata(), curve.curves.mean(0))
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["map", "centre", "random"]


def small_model(units=3, activation=None):
    inputs = keras.Input((SIDE, SIDE, 2))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(units, activation=activation)(x))


class TestWrappedModels:
    images = np.random.default_rng(1).normal(size=(5, SIDE, SIDE, 2)).astype("float32")

    @pytest.mark.parametrize(("units", "activation"), [(3, None), (3, "softmax"), (1, "sigmoid")])
    def test_arrays_and_datasets_give_the_same(self, units, activation):
        wrapped = tlp.wrap_model(small_model(units, activation), rule="learned")
        stream = tf.data.Dataset.from_tensor_slices((self.images, np.arange(5))).batch(2)
        options = {"fills": ("blur", "neighbours"), "steps": 4, "batch_size": 2}
        one = metrics.report(wrapped, self.images, **options)
        other = metrics.report(wrapped, stream, **options)
        assert one.rows == other.rows and one.notes == other.notes
        assert [row.fill for row in one.rows] == ["blur", "neighbours", "all fills"]

    def test_maps_are_those_of_explain(self):
        wrapped = tlp.wrap_model(small_model(), rule="learned")
        report = metrics.report(wrapped, self.images, [0, 1, 2, 0, 1], fills="mean", steps=4)
        maps = wrapped.explain(self.images, [0, 1, 2, 0, 1])
        direct = metrics.insertion_deletion(
            wrapped.logits, self.images, maps, [0, 1, 2, 0, 1], fills="mean", step=16
        )
        np.testing.assert_allclose(report.results["map"].scores, direct.scores, atol=1e-6)


class TestBadInput:
    images = images_of_both_classes(4)

    def test_what_cannot_explain(self):
        for given, missing in ((quadrant, "explain"), (small_model(), "explain"), (None, "explain")):
            with pytest.raises(TypeError, match=f"`wrapped` must have the methods.*without `{missing}`"):
                metrics.report(given, self.images)
        subject = Subject(logits=3)
        with pytest.raises(TypeError, match="Subject without `logits`"):
            metrics.report(subject, self.images)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (images[:1], "n >= 2"),
            (images[..., 0], "must be \\[n, h, w, c\\]"),
            (images[:0], "non-empty"),
            (images * np.nan, "finite"),
            (tf.data.Dataset.from_tensor_slices(images).batch(2).repeat(), "come to an end"),
            (iter(()), "at least one batch"),
        ],
    )
    def test_images(self, images, message):
        with pytest.raises(ValueError, match=f"`images`.*{message}"):
            metrics.report(Subject(), images)

    @pytest.mark.parametrize(
        ("explain", "message"),
        [
            (lambda x, ids: np.full(x.shape[:3], np.nan), "`maps`.*finite"),
            (lambda x, ids: x[:1, ..., 0], "`explain` must return one entry for each image.*1 for 4"),
            (lambda x, ids: x[:, 1:, :, 0], "`maps`.*length and size"),
        ],
    )
    def test_maps(self, explain, message):
        with pytest.raises(ValueError, match=message):
            metrics.report(Subject(explain), self.images)

    def test_probabilities_for_logits(self):
        subject = Subject(logits=lambda x: np.full((len(x), 2), 0.5))
        with pytest.raises(ValueError, match="look like probabilities"):
            metrics.report(subject, self.images)

    @pytest.mark.parametrize(
        "bad", [{"steps": 0}, {"batch_size": 0}, {"seed": -1}, {"fills": ["mean", "paint"]}, {"targets": 2}]
    )
    def test_options(self, bad):
        calls = []
        subject = Subject(lambda x, ids: calls.append(x))
        with pytest.raises(ValueError, match=next(iter(bad)).rstrip("s")):
            metrics.report(subject, self.images, **bad)
        assert not calls


def test_metrics_import_nothing_that_knows_of_rules():
    allowed = {
        "tf_learnprop.areas",
        "tf_learnprop.graph.keras_internals",
        "tf_learnprop.graph.output_head",
        "tf_learnprop.inputs.batches",
        "tf_learnprop.inputs.checks",
        "tf_learnprop.plotting",
        "tf_learnprop.fills",
        "tf_learnprop.argument_checks",
        "tf_learnprop.targets",
        "tf_learnprop.tracing",
        "tf_learnprop.html_page",
    }
    by_name = {
        "tf_learnprop.methods",
        "tf_learnprop.model.PropagationModel",
        "tf_learnprop.wrapping.wrap_model",
    }
    folder = pathlib.Path(metrics.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("tf_learnprop"):
                found = {f"{node.module}.{name.name}" for name in node.names}
                found -= by_name if path.name == "comparison.py" else set()  # which makes methods from names
                assert all(name.startswith((*allowed, "tf_learnprop.metrics")) for name in found), path.name
