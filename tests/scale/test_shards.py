"""How a data set is cut into shards, and what reading them gives."""

import os
import pickle

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.scale.scale_toys import example, png, write, write_tfrecord
from tf_learnprop import scale
from tf_learnprop.scale import shards


def paths(found):
    return [[item.path for item in shards.read(shard)] for shard in found]


class TestImages:
    def test_files_are_cut_in_the_order_of_their_names(self, tmp_path):
        for name in ("b/1.png", "a/2.JPG", "c.webp", "a/10.png", "a/notes.txt"):
            write(tmp_path / name, name.encode())
        found = shards.find(tmp_path, shard_size=3)
        assert paths(found) == [["a/10.png", "a/2.JPG", "b/1.png"], ["c.webp"]]
        assert [(shard.name, shard.count) for shard in found] == [("part-00000", 3), ("part-00001", 1)]
        assert [item.content for item in shards.read(found[0])] == [b"a/10.png", b"a/2.JPG", b"b/1.png"]

    def test_a_shard_can_be_sent_to_a_worker_elsewhere(self, tmp_path, monkeypatch):
        write(tmp_path / "photos" / "1.png", b"content")
        monkeypatch.chdir(tmp_path)
        (shard,) = shards.find("photos")
        monkeypatch.chdir("/")
        assert list(shards.read(pickle.loads(pickle.dumps(shard)))) == [shards.Item("1.png", b"content")]

    def test_a_pattern_and_a_file(self, tmp_path):
        for name in ("a/1.png", "a/[2].png", "b/3.png", "b/4.txt"):
            write(tmp_path / name, b"content")
        assert paths(shards.find(tmp_path / "*" / "*")) == [["a/1.png", "a/[2].png", "b/3.png"]]
        assert paths(shards.find(tmp_path / "a" / "[2].png")) == [["[2].png"]]

    def test_a_file_that_has_gone_is_an_item_with_an_error(self, tmp_path):
        write(tmp_path / "1.png", b"content")
        (shard,) = shards.find(tmp_path)
        (tmp_path / "1.png").unlink()
        assert list(shards.read(shard)) == [shards.Item("1.png", None, None, "No such file or directory")]

    def test_a_name_that_is_no_text(self, tmp_path):
        path = os.fsencode(tmp_path) + b"/caf\xe9.png"
        try:
            with open(path, "wb") as file:
                file.write(b"content")
        except OSError:
            pytest.skip("this file system has only names in UTF-8")
        (shard,) = shards.find(tmp_path)
        assert list(shards.read(shard)) == [("caf\ufffd.png", b"content", None, None)]
        assert len(shards.digest([shard])) == 16


class TestParquet:
    def test_each_file_is_a_shard(self, tmp_path):
        for number in range(2):
            table = {"path": [f"{number}.png", None], "image": [b"x", None], "label": [7, None]}
            pa.parquet.write_table(pa.table(table), tmp_path / f"{number}.parquet")
        found = shards.find(tmp_path)
        assert [(shard.files, shard.count) for shard in found] == [(("0.parquet",), 2), (("1.parquet",), 2)]
        assert list(shards.read(found[1])) == [
            ("1.png", b"x", 7, None),
            ("1.parquet#1", None, None, "The image is missing"),
        ]

    def test_images_of_hugging_face(self, tmp_path):
        images = [{"bytes": b"x", "path": "cat.png"}, {"bytes": b"y", "path": None}]
        pa.parquet.write_table(pa.table({"image": images, "label": [1, 2]}), tmp_path / "a.parquet")
        (shard,) = shards.find(tmp_path / "a.parquet")
        assert list(shards.read(shard)) == [("cat.png", b"x", 1, None), ("a.parquet#1", b"y", 2, None)]

    def test_columns_of_other_names(self, tmp_path):
        table = pa.table({"jpg": [b"x"], "key": ["k"], "class": [3], "image": [b"other"]})
        pa.parquet.write_table(table, tmp_path / "a.parquet")
        (shard,) = shards.find(tmp_path, columns=scale.Columns("jpg", "key", "class"))
        assert list(shards.read(shard)) == [("k", b"x", 3, None)]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([2.0, None, 0.0, 1.5, float("nan"), 1e300], [2, None, 0, None, None, None]),
            ([True, None, False], [1, None, 0]),
            (pa.array([7, 2**64 - 1], pa.uint64()), [7, None]),
        ],
    )
    def test_labels_of_other_types(self, tmp_path, values, expected):
        table = {"image": [b"x"] * len(values), "label": values}
        pa.parquet.write_table(pa.table(table), tmp_path / "a.parquet")
        (shard,) = shards.find(tmp_path)
        assert [(item.target, type(item.target)) for item in shards.read(shard)] == [
            (value, type(value)) for value in expected
        ]

    def test_a_missing_column(self, tmp_path):
        pa.parquet.write_table(pa.table({"jpg": [b"x"]}), tmp_path / "a.parquet")
        with pytest.raises(ValueError, match=r"a.parquet: `columns.image` must name .*\['jpg'\]"):
            shards.find(tmp_path)
        with pytest.raises(ValueError, match=r"`columns.target` must be one of \['jpg'\].*'y'"):
            shards.find(tmp_path, columns=scale.Columns("jpg", target="y"))

    def test_a_broken_file_is_one_error(self, tmp_path):
        pa.parquet.write_table(pa.table({"image": [b"x"]}), tmp_path / "a.parquet")
        write(tmp_path / "b.parquet", b"PAR1 no parquet")
        found = shards.find(tmp_path)
        assert [shard.count for shard in found] == [1, None]
        (item,) = shards.read(found[1])
        assert item.path == "b.parquet#0" and item.content is None
        assert item.error.startswith("The parquet file is broken from here on: ")


