"""The Python of the docs runs: the README's as printed, the docs' on a small model, and the docstrings'."""

import contextlib
import doctest
import io
import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tf_learnprop as tlp
from tests import toys
from tf_learnprop.wrapping import wrap

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [
    "docs/index.md",
    "docs/evaluation.md",
    "docs/migrating.md",
    *(
        f"docs/reference/{name}.md"
        for name in ("adapters", "data", "methods", "metrics", "model", "rules", "serving", "targets")
    ),
    *(
        f"docs/guides/{name}.md"
        for name in (
            "audit",
            "choosing",
            "detection",
            "devices",
            "embeddings",
            "methods",
            "overview",
            "own_rule",
            "pictures",
            "regression_and_series",
            "scale",
            "segmentation",
            "several_inputs",
            "targets",
            "text",
            "training",
            "transformers",
            "volumes",
            "your_model",
        )
    ),
]


def blocks(page):
    text = (ROOT / page).read_text()
    # The model is given: those of keras.applications would be downloaded. Fewer steps tell as much.
    text = re.sub(r"^model = keras\.applications.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^steps = 300$", "steps = 6", text, flags=re.MULTILINE)
    text = text.replace("steps_per_epoch=50", "steps_per_epoch=1")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readmes_example_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    names = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    assert names["maps"].shape == (1, 224, 224) and np.isfinite(names["maps"]).all()
    assert names["name"] == "tiger cat"
    assert (tmp_path / "cat.png").stat().st_size > 10_000


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(8):
        pixels = toys.rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    names = {"model": toys.small_cnn(), "images": toys.images(4), "keras": keras, "tf": tf, "tlp": tlp}
    names |= {"preprocess": lambda x: x / 127.5 - 1, "__name__": "docs"}
    found = blocks(page)
    assert found
    for block in found:
        exec(compile(block, page, "exec"), names)
    for name in ("wrapped", "again"):
        if name in names:
            assert np.isfinite(names[name].explain(toys.images(2))).all()


def test_tables_are_those_that_are_printed():
    """Each block of `coverage.md` prints the text behind it."""
    text = (ROOT / "docs/guides/coverage.md").read_text()
    pairs = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(pairs) == 5
    names = {"keras": keras, "tf": tf, "tlp": tlp, "__name__": "docs"}
    for block, expected in pairs:
        keras.backend.clear_session()  # Keras counts up names
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, "coverage.md", "exec"), names)
        lines = [line.rstrip() for line in printed.getvalue().splitlines()]
        assert lines == expected.splitlines()


def test_docstring_examples():
    result = doctest.testmod(wrap)
    assert result.attempted >= 6 and result.failed == 0


def test_pages_of_the_navigation_exist():
    pages = re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    assert len(pages) > 10
    assert all((ROOT / "docs" / page).exists() for page in pages)


def test_citation_has_the_version():
    assert f"\nversion: {tlp.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page}: {link}"
