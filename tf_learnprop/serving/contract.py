"""The names in an exported model: of its signatures, and of their inputs and outputs.

Both sides take them from here: `export`, which writes them, and all that ask an exported model. The module
imports nothing, so that workers load no modelling code with it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

#: Inputs: a single image, a single input of another kind, and the contents of image files. Several inputs
#: keep their own names.
IMAGES, INPUTS, ENCODED = "images", "inputs", "encoded"
#: An output of the signatures that explain, and an input of those that take the classes to explain.
CLASS_IDS = "class_ids"
#: Further outputs. Over REST, a server encodes an output as base64 only if its name ends in "_bytes". Other
#: strings are written as they are, which is not valid JSON for bytes.
MAPS, PROBABILITIES, OVERLAYS = "maps", "probabilities", "overlays_bytes"


class Signature(NamedTuple):
    """A signature.

    Attributes:
        name: Its name.
        encoded: Whether it takes the contents of image files, rather than the model's inputs.
        of_class: Whether it takes the classes to explain.
    """

    name: str
    encoded: bool = False
    of_class: bool = False

    def inputs(self, own: Mapping[str, Any], encoded: Any, class_ids: Any) -> dict[str, Any]:
        """What the signature takes, by name and in its order.

        Args:
            own: What stands for each of the model's inputs, by name: tensors, specifications, values.
            encoded: What stands for the contents of image files.
            class_ids: What stands for the classes.
        """
        inputs = {ENCODED: encoded} if self.encoded else dict(own)
        return inputs | ({CLASS_IDS: class_ids} if self.of_class else {})


SERVING_DEFAULT = Signature("serving_default")
EXPLAIN_CLASS = Signature("explain_class", of_class=True)
EXPLAIN_ENCODED = Signature("explain_encoded", encoded=True)
EXPLAIN_ENCODED_CLASS = Signature("explain_encoded_class", encoded=True, of_class=True)
#: A forward pass without a map: its only output is `PROBABILITIES`, those of all classes.
CLASSIFY_ENCODED = Signature("classify_encoded", encoded=True)
