"""The warm-up file: requests that TensorFlow Serving sends to a model before the model goes live."""

import pathlib
import types
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from tf_learnprop.serving.contract import Signature

#: Signature and inputs of one request; the inputs are arrays by name, with a batch axis.
Request = tuple[Signature, dict[str, np.ndarray]]

FILE = "assets.extra/tf_serving_warmup_requests"
#: A server rejects files with more records.
MOST_RECORDS = 1000


def protocol() -> tuple[types.ModuleType, types.ModuleType]:
    """Imports the modules `predict_pb2` and `prediction_log_pb2` of `tensorflow-serving-api`.

    Raises:
        ImportError: If the package is not installed.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise ImportError(
            "`warmup` requires the package tensorflow-serving-api: pip install tensorflow-serving-api "
            f"({error})."
        ) from error
    return predict_pb2, prediction_log_pb2


def write(path: pathlib.Path, model_name: str, requests: Iterable[Request]) -> None:
    """Writes the warm-up file of a SavedModel.

    Args:
        path: Folder of the SavedModel.
        model_name: Name under which the server serves the model.
        requests: The requests, one record each.
    """
    predict, log = protocol()
    file = path / FILE
    file.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests:
            request = predict.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature.name
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            record = log.PredictionLog(predict_log=log.PredictLog(request=request))
            writer.write(record.SerializeToString())


def make_requests(
    samples: Sequence[np.ndarray],
    specs: Sequence[tf.TensorSpec],
    signatures: Iterable[Signature],
    class_id: int,
) -> list[Request]:
    """Makes one request for each sample and signature.

    Args:
        samples: The model's inputs, arrays of shape `[n, ...]`.
        specs: Specifications of these inputs, see `signatures.input_specs`.
        signatures: The model's signatures.
        class_id: Class in the requests that name one.

    Returns:
        The requests, in the order of the samples.

    Raises:
        ImportError: If `tensorflow-serving-api` is not installed.
        ValueError: If there are more requests than a server accepts.
    """
    protocol()
    signatures = list(signatures)
    count = len(samples[0])
    if count * len(signatures) > MOST_RECORDS:
        raise ValueError(
            f"`warmup` must make at most {MOST_RECORDS} requests, one for each sample and signature. "
            f"Received: {count} samples for {len(signatures)} signatures"
        )
    of_files = any(signature.encoded for signature in signatures)
    requests: list[Request] = []
    for index in range(count):
        sample = {
            spec.name: array[index : index + 1].astype(spec.dtype.as_numpy_dtype)
            for spec, array in zip(specs, samples, strict=True)
        }
        file = _jpeg(samples[0][index]) if of_files else b""
        encoded, class_ids = np.array([file], object), np.array([class_id])
        requests += [(signature, signature.inputs(sample, encoded, class_ids)) for signature in signatures]
    return requests


def _jpeg(image: np.ndarray) -> bytes:
    """Encodes an image as JPEG, its values spread over 0..255."""
    low, high = image.min(), image.max()
    pixels = 255 * (image - low) / max(high - low, 1e-6)
    return tf.io.encode_jpeg(pixels.astype(np.uint8), quality=90).numpy()
