"""Galleries: what their page says, and what it does in a browser."""

import doctest

import numpy as np
import pytest

from tests import browser_page
from tf_learnprop import plotting
from tf_learnprop.plotting import _gallery, gallery_page
from tf_learnprop.plotting.gallery_page import Line, Tile

PHOTOS = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
MAPS = np.random.default_rng(1).normal(size=(3, 6, 6))


def small(**options):
    names = {"class_names": ["dog", "cat", "ant"], "probabilities": [0.9, 0.02, 0.5]}
    return plotting.gallery(PHOTOS, MAPS, **{**names, "cautions": [[], ["Rare."], []], **options})


class TestGallery:
    def test_holds_explanations(self):
        shown = small(signed=True, style="contour")
        assert len(shown) == 3
        (one,) = shown[1].maps
        assert (one.class_name, one.probability, one.cautions, one.signed) == ("cat", 0.02, ["Rare."], True)
        np.testing.assert_array_equal(one.attribution, MAPS[1])
        assert shown[1].style == "contour"

    def test_says_what_is_known(self):
        page = small(titles=["a.jpg", "b<i>.jpg", "c.jpg"]).html()
        assert "<b>cat</b><span>2.0 %</span></p>" in page and "⚠ Rare." in page
        assert "b&lt;i&gt;.jpg" in page and "b<i>" not in page
        assert page.count("data:image/jpeg;base64,") == 3
        assert "http:" not in page and "https:" not in page

    def test_needs_nothing_but_photos_and_maps(self):
        assert "photo 2" in plotting.gallery(list(PHOTOS), list(MAPS)).html()

    def test_in_a_notebook_it_has_a_frame_of_its_own(self):
        text = small()._repr_html_()
        assert text.startswith('<iframe srcdoc="&lt;!doctype html&gt;') and text.count("<") == 2

    def test_a_file_is_kept(self, tmp_path):
        path = tmp_path / "gallery.html"
        small().save(path)
        with pytest.raises(FileExistsError):
            small().save(path)
        small(probabilities=None).save(path, overwrite=True)
        assert "2.0 %" not in path.read_text(encoding="utf-8")

    def test_the_example(self):
        result = doctest.testmod(_gallery, extraglobs={"np": np})
        assert result.attempted == 3 and result.failed == 0

    def test_bad_values(self):
        with pytest.raises(ValueError, match="length of `photos`, 3. Received: .*'class_names': 1"):
            small(class_names=["cat"])
        with pytest.raises(ValueError, match="at least one `Explanation`"):
            plotting.Gallery([])


def test_the_page_in_a_browser(tmp_path):
    """Sorting, filtering, and a picture that is drawn."""
    pixel = _gallery._tile(1, small()[0]).thumbnail
    tiles = [
        Tile("b10.jpg", pixel, "x.png", [Line("dog", 0.9, "", []), Line("cow", 0.1, "", [])]),
        Tile('b9 "<&>.jpg', pixel, "y.png", [Line("cat", 0.02, "", ["Rare.", "Odd."])]),
        Tile("a.jpg", pixel, "", [Line("ant", None, "gradient", [])]),
    ]
    script = """
    const shown = () => [...document.querySelectorAll("article:not([hidden])")].map(t => t.dataset.name);
    const set = (id, value) => {
      const part = document.getElementById(id);
      if (id == "sort") part.selectedIndex = value;
      else if (id == "doubtful") part.checked = value;
      else part.value = value;
      part.dispatchEvent(new Event("input"));
      return shown();
    };
    const found = {};
    for (const k of [1, 2, 3, 4, 5, 0]) found[k] = set("sort", k);
    found.cow = set("filter", "COW");
    found.jpg = set("filter", "");
    found.doubtful = set("doubtful", true);
    found.count = document.getElementById("count").textContent;
    found.widths = [...document.images].map(i => i.naturalWidth);
    return found;
    """
    found = browser_page.result_of(script, gallery_page.page("Maps", tiles), tmp_path)
    dog, cat, ant = (tile.name for tile in tiles)
    assert found["1"] == [ant, cat, dog]  # by name, numbers by their value
    assert found["2"] == [ant, cat, dog]  # by class
    assert found["3"] == [dog, cat, ant] and found["4"] == [ant, cat, dog]  # by probability
    assert found["5"] == [cat, dog, ant]  # cautions first
    assert found["0"] == [dog, cat, ant]
    assert found["cow"] == [dog] and found["jpg"] == [dog, cat, ant]
    assert found["doubtful"] == [cat] and found["count"] == "1 of 3"
    assert min(found["widths"]) > 100
