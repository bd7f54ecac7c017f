"""Metrics that perturb all explained inputs of a model together, against slow loops."""

import keras
import numpy as np
import pytest
from scipy import special, stats

import tf_learnprop as tlp
from tests.test_joint import DATA, PAIR, everything, linear, photo_and_table
from tf_learnprop import metrics

RNG = np.random.default_rng(6)
X, Y = (RNG.normal(size=(5, size)).astype("float32") for size in (3, 2))


def order_of(maps):
    """Places of one sample, the best first, as (input, place), and the area up to the middle of each."""
    places = [
        (-one.ravel()[k] * one.size, number, k, 1 / (len(maps) * one.size))
        for number, one in enumerate(maps)
        for k in range(one.size)
    ]
    order, middles, total = [], [], 0.0
    for _, number, k, area in sorted(places):
        order.append((number, k))
        middles.append(total + area / 2)
        total += area
    return order, middles


def slow_curve(inputs, maps, fills, probability, step, inserted):
    """The curve of one sample: `inputs`, `maps` and `fills` are lists of arrays of its inputs."""
    order, middles = order_of(maps)
    count = len(order)
    curve = []
    for changed in [*range(0, count, step), count]:
        start, end = (fills, inputs) if inserted else (inputs, fills)
        copies = [one.copy() for one in start]
        for (number, place), middle in zip(order, middles, strict=True):
            if middle * count < changed:
                wide = copies[number].reshape(maps[number].size, -1)
                wide[place] = end[number].reshape(maps[number].size, -1)[place]
        curve.append(probability(copies))
    return curve


class TestLinear:
    """Two tables of 3 and 2 columns, and three classes that are linear in both."""

    @pytest.fixture
    def case(self):
        model, a, b = linear(3)
        joint = tlp.wrap_model(model, "gradient", explained_input="all")
        return joint, joint.explain([X, Y]), (lambda x, y: special.softmax(x @ a + y @ b, -1))

    def expected(self, case, index, fills, inserted, step=1):
        joint, maps, probabilities = case
        target = probabilities(X[index], Y[index]).argmax()
        return slow_curve(
            [X[index], Y[index]],
            [one[index] for one in maps],
            fills,
            lambda copies: probabilities(*copies)[target],
            step,
            inserted,
        )

    @pytest.mark.parametrize("step", [1, 2])
    def test_deletion(self, case, step):
        joint, maps, _ = case
        found = metrics.deletion(joint, [X, Y], maps, step=step, batch_size=2)
        for index in range(5):
            expected = self.expected(case, index, [X.mean(0), Y.mean(0)], False, step)
            np.testing.assert_allclose(found.curves[index], expected, atol=1e-6)
        np.testing.assert_allclose(found.fractions, {1: np.arange(6) / 5, 2: [0, 0.4, 0.8, 1]}[step])

    def test_insertion_from_a_fill_of_each_input(self, case):
        joint, maps, _ = case
        fill = {"x": np.array([1.0, 2.0, 3.0], "float32"), "y": 0.0}
        found = metrics.insertion(joint, [X, Y], maps, fill=fill)
        for index in range(5):
            expected = self.expected(case, index, [fill["x"], np.zeros(2, "float32")], True)
            np.testing.assert_allclose(found.curves[index], expected, atol=1e-6)

    def test_of_other_samples(self, case):
        """All inputs come from the same other sample."""
        joint, maps, _ = case
        found = metrics.insertion_deletion(joint, [X, Y], maps, fills="image", seed=3)
        order = np.random.default_rng(3).permutation(5)
        others = np.empty(5, int)
        others[order] = np.roll(order, 1)
        for index, other in enumerate(others):
            for inserted, curve in ((True, found.insertion["image"]), (False, found.deletion["image"])):
                expected = self.expected(case, index, [X[other], Y[other]], inserted)
                np.testing.assert_allclose(curve.curves[index], expected, atol=1e-6)

    def test_the_input_that_decides_goes_first(self):
        """A class that follows y alone is gone when y is, half of the area."""
        model, *_ = linear(1)
        model.layers[-1].kernel.assign(np.array([[0.0], [0.0], [0.0], [5.0], [5.0]]))
        joint = tlp.wrap_model(model, "gradient", explained_input="all")
        y = np.abs(Y) + 1
        found = metrics.deletion(joint, [X, y], joint.explain([X, y]), fill={"x": 9.0, "y": -1.0}, targets=1)
        assert (found.curves[:, 0] > 0.99).all() and (found.curves[:, 3:] < 0.01).all()


