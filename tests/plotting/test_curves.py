"""Curves hold what they are given, where it belongs, and leave pyplot alone."""

import io

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from tf_learnprop import plotting

X = np.linspace(0, 1, 5)


def line(height):
    return X, X * height, X * height - 0.1, X * height + 0.2


def panels(rows=2, columns=3, labels=("one", "two")):
    return {
        f"row {r}": {
            f"column {c}": {label: line(100 * r + 10 * c + k) for k, label in enumerate(labels)}
            for c in range(columns)
        }
        for r in range(rows)
    }


class TestCurves:
    def test_every_line_and_band_is_in_its_panel(self):
        figure = plotting.curves(panels(), xlabel="share")
        axes = np.reshape(figure.axes, (2, 3))
        for r, c in np.ndindex(2, 3):
            lines, bands = axes[r, c].lines, axes[r, c].collections
            assert len(lines) == len(bands) == 2
            for k in range(2):
                x, middle, low, high = line(100 * r + 10 * c + k)
                np.testing.assert_array_equal(lines[k].get_xydata(), np.stack([x, middle], 1))
                corners = bands[k].get_paths()[0].vertices
                for point in (*zip(x, low, strict=True), *zip(x, high, strict=True)):
                    assert np.abs(corners - point).sum(1).min() < 1e-9
        assert [axis.get_ylabel() for axis in axes[:, 0]] == ["row 0", "row 1"]
        assert [axis.get_title() for axis in axes[0]] == ["column 0", "column 1", "column 2"]
        assert [axis.get_xlabel() for axis in axes[1]] == ["share"] * 3
        limits = {axis.get_ylim() for axis in figure.axes}
        assert len(limits) == 1

    def test_a_label_looks_the_same_everywhere_and_in_the_legend(self):
        given = panels(1, 2)
        given["row 0"]["column 1"] = {"three": line(1), "two": line(2)}
        figure = plotting.curves(given)
        first, second = figure.axes
        assert first.lines[1].get_color() == second.lines[1].get_color()
        assert first.lines[0].get_color() != second.lines[0].get_color()
        legend = figure.legends[0]
        assert [text.get_text() for text in legend.get_texts()] == ["one", "two", "three"]
        drawn = [first.lines[0], first.lines[1], second.lines[0]]
        assert [handle.get_color() for handle in legend.get_lines()] == [one.get_color() for one in drawn]

    def test_more_labels_than_looks(self):
        labels = [str(k) for k in range(7)]
        figure = plotting.curves(panels(1, 1, labels))
        colours = [one.get_color() for one in figure.axes[0].lines]
        assert len(set(colours)) == 5 and colours[5:] == colours[:2]

    def test_its_own_figure_is_not_pyplots_and_can_be_saved(self):
        before = pyplot.get_fignums()
        figure = plotting.curves(panels())
        assert pyplot.get_fignums() == before
        file = io.BytesIO()
        figure.savefig(file, format="png")
        assert file.getvalue().startswith(b"\x89PNG")

    def test_fills_the_figure_or_the_part_of_one_given(self):
        figure = Figure()
        assert plotting.curves(panels(), fig=figure) is figure and len(figure.axes) == 6
        parts = Figure(layout="constrained").subfigures(1, 2)
        assert plotting.curves(panels(), fig=parts[1]) is parts[1]
        assert len(parts[1].axes) == 6 and not parts[0].axes

    def test_draws_on_the_axes_given(self):
        figure = Figure()
        axes = figure.subplots(2, 3)
        assert plotting.curves(panels(), ax=axes) is figure and len(figure.axes) == 6
        assert all(len(axis.lines) == 2 for axis in axes.flat)
        assert axes[0, 0].get_legend() is not None
        alone = Figure().subplots()
        plotting.curves(panels(1, 1), ax=alone)
        assert len(alone.lines) == 2

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ({}, "same columns"),
            ({"a": {}}, "same columns"),
            ({"a": {"x": {"l": line(1)}}, "b": {"y": {"l": line(1)}}}, "same columns"),
            ({"a": {"x": {}}}, "lines of four"),
            ({"a": {"x": {"l": line(1)[:3]}}}, "lines of four"),
            ({"a": {"x": {"l": (X, X, X, X[1:])}}}, "lines of four"),
            ({"a": {"x": {"l": (X, X, X, X * np.nan)}}}, "lines of four"),
            ({"a": {"x": {"l": (1, 2, 3, 4)}}}, "lines of four"),
        ],
    )
    def test_bad_panels(self, bad, message):
        with pytest.raises(ValueError, match=f"`panels`.*{message}"):
            plotting.curves(bad)

    def test_bad_axes(self):
        with pytest.raises(ValueError, match="2 × 3 axes.*Received: 4 axes"):
            plotting.curves(panels(), ax=Figure().subplots(2, 2))
        figure = Figure()
        with pytest.raises(ValueError, match="without `fig`"):
            plotting.curves(panels(1, 1), ax=figure.subplots(), fig=figure)
