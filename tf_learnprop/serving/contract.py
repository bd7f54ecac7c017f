"""The names in an exported model: of its signatures, and of their inputs and outputs.

Both sides take them from here: `export`, which writes them, and all that ask an exported model. The module
imports nothing, so that workers load no modelling code with it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

#: Inputs: a single image, a single input of another kind, and the contents of image files. Several inputs
#: keep their own names, as those of arguments: `my photo` becomes `my_photo`.
IMAGES, INPUTS, ENCODED = "images", "inputs", "encoded"
#: An output of the signatures that explain, and an input of those that take the classes to explain.
CLASS_IDS = "class_ids"
#: Further outputs. Over REST, a server encodes an output as base64 only if its name ends in "_bytes". Other
#: strings are written as they are, which is not valid JSON for bytes.
MAPS, PROBABILITIES, OVERLAYS = "maps", "probabilities", "overlays_bytes"
#: The explained score, an output of a model that is exported with a target.
SCORES = "scores"
#: What follows the name of an input in the name of its share, see `share_of`.
_SHARE = "_share"


def share_of(name: str) -> str:
    """The output with an input's share, of a model that explains several. Its map has the input's name."""
    return f"{name}{_SHARE}"


def explained_inputs(outputs: Iterable[str]) -> list[str]:
    """Names of the inputs whose maps are outputs, sorted, of a model that explains several; else none."""
    names = sorted(outputs)  # a loaded signature has its outputs in any order
    return [name for name in names if share_of(name) in names]


class Signature(NamedTuple):
    """A signature.

    Attributes:
        name: Its name.
        encoded: Whether it takes the contents of image files, rather than the model's inputs.
        of_class: Whether it takes the classes to explain.
        of_target: Names of what it takes of a target, in their order.
    """

    name: str
    encoded: bool = False
    of_class: bool = False
    of_target: tuple[str, ...] = ()

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
#: One for each kind of target, which takes what a target of this kind says of each sample.
OF_TARGET = {
    "Region": Signature("explain_region", of_target=("masks", CLASS_IDS)),
    "Pixel": Signature("explain_pixel", of_target=("rows", "columns", CLASS_IDS)),
    "Box": Signature("explain_box", of_target=("boxes", CLASS_IDS)),
    "Value": Signature("explain_value", of_target=("references",)),
    "Similarity": Signature("explain_similarity", of_target=("embeddings",)),
    "Token": Signature("explain_token", of_target=("positions", "tokens")),
}
#: A forward pass without a map: its only output is `PROBABILITIES`, those of all classes.
CLASSIFY_ENCODED = Signature("classify_encoded", encoded=True)