def test_images_words_and_tables():
    """Each place of an input counts 1 over their number; words are perturbed at their embedding."""
    model = everything()
    joint = tlp.wrap_model(model, "gradient", explained_input=["photo", "words", "table"])
    maps = joint.explain(DATA)
    found = metrics.deletion(joint, DATA, maps, step=30, fill="mean")
    embedding = next(layer for layer in model.layers if isinstance(layer, keras.layers.Embedding))
    vectors = embedding(DATA["words"]).numpy()
    head = keras.Model({**model.input, "words": embedding.output}, model.output)
    names = ["photo", "words", "table"]
    values = {**DATA, "words": vectors}
    fills = [values[name].mean(tuple(range(values[name].ndim - 1))) for name in names]
    fills = [np.broadcast_to(fill, values[name].shape[1:]) for name, fill in zip(names, fills, strict=True)]
    for index in range(4):
        rest = {name: array[index : index + 1] for name, array in values.items()}
        target = head(rest).numpy().argmax()

        def probability(copies, rest=rest, target=target):
            given = {name: copy[None] for name, copy in zip(names, copies, strict=True)}
            return head({**rest, **given}).numpy()[0, target]

        own = [values[name][index] for name in names]
        expected = slow_curve(own, [maps[name][index] for name in names], fills, probability, 30, False)
        np.testing.assert_allclose(found.curves[index], expected, atol=1e-5)


def test_a_value_stays_close():
    model, *_ = linear(1)
    joint = tlp.wrap_model(model, "gradient", explained_input="all")
    found = metrics.deletion(joint, [X, Y], joint.explain([X, Y]), targets=tlp.targets.Value())
    assert np.allclose(found.curves[:, 0], np.exp(-1e-3), atol=1e-4) and found.curves.max() <= 1


def rank_correlation(maps, others):
    """Spearman's correlation of the attribution by area, in which each input counts alike."""
    rows = []
    for index in range(len(maps["photo"])):
        ranks = []
        for given in (maps, others):
            flat = [given[name][index].ravel() * given[name][index].size for name in ("photo", "table")]
            ranks.append(stats.rankdata(np.concatenate(flat)))
        weights = np.concatenate([np.full(one.size, 1 / one.size) for one in flat])
        covariance = np.cov(*ranks, aweights=weights)
        rows.append(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return np.array(rows)


def test_report():
    model = photo_and_table()
    joint = tlp.wrap_model(model, explained_input="all")
    data = {name: np.concatenate([values, values + 0.1]) for name, values in PAIR.items()}
    report = metrics.report(joint, data, fills=("mean", "blur", "image"), steps=5)
    assert report.images == 8 and [row.fill for row in report.rows] == ["mean", "blur", "image", "all fills"]
    evaluation = metrics.Evaluation(joint, data, fills=("mean", "blur", "image"))
    maps = joint.explain(data, evaluation.targets)
    again = metrics.insertion_deletion(evaluation, maps, step=-(-147 // 5))
    np.testing.assert_allclose(report.rows[-1].score.mean, again.scores.mean(), atol=1e-6)
    least = joint.logits(data).argmin(1)
    similar = rank_correlation(maps, joint.explain(data, least))
    np.testing.assert_allclose(report.class_correlation.mean, similar.mean(), atol=1e-6)
    probabilities = special.softmax(model.predict(data, verbose=0), -1).max(1)
    np.testing.assert_allclose(report.confidence, probabilities.mean(), atol=1e-5)
    stream = iter([({name: values[:3] for name, values in data.items()}, np.zeros(3))])
    assert metrics.Evaluation(joint, stream).targets.shape == (3,)


class TestBadInput:
    @pytest.fixture
    def joint(self):
        return tlp.wrap_model(photo_and_table(), "gradient", explained_input="all")

    def test_maps_of_another_form(self, joint):
        maps = joint.explain(PAIR)
        with pytest.raises(ValueError, match="must have the structure that `explain` returns"):
            metrics.deletion(joint, PAIR, maps["photo"])
        with pytest.raises(ValueError, match="must have the images' length and size"):
            metrics.deletion(joint, PAIR, {**maps, "table": maps["table"][:, :2]})

    def test_a_fill_of_another_form(self, joint):
        maps = joint.explain(PAIR)
        with pytest.raises(ValueError, match=r"`fill` must be a name, or a dict with the inputs \['photo'"):
            metrics.deletion(joint, PAIR, maps, fill={"photo": "mean"})
        with pytest.raises(ValueError, match="`mean` must be a dict with the inputs"):
            metrics.deletion(joint, PAIR, maps, mean=0.0)

    @pytest.mark.parametrize(
        "metric", ["degradation", "mu_fidelity", "infidelity", "leak", "single_deletion"]
    )
    def test_a_metric_of_one_input(self, joint, metric):
        with pytest.raises(TypeError, match=r"perturbs one input; `insertion`.*inputs \['photo', 'table'\]"):
            getattr(metrics, metric)(joint, PAIR, joint.explain(PAIR))

    def test_a_target_without_classes(self, joint):
        for target, name in ((tlp.targets.Value(), "Value"), (lambda outputs: outputs[:, 0], "function")):
            with pytest.raises(TypeError, match=f"report compares classes; .*Received: {name}"):
                metrics.report(joint, PAIR, target)

    def test_one_sample(self, joint):
        with pytest.raises(ValueError, match="must hold at least two samples. Received: 1"):
            metrics.report(joint, {name: values[:1] for name, values in PAIR.items()})
