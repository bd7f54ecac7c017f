"""`explain_dataset` with the engine in this process: maps by value, resuming, and bad input."""

import functools
import json
import os
import pathlib
import pickle
import resource
import shutil
import subprocess
import sys

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tests.scale.scale_toys import OPTIONS, contents, encoded, pixels, png, preprocess, write
from tests.targets import target_models
from tf_learnprop import scale
from tf_learnprop.scale import output, shard_maps, shards


class TestMaps:
    def test_are_those_of_the_explainer(self, explainer, photos, tmp_path):
        result = scale.explain_dataset(explainer, photos, tmp_path, class_names=[*"abcd"], **OPTIONS)
        (reason,) = result.failed
        assert result == scale.Result(40, {reason: 1}, 0) and "image file format" in reason
        files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))
        rows = [row for path in sorted(tmp_path.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
        assert [row["path"] for row in rows] == files
        found = explainer([(photos / file).read_bytes() for file in files])
        for number, row in enumerate(rows):
            if row["path"] == "a/broken.jpg":
                assert row["error"] == found.errors[number]
                assert {row[name] for name in row if name not in ("path", "error")} == {None}
                continue
            assert row["error"] is None and row["target"] is None
            assert (row["height"], row["width"]) == found.maps.shape[1:]
            expected = found.maps[number].ravel()
            np.testing.assert_allclose(row["map"], expected, atol=2e-3 * np.abs(expected).max())
            assert row["class_id"] == found.class_ids[number]
            assert row["class_name"] == "abcd"[row["class_id"]]
            assert row["probability"] == pytest.approx(found.probabilities[number], abs=1e-5)

    def test_of_formats_that_only_pillow_decodes(self, explainer, tmp_path):
        kinds = {"webp": {"lossless": True}, "tiff": {}, "bmp": {}}
        for kind, options in kinds.items():
            write(tmp_path / "photos" / f"1.{kind}", encoded(pixels(3), kind, **options))
        scale.explain_dataset(explainer, tmp_path / "photos", tmp_path / "maps")
        maps = tlp.data.read_maps(tmp_path / "maps").maps
        expected = explainer([png(3)]).maps[0]
        np.testing.assert_allclose(maps, [expected] * 3, atol=2e-3 * np.abs(expected).max())

    def test_of_a_parquet_file_carry_its_names_and_labels(self, explainer, tmp_path):
        import pyarrow as pa

        rows = {"path": list("abcde"), "image": [png(seed) for seed in range(5)], "label": [3, 1, 2, 0, 3]}
        pq.write_table(pa.table(rows), tmp_path / "images.parquet")
        scale.explain_dataset(explainer, tmp_path / "images.parquet", tmp_path / "maps", batch_size=2)
        found = tlp.data.read_maps(tmp_path / "maps")
        assert list(found.extras.paths) == rows["path"] and list(found.extras.targets) == rows["label"]
        expected = explainer(rows["image"])
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)
        np.testing.assert_allclose(found.maps, expected.maps, atol=2e-3 * np.abs(expected.maps).max())

    def test_of_labels(self, served, tmp_path):
        """The label of each image is explained; one that is missing or is no class gets an error."""
        import pyarrow as pa

        labels = [3, 1, None, 2, 4, 0]
        rows = {"path": list("abcdef"), "image": [png(seed) for seed in range(6)], "label": labels}
        pq.write_table(pa.table(rows), tmp_path / "images.parquet")
        options = {"batch_size": 4, "explain_labels": True}
        scale.explain_dataset(served, tmp_path / "images.parquet", tmp_path / "maps", **options)
        found = tlp.data.read_maps(tmp_path / "maps")
        assert set(found.errors) == {2, 4} and found.errors[2] == "The image has no label"
        assert "`class_ids` must be in 0..3" in found.errors[4]
        good = [0, 1, 3, 5]
        by_label = tlp.serving.Explainer(served, "explain_encoded_class")
        expected = by_label([rows["image"][row] for row in good], [labels[row] for row in good])
        assert list(found.class_ids[good]) == [3, 1, 2, 0]
        np.testing.assert_allclose(
            found.maps[good], expected.maps, atol=2e-3 * np.abs(expected.maps).max(), rtol=2e-3
        )

    @pytest.mark.parametrize("target", [tlp.targets.Region(), tlp.targets.Value(1)])
    def test_of_the_target_that_a_model_was_exported_with(self, target, photos, tmp_path):
        is_region = isinstance(target, tlp.targets.Region)
        model = (target_models.unet if is_region else target_models.regressor)(3, channels=3)
        path = tlp.wrap_model(model).export(tmp_path / "1", target=target, preprocess=preprocess)
        scale.explain_dataset(path, photos / "b", tmp_path / "maps")
        found = tlp.data.read_maps(tmp_path / "maps")
        files = sorted((photos / "b").iterdir())
        expected = tlp.serving.Explainer(path, "explain_encoded")([file.read_bytes() for file in files])
        np.testing.assert_array_equal(found.class_ids, expected.class_ids)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=1e-5)
        np.testing.assert_allclose(found.maps, expected.maps, atol=2e-3 * np.abs(expected.maps).max())
        assert not found.errors and is_region == (found.class_ids >= 0).all()

    @pytest.mark.parametrize("factor", [1e-9, 1e-4, 1e9])
    def test_out_of_the_range_of_float16_are_scaled(self, factor, photos, tmp_path):
        cnn = toys.small_cnn(activation=None)
        model = keras.Model(cnn.input, keras.layers.Rescaling(factor)(cnn.output))
        path = tlp.wrap_model(model).export(tmp_path / "1", method="saliency", preprocess=preprocess)
        scale.explain_dataset(path, photos / "b", tmp_path / "maps")
        files = sorted((photos / "b").iterdir())
        expected = tlp.serving.Explainer(path, "explain_encoded")([file.read_bytes() for file in files]).maps
        found = tlp.data.read_maps(tmp_path / "maps").maps
        ours, theirs = (maps / maps.max((1, 2), keepdims=True) for maps in (found, expected))
        np.testing.assert_allclose(ours, theirs, atol=2e-3)

    def test_memory_is_bounded_by_row_groups(self, explainer, tmp_path, monkeypatch):
        monkeypatch.setattr(output, "_ROW_GROUP", 2000)
        for seed in range(8):
            write(tmp_path / f"{seed}.png", png(seed))
        (shard,) = shards.find(tmp_path)
        shard_maps.process(explainer, shard, shard_maps.ShardOptions(batch_size=2), tmp_path)
        file = pq.ParquetFile(tmp_path / "part-00000.parquet")
        sizes = [file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups)]
        assert len(sizes) > 1 and sum(sizes) == 8


