"""Files and folders that are complete, or not there."""

import pytest

from tf_learnprop import writing


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / ("a" * 230 + ".weights.h5")  # as long as a name can nearly be
    with writing.whole_file(path) as temporary:
        assert temporary.parent == tmp_path and temporary.name.endswith(".weights.h5")
        temporary.write_text("new", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "new" and list(tmp_path.iterdir()) == [path]


def test_a_failure_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error), writing.whole_file(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise error
        assert path.read_text(encoding="utf-8") == "old" and list(tmp_path.iterdir()) == [path]


def test_the_earlier_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with writing.whole_file(path) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new" and list(tmp_path.iterdir()) == [path]


def test_two_may_write_the_same_file(tmp_path):
    path = tmp_path / "a.txt"
    with writing.whole_file(path) as one, writing.whole_file(path) as other:
        one.write_text("one", encoding="utf-8")
        other.write_text("other", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "one" and list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "models" / "1"
    with writing.whole_folder(path) as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("new", encoding="utf-8")
        assert not path.exists() and not temporary.parent.name.isdigit()
    assert (path / "a").read_text(encoding="utf-8") == "new" and list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_no_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), writing.whole_folder(tmp_path / "1") as temporary:
        temporary.mkdir()
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"`path` must be in a writable folder. Received: path='.*file/1'"):
        with writing.whole_folder(tmp_path / "file" / "1"):
            pass


def test_what_a_killed_process_left_is_removed(tmp_path):
    for name in (".writing-1", ".writing-2.parquet", "kept"):
        (tmp_path / name).write_bytes(b"")
    writing.remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
