"""`data.read_maps`: what was written, as arrays and as a dataset."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import map_shards
from tests.scale.scale_toys import OPTIONS
from tf_learnprop import scale


@pytest.fixture(scope="module")
def maps(explainer, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    scale.explain_dataset(explainer, photos, folder, class_names=[*"abcd"], **OPTIONS)
    return folder


def test_arrays(maps, explainer, photos):
    found = tlp.data.read_maps(maps)
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))
    expected = explainer([(photos / file).read_bytes() for file in files])
    assert list(found.extras.paths) == files
    assert found.maps.dtype == np.float16 and found.maps.shape == expected.maps.shape
    np.testing.assert_allclose(found.maps, expected.maps, atol=2e-3 * np.nanmax(expected.maps))
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=1e-4)
    bad = files.index("a/broken.jpg")
    assert list(expected.errors) == [bad]
    assert found.errors == expected.errors
    assert (
        np.isnan(found.maps[bad]).all() and found.class_ids[bad] == -1 and found.extras.class_names[bad] == ""
    )
    assert all(
        name == "abcd"[k] for name, k in zip(found.extras.class_names, found.class_ids, strict=True) if k >= 0
    )
    assert (found.extras.targets == -1).all()


def test_a_dataset(maps):
    whole = tlp.data.read_maps(maps)
    batches = list(tlp.data.read_maps(maps, batch_size=7))
    assert [len(batch.maps) for batch in batches] == [7] * 5 + [6]
    texts = np.array([whole.errors.get(row, "") for row in range(41)], object)
    expected = tf.nest.flatten(whole._replace(errors=texts))
    assert len(expected) == 7
    for parts, values in zip(zip(*map(tf.nest.flatten, batches), strict=True), expected, strict=True):
        joined = np.concatenate([part.numpy() for part in parts])
        if joined.dtype == object:
            joined = [text.decode() for text in joined]
        np.testing.assert_array_equal(joined, values)
    assert all(isinstance(batch.extras, scale.MapExtras) for batch in batches)


def test_no_image_that_could_be_explained(explainer, tmp_path):
    pa.parquet.write_table(pa.table({"image": [b"x", None]}), tmp_path / "a.parquet")
    result = scale.explain_dataset(explainer, tmp_path / "a.parquet", tmp_path / "maps")
    found = tlp.data.read_maps(tmp_path / "maps")
    assert result.explained == 0 and len(found.maps) == len(found.errors) == 2
    (batch,) = tlp.data.read_maps(tmp_path / "maps", batch_size=7)
    assert len(batch.maps) == 2 and list(batch.class_ids) == [-1, -1]


def test_no_image(explainer, tmp_path):
    pa.parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "a.parquet")
    scale.explain_dataset(explainer, tmp_path / "a.parquet", tmp_path / "maps")
    with pytest.raises(ValueError, match="`folder` must hold at least one image. Received: .*, with none"):
        tlp.data.read_maps(tmp_path / "maps")


def test_a_run_that_is_not_finished(maps, tmp_path):
    for name in ("manifest.json", "part-00000.parquet", "part-00003.parquet"):
        (tmp_path / name).write_bytes((maps / name).read_bytes())
    with pytest.warns(UserWarning, match="holds 2 of 11 files"):
        found = tlp.data.read_maps(tmp_path)
    assert len(found.maps) == 8


def test_further_columns(tmp_path):
    """The second file has no value in them, and so another type."""
    generator = np.random.default_rng(0)
    written = map_shards.blobs(generator, 5)
    values = {"note": [b"a", b"", None, None, None], "list": [[0.5, 1.5], None, [2.5], None, None]}
    folder = map_shards.write(tmp_path / "maps", written, [0, 1, 2, 3, 0], files=2, **values)
    files = scale.MapFiles(folder, ["list", "note"])
    assert (files.rows, files.map_size) == (5, (16, 16))
    (first, more), (second, rest) = files.batches(4)
    assert {name: more[name] + rest[name] for name in more} == values
    np.testing.assert_array_equal(np.concatenate([first.maps, second.maps]), written.astype(np.float16))
    assert first.class_ids.tolist() + second.class_ids.tolist() == [0, 1, 2, 3, 0]
    assert len(tlp.data.read_maps(folder).maps) == 5  # they are left out
    with pytest.raises(ValueError, match=r"must have the columns \['mask'\]"):
        scale.MapFiles(folder, ["mask"])


def test_maps_of_two_sizes(tmp_path):
    generator = np.random.default_rng(0)
    maps = [*map_shards.blobs(generator, 2), *map_shards.blobs(generator, 1, size=32)]
    with pytest.raises(ValueError, match="must have one size. Received: .*32, 32"):
        tlp.data.read_maps(map_shards.write(tmp_path / "maps", maps, [0] * 3))


def test_bad_input(maps, tmp_path):
    with pytest.raises(ValueError, match="must hold maps, with manifest.json"):
        tlp.data.read_maps(tmp_path)
    (tmp_path / "manifest.json").write_bytes((maps / "manifest.json").read_bytes())
    with pytest.raises(ValueError, match="`folder` must hold maps.*none is finished yet"):
        tlp.data.read_maps(tmp_path)
    with pytest.raises(ValueError, match="`batch_size` must be an int >= 1"):
        tlp.data.read_maps(maps, batch_size=0)
