"""The warm-up file: requests that TensorFlow Serving sends itself before a model goes live."""

import numpy as np
import tensorflow as tf

FILE = "assets.extra/tf_serving_warmup_requests"
#: A server refuses longer files.
MOST_RECORDS = 1000


def protocol():
    """The modules of `tensorflow-serving-api` that are needed here, `predict_pb2` and `prediction_log_pb2`.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError as error:
        raise ImportError(
            "`warmup` needs the package tensorflow-serving-api: pip install tensorflow-serving-api "
            f"({error})."
        ) from error
    return predict_pb2, prediction_log_pb2


def write(path, model_name, requests):
    """Writes the file.

    Args:
        path: `pathlib.Path`, folder of the SavedModel.
        model_name: str, under which the server knows the model.
        requests: list of (name of the signature, dict from input to array).
    """
    predict, log = protocol()
    file = path / FILE
    file.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests:
            request = predict.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            record = log.PredictionLog(predict_log=log.PredictLog(request=request))
            writer.write(record.SerializeToString())


def requests(samples, specs, signatures, class_id):
    """One request for each sample and signature.

    Args:
        samples: list of arrays `[n, ...]`, the model's inputs in order.
        specs: list of `tf.TensorSpec`, see `Signatures`.
        signatures: names of the signatures.
        class_id: int, what "explain_class" is asked.

    Returns:
        list of (name of the signature, dict from input to array), as for `write`.

    Raises:
        ImportError: see `protocol`.
        ValueError: more requests than a server takes.
    """
    protocol()
    count = len(samples[0])
    if count * len(signatures) > MOST_RECORDS:
        raise ValueError(
            f"`warmup` must make at most {MOST_RECORDS} requests. Received: {count} samples for "
            f"{len(signatures)} signatures"
        )
    made = []
    for index in range(count):
        sample = {
            spec.name: array[index : index + 1].astype(spec.dtype.as_numpy_dtype)
            for spec, array in zip(specs, samples, strict=True)
        }
        bodies = {"serving_default": sample}
        bodies["explain_class"] = {**sample, "class_ids": np.array([class_id])}
        if "explain_encoded" in signatures:
            bodies["explain_encoded"] = {"encoded": np.array([_jpeg(samples[0][index])], object)}
        made += bodies.items()
    return made


def _jpeg(image):
    """A JPEG with an image's content, its values spread over 0..255."""
    low, high = image.min(), image.max()
    pixels = 255 * (image - low) / max(high - low, 1e-6)
    return tf.io.encode_jpeg(pixels.astype(np.uint8), quality=90).numpy()
