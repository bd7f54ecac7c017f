"""Score-CAM: each channel of a feature map is a mask."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_learnprop import readouts
from tf_learnprop.backward.runner import GraphRunner
from tf_learnprop.graph import geometry
from tf_learnprop.graph.explained import Explained
from tf_learnprop.methods.base import Need, register
from tf_learnprop.methods.masked import MaskedMethod
from tf_learnprop.methods.passes import Samples


@register("score_cam")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreCAM(MaskedMethod):
    """relu(Σ_c w_c·a_c), w the softmax over the channels of the score that each of them leaves.

    Channel a_c of the last feature map, enlarged to the input and scaled to 0..1, says how much of each pixel
    is shown. A channel with one value everywhere shows nothing and has no weight.

    Args:
        layer: Name or path of the layer whose output is the feature map; see `ClassActivationMethod`.
    """

    layer: str | None = None
    label = "Score-CAM"
    cost = "2 + channels"
    source = "Wang et al. 2020, CVPR workshops, arXiv 1910.01279"
    needs = (Need.PIXELS, Need.FEATURE_MAP)

    def reading(self, explained: Explained) -> Explained:
        return explained.with_layer(self.layer)

    def passes(self, explained: Explained) -> int | None:
        shape = self.reading(explained).feature_map_shape
        return None if shape is None or shape[-1] is None else 2 + shape[-1]

    def maps_of(self, explained: Explained) -> Callable[[Samples], tf.Tensor]:
        self.check(explained)
        channels = _Channels(explained)
        return lambda samples: self._maps(samples, channels)

    def _maps(self, samples: Samples, channels: "_Channels") -> tf.Tensor:
        features = channels.of(samples)
        scores = []
        for part in samples.parts(len(features)):
            masks = channels.on_pixels(features[part], samples.image)
            axes = list(range(2, masks.shape.rank))
            low = tf.reduce_min(masks, axes, keepdims=True)
            spread = tf.reduce_max(masks, axes, keepdims=True) - low
            of_part = samples.scores(self.masked(samples, tf.math.divide_no_nan(masks - low, spread)))
            scores.append(tf.where(tf.reshape(spread, of_part.shape) > 0.0, of_part, of_part.dtype.min))
        weights = tf.nn.softmax(tf.concat(scores, 0), 0)
        maps = tf.nn.relu(tf.einsum("kn,kn...->n...", weights, features))
        return channels.on_pixels(maps[None], samples.image)[0]


class _Channels:
    """The channels of the feature map.

    Args:
        explained: What is explained.
    """

    def __init__(self, explained: Explained):
        assert explained.feature_map is not None  # the method needs one
        self._explained, self._number = explained, explained.feature_map
        self._runner = GraphRunner(explained, {}, {self._number})
        self._features = explained.graph.traced(self._run)
        self._readout = readouts.Readout(blur=0.0)

    def _run(self, inputs: Any) -> tf.Tensor:
        found: list[tf.Tensor] = []
        self._runner(inputs, watch=lambda position, tensor: found.append(tensor))
        return tf.cast(found[-1], tf.float32)

    def of(self, samples: Samples) -> tf.Tensor:
        """The channels of samples, float32 `[c, n, *places]`, with the places in the order of the sides."""
        features = self._features(samples.inputs)
        samples.report(len(samples.image))
        placement = self._placement(samples.image)
        features = features if placement is None else geometry.on_sides(placement, features)
        return tf.transpose(features, [features.shape.rank - 1, *range(features.shape.rank - 1)])

    def on_pixels(self, maps: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Maps `[k, n, *places]` on the pixels of the input, `[k, n, *spatial]`."""
        placement = self._placement(image)
        places = None if placement is None else geometry.places_of(placement)
        flat = tf.reshape(maps, [-1, *maps.shape[2:]])
        found = self._readout.to_input(flat, image, places)
        return tf.reshape(found, [*maps.shape[:2], *found.shape[1:]])

    def _placement(self, image: tf.Tensor) -> geometry.Placement | None:
        return self._explained.map_placement(self._number, image)
