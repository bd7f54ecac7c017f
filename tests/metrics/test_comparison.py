"""`compare`: its figures by the metrics themselves, and its verdicts on maps that are good in a known way."""

import json

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import metrics

OPTIONS = {"fills": {"mean": "mean", "black": 0.0}, "steps": 4, "tolerance": 2}


@pytest.fixture(scope="module")
def model():
    """Its logits are relu(x)·w, and only the top left quadrant has weights."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    layer = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(image, layer(keras.layers.Flatten()(keras.layers.ReLU()(image))))
    weights = toys.normal(8, 8, 3, seed=2)
    weights[4:], weights[:, 4:] = 0, 0
    layer.set_weights([weights.reshape(64, 3)])
    return model


@pytest.fixture(scope="module")
def images():
    return np.abs(toys.images(6, (8, 8, 1)))


@pytest.fixture(scope="module")
def masks():
    masks = np.zeros((6, 8, 8), bool)
    masks[:, :4, :4] = True
    return masks


@pytest.fixture(scope="module")
def compared(model, images, masks):
    methods = {"exact": "gradient_x_input", "saliency": tlp.methods.get("saliency"), "dark": dark}
    return metrics.compare(model, images, methods, masks=masks, boxes=[(0, 0, 4, 4)] * 6, **OPTIONS)


def dark(images, class_ids):
    """A map that knows nothing of the model."""
    return -images[..., 0]


def of(comparison, title):
    (measure,) = (measure for measure in comparison.measures if measure.title == title)
    return measure


def test_figures_are_those_of_the_metrics(compared, model, images, masks):
    ids = model(images).numpy().argmax(1)
    worst = model(images).numpy().argmin(1)
    evaluation = metrics.Evaluation(model, images, fills=OPTIONS["fills"])
    for name, explain in {
        "exact": lambda ids: tlp.explain(model, images, ids, method="gradient_x_input"),
        "saliency": lambda ids: tlp.explain(model, images, ids, method="saliency"),
        "dark": lambda ids: dark(images, ids),
    }.items():
        maps, others = explain(ids), explain(worst)
        np.testing.assert_allclose(compared.maps[name], maps, atol=1e-6)
        curves = metrics.insertion_deletion(evaluation, maps, step=16)
        expected = {
            f"insertion − deletion, {fill}": curves.insertion[fill].scores - curves.deletion[fill].scores
            for fill in OPTIONS["fills"]
        }
        expected["single deletion"] = metrics.single_deletion(evaluation, maps)
        expected["correlation of classes"] = metrics.similarity(maps, others).rank_correlation
        expected["leak"] = metrics.leak(evaluation, others)
        for kind in ("mask", "box"):  # the same pixels
            expected[f"pointing game, {kind}"] = metrics.pointing_game(maps, masks, 2)
            expected[f"mass accuracy, {kind}"] = metrics.mask_mass_accuracy(maps, masks)
            expected[f"rank accuracy, {kind}"] = metrics.mask_rank_accuracy(maps, masks)
            expected[f"IoU, {kind}"] = metrics.mask_iou(maps, masks)
            expected[f"ROC-AUC, {kind}"] = metrics.mask_auc(maps, masks)
        assert [measure.title for measure in compared.measures] == list(expected)
        for title, values in expected.items():
            np.testing.assert_allclose(of(compared, title).scores[name], values, atol=1e-5, err_msg=title)


def test_intervals_are_of_differences(compared):
    for measure in compared.measures:
        assert list(measure.standings) == ["exact", "saliency", "dark", "centre blob", "random map"]
        sign = 1 if measure.higher_is_better else -1
        means = {name: sign * measure.scores[name].mean() for name in compared.costs}
        assert measure.reference == max(means, key=means.get)
        for name, one in measure.standings.items():
            difference = measure.scores[name] - measure.scores[measure.reference]
            assert one.mean == metrics.bootstrap_interval(measure.scores[name])
            assert one.difference == metrics.bootstrap_interval(difference)
            holds_0 = one.difference.low <= 0 <= one.difference.high
            expected = "no difference" if holds_0 else "better" if sign * one.difference.mean > 0 else "worse"
            assert one.verdict == ("best" if name == measure.reference else expected)


def test_the_exact_map_is_the_best(compared):
    fidelity = of(compared, "insertion − deletion, black")
    assert fidelity.reference == "exact"
    for name in ("dark", "centre blob", "random map"):
        assert fidelity.standings[name].verdict == "worse"
    assert of(compared, "ROC-AUC, mask").standings["dark"].verdict == "worse"


def test_baselines_are_those_of_the_report(compared, model, images):
    blob = np.broadcast_to(metrics.centre_blob(8, 8), (6, 8, 8))
    curves = metrics.insertion_deletion(model, images, blob, fills="mean", step=16)
    title = "insertion − deletion, mean"
    np.testing.assert_allclose(of(compared, title).scores["centre blob"], curves.scores, atol=1e-6)
    np.testing.assert_allclose(of(compared, "correlation of classes").scores["centre blob"], 1)


def test_cost(compared):
    assert {name: cost.passes for name, cost in compared.costs.items()} == {
        "exact": 2,
        "saliency": 2,
        "dark": None,
    }
    assert all(cost.seconds > 0 for cost in compared.costs.values())


def test_against_a_method(model, images):
    against = metrics.compare(
        model, images, {"dark": dark, "exact": "gradient_x_input"}, against="dark", **OPTIONS
    )
    measure = of(against, "insertion − deletion, black")
    assert measure.standings["dark"].verdict == "reference" and measure.standings["exact"].verdict == "better"
    assert measure.standings["exact"].difference.low > 0
    assert "insertion − deletion, black: exact better than dark." in str(against)


def test_no_difference_is_said(model, images):
    same = metrics.compare(model, images, {"a": dark, "b": dark}, **OPTIONS)
    for measure in same.measures:
        assert measure.standings["b"].verdict == "no difference"
    assert "insertion − deletion, mean: a is best; no difference from b." in same.verdicts
    assert any("a is not shown to be better than" in note and "centre blob" in note for note in same.notes)


def test_targets(model, images):
    """The class that is followed is never the other one, whose map is looked through."""
    seen = []

    def explain(images, ids):
        seen.append(np.array(ids))
        return images[..., 0]

    logits = model(images).numpy()
    lowest = logits.argmin(1)
    metrics.compare(model, images, {"own": explain}, lowest, **OPTIONS)
    first, own, other = seen
    assert first == lowest[0]
    np.testing.assert_array_equal(own, lowest)
    np.testing.assert_array_equal(other, logits.argmax(1))


class TestForms:
    def test_names_and_the_rules_of_a_wrapped_model(self, model, images):
        wrapped = tlp.wrap_model(model, "guided_backprop")
        found = metrics.compare(
            wrapped, images, ["learned", tlp.methods.get("occlusion", patch=4)], **OPTIONS
        )
        np.testing.assert_allclose(found.maps["learned"], wrapped.explain(images), atol=1e-6)
        expected = tlp.explain(model, images, method="occlusion", patch=4)
        np.testing.assert_allclose(found.maps["occlusion"], expected, atol=1e-6)

    def test_explainers(self, model, images):
        explainer = tlp.methods.make(model, "saliency")
        found = metrics.compare(model, images, {"mine": explainer}, **OPTIONS)
        np.testing.assert_allclose(found.maps["mine"], explainer.explain(images), atol=1e-6)

    def test_progress(self, model, images):
        seen = []
        metrics.compare(model, images, {"dark": dark}, progress=lambda *done: seen.append(done), **OPTIONS)
        assert seen == [("dark", 3), ("centre blob", 3), ("random map", 3)]


class TestOutput:
    def test_table(self, compared):
        lines = str(compared).splitlines()
        assert lines[0] == compared.verdicts[0]
        measure = of(compared, "leak")
        start = next(
            k for k, line in enumerate(lines) if line.startswith("leak ") and "lower is better" in line
        )
        means = [float(line.split("[")[0].split()[-1]) for line in lines[start + 1 : start + 6]]
        ordered = sorted(one.mean.mean for one in measure.standings.values())
        np.testing.assert_allclose(means, ordered, atol=0.006)
        assert any("Note: 6 images are few" in line for line in lines)

    def test_json(self, compared):
        loaded = json.loads(compared.to_json())
        assert loaded == compared.to_dict()
        (leak,) = (one for one in loaded["measures"] if one["title"] == "leak")
        assert leak["methods"]["exact"]["scores"] == of(compared, "leak").scores["exact"].tolist()

    def test_page(self, compared, tmp_path):
        text = compared.save(tmp_path / "page.html").read_text("utf-8")
        assert text.count("<tr>") == 1 + len(compared.measures) + 2
        for measure in compared.measures:
            for one in measure.standings.values():
                assert f">{round(one.mean.mean, 2) + 0.0:.2f}<small>" in text
        assert "no difference" in text and "http" not in text
        assert "&lt;b&gt;" in compared.to_html("<b>") and "<b>" not in compared.to_html("<b>")


BAD = {
    "no methods": ({"methods": []}, "`methods` must be a list or a dict of methods"),
    "a string": ({"methods": "rise"}, "`methods` must be a list or a dict of methods"),
    "an unknown name": ({"methods": ["lime"]}, "`method` must be one of 'universal'"),
    "one name twice": ({"methods": ["saliency", "saliency"]}, "name each method once, or be a dict"),
    "what a model does not have": ({"methods": ["attention_rollout"]}, "needs attention"),
    "rules of a model without": ({"methods": ["learned"]}, "needs a wrapped model, or a rule file"),
    "one image": ({"images": np.zeros((1, 8, 8, 1))}, "n >= 2"),
    "no photos": ({"images": np.zeros((2, 64))}, r"must be \[n, h, w, c\]"),
    "no steps": ({"steps": 0}, "`steps` must be an int >= 1"),
    "an unknown reference": ({"against": "rise"}, "`against` must be one of"),
    "masks of another size": ({"masks": np.ones((6, 4, 4), bool)}, "`masks` must be bool, of the shape"),
    "an empty mask": ({"masks": np.zeros((6, 8, 8), bool)}, "empty mask at position 0"),
    "a full mask": ({"masks": np.ones((6, 8, 8), bool)}, "must leave out at least one pixel"),
    "too few boxes": ({"boxes": [(0, 0, 2, 2)]}, "`boxes` must hold boxes for each of 6 images"),
    "a box outside": ({"boxes": [(0, 0, 9, 2)] * 6}, "must lie in images of 8 x 8 pixels"),
    "classes out of range": ({"targets": 3}, "`targets` must be class ids in 0..2"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, model, images):
    changed, message = BAD[case]
    calls = []
    arguments = {
        "images": images,
        "methods": {"own": lambda *given: calls.append(given)},
        **OPTIONS,
        **changed,
    }
    with pytest.raises(ValueError, match=message):
        metrics.compare(model, **arguments)
    assert not calls


def test_a_method_of_no_known_form(model, images):
    with pytest.raises(TypeError, match=r"`methods\['x'\]` must be a callable"):
        metrics.compare(model, images, {"x": 3})