class TestResuming:
    def test_gives_the_same_bytes(self, explainer, photos, once, tmp_path):
        for most in (5, 9, 13):

            def interrupt(done, total, most=most):
                if done >= most:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                scale.explain_dataset(explainer, photos, tmp_path, progress=interrupt, **OPTIONS)
            assert [path.name for path in tmp_path.glob(".*")] == []
        found = len(contents(tmp_path))
        assert 0 < found < len(once)
        result = scale.explain_dataset(explainer, photos, tmp_path, workers=3, **OPTIONS)
        assert result.kept == 4 * found
        assert contents(tmp_path) == once

    def test_a_finished_run_has_nothing_left(self, explainer, photos, tmp_path):
        first = scale.explain_dataset(explainer, photos, tmp_path)
        calls = []
        second = scale.explain_dataset(explainer, photos, tmp_path, progress=lambda *done: calls.append(done))
        assert calls == [] and second == scale.Result(first.explained, first.failed, 41)

    def test_progress(self, explainer, photos, tmp_path):
        calls = []
        scale.explain_dataset(
            explainer, photos, tmp_path, progress=lambda *done: calls.append(done), **OPTIONS
        )
        done, totals = zip(*calls, strict=True)
        assert done[0] == 0 and done[-1] == 41 and set(totals) == {41}
        assert list(done) == sorted(done)

    def test_what_a_killed_run_left_half_written_is_removed(self, explainer, photos, tmp_path):
        write(tmp_path / ".writing-1", b"half")
        scale.explain_dataset(explainer, photos, tmp_path)
        assert not (tmp_path / ".writing-1").exists()

    def test_a_moved_model_is_the_same(self, explainer, photos, once, tmp_path):
        scale.explain_dataset(explainer, photos, tmp_path / "maps", **OPTIONS)
        (tmp_path / "maps" / "part-00002.parquet").unlink()
        moved = shutil.copytree(explainer.path, tmp_path / "moved")
        scale.explain_dataset(moved, photos, tmp_path / "maps", **OPTIONS)
        assert contents(tmp_path / "maps") == once


