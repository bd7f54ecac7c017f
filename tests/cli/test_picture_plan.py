import os

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tf_learnprop.cli import errors, picture_files, picture_plan
from tf_learnprop.zoo import ModelSpec

NOTE = {"model": "m.keras", "target": None, "top": None, "rate": 0.1}
CAT = {**NOTE, "target": [0]}
KNOWN = ("cat", "dog", "ant", "cow")
MAPS = np.arange(6.0).reshape(1, 2, 3)


def plan(folder, note=NOTE, photos=("a.jpg",), overwrite=False, labels=None, known=KNOWN):
    manifest = picture_files.PictureManifest(folder / "maps")
    return picture_plan.plan([folder / name for name in photos], manifest, labels, known, note, overwrite)


def write(place, labels=("cat",), maps=MAPS, inches=1):
    rows = [{"class": label} for label in labels]
    return place.write(labels, rows, maps, *(Figure(figsize=(inches, 1)) for _ in range(2)))


def interrupted_write(place, renames, **options):
    """Writes a picture until Ctrl-C, after this number of its files were renamed."""
    calls, replace = [], os.replace

    def rename(*paths):
        if len(calls) == renames:
            raise KeyboardInterrupt
        calls.append(paths)
        replace(*paths)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", rename)
        write(place, **options)


@pytest.fixture
def photos(tmp_path):
    for name in ("a.jpg", "a.png", "b.jpg", "c.jpg"):
        Image.new("RGB", (3, 2)).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def written(photos):
    """A folder with the map of a photo, whose predicted class is the cat."""
    (place,) = plan(photos).places.values()
    write(place)
    return photos


class TestWrite:
    def test_writes_all_files(self, written):
        np.testing.assert_array_equal(np.load(written / "maps" / "a.cat.npy"), MAPS[0])
        files = [str(path.relative_to(written / "maps")) for path in (written / "maps").rglob("*.*")]
        assert sorted(files) == ["a.cat.npy", "a.cat.png", "manifest.jsonl", "thumbnails/a.cat.jpg"]
        (picture,) = picture_files.PictureManifest(written / "maps").pictures()
        assert picture.note["rows"] == [{"class": "cat"}] and picture.note["photo"] == str(written / "a.jpg")

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            (("cat", "dog"), "a.cat+dog.npy"),
            (("dog", "ant", "cat"), "a.dog+ant+cat.npy"),
            (("dog", "ant", "cat", "cow"), "a.dog+ant+cat+1_more.npy"),
        ],
    )
    def test_several_classes(self, photos, labels, expected):
        (place,) = plan(photos).places.values()
        maps = np.ones((len(labels), 2, 3))
        write(place, labels, maps)
        assert np.load(photos / "maps" / expected).shape == maps.shape

    def test_a_picture_that_fails_leaves_nothing_half_done(self, photos, monkeypatch):
        (place,) = plan(photos).places.values()

        def fails(*arguments, **options):
            raise OSError("no space left")

        monkeypatch.setattr(Figure, "savefig", fails)
        with pytest.raises(OSError, match="no space"):
            write(place)
        assert not [path for path in (photos / "maps").rglob("*") if path.is_file()]

    @pytest.mark.parametrize("inches", [1, 2])  # a picture of the same size, and of another
    @pytest.mark.parametrize("renames", [0, 1, 2])
    def test_after_an_interruption_all_files_are_made_again(self, written, renames, inches):
        Image.new("RGB", (30, 20), "red").save(written / "a.jpg")
        (place,) = plan(written).places.values()
        interrupted_write(place, renames, maps=MAPS + 1, inches=inches)
        assert not (written / "maps" / "a.cat.png").exists()
        (place,) = plan(written).places.values()
        write(place, maps=MAPS + 2)
        np.testing.assert_array_equal(np.load(written / "maps" / "a.cat.npy"), MAPS[0] + 2)
        assert plan(written).done

    @pytest.mark.parametrize("renames", [0, 1, 2])
    def test_an_interruption_while_another_run_is_replaced(self, written, renames):
        (place,) = plan(written, CAT, labels=["cat"], overwrite=True).places.values()
        interrupted_write(place, renames)
        assert plan(written, CAT, labels=["cat"]).places

    def test_of_an_interrupted_run_nothing_is_left(self, photos):
        (place,) = plan(photos).places.values()
        interrupted_write(place, renames=2)
        Image.new("RGB", (30, 20), "red").save(photos / "a.jpg")
        (place,) = plan(photos).places.values()
        write(place, ["dog"])  # its class is now another
        assert {path.stem for path in (photos / "maps").rglob("a.*")} == {"a.dog"}


