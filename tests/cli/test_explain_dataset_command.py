"""`tf-learnprop explain-dataset`: what it writes and says, and bad usage."""

import json
import sys

import keras
import pytest

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import scale

pa = pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    keras.utils.set_random_seed(1)
    wrapped = tlp.wrap_model(toys.small_cnn(), "gradient")
    return wrapped.export(tmp_path_factory.mktemp("served") / "1", preprocess=lambda x: x / 127.5 - 1)


@pytest.fixture
def mixed(work, tmp_path):
    """A folder with a photo, a broken one, and files that are not read."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, content in {
        "good.png": (work / "photos" / "a" / "photo.png").read_bytes(),
        "bad.jpg": b"no image",
        "notes.txt": b"text",
        "photo.heic": b"",
    }.items():
        (folder / name).write_bytes(content)
    return folder


def test_maps_are_those_of_the_library(run, served, work, tmp_path):
    names = ["--class-names", work / "names.txt"]
    out = tmp_path / "maps"
    status, text, err = run(
        "explain-dataset", served, "--images", work / "photos", "--out", out, *names, "--json"
    )
    assert status == 0, err
    assert json.loads(text) == {"out": str(out), "explained": 6, "kept": 0, "skipped": 0, "reasons": {}}
    scale.explain_dataset(
        served, work / "photos", tmp_path / "same", class_names=(work / "names.txt").read_text().splitlines()
    )
    name = "part-00000.parquet"
    assert (out / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    found = tlp.data.read_maps(out)
    assert list(found.extras.paths)[:2] == ["a/1.png", "a/3.png"]
    assert set(found.extras.class_names) <= {"red fox", "arctic fox", "cat", "dog"}


def test_broken_images_are_counted_by_reason(run, served, mixed, tmp_path):
    arguments = ["explain-dataset", served, "--images", mixed, "--out", tmp_path / "maps"]
    status, out, err = run(*arguments)
    assert status == 1
    assert f"1 maps and 1 errors written to {tmp_path / 'maps'}" in out and "2/2" in out
    ignored, skipped = err.splitlines()
    assert ignored.startswith("ignored, as the format is not supported: ") and "photo.heic" in ignored
    assert skipped.startswith("skipped: 1 × ") and "image file format" in skipped
    status, out, _ = run(*arguments, "--resume", "--json")
    assert status == 1
    assert [json.loads(out)[name] for name in ("explained", "kept", "skipped")] == [1, 2, 1]


def test_other_maps_are_kept_unless_overwritten(run, served, work, tmp_path):
    arguments = ["explain-dataset", served, "--images", work / "photos", "--out", tmp_path]
    assert run(*arguments)[0] == 0
    before = (tmp_path / "part-00000.parquet").read_bytes()
    status, _, err = run(*arguments, "--shard-size", 2)
    assert status == 2
    assert "--out must not hold maps of another shard_size (256): choose another folder" in err
    assert (tmp_path / "part-00000.parquet").read_bytes() == before
    status, _, err = run(*arguments, "--shard-size", 2, "--overwrite")
    assert status == 0, err
    assert len(list(tmp_path.glob("part-*.parquet"))) == 3


def test_ctrl_c(run, served, work, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(scale, "explain_dataset", interrupted)
    status, _, err = run("explain-dataset", served, "--images", work / "photos", "--out", tmp_path / "maps")
    assert status == 130
    assert err == "interrupted; what was finished is kept, and the same command goes on with it\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["pyarrow", "ray"])
def test_a_package_that_is_missing(run, served, work, tmp_path, monkeypatch, module):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    out = tmp_path / "maps"
    status, _, err = run(
        "explain-dataset", served, "--images", work / "photos", "--out", out, "--engine", "ray"
    )
    extra = {"pyarrow": "scale", "ray": "ray"}[module]
    assert status == 2
    assert err == f"tf-learnprop: {module} is not installed: pip install 'tf-learnprop[{extra}]'\n"
    assert not out.exists()


class TestBadUsage:
    """One line and status 2, before any work."""

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["{work}/photos", "--images", "{work}/photos"], "MODEL must be the folder of an exported model"),
            (["{served}", "--images", "{work}/none"], "--images must be a folder, a pattern or a file"),
            (["{served}", "--images", "{work}/names.txt"], "where there are none"),
            (["{served}", "--images", "{work}/photos", "--engine", "spark"], "invalid choice: 'spark'"),
            (
                ["{served}", "--images", "{work}/photos", "--address", "auto"],
                "--address must be None for the engine 'local'",
            ),
            (
                ["{served}", "--images", "{work}/photos", "--engine", "ray", "--address", "127.0.0.1:1"],
                "No Ray cluster can be reached at 127.0.0.1:1",
            ),
            (["{served}", "--images", "{work}/photos", "--workers", "0"], "--workers must be an int >= 1"),
            (
                ["{served}", "--images", "{work}/photos", "--batch-size", "0"],
                "--batch-size must be an int >= 1",
            ),
            (
                ["{served}", "--images", "{work}/photos", "--class-names", "none.txt"],
                "--class-names: none.txt",
            ),
            (
                ["{served}", "--images", "{work}/photos", "--resume", "--overwrite"],
                "not allowed with argument",
            ),
            (["{served}", "--images", "{work}/photos", "--out", "{work}/names.txt"], "can't be made"),
        ],
    )
    def test_line(self, run, served, work, tmp_path, monkeypatch, arguments, expected):
        monkeypatch.chdir(tmp_path)
        arguments = [argument.format(served=served, work=work) for argument in arguments]
        status, out, err = run("explain-dataset", *arguments)
        assert status == 2 and out == "" and expected in err
        (line,) = err.splitlines()
        assert line.startswith("tf-learnprop")
        assert list(tmp_path.iterdir()) == []

    def test_of_a_column(self, run, served, tmp_path):
        pytest.importorskip("pyarrow.parquet").write_table(
            pa.table({"jpg": [b"x"]}), tmp_path / "images.parquet"
        )
        arguments = ["explain-dataset", served, "--images", tmp_path, "--out", tmp_path / "maps"]
        assert "--image-column must name the images, one of ['jpg']. Received: None" in run(*arguments)[2]
        status, _, err = run(*arguments, "--target-column", "y")
        assert status == 2 and "--target-column must be one of ['jpg']. Received: y" in err
