"""The programs of examples/serving: the C API, and the clients against stand-ins for a server."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests import serving_standin, toys
from tests.serving import serving_client
from tests.serving.serving_toys import assert_overlay, assert_same_maps, jpeg, photo, png, preprocess

SIDE = toys.SIDE


def test_c_api_example(small, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(jpeg(photo(30, 20)))
    command = [sys.executable, serving_client.EXAMPLES / "c_api.py", small, "photo.jpg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("class ")
    assert tf.io.decode_png((tmp_path / "overlay.png").read_bytes()).shape == (SIDE, SIDE, 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestExampleClients:
    """The clients of examples/serving, against stand-ins that speak the server's protocols."""

    @pytest.fixture(autouse=True)
    def folder(self, monkeypatch):
        monkeypatch.syspath_prepend(serving_client.EXAMPLES)

    def test_grpc(self, small, wrapped):
        pytest.importorskip("tensorflow_serving")
        import grpc
        import grpc_client

        images, ids = toys.images(3, seed=6), np.array([0, 3, 1])
        with serving_standin.grpc_server(small) as address, grpc.insecure_channel(address) as channel:
            answer = grpc_client.predict(channel, "small", "serving_default", {"images": images})
            assert_same_maps(answer["maps"], wrapped, images)
            inputs = {"images": images, "class_ids": ids}
            answer = grpc_client.predict(channel, "small", "explain_class", inputs)
            assert_same_maps(answer["maps"], wrapped, images, ids)
            pixels = photo(SIDE, SIDE, 1)
            answer = grpc_client.predict(channel, "small", "explain_encoded", {"encoded": [png(pixels)]})
            (single,) = wrapped.explain(preprocess(np.float32(pixels[None])))
            assert_overlay(answer["overlays_bytes"][0], pixels, single)
            with pytest.raises(grpc.RpcError, match="must be in 0..3"):
                grpc_client.predict(
                    channel, "small", "explain_class", {"images": images, "class_ids": ids + 1}
                )

    def test_rest(self, small, wrapped):
        import rest_client

        pixels = np.stack([photo(SIDE, SIDE, seed) for seed in range(2)])
        with serving_standin.rest_server(small, "small") as address:
            answers = rest_client.explain(address, "small", [png(one) for one in pixels])
            with pytest.raises(RuntimeError, match="Unknown image file format"):
                rest_client.explain(address, "small", [b"no photo"])
        maps = wrapped.explain(preprocess(np.float32(pixels)))
        probabilities = wrapped.source(preprocess(np.float32(pixels))).numpy()
        for answer, one, single, probability in zip(answers, pixels, maps, probabilities, strict=True):
            np.testing.assert_allclose(answer["maps"], single, atol=1e-4 * np.abs(single).max())
            assert answer["class_ids"] == probability.argmax()
            assert answer["probabilities"] == pytest.approx(probability.max(), rel=1e-4)
            assert_overlay(answer["overlays_bytes"], one, single)