class TestPlan:
    def test_the_same_run_has_nothing_left_to_do(self, written):
        found = plan(written)
        assert not found.places and found.done[written / "a.jpg"].path == written / "maps" / "a.cat.png"
        found = plan(written, photos=("a.jpg", "b.jpg"))
        assert list(found.places) == [written / "b.jpg"] and list(found.done) == [written / "a.jpg"]

    def test_unless_it_is_asked_to(self, written):
        assert list(plan(written, overwrite=True).places) == [written / "a.jpg"]

    @pytest.mark.parametrize("name", ["a.cat.npy", "a.cat.png"])
    def test_a_missing_file_is_made_again(self, written, name):
        (written / "maps" / name).unlink()
        if name.endswith("png"):
            (written / "maps" / "a.cat.npy").unlink()
        assert list(plan(written).places) == [written / "a.jpg"]

    def test_a_photo_that_changed_is_explained_again(self, written):
        Image.new("RGB", (30, 20), "red").save(written / "a.jpg")
        (place,) = plan(written).places.values()
        write(place, ["dog"])  # its class is now another
        found = sorted(path.name for path in (written / "maps").rglob("a.*"))
        assert found == ["a.dog.jpg", "a.dog.npy", "a.dog.png"]

    @pytest.mark.parametrize(
        ("note", "expected"),
        [
            (NOTE | {"model": "other.keras"}, r"a.cat.(npy|png) was made with another --model \(m.keras\)"),
            (NOTE | {"model_content": "1f"}, "made with another content of --model; give another folder"),
            (NOTE | {"top": 1}, r"another --top \(None\)"),
            (NOTE | {"rate": 0.2}, r"another --rate \(0.1\)"),
        ],
    )
    def test_another_run_is_kept(self, written, note, expected):
        with pytest.raises(errors.UsageError, match=expected):
            plan(written, note)
        assert len(plan(written, note, overwrite=True).places) == 1

    def test_a_class_that_is_asked_for(self, written):
        with pytest.raises(errors.UsageError, match=r"another --class \(None\)"):
            plan(written, CAT, labels=["cat"])
        for labels in (["dog"], ["cat", "dog"]):
            (place,) = plan(written, NOTE | {"target": labels}, labels=labels).places.values()
            write(place, labels)
            assert plan(written, NOTE | {"target": labels}, labels=labels).done

    def test_of_the_replaced_run_nothing_is_left(self, written):
        (place,) = plan(written, NOTE | {"rate": 0.2}, overwrite=True).places.values()
        write(place, ["dog"])
        assert {path.stem for path in (written / "maps").rglob("a.*")} == {"a.dog"}
        (place,) = plan(written, CAT, labels=["cat"], overwrite=True).places.values()
        write(place, ["cat"])  # answers another question, so the dog stays
        assert {path.stem for path in (written / "maps").rglob("a.*")} == {"a.cat", "a.dog"}

    def test_a_class_that_is_no_longer_known(self, written):
        note, known = NOTE | {"class_names_content": "1f"}, ("wolf", "dog")
        with pytest.raises(errors.UsageError, match="made with another content of --class-names"):
            plan(written, note, known=known)
        (place,) = plan(written, note, overwrite=True, known=known).places.values()
        write(place, ["wolf"])
        assert {path.stem for path in (written / "maps").rglob("a.*")} == {"a.wolf"}

    def test_another_photo_of_the_same_name(self, written):
        with pytest.raises(errors.UsageError, match="shows another photo"):
            plan(written, photos=("a.png",))

    def test_one_conflict_among_many(self, written):
        with pytest.raises(errors.UsageError, match="a.cat.npy was made"):
            plan(written, NOTE | {"rate": 0.2}, photos=("c.jpg", "a.jpg", "b.jpg"))

    @pytest.mark.parametrize("labels", [None, ["cat"]])
    def test_pictures_of_others(self, photos, labels):
        (photos / "maps").mkdir()
        Image.new("RGB", (2, 2)).save(photos / "maps" / "a.cat.png")
        with pytest.raises(errors.UsageError, match="a.cat.png"):
            plan(photos, labels=labels)

    @pytest.mark.parametrize("labels", [None, ["cat"]])
    def test_an_array_of_others(self, photos, labels):
        (photos / "maps").mkdir()
        (photos / "maps" / "a.cat.npy").write_bytes(b"")
        with pytest.raises(errors.UsageError, match="a.cat.npy exists"):
            plan(photos, labels=labels)

    @pytest.mark.parametrize("labels", [None, ["cat"]])
    def test_a_thumbnail_of_others(self, photos, labels):
        (photos / "maps" / "thumbnails").mkdir(parents=True)
        (photos / "maps" / "thumbnails" / "a.cat.jpg").write_bytes(b"mine")
        with pytest.raises(errors.UsageError, match="thumbnails/a.cat.jpg exists; .* --overwrite"):
            plan(photos, labels=labels)
        assert plan(photos, photos=["b.jpg"]).places and plan(photos, labels=labels, overwrite=True).places

    def test_a_file_in_the_place_of_a_folder(self, photos):
        (photos / "maps").mkdir()
        (photos / "maps" / "thumbnails").write_bytes(b"mine")
        with pytest.raises(errors.UsageError, match="--out: .*maps/thumbnails is no folder"):
            plan(photos)

    def test_names_that_no_picture_will_have(self, photos):
        (photos / "maps").mkdir()
        for name in ("a.png", ".a.png", "a.wolf.png", "a.cat.jpg", "a.cat.b.png"):
            (photos / "maps" / name).write_bytes(b"")
        assert len(plan(photos).places) == 1

    def test_a_photo_is_never_overwritten(self, photos):
        (photos / "maps").mkdir()
        Image.new("RGB", (3, 2)).save(photos / "maps" / "a.cat.png")
        for overwrite in (False, True):
            with pytest.raises(errors.UsageError, match="would overwrite the photo"):
                plan(photos / "maps" / "..", photos=("a.jpg", "maps/a.cat.png"), overwrite=overwrite)


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_results_of_an_interrupted_run_are_no_photos(photos, renames):
    (place,) = plan(photos).places.values()
    interrupted_write(place, renames)
    found = picture_files.PictureManifest(photos / "maps").without_results(
        sorted(photos.rglob("*.[jp][pn]g"))
    )
    assert [path.name for path in found] == ["a.jpg", "a.png", "b.jpg", "c.jpg"]


