"""Tokens have their places and colours, and bad ones an error."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle

from tf_learnprop import plotting

WORDS = "a map of every word that the model reads".split()
VALUES = np.array([0.0, 3, -3, 1.5, 0, 0, -0.75, 0, 3])


def parts(ax):
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    letters = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    return boxes, letters


def test_colours_follow_the_values():
    boxes, letters = parts(plotting.tokens(WORDS, VALUES, clip=100))
    assert [patch.get_gid() for patch in letters] == WORDS
    colours = matplotlib.colormaps["RdBu_r"]
    for box, value in zip(boxes, VALUES, strict=True):
        np.testing.assert_allclose(box.get_facecolor(), colours(0.5 + value / 6))
    assert to_rgba("white") == letters[1].get_facecolor() == letters[2].get_facecolor()
    assert to_rgba("black") == letters[0].get_facecolor() == letters[6].get_facecolor()


def test_lines_hold_so_many_characters_and_tokens_lie_in_their_boxes():
    ax = plotting.tokens(WORDS, VALUES, columns=10)
    boxes, letters = parts(ax)
    lines = {}
    for word, box, letter in zip(WORDS, boxes, letters, strict=True):
        lines.setdefault(box.get_y(), []).append(word)
        outline, around = letter.get_path().get_extents(), box.get_bbox()
        assert around.x0 <= outline.x0 and outline.x1 <= around.x1
        assert around.y0 <= outline.y0 and outline.y1 <= around.y1
        assert ax.get_xlim()[0] <= around.x0 and around.x1 <= ax.get_xlim()[1]
        assert ax.get_ylim()[0] <= around.y0 and around.y1 <= ax.get_ylim()[1]
    texts = [" ".join(lines[height]) for height in sorted(lines, reverse=True)]
    assert texts == ["a map of", "every word", "that the", "model", "reads"]


def test_a_token_longer_than_a_line_has_its_own():
    boxes, _ = parts(plotting.tokens(["a", "long-word", "b"], [1, 2, 3], columns=4))
    assert len({box.get_y() for box in boxes}) == 3


def test_axes_are_used_and_pyplot_is_left_alone():
    ax = Figure().subplots()
    assert plotting.tokens(["a"], [0.0], ax=ax) is ax
    assert not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("tokens", "values", "options", "error", "message"),
    [
        ("text", [1, 2, 3, 4], {}, TypeError, "list of strings"),
        (["a", 2], [1, 2], {}, TypeError, "list of strings"),
        ([], [], {}, ValueError, "there must be tokens"),
        (["a", "b"], [1.0], {}, ValueError, "2 tokens and values of shape"),
        (["a"], [np.nan], {}, ValueError, "finite"),
        (["a"], [1.0], {"columns": 0}, ValueError, "columns=0"),
        (["a"], [1.0], {"clip": 0}, ValueError, "clip=0"),
        (["a"], [1.0], {"ax": Figure()}, TypeError, "`ax`"),
    ],
)
def test_bad_arguments(tokens, values, options, error, message):
    with pytest.raises(error, match=message):
        plotting.tokens(tokens, values, **options)
