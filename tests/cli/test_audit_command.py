import json

import numpy as np
import pytest
from PIL import Image

from tests import browser_page

pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")

from tests import map_shards  # noqa: E402

TEXT = "horse & cart: 73% of the weight lies in the lower right corner, against 2% over the other classes."


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A folder of 40 maps of two classes, and one image without a map. One class' lie in a corner."""
    generator = np.random.default_rng(0)
    values = [*map_shards.blobs(generator, 20), *map_shards.blobs(generator, 20, place=(0.9, 0.9)), None]
    ids = np.repeat([0, 1, 0], [20, 20, 1])
    masks = [np.ones(256, np.float32)] * 41
    names = ["<cat>", "horse & cart"]
    return map_shards.write(tmp_path_factory.mktemp("audit") / "maps", values, ids, names, object=masks)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with the images of some of the maps. The others are missing or broken."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(0, 40, 2):
        Image.new("RGB", (20, 20), "red").save(folder / f"{number}.png")
    (folder / "1.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def audited(run, maps, images, tmp_path_factory):
    """The page, and the result as JSON."""
    page = tmp_path_factory.mktemp("audited") / "pages" / "audit.html"
    status, out, _ = run("audit", maps, "--images", images, "--mask", "object", "--out", page, "--json")
    assert status == 0
    return page, json.loads(out)


def test_findings_come_first(audited):
    page, found = audited
    assert [finding["text"] for finding in found["findings"]] == [TEXT]
    assert found["page"] == str(page)
    assert (found["images"], found["without_map"]) == (40, 1)
    assert found["classes"][0]["shares"]["object"] == pytest.approx(1)
    text = page.read_text()
    assert text.index("73% of the weight") < text.index("<table>")
    assert "horse &amp; cart: 73%" in text and "&lt;cat&gt;" in text and "<cat>" not in text
    assert "http://" not in text and "https://" not in text


def test_the_page_in_a_browser(audited, tmp_path):
    text, widths = browser_page.opened(audited[0], tmp_path)
    assert text.count("<tr>") == 5  # a head, areas, all classes, two classes
    assert min(widths) == 16 and max(widths) == 112
    assert 'alt="image"' in text and text.count('alt="image"') < text.count('alt="map"')


def test_findings_are_printed(run, maps, tmp_path):
    status, out, _ = run("audit", maps, "--out", tmp_path / "audit.html")
    assert status == 0 and TEXT in out.splitlines()
    assert 'alt="image"' not in (tmp_path / "audit.html").read_text()


def test_a_page_is_kept(run, maps, tmp_path):
    page = tmp_path / "audit.html"
    page.write_text("precious")
    status, _, err = run("audit", maps, "--out", page)
    assert status == 2 and "--overwrite replaces it" in err and page.read_text() == "precious"
    assert run("audit", maps, "--out", page, "--overwrite")[0] == 0
    assert page.read_text().startswith("<!doctype html>")


BAD = {
    "no maps": (["{work}"], "MAPS must hold maps, with manifest.json"),
    "no folder": (["nowhere"], "MAPS must hold maps, with manifest.json"),
    "no images": (["{maps}", "--images", "nowhere"], "--images must be a folder"),
    "no mask": (["{maps}", "--mask", "nothing"], "must have the columns ['nothing']"),
    "mask of text": (["{maps}", "--mask", "class_name"], "--mask must name columns"),
    "no sample": (["{maps}", "--sample", "0"], "--sample must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_usage(fails, maps, case):
    arguments, expected = BAD[case]
    assert expected in fails("audit", *(argument.replace("{maps}", str(maps)) for argument in arguments))
