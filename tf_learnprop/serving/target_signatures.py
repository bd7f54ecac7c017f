"""What requests say of targets, in the signatures of a model that is exported with one."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tf_learnprop.graph.explained import Explained
from tf_learnprop.serving import contract
from tf_learnprop.targets.base import Target
from tf_learnprop.targets.boxes import Box, Detection
from tf_learnprop.targets.regions import Pixel, Region
from tf_learnprop.targets.tokens import Token
from tf_learnprop.targets.values import Similarity, Value

#: A dtype, and the shape of what belongs to one sample.
_Form = tuple[tf.DType, list[int | None]]

_ID: _Form = (tf.int64, [])


class RequestedTarget(NamedTuple):
    """A target that a request completes.

    Attributes:
        signature: The signature that explains it.
        specs: Specifications of what the signature takes, besides the model's inputs.
        make: Makes the target from tensors of these specifications.
    """

    signature: contract.Signature
    specs: list[tf.TensorSpec]
    make: Callable[..., Target]


def requested(target: Target, explained: Explained) -> RequestedTarget | None:
    """How requests choose another target of the kind of a given one, None if its kind has no signature.

    Args:
        target: The target that the model is exported with. Its options stay.
        explained: The output and the input.
    """
    shape = list(explained.output_tensor.shape[1:])
    forms: list[_Form]
    make: Callable[..., Target]
    match target:
        case Pixel():
            name, forms, make = "Pixel", [_ID, _ID, _ID], Pixel
        case Region():
            name, forms, make = "Region", [(tf.float32, shape[:-1]), _ID], Region
        case Box() | Detection():
            anchors, overlap = target.anchors, target.overlap

            def make_box(box: tf.Tensor, class_id: tf.Tensor) -> Box:
                return Box(box, class_id, anchors, overlap)

            name, forms, make = "Box", [(tf.float32, [4]), _ID], make_box
        case Value():
            index = target.index
            name, forms, make = "Value", [(tf.float32, [])], lambda reference: Value(index, reference)
        case Similarity():
            kind = target.kind_of_product
            name, forms, make = "Similarity", [(tf.float32, shape)], lambda to: Similarity(to, kind)
        case Token():
            name, forms, make = "Token", [_ID, _ID], Token
        case _:
            return None
    signature = contract.OF_TARGET[name]
    specs = [
        tf.TensorSpec([None, *sides], dtype, spec_name)
        for (dtype, sides), spec_name in zip(forms, signature.of_target, strict=True)
    ]
    return RequestedTarget(signature, specs, make)
