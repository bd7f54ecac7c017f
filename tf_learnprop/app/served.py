"""`ServedBackend`: a model that `export` wrote, behind the REST interface of TensorFlow Serving.

See https://www.tensorflow.org/tfx/serving/api_rest.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import requests
import tensorflow as tf
from PIL import Image

from tf_learnprop.app.backends import Backend
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.serving import contract

_CLASSIFY, _EXPLAIN = contract.CLASSIFY_ENCODED.name, contract.EXPLAIN_ENCODED_CLASS.name
_URL = re.compile(r"https?://[^/]+(/.*)?/v1/models/[^/:]+(/(versions|labels)/[^/:]+)?")
#: Seconds for the first answer of a server without warm-up.
_TIMEOUT = 60


class ServedError(RuntimeError):
    """The server can't be reached, or does not answer as an exported model."""


class ServedBackend(Backend):
    """A served model; see `tf_learnprop.app.backends.Backend`.

    Photos are sent as PNG files of the model's size, which the server preprocesses itself.

    Args:
        url: "http://host:8501/v1/models/my_model", or with "/versions/3" at its end.
        class_names: Name of each class, or None.

    Raises:
        ValueError: If the URL has another form, or the number of names is not that of the classes.
        ServedError: If no server answers, or the model is not one of `export` with `preprocess`.
    """

    methods: tuple[str, ...] = ("served rules",)
    questions: Mapping[str, str] = {}
    compared = methods
    shape: tuple[int, int, int]

    def __init__(self, url: str, class_names: Sequence[str] | None = None):
        self._url = url.rstrip("/").removesuffix(":predict")
        if not _URL.fullmatch(self._url):
            rule = "be that of a model, such as http://localhost:8501/v1/models/my_model"
            raise ArgumentError("url", rule, url, url)
        signatures = self._signatures()
        self.shape = _shape(signatures[contract.SERVING_DEFAULT.name]["inputs"][contract.IMAGES])[1:]
        self.class_count = _shape(signatures[_CLASSIFY]["outputs"][contract.PROBABILITIES])[-1]
        if class_names is not None and len(class_names) != self.class_count:
            rule = f"hold {self.class_count} names"
            raise ArgumentError("class_names", rule, class_names, str(len(class_names)))
        self._class_names = class_names

    def class_name(self, class_id: int) -> str:
        """See `Backend`."""
        return self._class_names[class_id] if self._class_names else str(class_id)

    def probabilities(self, photos: np.ndarray) -> np.ndarray:
        """See `Backend`."""
        rows = [{contract.ENCODED: _encoded(photo)} for photo in photos]
        return np.asarray(self._predict(_CLASSIFY, rows), np.float32)

    def explain(self, photo: np.ndarray, class_id: int, method: str) -> np.ndarray:
        """See `Backend`."""
        row = {contract.ENCODED: _encoded(photo), contract.CLASS_IDS: int(class_id)}
        (answer,) = self._predict(_EXPLAIN, [row])
        heat_map = np.asarray(answer[contract.MAPS], np.float32)
        # An export may make its maps smaller.
        return tf.image.resize(heat_map[..., None], self.shape[:2])[..., 0].numpy()

    def _signatures(self) -> dict[str, Any]:
        answer = self._json("GET", f"{self._url}/metadata")
        try:
            signatures = answer["metadata"]["signature_def"]["signature_def"]
        except (KeyError, TypeError):
            raise ServedError(f"{self._url} does not answer as TensorFlow Serving does") from None
        missing = sorted({_CLASSIFY, _EXPLAIN} - set(signatures))
        if missing:
            raise ServedError(
                f"{self._url} is not a model of `tf-learnprop export`, or of an older version: it has no "
                f"signature {' or '.join(missing)}"
            )
        return signatures

    def _predict(self, signature: str, rows: list[dict]) -> list:
        body = {"signature_name": signature, "instances": rows}
        return self._json("POST", f"{self._url}:predict", body)["predictions"]

    def _json(self, verb: str, url: str, body: Any = None) -> dict:
        try:
            reply = requests.request(verb, url, json=body, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise ServedError(f"no server answers at {self._url} ({type(error).__name__})") from error
        try:
            answer = reply.json()
        except ValueError:
            answer = {}
        if not reply.ok:
            reason = answer.get("error", reply.reason) if isinstance(answer, dict) else reply.reason
            raise ServedError(f"the server at {self._url} answers with an error: {reason}")
        return answer


def _shape(spec: dict) -> Any:
    """Sides of a tensor, a tuple of ints."""
    return tuple(int(axis["size"]) for axis in spec["tensor_shape"]["dim"])


def _encoded(photo: np.ndarray) -> dict[str, str]:
    """A photo as a PNG file, as JSON holds bytes."""
    file = io.BytesIO()
    Image.fromarray(photo[..., 0] if photo.shape[-1] == 1 else photo).save(file, "png")
    return {"b64": base64.b64encode(file.getvalue()).decode()}
