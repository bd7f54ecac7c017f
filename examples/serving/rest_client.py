"""Asks TensorFlow Serving over REST for the class of a photo and its map; needs only `requests`.

python examples/serving/rest_client.py photo.jpg --out overlay.png
"""

import argparse
import base64
import pathlib

import requests


def explain(address, model, photos):
    """Calls the signature `explain_encoded`.

    Args:
        address: "http://host:port".
        model: Name of the model.
        photos: List of bytes, JPEG or PNG files.

    Returns:
        List with a dict per photo: `class_ids`, int; `probabilities`, float; `overlays_bytes`, the bytes of a
        PNG; `maps`, nested lists `[h][w]`.

    Raises:
        RuntimeError: If the server reports an error.
    """
    instances = [{"encoded": {"b64": base64.b64encode(photo).decode()}} for photo in photos]
    body = {"signature_name": "explain_encoded", "instances": instances}
    reply = requests.post(f"{address}/v1/models/{model}:predict", json=body, timeout=60)
    answer = reply.json()
    if not reply.ok:
        raise RuntimeError(answer["error"])
    for prediction in answer["predictions"]:
        prediction["overlays_bytes"] = base64.b64decode(prediction["overlays_bytes"]["b64"])
    return answer["predictions"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photo", type=pathlib.Path, help="JPEG or PNG")
    parser.add_argument("--address", default="http://localhost:8501")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("overlay.png"))
    arguments = parser.parse_args()
    (answer,) = explain(arguments.address, arguments.model, [arguments.photo.read_bytes()])
    print(f"class {answer['class_ids']}, probability {answer['probabilities']:.3f}")
    arguments.out.write_bytes(answer["overlays_bytes"])
    print(f"overlay written to {arguments.out}")


if __name__ == "__main__":
    main()
