"""Asks TensorFlow Serving over gRPC for the class of a photo and its map; needs `tensorflow-serving-api`.

python examples/serving/grpc_client.py photo.jpg --out overlay.png
"""

import argparse
import pathlib

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def predict(channel, model, signature, inputs, seconds=60):
    """Sends a request and waits for the answer.

    Args:
        channel: A `grpc.Channel`.
        model: Name of the model.
        signature: "serving_default", "explain_class" or "explain_encoded".
        inputs: Dict from names of inputs to arrays or lists.
        seconds: Time limit.

    Returns:
        Dict from names of outputs to NumPy arrays.

    Raises:
        grpc.RpcError: If the server reports an error; see its `code()` and `details()`.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, seconds)
    return {name: tf.make_ndarray(tensor) for name, tensor in reply.outputs.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photo", type=pathlib.Path, help="JPEG or PNG")
    parser.add_argument("--address", default="localhost:8500")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("overlay.png"))
    arguments = parser.parse_args()
    # By default gRPC refuses answers of more than 4 MB, which are 20 maps of 224 × 224.
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(arguments.address, options) as channel:
        inputs = {"encoded": [arguments.photo.read_bytes()]}
        answer = predict(channel, arguments.model, "explain_encoded", inputs)
    print(f"class {answer['class_ids'][0]}, probability {answer['probabilities'][0]:.3f}")
    arguments.out.write_bytes(answer["overlays_bytes"][0])
    print(f"overlay written to {arguments.out}")


if __name__ == "__main__":
    main()
