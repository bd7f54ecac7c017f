import itertools
import sys

import numpy as np
import pytest

from tests import map_shards

pytest.importorskip("pyarrow")
pytest.importorskip("sklearn")

from tf_learnprop.scale.audit import audit, clusters, regions, statistics  # noqa: E402

LOWER_RIGHT = (0.92, 0.92)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def normalised(maps):
    return maps / maps.sum((1, 2), keepdims=True)


class TestRegions:
    def test_shares_are_sums_over_pixels(self, generator):
        weights = normalised(generator.random((3, 16, 24)))
        expected = np.zeros((3, 6))
        for row, column in itertools.product(range(16), range(24)):
            value = weights[:, row, column]
            up, down, left, right = row < 4, row >= 12, column < 6, column >= 18
            inside = [up and left, up and right, down and left, down and right]
            inside.append(4 <= row < 12 and 6 <= column < 18)
            inside.append(not (2 <= row < 14 and 3 <= column < 21))
            expected += value[:, None] * np.array(inside)
        found = regions.Regions((16, 24))
        np.testing.assert_allclose(found.shares(weights), expected, rtol=1e-12)
        np.testing.assert_allclose(found.areas, [1 / 16] * 4 + [1 / 4, 1 - 9 / 16])

    def test_pixels_on_an_edge_count_in_part(self):
        np.testing.assert_allclose(regions.Regions((7, 5)).areas, [1 / 16] * 4 + [1 / 4, 1 - 9 / 16])

    def test_masks_follow(self, generator):
        weights, mask = normalised(generator.random((2, 8, 8))), generator.random((2, 8, 8)) > 0.5
        shares = regions.Regions((8, 8)).shares(weights, {"object": mask.astype(np.float32)})
        np.testing.assert_allclose(shares[:, -1], [weights[k][mask[k]].sum() for k in range(2)], rtol=1e-6)


class TestStatistics:
    def test_parts_give_what_all_at_once_gives(self, generator):
        shares = generator.random((50, 4))
        shares[::7, 2] = np.nan
        parts, first, whole = (statistics.Moments(4) for _ in range(3))
        for part in np.array_split(shares, 6):
            parts.add(part)
        first.add(shares[:20])
        whole.add(shares)
        for found, expected in ((parts, shares), (whole - first, shares[20:])):
            np.testing.assert_allclose(found.mean, np.nanmean(expected, 0))
            np.testing.assert_allclose(found.deviation, np.nanstd(expected, 0, ddof=1))

    def test_the_sample_does_not_depend_on_the_order(self, generator):
        maps = normalised(generator.random((60, 16, 16)))
        paths = [f"{number}.png" for number in range(60)]
        samples = []
        for order in (np.arange(60), generator.permutation(60)):
            one = statistics.ClassStatistics("cat", (16, 16), 1, sample=20, seed=0)
            for rows in np.array_split(order, 5):
                ones = np.ones(len(rows))
                one.add([paths[row] for row in rows], ones, maps[rows], ones[:, None])
            samples.append(one.sample())
        assert samples[0].paths == samples[1].paths and len(set(samples[0].paths)) == 20
        places = [paths.index(path) for path in samples[0].paths]
        np.testing.assert_allclose(samples[1].weights, maps[places], atol=1e-5)
        assert places != sorted(places)[:20]


class TestClusters:
    def test_two_kinds_of_maps(self, generator):
        maps = [
            map_shards.blobs(generator, 70, spread=0.1),
            map_shards.blobs(generator, 30, place=LOWER_RIGHT),
        ]
        found = clusters.find(normalised(np.concatenate(maps)))
        assert [sorted(cluster.members) for cluster in found] == [list(range(70)), list(range(70, 100))]
        assert found[1].shares[regions.NAMES.index("lower right corner")] > 0.7

    def test_few_maps_are_one_cluster(self, generator):
        (found,) = clusters.find(normalised(map_shards.blobs(generator, 5)))
        assert sorted(found.members) == list(range(5))

    def test_distances(self, generator):
        one, other = normalised(generator.random((3, 4, 4))), normalised(generator.random((2, 4, 4)))
        expected = [[np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2) for q in other] for p in one]
        np.testing.assert_allclose(clusters.distances(one, other), expected)


