"""Readouts. A readout turns the signals of one backward pass into an attribution map."""

from tf_learnprop.readouts.base import FEATURE_MAP, INPUT, Readout, Shape
from tf_learnprop.readouts.feature_map import GradCAMReadout, TokenReadout
from tf_learnprop.readouts.input import InputReadout
from tf_learnprop.readouts.multi_layer import MultiLayerReadout

__all__ = [
    "FEATURE_MAP",
    "INPUT",
    "GradCAMReadout",
    "InputReadout",
    "MultiLayerReadout",
    "Readout",
    "Shape",
    "TokenReadout",
    "get",
]

_BY_NAME = {
    "grad_cam": GradCAMReadout,
    "input": InputReadout,
    "multi_layer": MultiLayerReadout,
    "tokens": TokenReadout,
}


def get(identifier: str | Readout) -> Readout:
    """Returns a new readout.

    Args:
        identifier: str, "grad_cam", "input", "multi_layer" or "tokens"; or a `Readout`, whose configuration
            is copied.

    Returns:
        A `Readout` that is not built.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a readout.
    """
    if isinstance(identifier, Readout):
        return type(identifier).from_config(identifier.get_config())
    if not isinstance(identifier, str):
        raise TypeError(f"`readout` must be a name or a `Readout`. Received: readout={identifier!r}")
    if identifier not in _BY_NAME:
        raise ValueError(
            f"`readout` must be one of {', '.join(map(repr, _BY_NAME))}. Received: readout={identifier!r}"
        )
    return _BY_NAME[identifier]()
