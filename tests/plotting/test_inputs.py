"""Shares and panels of several inputs."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tf_learnprop import plotting

RNG = np.random.default_rng(0)
SAMPLE = {
    "photo": RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8),
    "ecg": RNG.normal(size=(20, 2)),
    "notes": ["no", "fever"],
    "table": np.ones(3),
}
MAPS = {
    "photo": np.full((6, 8), 0.5 / 48),
    "ecg": np.full(20, 0.1 / 20),
    "notes": np.array([0.1, 0.0]),
    "table": np.array([0.1, -0.2, 0.0]),
}


def by_title(figure):
    return {axis.get_title(): axis for axis in figure.axes}


def test_shares_and_a_panel_for_each():
    shares, *panels = plotting.inputs(SAMPLE, MAPS).axes
    widths = [bar.get_width() for bar in shares.patches]
    np.testing.assert_allclose(widths, [0.5, 0.1, 0.1, 0.3])
    titles = ["photo: 50%", "ecg: 10%", "notes: 10%", "table: 30%"]
    assert [label.get_text() for label in shares.get_yticklabels()] == titles
    assert sorted(axis.get_title() for axis in panels) == sorted(titles)


def test_a_table_has_a_bar_for_each_value():
    scaled = {name: 7 * values for name, values in MAPS.items()}
    axis = by_title(plotting.inputs(SAMPLE, scaled, labels={"table": ["age", "$x$", "c"]}))["table: 30%"]
    np.testing.assert_allclose([bar.get_width() for bar in axis.patches], MAPS["table"])
    red, blue, _ = (bar.get_facecolor() for bar in axis.patches)
    assert red[0] > red[2] and blue[2] > blue[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["age", "$x$", "c"]
    axis = by_title(plotting.inputs(SAMPLE, MAPS, signed=False))["table: 30%"]
    np.testing.assert_allclose([bar.get_width() for bar in axis.patches], [0.1, 0, 0])


def test_the_largest_values_of_a_long_table():
    values = np.arange(30) * np.where(np.arange(30) % 2, 1, -1)
    axis = by_title(plotting.inputs([values], [values]))["0: 100%"]
    assert [label.get_text() for label in axis.get_yticklabels()] == [str(k) for k in range(18, 30)]
    np.testing.assert_allclose([bar.get_width() for bar in axis.patches], values[18:] / np.abs(values).sum())


def test_fills_a_figure_and_maps_of_zeros():
    figure = Figure()
    assert (
        plotting.inputs([np.ones(2), np.ones((4, 4))], [np.zeros(2), np.zeros((4, 4))], fig=figure) is figure
    )
    assert {"0: 0%", "1: 0%"} <= by_title(figure).keys()


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (({}, {}), "there must be inputs"),
        ((SAMPLE, {"photo": MAPS["photo"]}), "`maps` must be one map for each input"),
        ((SAMPLE, [*MAPS.values()]), "`maps` must be one map for each input"),
        (([np.ones(3)], [np.ones(2)]), "a value for each of the input, 3. Received: 2"),
        ((["a b".split()], [np.ones(3)]), "a value for each of the input, 2. Received: 3"),
        (([np.ones((4, 2))], [np.ones(3)]), "must have the length of the series, 4"),
        (([np.ones((4, 4))], [np.ones((2, 4, 4))]), r"`maps\[0\]` must have shape"),
        (([np.ones(2)], [[np.nan, 1]]), "must be finite"),
    ],
)
def test_what_does_not_match(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        plotting.inputs(*arguments)


@pytest.mark.parametrize("labels", [{"table": ["a"]}, {"age": ["a"]}])
def test_labels_that_do_not_match(labels):
    with pytest.raises(ValueError, match="`labels` must hold a text for each value of a table"):
        plotting.inputs(SAMPLE, MAPS, labels=labels)