class TestAnotherRun:
    """Maps of another run are never mixed with new ones, nor lost."""

    @pytest.fixture
    def maps(self, explainer, photos, tmp_path):
        scale.explain_dataset(explainer, photos, tmp_path, class_names=[*"abcd"])
        before = contents(tmp_path)
        yield tmp_path
        assert contents(tmp_path) == before

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({}, r"`out` must not hold maps of another class_names \(\['a', 'b', 'c', 'd'\]\)"),
            ({"class_names": [*"abcd"], "batch_size": 7}, r"another batch_size \(32\): choose another"),
            ({"class_names": [*"abcd"], "shard_size": 7}, r"another shard_size \(256\)"),
        ],
    )
    def test_of_other_options(self, explainer, photos, maps, options, match):
        with pytest.raises(ValueError, match=match):
            scale.explain_dataset(explainer, photos, maps, **options)

    def test_of_another_model(self, photos, maps, tmp_path_factory):
        wrapped = tlp.wrap_model(toys.small_cnn(), "gradient")
        other = wrapped.export(tmp_path_factory.mktemp("other") / "1", preprocess=preprocess)
        with pytest.raises(ValueError, match="must not hold maps of another model"):
            scale.explain_dataset(other, photos, maps, class_names=[*"abcd"])

    def test_of_other_images(self, explainer, maps, tmp_path_factory):
        folder = tmp_path_factory.mktemp("images")
        write(folder / "1.png", png(1))
        with pytest.raises(ValueError, match="must not hold maps of other images"):
            scale.explain_dataset(explainer, folder, maps, class_names=[*"abcd"])

    def test_files_without_a_manifest(self, explainer, photos, maps):
        (maps / "manifest.json").unlink()
        with pytest.raises(ValueError, match=r"`out` must hold no other files part-\*.parquet"):
            scale.explain_dataset(explainer, photos, maps, class_names=[*"abcd"])

    @pytest.mark.parametrize("text", ["{", "[]", '{"format": 99}'])
    def test_a_broken_manifest(self, explainer, photos, maps, text):
        (maps / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match="manifest"):
            scale.explain_dataset(explainer, photos, maps, class_names=[*"abcd"])


def test_reasons_keep_the_numbers_that_are_always_the_same(tmp_path):
    import pyarrow as pa

    rule = "must have at most 178 megapixels. Received: {} x 9"
    errors = [rule.format(20), None, "512 bytes are missing", rule.format(16), "512 bytes are missing"]
    for number in range(2):  # reasons of two files are counted together
        columns = {name: [None] * 5 for name in output.schema().names}
        columns |= {"path": list("abcde"), "error": errors}
        output.write(tmp_path, f"part-{number}", [pa.table(columns, output.schema())])
    summary = output.summary(tmp_path, ["part-0", "part-1"])
    assert summary == output.Summary(2, {rule.format("…"): 4, "512 bytes are missing": 4})


def test_a_damaged_file_is_named(explainer, tmp_path):
    write(tmp_path / "photos" / "1.png", png(1))
    run = functools.partial(scale.explain_dataset, explainer, tmp_path / "photos", tmp_path / "maps")
    run()
    file = tmp_path / "maps" / "part-00000.parquet"
    file.write_bytes(file.read_bytes()[:100])
    for read in (run, functools.partial(tlp.data.read_maps, tmp_path / "maps")):
        with pytest.raises(ValueError, match=r"must be whole.*Received: .*maps.part-00000.parquet \("):
            read()


def test_overwriting_another_run(explainer, photos, once, tmp_path):
    scale.explain_dataset(explainer, photos, tmp_path, shard_size=2)
    write(tmp_path / "notes.txt", b"of the user")
    scale.explain_dataset(explainer, photos, tmp_path, overwrite=True, **OPTIONS)
    assert contents(tmp_path) == once
    assert (tmp_path / "notes.txt").read_bytes() == b"of the user"


@pytest.mark.parametrize("name", ["part-00000.parquet", "manifest.json"])
def test_files_of_others_are_never_overwritten(explainer, photos, tmp_path, name):
    write(tmp_path / name, b'{"name": "of the user"}')
    with pytest.raises(ValueError, match=f"`out` must hold no other files {name[:5]}"):
        scale.explain_dataset(explainer, photos, tmp_path, overwrite=True, **OPTIONS)
    assert (tmp_path / name).read_bytes() == b'{"name": "of the user"}'


@pytest.mark.parametrize("out", [".", "maps"])
def test_maps_beside_their_images_are_no_images(explainer, tmp_path, out):
    for number in range(3):
        write(tmp_path / f"{number}.png", png(number))
    run = functools.partial(scale.explain_dataset, explainer, tmp_path, tmp_path / out, shard_size=2)
    run()
    (tmp_path / out / "part-00001.parquet").unlink()
    assert run() == scale.Result(3, {}, 2)


