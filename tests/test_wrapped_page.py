"""The page docs/what_can_be_wrapped.md says what is true of the models that the tests wrap."""

import re

import pytest

from tests import wrapped_page

PAGE = wrapped_page.FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "title", [t for t in wrapped_page.TABLES if t != "KerasHub"]
)  # see test_keras_hub.py
def test_a_table_is_current(title):
    """If not, `python -m tests.wrapped_page` writes the page anew."""
    assert wrapped_page.table(title) in PAGE


def test_the_rest_is_current():
    assert PAGE.startswith(wrapped_page.INTRO) and PAGE.endswith("\n" + wrapped_page.places())
    headings = re.findall("^## (.*)$", PAGE, flags=re.MULTILINE)
    assert headings == [*wrapped_page.TABLES, "Where the map lies"]


def test_every_row_says_what_the_model_is():
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    texts = [cells[0].removeprefix("| ") for cells in rows]
    assert len(texts) > 100 and all(len(text) >= 5 for text in texts)
