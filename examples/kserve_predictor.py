"""Serves an exported model with KServe: `:predict` answers with classes, `:explain` with maps.

    tf-learnprop export --model efficientnet_lite0 --out served/lite0/1
    pip install 'tf-learnprop[kserve]'
    python examples/kserve_predictor.py --model_name lite0 --saved_model served/lite0/1

Both take `{"instances": [{"encoded": {"b64": "…"}}, …]}`, where `b64` is an image file. An instance for
`:explain` may also have `class_id`, the class to explain; without it, that is the predicted class. A model
that was exported with a target, such as `tlp.targets.Region()`, explains that, and has no `:predict`.
"""

import argparse
import base64
import binascii

import kserve
import numpy as np
import tensorflow as tf
from kserve.errors import InvalidInput

import tf_learnprop as tlp

TOP = 5


class AttributionModel(kserve.Model):
    """An exported model behind KServe's protocol, version 1.

    Args:
        name: Name in the URL, `/v1/models/NAME:explain`.
        path: Folder of the SavedModel, exported with `preprocess`.
    """

    def __init__(self, name, path):
        super().__init__(name)
        self.path = path

    def load(self):
        self.classify = tf.saved_model.load(self.path).signatures.get("classify_encoded")
        signature = "explain_encoded_class" if self.classify else "explain_encoded"
        self.explainer = tlp.serving.Explainer(self.path, signature)
        self.ready = True
        return self.ready

    def predict(self, payload, headers=None):
        """The best classes of each photo with their probabilities; a forward pass without a map."""
        return {"predictions": [best_classes(row) for row in self.probabilities(photos(payload))]}

    def explain(self, payload, headers=None):
        """The class, its probability and its map, nested lists `[h][w]`, for each photo.

        The class is −1 and the probability null for what is no class.
        """
        contents, class_ids = photos(payload), None
        if self.classify:
            predicted = self.probabilities(contents).argmax(-1).tolist()
            instances = zip(payload["instances"], predicted, strict=True)
            class_ids = [row.get("class_id", best) for row, best in instances]
        result = self.explainer(contents, class_ids)
        if result.errors:
            raise InvalidInput("; ".join(f"instance {row}: {text}" for row, text in result.errors.items()))
        probabilities = np.where(result.class_ids < 0, None, result.probabilities)  # JSON has no NaN
        columns = (result.class_ids.tolist(), probabilities.tolist(), result.maps.tolist())
        names = ("class_id", "probability", "map")
        return {"explanations": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}

    def probabilities(self, contents):
        if not self.classify:
            raise InvalidInput("the model was exported with a target, so it has no classes: ask for :explain")
        try:
            return self.classify(encoded=tf.constant(contents, tf.string))["probabilities"].numpy()
        except tf.errors.InvalidArgumentError as error:
            raise InvalidInput(error.message) from error


def photos(payload):
    """The image files of a request, a list of bytes."""
    try:
        return [base64.b64decode(row["encoded"]["b64"], validate=True) for row in payload["instances"]]
    except (KeyError, TypeError, binascii.Error) as error:
        raise InvalidInput('a request must be {"instances": [{"encoded": {"b64": "…"}}, …]}') from error


def best_classes(probabilities):
    best = np.argsort(-probabilities)[:TOP].tolist()
    return [{"class_id": k, "probability": float(probabilities[k])} for k in best]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], parents=[kserve.model_server.parser])
    parser.add_argument("--saved_model", required=True, help="folder of the exported model")
    arguments = parser.parse_args()
    model = AttributionModel(arguments.model_name, arguments.saved_model)
    model.load()
    kserve.ModelServer().start([model])


if __name__ == "__main__":
    main()
