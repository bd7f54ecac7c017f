"""Readouts. A readout turns the signals of one backward pass into an attribution map.

`@register("my_readout")` gives a readout of your own a name, which `wrap_model` takes.
"""

from tf_learnprop.readouts.base import (
    FEATURE_MAP,
    INPUT,
    REGISTRY,
    Needs,
    Position,
    Readout,
    Shape,
    Signals,
    register,
)
from tf_learnprop.readouts.class_activation import (
    ClassActivationReadout,
    GradCAMPlusPlusReadout,
    GradCAMReadout,
    HiResCAMReadout,
    LayerCAMReadout,
)
from tf_learnprop.readouts.feature_map import TokenReadout
from tf_learnprop.readouts.input import InputReadout, SaliencyReadout
from tf_learnprop.readouts.multi_layer import MultiLayerReadout
from tf_learnprop.readouts.series import SeriesReadout

__all__ = [
    "FEATURE_MAP",
    "INPUT",
    "ClassActivationReadout",
    "GradCAMPlusPlusReadout",
    "GradCAMReadout",
    "HiResCAMReadout",
    "InputReadout",
    "LayerCAMReadout",
    "MultiLayerReadout",
    "Needs",
    "Position",
    "Readout",
    "SaliencyReadout",
    "SeriesReadout",
    "Shape",
    "Signals",
    "TokenReadout",
    "get",
    "names",
    "register",
]


def names() -> list[str]:
    """The names of all readouts, those of your own among them."""
    return REGISTRY.names()


def get(identifier: str | Readout) -> Readout:
    """Returns a new readout.

    Args:
        identifier: One of `names()`: "grad_cam", "grad_cam_pp", "hires_cam", "input", "layer_cam",
            "multi_layer", "saliency", "series", "tokens" and those of your own; or a `Readout`, whose
            configuration is copied.

    Returns:
        A `Readout` that is not built.

    Raises:
        ValueError: If the name is unknown.
        TypeError: If it is neither a name nor a readout.
    """
    return REGISTRY.get(identifier)
