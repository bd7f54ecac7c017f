"""Texts of two sentences: how they are split, and what is measured with an encoder known by hand."""

import numpy as np
import pytest

from benchmarks import similar_texts
from benchmarks.evaluation import sentences

TABLE = np.array([[0, 0], [1, 0], [0, 1], [0, 0]], np.float32)  # padding, a good word, a bad one, [MASK]


class SumOfWords:
    """An encoder that gives the sum of its words, without a norm: each word counts for itself."""

    mask_token = 3

    def embed(self, inputs):
        return np.sum(TABLE[inputs["token_ids"]] * inputs["padding_mask"][..., None], 1)


@pytest.fixture
def pairs():
    ids = np.zeros((1, sentences.LENGTH), "int32")
    ids[0, :5] = [1, 2, 2, 1, 1]
    inputs = {"token_ids": ids, "padding_mask": (ids != 0).astype("int32")}
    return sentences.Pairs(inputs, ids != 0, ids == 1, np.array([[1, -1]], np.float32))


@pytest.mark.parametrize("kind", ["mask", "removed"])
def test_what_a_word_alone_is_worth(pairs, kind):
    maps = similar_texts.left_out(SumOfWords(), pairs, kind)
    np.testing.assert_array_equal(maps[0, :6], [1, -1, -1, 1, 1, 0])


def test_measures_of_the_right_map_and_of_its_opposite(pairs):
    encoder = SumOfWords()
    alone = similar_texts.left_out(encoder, pairs, "removed")
    right, wrong = (similar_texts.measured(encoder, pairs, alone, sign * alone) for sign in (1, -1))
    assert (right["mass"], wrong["mass"]) == (1, 0)
    np.testing.assert_allclose([right["agreement"], wrong["agreement"]], [[1], [-1]])
    # What the 0, 1, 1, 2, 2, 3, 4, 4 and 5 highest words are worth together; all five are worth 1.
    best, worst = [0, 1, 1, 2, 2, 3, 2, 2, 1], [0, -1, -1, -2, -2, -1, 0, 0, 1]
    for values, worth in ((right, best), (wrong, worst)):
        expected = np.mean([kept - (1 - kept) for kept in worth])
        for kind in ("mask", "removed"):
            np.testing.assert_allclose(values[f"fidelity/{kind}"], expected)


def test_sentences_of_a_page():
    page = """# Title

Flowers of [many kinds](https://x.org/a) were photographed in a large garden. Too short. They bloom
from the early spring until late autumn in the park!

- A list of things that is no sentence of a paragraph at all.

```
Code is no sentence of a paragraph either, whatever it may say here.
```
"""
    assert sentences.split(page) == [
        "Flowers of many kinds were photographed in a large garden.",
        "They bloom from the early spring until late autumn in the park!",
    ]
