"""`data.read_maps`: what was written, as arrays and as a dataset."""

import numpy as np
import pytest

import tf_learnprop as tlp
from tests.scale.scale_toys import OPTIONS
from tf_learnprop import scale


@pytest.fixture(scope="module")
def maps(explainer, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    scale.explain_dataset(explainer, photos, folder, class_names="abcd", **OPTIONS)
    return folder


def test_arrays(maps, explainer, photos):
    found = tlp.data.read_maps(maps)
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))
    expected = explainer([(photos / file).read_bytes() for file in files])
    assert list(found.paths) == files
    assert found.maps.dtype == np.float16 and found.maps.shape == expected.maps.shape
    np.testing.assert_allclose(found.maps, expected.maps, atol=2e-3 * np.nanmax(expected.maps))
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=1e-4)
    bad = files.index("a/broken.jpg")
    assert list(expected.errors) == [bad]
    assert [row for row, error in enumerate(found.errors) if error] == [bad]
    assert np.isnan(found.maps[bad]).all() and found.class_ids[bad] == -1 and found.class_names[bad] == ""
    assert all(
        name == "abcd"[k] for name, k in zip(found.class_names, found.class_ids, strict=True) if k >= 0
    )
    assert (found.targets == -1).all()


def test_a_dataset(maps):
    whole = tlp.data.read_maps(maps)
    batches = list(tlp.data.read_maps(maps, batch_size=7))
    assert [len(batch.maps) for batch in batches] == [7] * 5 + [6]
    for name in whole._fields:
        joined = np.concatenate([getattr(batch, name).numpy() for batch in batches])
        if joined.dtype == object:
            joined = [text.decode() for text in joined]
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_a_run_that_is_not_finished(maps, tmp_path):
    for name in ("manifest.json", "part-00000.parquet", "part-00003.parquet"):
        (tmp_path / name).write_bytes((maps / name).read_bytes())
    with pytest.warns(UserWarning, match="holds 2 of 11 files"):
        found = tlp.data.read_maps(tmp_path)
    assert len(found.maps) == 8


def test_bad_input(maps, tmp_path):
    with pytest.raises(ValueError, match="must hold maps, with manifest.json"):
        tlp.data.read_maps(tmp_path)
    (tmp_path / "manifest.json").write_bytes((maps / "manifest.json").read_bytes())
    with pytest.raises(ValueError, match="`folder` must hold maps.*none is finished yet"):
        tlp.data.read_maps(tmp_path)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        tlp.data.read_maps(maps, batch_size=0)