def test_the_manifest(served, explainer, photos, tmp_path):
    scale.explain_dataset(explainer, photos, tmp_path, **OPTIONS)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["model"]["path"] == str(served) and len(content["model"]["checksum"]) == 64
    assert content["images"]["source"] == str(photos)
    assert [content["images"][name] for name in ("kind", "shards", "count")] == ["images", 11, 41]
    assert content["options"]["batch_size"] == 3 and content["options"]["shard_size"] == 4
    assert {"numpy", "pyarrow", "tensorflow", "tf_learnprop"} <= set(content["versions"])


class TestBadInput:
    """An error before any work, and nothing left behind."""

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"model": "missing"}, "`model` must be the folder of an exported model"),
            ({"images": "missing"}, "`images` must be a folder, a pattern or a file"),
            ({"engine": "spark"}, "`engine` must be one of .*'spark'"),
            ({"address": "auto"}, "`address` must be None for the engine 'local'"),
            ({"workers": 0}, "`workers` must be an int >= 1"),
            ({"batch_size": 0}, "`batch_size` must be an int >= 1"),
            ({"shard_size": 0}, "`shard_size` must be an int >= 1"),
            ({"explain_labels": 1}, "`explain_labels` must be a bool"),
            ({"class_names": "names.txt"}, "`class_names` must be a list of names"),
            ({"explain_labels": True}, "an explainer with the signature 'explain_encoded_class'"),
        ],
    )
    def test_arguments(self, explainer, photos, tmp_path, options, match):
        arguments = {"model": explainer, "images": photos, "out": tmp_path / "maps"}
        with pytest.raises(ValueError, match=match):
            scale.explain_dataset(**(arguments | options))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({}, "`model` must have the signature 'explain_encoded', which `export` adds"),
            ({"preprocess": preprocess, "top_k": 2}, "`model` must be exported without `top_k`"),
        ],
    )
    def test_a_model_that_does_not_fit(self, photos, tmp_path, options, match):
        path = tlp.wrap_model(toys.small_cnn(), "gradient").export(tmp_path / "1", **options)
        with pytest.raises(ValueError, match=match):
            scale.explain_dataset(path, photos, tmp_path / "maps")
        assert not (tmp_path / "maps").exists()

    def test_labels_that_are_not_there(self, served, photos, tmp_path):
        with pytest.raises(ValueError, match="`explain_labels` must be False for a folder of images"):
            scale.explain_dataset(served, photos, tmp_path / "maps", explain_labels=True)
        model = tlp.wrap_model(target_models.unet(channels=3))
        path = model.export(tmp_path / "1", target=tlp.targets.Region(), preprocess=preprocess)
        with pytest.raises(ValueError, match="'explain_encoded_class', which .* and no target of `tlp.tar"):
            scale.explain_dataset(path, photos, tmp_path / "maps", explain_labels=True)
        assert not (tmp_path / "maps").exists()

    def test_a_model_that_export_has_not_written(self, photos, tmp_path):
        module = tf.Module()
        specs = [tf.TensorSpec([None], tf.string, "encoded")]
        module.explain = tf.function(lambda encoded: {"scores": tf.zeros(tf.shape(encoded))}, specs)
        tf.saved_model.save(module, str(tmp_path / "1"), {"explain_encoded": module.explain})
        with pytest.raises(ValueError, match=r"whose signatures return 'maps'.*returns \['scores'\]"):
            scale.explain_dataset(tmp_path / "1", photos, tmp_path / "maps")

    def test_too_few_class_names(self, explainer, photos, tmp_path):
        with pytest.raises(ValueError, match="`class_names` must name every class of the model"):
            scale.explain_dataset(explainer, photos, tmp_path, class_names=["a"])

    def test_a_full_disk(self, explainer, photos, once, tmp_path):
        """A limit for the size of files fails as a full disk does: in the middle of a write."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                scale.explain_dataset(explainer, photos, tmp_path, **OPTIONS)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in tmp_path.iterdir() if path.name != "manifest.json"] == []
        scale.explain_dataset(explainer, photos, tmp_path, **OPTIONS)
        assert contents(tmp_path) == once


def test_options_and_results_can_be_sent_to_workers():
    options = shard_maps.ShardOptions(class_names=("a", "b"))
    assert pickle.loads(pickle.dumps(options)) == options


def test_importing_loads_neither_keras_nor_tensorflow():
    code = (
        "import sys, tf_learnprop.scale\n"
        "import tf_learnprop.scale.ray_data  # what a worker unpickles\n"
        "tf_learnprop.scale.explain_dataset\n"
        "print([name for name in ('keras', 'tensorflow', 'pyarrow', 'ray') if name in sys.modules])"
    )
    root = pathlib.Path(tlp.__file__).parents[1]
    path = {"PYTHONPATH": str(root), "PATH": os.environ["PATH"]}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path)
    assert ran.stdout == "[]\n", ran.stderr
