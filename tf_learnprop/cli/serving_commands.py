"""The command lines that `export` prints: how to start a server, and how to ask it."""

from __future__ import annotations

import pathlib
import shlex
import urllib.parse

from tf_learnprop.serving import contract


def serving_commands(saved_model: pathlib.Path) -> dict[str, str]:
    """Command lines for an exported model, for a shell.

    Args:
        saved_model: Folder of the SavedModel, `NAME/VERSION`.

    Returns:
        `docker` and `binary`, two ways to start TensorFlow Serving; `curl`, a request for the map of
        `photo.jpg`.
    """
    folder = saved_model.absolute().parent
    name, mount = shlex.quote(folder.name), shlex.quote(f"{folder}:/models/{folder.name}:ro")
    url = f"http://localhost:8501/v1/models/{urllib.parse.quote(folder.name)}:predict"
    signature = contract.EXPLAIN_ENCODED.name
    before = f'{{"signature_name": "{signature}", "instances": [{{"{contract.ENCODED}": {{"b64": "'
    return {
        "docker": "docker run --rm -p 8500:8500 -p 8501:8501 "
        f"-v {mount} -e MODEL_NAME={name} tensorflow/serving",
        "binary": "tensorflow_model_server --port=8500 --rest_api_port=8501 "
        f"--model_name={name} --model_base_path={shlex.quote(str(folder))}",
        # The body goes through a pipe: a shell's arguments are too short for most photos.
        "curl": f"(printf '{before}'; base64 < photo.jpg | tr -d '\\n'; printf '\"}}}}]}}') | "
        f"curl -s -d @- {shlex.quote(url)}",
    }
