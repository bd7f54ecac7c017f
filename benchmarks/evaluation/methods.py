"""The methods that ours are compared with: those of xplique, and trivial baselines.

The logit of the target class is explained; the methods that perturb (Occlusion, RISE, Sobol) explain its
softmax probability. Hidden pixels are set to 0, and Integrated Gradients starts from 0: the mean colour of
normalised photos, the background of digits.

Sizes follow the image's side: Occlusion's patch is 1/7 of it, at least 2 pixels, and moves by 1/14. RISE's
grid has 7 cells a side and Sobol's 8, or fewer, so that no cell of RISE is smaller than two pixels and none
of Sobol is smaller than one.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import token_methods
from benchmarks.evaluation.method import Method, Variant
from tf_learnprop import resampling


def methods(model, *, spread, rise_masks=1000, sobol_designs=32, seed=0):
    """All methods for a model.

    Args:
        model: `keras.Model` from images `[n, h, w, c]` to logits, without nested models (xplique sees
            none of their layers).
        spread: float, largest minus smallest value of the images; SmoothGrad's noise is 15 % of it.
        rise_masks: int.
        sobol_designs: int, a power of two.
        seed: int.

    Returns:
        list of `Method`.

    Raises:
        ValueError: a nested model.
    """
    nested = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    if nested:
        raise ValueError(f"`model` must hold no models, see `subjects.flat`. Received: {', '.join(nested)}")
    return [
        *baselines(seed),
        *peers(model, spread, rise_masks, sobol_designs, seed),
        *token_methods.methods(model),
    ]


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


def peers(model, spread, rise_masks, sobol_designs, seed):
    """The methods of xplique; those of raw gradients in several variants.

    Models without feature maps get neither Grad-CAM nor Guided Backprop, which xplique has for ReLU alone.
    Those that it can't copy get no Guided Backprop.
    """
    import xplique.attributions as xplique

    side = model.input_shape[1]
    patch, stride = max(side // 7, 2), max(side // 14, 1)
    grid = min(side, 8)
    maps = feature_maps(model)
    probability = keras.Model(model.input, keras.ops.softmax(model.outputs[0]))
    gradient = dict(batch_size=16, reducer=None)
    forward = dict(batch_size=64)
    signed = (*_each_blurred("signed", _sum), *_each_blurred("absolute", _absolute))
    times_input = (
        *_each_blurred("times input", lambda raw, images: _sum(raw * images, images)),
        *_each_blurred("absolute", _absolute),
    )
    found = [
        ("Saliency", 2, xplique.Saliency(model, **gradient), tuple(_each_blurred("absolute", _absolute))),
        ("Gradient×Input", 2, xplique.GradientInput(model, **gradient), signed),
        ("Integrated Gradients", 50, xplique.IntegratedGradients(model, steps=25, **gradient), signed),
        (
            "SmoothGrad",
            50,
            xplique.SmoothGrad(model, nb_samples=25, noise=0.15 * spread, **gradient),
            times_input,
        ),
        *(_on_feature_maps(model, maps[-1], gradient, times_input) if maps else []),
        (
            "Occlusion",
            ((side - patch) // stride + 1) ** 2 + 1,
            xplique.Occlusion(probability, patch_size=patch, patch_stride=stride, **forward),
            _PLAIN,
        ),
        (
            "RISE",
            rise_masks,
            xplique.Rise(probability, nb_samples=rise_masks, grid_size=min(side // 2, 7), **forward),
            _PLAIN,
        ),
        (
            "Sobol",
            sobol_designs * (grid**2 + 2),
            xplique.SobolAttributionMethod(probability, grid_size=grid, nb_design=sobol_designs, **forward),
            _PLAIN,
        ),
    ]
    guided = any(name == "Guided Backprop" for name, *_ in found)
    notes = {"Guided Backprop": _guided_note(model)} if guided else {}
    # Seeded only where something is drawn: seeding empties TensorFlow's caches, so that a gradient takes ten
    # times as long.
    seeds = {"SmoothGrad": seed, "RISE": seed}
    methods_of_xplique = []
    for name, passes, explainer, variants in found:
        explain = _with_classes(explainer, model, seeds.get(name))
        note = notes.get(name, "")
        methods_of_xplique.append(Method(name, passes, explain, variants, note, source="xplique"))
    return methods_of_xplique


def grad_cam(model):
    """Grad-CAM alone, a `Method`."""
    name, passes, explainer, variants = _grad_cam(model, feature_maps(model)[-1])
    return Method(name, passes, _with_classes(explainer, model, None), variants, source="xplique")


def _grad_cam(model, last):
    from xplique.attributions import GradCAM

    return "Grad-CAM", 2, GradCAM(model, conv_layer=last, batch_size=16), _PLAIN


def _on_feature_maps(model, last, gradient, variants):
    import xplique.attributions as xplique

    found = [
        _grad_cam(model, last),
        ("Grad-CAM++", 2, xplique.GradCAMPP(model, conv_layer=last, batch_size=16), _PLAIN),
    ]
    # xplique copies the model for it, which fails for some layers of KerasHub.
    with contextlib.suppress(TypeError):
        found.append(("Guided Backprop", 2, xplique.GuidedBackprop(model, **gradient), variants))
    return found


def _with_classes(explainer, model, seed):
    """Its `explain`, which takes class ids instead of one-hot targets; seeded unless `seed` is None."""

    def explain(images, targets):
        if seed is not None:
            keras.utils.set_random_seed(seed)
        return np.asarray(
            explainer.explain(images, np.eye(model.output_shape[-1], dtype=np.float32)[targets])
        )

    return explain


def feature_maps(model):
    """Names of the layers with feature maps; the last is the last activation before the pooling."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    return [layer.name for layer in layers if len(layer.output.shape) == 4]


def _guided_note(model):
    """A note if xplique's Guided Backprop, which reaches only plain ReLUs, misses some activations."""
    from xplique.attributions import GuidedBackprop

    image = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype(np.float32)
    targets = np.asarray(model(image)).argmax(1)
    theirs = np.asarray(
        GuidedBackprop(model, reducer=None).explain(image, np.eye(model.output_shape[-1])[targets])
    )
    whole = tlp.wrap_model(model, rule="guided_backprop").input_signal(image, targets)
    if np.abs(theirs - whole).max() <= 1e-3 * np.abs(whole).max():
        return ""
    likeness = np.corrcoef(theirs.ravel(), whole.ravel())[0, 1]
    return (
        "xplique's is not guided backprop at every activation of this model (it leaves out what is not a "
        f"plain ReLU, and the upper bound of ReLU6); correlation with that on noise: {likeness:.2f}"
    )


# -- variants ------------------------------------------------------------------------------------------------


def _sum(raw, images):
    return raw.sum(-1)


def _absolute(raw, images):
    return np.abs(raw).sum(-1)


def _plain(raw, images):
    return np.asarray(raw)[..., 0]


_PLAIN = (Variant("", _plain),)


def _each_blurred(name, form):
    """The form as it is, and blurred by a Gaussian of 1/32 of the side, at least one pixel."""

    def blurred(raw, images):
        maps = tf.constant(form(raw, images), tf.float32)
        matrices = [resampling.gaussian_matrix(side, max(side / 32, 1.0)) for side in maps.shape[1:]]
        return resampling.apply_along(maps[..., None], matrices)[..., 0].numpy()

    return Variant(name, form), Variant(f"{name}, blurred".removeprefix(", "), blurred)
