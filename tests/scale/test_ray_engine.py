"""The engine Ray, on real clusters of this machine."""

import threading

import pytest

import tf_learnprop as tlp
from tests.scale.scale_toys import OPTIONS, contents
from tf_learnprop import scale

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")


def start(cluster, **options):
    """Adds a node to a cluster, in processes of its own."""
    return cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False, **options)


@pytest.fixture
def cluster():
    """A cluster whose head does no work."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_the_bytes_are_those_of_the_local_engine(explainer, photos, once, tmp_path):
    calls = []
    result = scale.explain_dataset(
        explainer,
        photos,
        tmp_path,
        engine="ray",
        workers=1,
        progress=lambda *done: calls.append(done),
        **OPTIONS,
    )
    assert (result.explained, result.kept) == (40, 0)
    assert contents(tmp_path) == once
    assert calls[0] == (0, 41) and calls[-1] == (41, 41)
    assert not ray.is_initialized()


@pytest.mark.slow
def test_every_image_has_one_map_if_a_node_is_killed(explainer, photos, once, cluster, tmp_path):
    nodes = [start(cluster) for _ in range(2)]
    killers = []

    def progress(done, total):
        if done and not killers:
            killers.append(threading.Thread(target=cluster.remove_node, args=(nodes[0], False)))
            killers[0].start()

    result = scale.explain_dataset(
        explainer, photos, tmp_path, engine="ray", address=cluster.address, progress=progress, **OPTIONS
    )
    killers[0].join()
    assert result.explained == 40 and sum(result.failed.values()) == 1
    assert contents(tmp_path) == once
    found = tlp.data.read_maps(tmp_path)
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))
    assert list(found.extras.paths) == files


@pytest.mark.slow
def test_an_error_of_a_worker(explainer, photos, tmp_path):
    with pytest.raises(ValueError, match="`class_names` must name every class of the model"):
        scale.explain_dataset(explainer, photos, tmp_path, engine="ray", workers=1, class_names=["a"])
    assert not ray.is_initialized()


class TestACluster:
    @pytest.mark.parametrize(
        ("address", "match"),
        [
            ("127.0.0.1:1", "No Ray cluster can be reached at 127.0.0.1:1"),
            ("127.0.0.1:x", "No Ray cluster can be reached at 127.0.0.1:x"),
            ("auto", "No Ray cluster can be reached at auto"),
        ],
    )
    def test_that_can_not_be_reached(self, explainer, photos, tmp_path, address, match):
        with pytest.raises(ConnectionError, match=match):
            scale.explain_dataset(explainer, photos, tmp_path / "maps", engine="ray", address=address)
        assert list(tmp_path.iterdir()) == []