class TestTFRecord:
    def test_each_file_is_a_shard(self, tmp_path):
        records = [
            example(**{"image/encoded": png(0), "image/filename": b"cat.png", "image/class/label": 4}),
            example(**{"image/encoded": png(1)}),
        ]
        write_tfrecord(tmp_path / "train.tfrecord-00000-of-00002", records)
        write_tfrecord(tmp_path / "train.tfrecord-00001-of-00002", records[:1])
        found = shards.find(tmp_path)
        assert [shard.count for shard in found] == [None, None]
        assert list(shards.read(found[0])) == [
            ("cat.png", png(0), 4, None),
            ("train.tfrecord-00000-of-00002#1", png(1), None, None),
        ]

    def test_a_file_that_was_cut_off_keeps_what_comes_before(self, tmp_path):
        path = tmp_path / "a.tfrecord"
        write_tfrecord(path, [example(image=png(seed)) for seed in range(3)])
        path.write_bytes(path.read_bytes()[:-20])
        (shard,) = shards.find(path)
        *good, bad = shards.read(shard)
        assert [item.content for item in good] == [png(0), png(1)]
        assert bad.path == "a.tfrecord#2"
        assert bad.error.startswith("The tfrecord file is broken from here on: ")

    def test_missing_features(self, tmp_path):
        write_tfrecord(tmp_path / "a.tfrecord", [example(x=png(0))])
        with pytest.raises(ValueError, match=r"a.tfrecord: `columns.image` must name .*\['x'\]"):
            shards.find(tmp_path)


class TestBadInput:
    def test_a_folder_without_images(self, tmp_path):
        write(tmp_path / "notes.txt", b"content")
        with pytest.raises(ValueError, match=r"`images` must be a folder.*where there are none"):
            shards.find(tmp_path)
        with pytest.raises(ValueError, match="where there are none"):
            shards.find(tmp_path / "missing" / "*.jpg")

    def test_files_of_several_kinds(self, tmp_path):
        for name in ("1.png", "2.png", "a.parquet"):
            write(tmp_path / name, b"content")
        with pytest.raises(ValueError, match="where there are 2 images, 1 parquet"):
            shards.find(tmp_path)

    def test_shard_size(self, tmp_path):
        with pytest.raises(ValueError, match="`shard_size` must be an int >= 1. Received: shard_size=0"):
            shards.find(tmp_path, shard_size=0)


def test_the_digest_tells_when_files_change(tmp_path):
    for name in ("1.png", "2.png"):
        write(tmp_path / name, b"content")
    before = shards.digest(shards.find(tmp_path))
    assert shards.digest(shards.find(tmp_path)) == before
    assert shards.digest(shards.find(tmp_path, shard_size=1)) != before
    write(tmp_path / "2.png", b"other content")
    assert shards.digest(shards.find(tmp_path)) != before
