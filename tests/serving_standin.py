"""Servers that speak TensorFlow Serving's two protocols, for the example clients; the model behind is real.

The gRPC one is built from the service definition of `tensorflow-serving-api`. The REST one follows
https://www.tensorflow.org/tfx/serving/api_rest: rows of instances, {"b64": …} for bytes, and bytes in the
answer for outputs alone whose name ends in "_bytes"; a single output without its name; and the metadata.
"""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2


@contextlib.contextmanager
def grpc_server(path: str | pathlib.Path) -> Iterator[str]:
    """Serves a SavedModel; gives the address "host:port"."""
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    model = tf.saved_model.load(path)

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> predict_pb2.PredictResponse:
            inputs = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
            try:
                outputs = model.signatures[request.model_spec.signature_name](**inputs)
            except tf.errors.InvalidArgumentError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
            reply = predict_pb2.PredictResponse()
            for name, tensor in outputs.items():
                reply.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
            return reply

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def rest_server(path: str | pathlib.Path, name: str) -> Iterator[str]:
    """Serves a SavedModel under a name; gives the address "http://host:port"."""
    model, metadata = tf.saved_model.load(path), _metadata(path, name)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                if self.path != f"/v1/models/{name}:predict":
                    raise ValueError(f"Servable not found for request: {self.path}")
                self.answer(200, {"predictions": _rows(model, body)})
            except (ValueError, tf.errors.InvalidArgumentError) as error:
                self.answer(400, {"error": str(error)})

        def do_GET(self) -> None:
            if self.path == f"/v1/models/{name}/metadata":
                self.answer(200, metadata)
            else:
                self.answer(404, {"error": f"Servable not found for request: {self.path}"})

        def answer(self, status: int, answer: Any) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _rows(model: Any, body: dict[str, Any]) -> list[Any]:
    signature = model.signatures[body["signature_name"]]
    (_, specs) = signature.structured_input_signature
    inputs = {
        name: tf.constant([_value(row[name]) for row in body["instances"]], spec.dtype)
        for name, spec in specs.items()
    }
    outputs = {name: tensor.numpy() for name, tensor in signature(**inputs).items()}
    rows = [
        {name: _json(name, array[index]) for name, array in outputs.items()}
        for index in range(len(body["instances"]))
    ]
    return rows if len(outputs) > 1 else [value for row in rows for value in row.values()]


def _metadata(path: str | pathlib.Path, name: str) -> dict[str, Any]:
    saved = saved_model_pb2.SavedModel.FromString((pathlib.Path(path) / "saved_model.pb").read_bytes())
    signatures = {
        key: json_format.MessageToDict(signature, preserving_proto_field_name=True)
        for key, signature in saved.meta_graphs[0].signature_def.items()
    }
    specification = {"name": name, "signature_name": "", "version": pathlib.Path(path).name}
    return {"model_spec": specification, "metadata": {"signature_def": {"signature_def": signatures}}}


def _value(value: Any) -> Any:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _json(name: str, value: Any) -> Any:
    if not isinstance(value, bytes):
        return np.asarray(value).tolist()
    return {"b64": base64.b64encode(value).decode()} if name.endswith("_bytes") else value.decode()
