"""Reading an exported model without loading it: its signatures, and a checksum of its files."""

import hashlib
import os

from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.serving import contract


def check(path: str, signature: str) -> None:
    """Checks that a model can explain encoded images, one class for each.

    Args:
        path: Folder of the SavedModel.
        signature: Name of the signature.

    Raises:
        ValueError: If there is no SavedModel, or if it has no such signature, or if it was exported with
            `top_k`, or if no `export` has written it.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    file = os.path.join(path, "saved_model.pb")
    if not tf.io.gfile.exists(file):
        rule = "be the folder of an exported model, such as 'served/my_model/1'"
        raise ArgumentError("model", rule, path)
    with tf.io.gfile.GFile(file, "rb") as stream:
        content = saved_model_pb2.SavedModel.FromString(stream.read())
    signatures = content.meta_graphs[0].signature_def
    if signature not in signatures:
        rule = f"have the signature '{signature}', which `export` adds when it is given `preprocess`"
        if signature == contract.EXPLAIN_ENCODED_CLASS.name:
            rule += " and no target of `tlp.targets`"
        raise ArgumentError("model", rule, path)
    outputs = signatures[signature].outputs
    if contract.MAPS not in outputs:
        rule = f"be a folder that `export` wrote, whose signatures return '{contract.MAPS}'"
        raise ArgumentError("model", rule, path, f"'{path}', which returns {sorted(outputs)}")
    if len(outputs[contract.CLASS_IDS].tensor_shape.dim) != 1:
        raise ArgumentError("model", "be exported without `top_k`", path)


def checksum(path: str) -> str:
    """SHA-256 of the names and the contents of the files of a SavedModel."""
    import tensorflow as tf

    files = sorted(os.path.join(place, name) for place, _, names in tf.io.gfile.walk(path) for name in names)
    digest = hashlib.sha256()
    for file in files:
        with tf.io.gfile.GFile(file, "rb") as stream:
            content = stream.read()
        digest.update(f"{os.path.relpath(file, path)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
