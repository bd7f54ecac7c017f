"""The methods that ours are compared with: those of `tlp.methods`, and trivial baselines.

The logit of the target class is explained; the methods that hide pixels (Occlusion, RISE) explain its
probability. Hidden pixels are set to 0, and Integrated Gradients starts from 0: the mean colour of normalised
photos, the background of digits.

Sizes follow the image's side: Occlusion's patch is 1/7 of it, at least 2 pixels, and moves by 1/14. RISE's
grid has 7 cells a side, or fewer, so that no cell is smaller than two pixels.
"""

import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation.method import Method, Variant
from tf_learnprop import readouts, resampling

#: Gradients that Integrated Gradients and SmoothGrad average.
_GRADIENTS = 25


def methods(model, *, rise_masks=1000, seed=0):
    """All methods that a model can have, and the baselines.

    Args:
        model: `keras.Model` from images `[n, h, w, c]` to logits.
        rise_masks: int.
        seed: int.

    Returns:
        list of `Method`.
    """
    return [*baselines(seed), *peers(model, rise_masks, seed)]


def baselines(seed):
    """Random maps, a Gaussian at the centre, Sobel edges: they know nothing of the model."""

    def random(images, targets):
        return np.random.default_rng([seed, *targets]).random(images.shape[:3])

    def centre(images, targets):
        vertical, horizontal = (np.exp(-2 * np.linspace(-1, 1, side) ** 2) for side in images.shape[1:3])
        return np.broadcast_to(np.outer(vertical, horizontal), images.shape[:3])

    def edges(images, targets):
        slopes = tf.image.sobel_edges(tf.reduce_mean(images, -1, keepdims=True))[..., 0, :]
        return np.sqrt(np.sum(np.square(slopes), -1))

    return [
        Method("random", 0, random),
        Method("centre Gaussian", 0, centre),
        Method("Sobel edges", 0, edges, tuple(_each_blurred("", lambda raw, images: raw))),
    ]


class _EachChannel(readouts.Readout):
    """The signal at the input, channel by channel, `[n, h, w, c]`; with `times_input`, times the input."""

    needs = readouts.Needs(input_signal=True)

    def __init__(self, times_input=False, **kwargs):
        super().__init__(**kwargs)
        self.times_input = times_input

    def call(self, signals):
        return signals.inputs * signals.input_signal if self.times_input else signals.input_signal

    def get_config(self):
        return {**super().get_config(), "times_input": self.times_input}


def peers(model, rise_masks=1000, seed=0, names=None):
    """The methods of `tlp.methods`; those of raw gradients in several variants.

    Args:
        model: As for `methods`.
        rise_masks: int.
        seed: int.
        names: Names of the methods, None for all that the model can have.
    """
    side = model.input_shape[1]
    options = {
        "integrated_gradients": {"steps": _GRADIENTS, "readout": _EachChannel(times_input=True)},
        "smoothgrad": {"samples": _GRADIENTS, "seed": seed, "readout": _EachChannel()},
        "occlusion": {"patch": max(side // 7, 2), "stride": max(side // 14, 1)},
        "rise": {"masks": rise_masks, "seed": seed},
    }
    wrapped = tlp.wrap_model(model, "gradient")
    found = []
    for name, variants in _VARIANTS.items():
        method = tlp.methods.get(name, **options.get(name, {}))
        if (names is None or name in names) and method.is_possible(wrapped.explained):
            explainer = tlp.methods.make(wrapped, method)
            explain = explainer.input_signal if name in _OF_ONE_GRADIENT else explainer.explain
            passes = method.passes(wrapped.explained)
            found.append(Method(name, passes, explain, variants, source="tf_learnprop.methods"))
    return found


# -- variants ------------------------------------------------------------------------------------------------


def _sum(raw, images):
    return raw.sum(-1)


def _absolute(raw, images):
    return np.abs(raw).sum(-1)


def _plain(raw, images):
    return np.asarray(raw)


def _times_input(raw, images):
    return _sum(raw * images, images)


def _absolute_times_input(raw, images):
    return _absolute(raw * images, images)


def _each_blurred(name, form):
    """The form as it is, and blurred by a Gaussian of 1/32 of the side, at least one pixel."""

    def blurred(raw, images):
        maps = tf.constant(form(raw, images), tf.float32)
        matrices = [resampling.gaussian_matrix(side, max(side / 32, 1.0)) for side in maps.shape[1:]]
        return resampling.apply_along(maps[..., None], matrices)[..., 0].numpy()

    return Variant(name, form), Variant(f"{name}, blurred".removeprefix(", "), blurred)


#: Methods whose raw attributions are the signal at the input.
_OF_ONE_GRADIENT = "saliency", "gradient_x_input", "guided_backprop"
_PLAIN = (Variant("", _plain),)
_OF_GRADIENTS = (*_each_blurred("times input", _times_input), *_each_blurred("absolute", _absolute))
#: The methods that are compared, with the forms in which each can be judged.
_VARIANTS = {
    "saliency": tuple(_each_blurred("absolute", _absolute)),
    "gradient_x_input": (
        *_each_blurred("signed", _times_input),
        *_each_blurred("absolute", _absolute_times_input),
    ),
    "integrated_gradients": (*_each_blurred("signed", _sum), *_each_blurred("absolute", _absolute)),
    "smoothgrad": _OF_GRADIENTS,
    "guided_backprop": _OF_GRADIENTS,
    "grad_cam": _PLAIN,
    "grad_cam_pp": _PLAIN,
    "layer_cam": _PLAIN,
    "hires_cam": _PLAIN,
    "occlusion": _PLAIN,
    "rise": _PLAIN,
    "attention_rollout": _PLAIN,
    "gradient_x_attention": _PLAIN,
}