def test_results_are_no_photos(written):
    Image.new("RGB", (3, 2)).save(written / "maps" / "photo.png")
    found = picture_files.PictureManifest(written / "maps").without_results(
        sorted(written.rglob("*.[jp][pn]g"))
    )
    expected = ["a.jpg", "a.png", "b.jpg", "c.jpg", "maps/photo.png"]
    assert [str(path.relative_to(written)) for path in found] == expected


class TestManifest:
    def test_a_picture_that_was_replaced_is_no_longer_ours(self, written):
        Image.new("RGB", (50, 40), "red").save(written / "maps" / "a.cat.png")
        with pytest.raises(errors.UsageError, match=r"a.cat.(npy|png) exists"):
            plan(written)

    def test_a_folder_may_be_moved(self, written):
        (written / "maps").rename(written / "moved")
        (picture,) = picture_files.PictureManifest(written / "moved").pictures()
        assert picture.path == written / "moved" / "a.cat.png" and picture.array.exists()

    def test_a_line_without_its_picture(self, written):
        (picture,) = picture_files.PictureManifest(written / "maps").pictures()
        for file in (picture.path, picture.array, picture.thumbnail(written / "maps")):
            file.unlink()
        assert not picture_files.PictureManifest(written / "maps").pictures()
        (place,) = plan(written).places.values()
        write(place)
        assert plan(written).done

    @pytest.mark.parametrize(
        "line", ['{"picture": "b.c', '{"picture": "b.cat.png", "si', "[1]", "{}", '{"picture": "b.cat.png"}']
    )
    def test_half_a_line_spoils_no_other(self, written, line):
        with open(written / "maps" / "manifest.jsonl", "a", encoding="ascii") as file:
            file.write(f"\n{line}")
        (place,) = plan(written, photos=("b.jpg",)).places.values()
        write(place)
        assert set(plan(written, photos=("a.jpg", "b.jpg")).done) == {written / "a.jpg", written / "b.jpg"}

    def test_holds_names_of_any_bytes(self, photos):
        name = os.fsdecode(b"caf\xe9\n.jpg")
        Image.new("RGB", (3, 2)).save(photos / name)
        (place,) = plan(photos, photos=(name,)).places.values()
        write(place)
        assert list(plan(photos, photos=(name,)).done) == [photos / name]

    @pytest.mark.parametrize("content", [b"", b"{}", b"\xff\n", b"[1]\n{}"])
    def test_another_file_of_its_name_is_kept(self, photos, content):
        (photos / "maps").mkdir()
        path = photos / "maps" / "manifest.jsonl"
        path.write_bytes(content)
        with pytest.raises(errors.UsageError, match="manifest.jsonl exists"):
            plan(photos)
        assert path.read_bytes() == content
        manifest = picture_files.PictureManifest(path.parent, overwrite=True)
        assert not manifest.pictures()
        picture = picture_files.Picture(path.with_name("b.png"), {"photo": "b.jpg"})
        picture.path.write_bytes(b"1234")
        manifest.add(picture, 4)
        assert picture_files.PictureManifest(path.parent).pictures() == [picture]


class TestClassLabels:
    def test_are_parts_of_file_names(self):
        names = ["Egyptian cat", "jack-o'-lantern", "crane", "crane", "?/", "crème brûlée", "x" * 99]
        expected = ["Egyptian_cat", "jack_o_lantern", "2", "3", "4", "crème_brûlée", "x" * 40]
        assert picture_plan.class_labels(ModelSpec("m", None, None, names)) == expected
