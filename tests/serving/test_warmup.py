"""What `serving.warmup` writes: requests that a server plays before the model goes live."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from tests import toys
from tests.serving.serving_client import ask

SIDE = toys.SIDE


class TestWarmup:
    def test_server_can_play_the_file(self, small):
        """Each record is a request as TensorFlow Serving reads it, and the model answers it."""
        log = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
        file = small / "assets.extra" / "tf_serving_warmup_requests"
        records = [
            log.PredictionLog.FromString(record.numpy()).predict_log.request
            for record in tf.data.TFRecordDataset(str(file))
        ]
        assert {record.model_spec.name for record in records} == {"small"}
        requests = [
            (
                record.model_spec.signature_name,
                {name: tf.make_ndarray(tensor) for name, tensor in record.inputs.items()},
            )
            for record in records
        ]
        of_photos = ["explain_encoded", "explain_encoded_class", "classify_encoded"]
        names = ["serving_default", "explain_class", *of_photos]
        assert [signature for signature, _ in requests] == names * 2
        np.testing.assert_array_equal(requests[5][1]["images"], toys.images(2)[1:])
        answers = ask(small, requests)
        assert not any(isinstance(answer, str) for answer in answers), answers

    @pytest.mark.parametrize(
        ("samples", "message"),
        [
            (toys.images(2)[:, 1:], "must have shape"),
            (np.zeros((501, SIDE, SIDE, 3)), "at most 1000 requests"),
        ],
    )
    def test_wrong_samples(self, wrapped, tmp_path, samples, message):
        pytest.importorskip("tensorflow_serving")
        with pytest.raises(ValueError, match=message):
            wrapped.export(tmp_path / "model" / "1", warmup=samples)
        assert not list(tmp_path.iterdir())

    def test_missing_package_is_named(self, wrapped, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
        with pytest.raises(ImportError, match="pip install tensorflow-serving-api"):
            wrapped.export(tmp_path / "model" / "1", warmup=toys.images(1))
        assert not list(tmp_path.iterdir())
