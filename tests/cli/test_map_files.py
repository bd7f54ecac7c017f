import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, PngImagePlugin

from tf_learnprop.cli import errors, map_files
from tf_learnprop.zoo import ModelSpec

NOTE = {"model": "m.keras", "target": None, "rate": 0.1}


def plan(folder, note=NOTE, photos=("a.jpg",), overwrite=False, label=None):
    return map_files.plan([folder / photo for photo in photos], folder / "maps", label, note, overwrite)


@pytest.fixture
def written(tmp_path):
    """A folder with the map of a photo."""
    (files,) = plan(tmp_path).values()
    files.write(Figure(figsize=(1, 1)), np.arange(6.0).reshape(2, 3))
    return tmp_path


class TestPlan:
    def test_writes_both_files(self, written):
        np.testing.assert_array_equal(np.load(written / "maps" / "a.npy"), [[0, 1, 2], [3, 4, 5]])
        assert (written / "maps" / "a.png").exists()

    def test_the_same_run_may_write_again(self, written):
        plan(written)

    @pytest.mark.parametrize(
        ("note", "expected"),
        [
            (NOTE | {"model": "other.keras"}, r"a.png was made with another --model \(m.keras\)"),
            (NOTE | {"target": 3}, r"another --class \(None\)"),
            (NOTE | {"rate": 0.2}, r"another --rate \(0.1\)"),
        ],
    )
    def test_another_run_may_not(self, written, note, expected):
        with pytest.raises(errors.UsageError, match=expected):
            plan(written, note)
        assert len(plan(written, note, overwrite=True)) == 1

    def test_another_photo_of_the_same_name(self, written):
        with pytest.raises(errors.UsageError, match="shows another photo"):
            plan(written, photos=("a.png",))

    def test_one_conflict_among_many(self, written):
        with pytest.raises(errors.UsageError, match="a.png was made"):
            plan(written, NOTE | {"rate": 0.2}, photos=("c.jpg", "a.jpg", "b.jpg"))

    @pytest.mark.parametrize("text", [None, "no JSON", "[1]", "{}"])
    def test_pictures_of_others(self, tmp_path, text):
        (tmp_path / "maps").mkdir()
        info = PngImagePlugin.PngInfo()
        if text:
            info.add_text("tf-learnprop explain", text)
        Image.new("RGB", (2, 2)).save(tmp_path / "maps" / "a.png", pnginfo=info)
        with pytest.raises(errors.UsageError, match="a.png"):
            plan(tmp_path)

    def test_an_array_of_others(self, tmp_path):
        (tmp_path / "maps").mkdir()
        (tmp_path / "maps" / "a.npy").write_bytes(b"")
        with pytest.raises(errors.UsageError, match="a.npy exists"):
            plan(tmp_path)

    def test_a_label_comes_before_the_ending(self, written):
        (files,) = plan(written, NOTE | {"target": 3}, label="cat").values()
        assert (files.picture.name, files.array.name) == ("a.cat.png", "a.cat.npy")


class TestClassLabel:
    @pytest.mark.parametrize(
        ("class_id", "expected"),
        [(0, "Egyptian_cat"), (1, "jack_o_lantern"), (2, "2"), (3, "3"), (4, "4"), (5, "crème_brûlée")],
    )
    def test_is_a_file_name_of_one_class(self, class_id, expected):
        names = ["Egyptian cat", "jack-o'-lantern", "crane", "crane", "?/", "crème brûlée"]
        assert map_files.class_label(ModelSpec("m", None, None, names), class_id) == expected

    def test_is_the_id_without_names(self):
        assert map_files.class_label(ModelSpec("m", None, None), 7) == "7"
