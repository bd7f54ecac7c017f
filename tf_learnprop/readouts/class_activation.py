"""Readouts of class activation: the channels of one feature map, weighed by the signal at it."""

from typing import Any

import tensorflow as tf

from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.readouts.base import Needs, Readout, Signals, register
from tf_learnprop.rules.base import serializable


class ClassActivationReadout(Readout):
    """A = relu(Σ_c w_c·a_c). Subclass it and write `factors`.

    a is the last feature map: the last tensor before attention in which places of the image are still apart,
    and which all paths to the output pass. The backward pass starts at the score s, the logit of the
    explained class, and ends at a, so rules count only behind it. A has the few places of a, and is resized
    to the image.

    Args:
        blur: From 0 to 1; see `Readout`. The papers have none.
        layer: Name or path of the layer whose output is a; None for the last feature map.
    """

    def __init__(self, blur: float = 0.0, layer: str | None = None, **kwargs: Any):
        super().__init__(blur, **kwargs)
        if layer is not None and not (isinstance(layer, str) and layer):
            raise ArgumentError("layer", "be None or the name of a layer", layer)
        self.needs = Needs(feature_map=True, layer=layer)

    def factors(self, feature_map: tf.Tensor, signal: tf.Tensor) -> tf.Tensor:
        """The factors w.

        Args:
            feature_map: float32 `[n, *places, c]`.
            signal: float32 `[n, *places, c]`, ∂s/∂a.

        Returns:
            float32 `[n, *places, c]`, or with places of length 1.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `factors(feature_map, signal)`.")

    def call(self, signals: Signals) -> tf.Tensor:
        (feature_map,), (signal,), (where,) = signals.activations, signals.signals, signals.places_read
        maps = tf.nn.relu(tf.reduce_sum(self.factors(feature_map, signal) * feature_map, -1))
        is_of_ids = signals.inputs.shape.rank == 2
        return maps if is_of_ids else self.to_input(maps, signals.inputs, where)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": self.needs.layer}


def _places(tensor: tf.Tensor) -> list[int]:
    """The axes of the places of `[n, *places, c]`."""
    return list(range(1, tensor.shape.rank - 1))


@register("grad_cam")
@serializable
class GradCAMReadout(ClassActivationReadout):
    """w_c is the mean of ∂s/∂a_c over all places (Selvaraju et al. 2017, ICCV)."""

    def factors(self, feature_map: tf.Tensor, signal: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(signal, _places(signal), keepdims=True)


@register("grad_cam_pp")
@serializable
class GradCAMPlusPlusReadout(ClassActivationReadout):
    """Grad-CAM++ (Chattopadhyay et al. 2018, WACV).

    w_c = Σ_p relu(g_p)·g_p²/(2·g_p² + g_p³·Σ_q a_q), with g = ∂s/∂a of the channel, and sums over its
    places. The paper explains exp(s), which multiplies the map by exp(s); that factor is left out.
    """

    def factors(self, feature_map: tf.Tensor, signal: tf.Tensor) -> tf.Tensor:
        total = tf.reduce_sum(feature_map, _places(signal), keepdims=True)
        shares = tf.math.divide_no_nan(tf.nn.relu(signal), 2.0 + signal * total)
        return tf.reduce_sum(shares, _places(signal), keepdims=True)


@register("layer_cam")
@serializable
class LayerCAMReadout(ClassActivationReadout):
    """w_c = relu(∂s/∂a_c), place by place (Jiang et al. 2021, IEEE TIP)."""

    def factors(self, feature_map: tf.Tensor, signal: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(signal)


@register("hires_cam")
@serializable
class HiResCAMReadout(ClassActivationReadout):
    """w_c = ∂s/∂a_c, place by place (Draelos & Carin 2020, arXiv 2011.08891)."""

    def factors(self, feature_map: tf.Tensor, signal: tf.Tensor) -> tf.Tensor:
        return signal
