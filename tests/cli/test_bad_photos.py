"""Photos that are no photos, or unusual ones, as real files."""

import json
import os
import resource

import numpy as np
import pytest
from PIL import Image

from tests import photo_files
from tf_learnprop.inputs import photos


@pytest.fixture(scope="module")
def good():
    return Image.fromarray(photo_files.smooth(40, 60))


@pytest.fixture
def explain(run, model, tmp_path, eagerly):
    """Explains photos; returns exit status, rows, skipped files, and the lines about these."""

    def explain(*files, expected=0):
        options = ["--class", 1, "--no-check", "--json", "--out", tmp_path / "maps"]
        arguments = ["explain", *model, *files, *options]
        status, out, err = run(*arguments)
        assert status == expected, err
        lines = [line for line in err.splitlines() if "explaining" not in line]
        return (json.loads(out) if out else None), lines

    return explain


def bad_files(folder, good):
    whole = photo_files.encoded(good, "JPEG")
    contents = {
        "empty.jpg": (b"", "the file is empty"),
        "text.png": (b"no picture", "no image, or of an unknown format"),
        "cut.jpg": (whole[: len(whole) // 2], "truncated"),
        "floats.tif": (photo_files.encoded(np.ones((4, 5), np.float32), "TIFF"), "must have 8 or 16 bits"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    # 20,000 × 10,000 pixels in a small file.
    rows = [b"\0" * 2500] * 10_000
    (folder / "giant.png").write_bytes(photo_files.png(20_000, 10_000, 1, 0, rows))
    return {**{name: reason for name, (_, reason) in contents.items()}, "giant.png": "178 megapixels"}


def test_each_bad_file_is_one_line_with_the_reason(explain, good, tmp_path):
    good.save(tmp_path / "good.png")
    reasons = bad_files(tmp_path, good)
    paths = [tmp_path / name for name in reasons]
    found, lines = explain(tmp_path / "good.png", *paths, expected=1)
    assert found["skipped"] == [str(path) for path in paths] and len(found["images"]) == 1
    for path, line, reason in zip(paths, lines, reasons.values(), strict=True):
        assert line.startswith(f"skipped, as it can't be read: {path} (") and reason in line


def test_bad_files_alone_are_bad_usage(explain, good, tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    _, lines = explain(tmp_path / "empty.jpg", expected=2)
    assert lines[-1] == "tf-learnprop: none of the 1 images can be read"
    assert not (tmp_path / "maps").exists()


def test_unusual_photos_are_explained(explain, good, tmp_path):
    frames = [good.rotate(angle) for angle in (90, 180)]
    good.save(tmp_path / "animated.gif", save_all=True, append_images=frames)
    good.save(tmp_path / "animated.webp", save_all=True, append_images=frames, lossless=True)
    grey = np.asarray(good.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "grey16.png")
    (tmp_path / "rgb16.png").write_bytes(photo_files.png_16_bit(np.asarray(good)))
    good.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    good.convert("CMYK").save(tmp_path / "cmyk.tif")
    Image.new("RGB", (1, 1)).save(tmp_path / "one_pixel.png")
    Image.fromarray(photo_files.smooth(3, 3000)).save(tmp_path / "thin.png")
    frames[1].save(tmp_path / "turned.png")
    found, _ = explain(tmp_path)
    assert len(found["images"]) == 9
    # The photo is the same in all of them, but for the colours of a GIF and of CMYK; no later frame is shown.
    maps = {os.path.basename(row["image"]): np.load(row["map"]) for row in found["images"]}
    np.testing.assert_allclose(maps["rgb16.png"], maps["animated.webp"], rtol=1e-3, atol=1e-4)
    for name in ("animated.gif", "cmyk.jpg", "cmyk.tif"):
        alike, turned = (
            np.corrcoef(maps[name].ravel(), maps[other].ravel())[0, 1]
            for other in ("rgb16.png", "turned.png")
        )
        assert alike > 0.8 and alike > turned + 0.3, (name, alike, turned)


@pytest.mark.slow
def test_a_photo_of_100_megapixels(explain, tmp_path):
    path = tmp_path / "large.jpg"
    Image.new("RGB", (12_000, 9_000), "teal").save(path, quality=50)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, lines = explain(path)
    assert len(found["images"]) == 1 and not lines
    assert Image.open(found["images"][0]["overlay"]).width > 2 * 4096
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4e6  # kB


def test_a_photo_just_too_large(tmp_path):
    path = tmp_path / "giant.png"
    path.write_bytes(photo_files.png(20_000, 10_000, 1, 0, [b"\0" * 2500] * 10_000))
    with pytest.raises(photos.UnreadableError) as caught:
        photos.read(path)
    assert caught.value.reason == "more than 178 megapixels"


class TestPlaceToWrite:
    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_read_only_folder(self, explain, good, tmp_path):
        good.save(tmp_path / "good.png")
        (tmp_path / "maps").mkdir(mode=0o555)
        _, (line,) = explain(tmp_path / "good.png", expected=2)
        assert "--out: no file can be made in" in line and "Permission denied" in line

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fdinfo"), reason="needs /proc")
    def test_a_folder_where_not_even_root_may_write(self, run, model, good, tmp_path):
        good.save(tmp_path / "good.png")
        status, out, err = run("explain", *model, tmp_path / "good.png", "--out", "/proc/self/fdinfo")
        assert (status, out) == (2, "") and "--out: no file can be made in /proc/self/fdinfo" in err
        status, out, err = run("explain", *model, tmp_path / "good.png", "--out", "/proc/maps")
        assert (status, out) == (2, "") and "--out: the folder /proc/maps can't be made" in err

    def test_a_folder_in_the_place_of_the_page(self, explain, good, tmp_path):
        good.save(tmp_path / "good.png")
        (tmp_path / "maps" / "index.html").mkdir(parents=True)
        _, (line,) = explain(tmp_path / "good.png", expected=2)
        assert "index.html is a folder" in line