class TestFindings:
    def test_a_corner_of_one_class(self, generator, tmp_path):
        maps = np.concatenate(
            [map_shards.blobs(generator, 120), map_shards.blobs(generator, 40, place=LOWER_RIGHT)]
        )
        names = ["cat", "dog", "fox", "horse"]
        ids = np.repeat([0, 1, 2, 3], 40)
        found = audit(map_shards.write(tmp_path / "maps", maps, ids, names, files=3))
        weights = normalised(maps.astype(np.float16).astype(np.float64))
        corner = weights[:, 12:, 12:].sum((1, 2))
        (finding,) = found.findings
        assert (finding.class_id, finding.region, finding.images) == (3, "lower right corner", 40)
        assert finding.share == pytest.approx(corner[ids == 3].mean(), rel=1e-4)
        assert finding.reference == pytest.approx(corner[ids != 3].mean(), rel=1e-4)
        assert finding.text == (
            f"horse: {finding.share:.0%} of the weight lies in the lower right corner, against "
            f"{finding.reference:.0%} over the other classes."
        )
        assert [one.class_id for one in found.classes] == [3, 0, 1, 2]
        np.testing.assert_allclose(found.classes[1].mean_map, weights[ids == 0].mean(0), atol=1e-6)

    def test_a_corner_of_a_part_of_one_class(self, generator, tmp_path):
        maps = np.concatenate(
            [map_shards.blobs(generator, 192, spread=0.1), map_shards.blobs(generator, 20, place=LOWER_RIGHT)]
        )
        found = audit(map_shards.write(tmp_path / "maps", maps, np.repeat([0, 1], [100, 112])))
        texts = [(finding.class_id, finding.region, finding.cluster) for finding in found.findings]
        assert (1, "lower right corner", 1) in texts
        assert {number for number, *_ in texts} == {1}
        cluster = next(one for one in found.classes if one.class_id == 1).clusters[1]
        assert cluster.part == 20 / 112
        assert {example.path for example in cluster.examples} < {f"{k}.png" for k in range(192, 212)}

    def test_a_corner_of_all_classes(self, generator, tmp_path):
        maps = map_shards.blobs(generator, 60, place=(0.08, 0.08))
        found = audit(map_shards.write(tmp_path / "maps", maps, np.repeat([0, 1], 30)))
        assert [(f.class_id, f.region) for f in found.findings] == [(None, "upper left corner")]
        assert found.findings[0].reference == 1 / 16

    def test_nothing_in_maps_of_one_kind(self, generator, tmp_path):
        maps = map_shards.blobs(generator, 200, spread=0.4)
        assert audit(map_shards.write(tmp_path / "maps", maps, np.arange(200) % 5)).findings == []

    def test_little_weight_in_a_mask(self, generator, tmp_path):
        maps = map_shards.blobs(generator, 60)
        masks = (np.mgrid[:16, :16][0] < 8)[None] ^ (np.arange(60) >= 40)[:, None, None]
        maps[:, 8:] *= 0.2  # nearly all weight is in the upper half
        columns = [mask.ravel().astype(np.float32) for mask in masks]
        columns[3] = None
        folder = map_shards.write(tmp_path / "maps", maps, np.arange(60) // 20, object=columns)
        found = audit(folder, masks=["object"])
        (finding,) = found.findings
        assert (finding.class_id, finding.region) == (2, "object") and finding.share < finding.reference
        first = next(one for one in found.classes if one.class_id == 0)
        weights = normalised(maps[:20].astype(np.float16).astype(np.float64))
        expected = np.delete(weights[:, :8].sum((1, 2)), 3).mean()
        assert first.shares["object"] == pytest.approx(expected, rel=1e-4)


def test_the_most_unusual_map(generator, tmp_path):
    maps = map_shards.blobs(generator, 80, spread=0.1)
    maps[17] = map_shards.blobs(generator, 1, place=(0.1, 0.9))
    (pair, *_) = audit(map_shards.write(tmp_path / "maps", maps, np.arange(80) % 2)).unusual()
    assert pair[0].class_id == 1 and pair[1].path == "17.png" and pair[1].unusual > 2
    np.testing.assert_allclose(pair[1].map, normalised(maps)[17], atol=1e-4)


def test_the_files_do_not_matter(generator, tmp_path):
    maps, ids = map_shards.blobs(generator, 300), np.arange(300) % 3
    folders = [map_shards.write(tmp_path / str(files), maps, ids, files=files) for files in (1, 7)]
    one, seven = (audit(folder, sample=40) for folder in folders)
    for first, second in zip(one.classes, seven.classes, strict=True):
        assert first.class_id == second.class_id
        assert first.shares == pytest.approx(second.shares, rel=1e-6)
        for parts in zip(first.clusters, second.clusters, strict=True):
            assert parts[0].part == parts[1].part
            assert [e.path for e in parts[0].examples] == [e.path for e in parts[1].examples]
        assert [e.path for e in first.unusual] == [e.path for e in second.unusual]


def test_images_without_a_map_are_counted(generator, tmp_path):
    maps = list(map_shards.blobs(generator, 12))
    maps[2] = None
    maps[5] = np.full((16, 16), np.nan, np.float32)
    maps[7] = -np.ones((16, 16), np.float32)
    found = audit(map_shards.write(tmp_path / "maps", maps, [0] * 12))
    assert found.images == 9 and found.without_map == 3
    assert found.classes[0].mean_map.shape == (16, 16)
    assert found.classes[0].mean_map.sum() == pytest.approx(1)


def test_large_maps_are_reduced(generator, tmp_path):
    maps = map_shards.blobs(generator, 4, size=112)
    found = audit(map_shards.write(tmp_path / "maps", maps, [0] * 4))
    weights = normalised(maps.astype(np.float16).astype(np.float64)).mean(0)
    expected = weights.reshape(56, 2, 56, 2).sum((1, 3))
    np.testing.assert_allclose(found.classes[0].mean_map, expected, rtol=1e-4)


def test_progress(generator, tmp_path):
    calls = []
    folder = map_shards.write(tmp_path / "maps", map_shards.blobs(generator, 300), [0] * 300, files=2)
    audit(folder, progress=lambda *call: calls.append(call))
    assert calls == [(256, 600), (300, 600), (556, 600), (600, 600)]


def test_bad_input(generator, tmp_path):
    with pytest.raises(ValueError, match="must hold maps, with manifest.json"):
        audit(tmp_path)
    folder = map_shards.write(tmp_path / "maps", map_shards.blobs(generator, 2), [0, 0], note=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"columns \['mask'\]"):
        audit(folder, masks=["mask"])
    with pytest.raises(ValueError, match="16 × 16 numbers"):
        audit(folder, masks=["note"])
    with pytest.raises(ValueError, match=r"named like other regions. Received: \['border'\]"):
        audit(folder, masks=["border"])
    with pytest.raises(ValueError, match="`sample` must be"):
        audit(folder, sample=0)
    with pytest.raises(ValueError, match="at least one map"):
        audit(map_shards.write(tmp_path / "empty", [None], [0]))


def test_without_scikit_learn(generator, tmp_path, monkeypatch):
    folder = map_shards.write(tmp_path / "maps", map_shards.blobs(generator, 2), [0, 0])
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'tf-learnprop\[audit\]'"):
        audit(folder)
