import pytest
from PIL import Image

from tf_learnprop.cli import errors, files


class TestImages:
    def test_a_file_whose_name_looks_like_a_pattern(self, photo, tmp_path):
        path = tmp_path / "photo[1].png"
        path.symlink_to(photo)
        assert files.images([str(path)]) == [path]

    def test_other_formats_are_named(self, photo, tmp_path, capsys):
        folder = tmp_path / "photos"
        folder.mkdir()
        (folder / "a.png").symlink_to(photo)
        for name in ("b.heic", "c.AVIF", "d.svg", "notes.txt"):
            (folder / name).write_text("")
        assert files.images([str(folder)]) == [folder / "a.png"]
        (line,) = capsys.readouterr().err.splitlines()
        names = ", ".join(str(folder / name) for name in ("b.heic", "c.AVIF", "d.svg"))
        assert line == f"ignored, as the format is not supported: {names}"

    def test_five_other_formats_at_most(self, photo, tmp_path, capsys):
        (tmp_path / "a.png").symlink_to(photo)
        for number in range(7):
            (tmp_path / f"{number}.heic").write_text("")
        files.images([str(tmp_path)])
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(f"{tmp_path / '4.heic'} and 2 more")

    def test_nothing_but_other_formats(self, tmp_path, capsys):
        (tmp_path / "b.heic").write_text("")
        with pytest.raises(errors.UsageError, match="no image is found"):
            files.images([str(tmp_path)])
        assert "b.heic" in capsys.readouterr().err

    @pytest.mark.parametrize("ending", ["webp", "tiff", "TIF"])
    def test_webp_and_tiff_are_read(self, photo, tmp_path, ending):
        path = tmp_path / f"photo.{ending}"
        Image.open(photo).save(path)
        assert files.images([str(tmp_path)]) == [path]


class TestFolder:
    def test_keeps_what_was_written(self, tmp_path):
        with files.folder(tmp_path / "a" / "b") as folder:
            (folder / "result").write_text("")
        assert (tmp_path / "a" / "b" / "result").exists()

    def test_removes_what_is_empty(self, tmp_path):
        with pytest.raises(RuntimeError), files.folder(tmp_path / "a" / "b"):
            raise RuntimeError
        assert list(tmp_path.iterdir()) == []

    def test_keeps_an_empty_folder_that_was_there(self, tmp_path):
        with files.folder(tmp_path):
            pass
        assert tmp_path.exists()

    def test_below_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(errors.UsageError, match="--out: the folder .* can't be made"):
            with files.folder(tmp_path / "file" / "maps"):
                pass
