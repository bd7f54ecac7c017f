"""Sanity: does a map depend on the model's weights, on the class, and on the later layers?

A method that passes is not thereby right; one that fails explains something else than the model.
"""

from collections import abc
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.inputs import checks
from tf_learnprop.metrics import _inputs, _ranking, _scoring


class Similarity(NamedTuple):
    """How alike two sets of maps are, image by image.

    Attributes:
        rank_correlation: float64 `[n]`, Spearman's; 0 where a map is constant.
        ssim: float64 `[n]`, structural similarity of the maps scaled to [0, 1].
    """

    rank_correlation: np.ndarray
    ssim: np.ndarray


class Randomisation(NamedTuple):
    """How alike maps stay when the model's weights are randomised.

    Attributes:
        layers: list of the layers' paths, from the output to the input.
        rank_correlation: float64 `[layers, n]`.
        ssim: float64 `[layers, n]`.
    """

    layers: list
    rank_correlation: np.ndarray
    ssim: np.ndarray


def similarity(maps, others, absolute=False):
    """Spearman's rank correlation (ties averaged) and SSIM of two sets of maps.

    SSIM is that of Wang et al. 2004 (`tf.image.ssim`: Gaussian window of 11, sigma 1.5; for smaller maps
    the largest odd window that fits) on maps that are scaled to [0, 1] one by one, as in Adebayo et al.
    2018; a constant map counts as 0.

    Args:
        maps: `[n, h, w]`, or a stream (see the package).
        others: `[n, h, w]`, or a stream.
        absolute: bool, whether absolute values are compared.

    Returns:
        `Similarity`.

    Raises:
        ValueError: maps empty, not finite, not of three axes, or of different shapes.
    """
    maps, others = (_inputs.maps_of(given, spatial_rank=2) for given in (maps, others))
    if maps.shape != others.shape:
        raise ValueError(f"Both maps must have one shape. Received: {maps.shape} and {others.shape}")
    if absolute:
        maps, others = np.abs(maps), np.abs(others)
    window = min(11, *(side - 1 + side % 2 for side in maps.shape[1:]))
    scaled = [tf.constant(_scaled(given)[..., None], tf.float32) for given in (maps, others)]
    ssim = tf.image.ssim(*scaled, max_val=1.0, filter_size=window).numpy().astype(np.float64)
    flat = [given.reshape(len(given), -1) for given in (maps, others)]
    return Similarity(_ranking.spearman(*flat), ssim)


def randomisation(
    model, images, explain, *, layers=None, mode="cascading", absolute=False, seed=0, verbose=0
):
    """Similarity of maps to those of the model with random weights, layer after layer; lower is better.

    `"cascading"` randomises from the output down to each layer, `"independent"` each layer alone.
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018.
    Each trainable weight is drawn from the normal distribution with its own mean and standard deviation:
    a fresh start whose scale does not depend on an initialiser that a loaded model may not know. A
    constant weight stays; so do moving statistics.

    It works on a copy (`keras.models.clone_model`); the model is not changed. Whether what `explain`
    learns is trained anew on the randomised copy is up to it.

    Args:
        model: Functional or Sequential `keras.Model`.
        images: `[n, h, w, c]`, or a stream (see the package).
        explain: callable from (model, images) to maps `[n, h, w]`. It should hold on to a class, else a
            change of the predicted class is measured too.
        layers: int, how many layers are looked at, spread evenly from the output's to the input's; cascading,
            those between are randomised with the next; None for all. More than there are is all.
        mode: `"cascading"` or `"independent"`.
        absolute: bool, whether absolute values are compared.
        seed: int.
        verbose: 0 or 1.

    Returns:
        `Randomisation`, one row a layer looked at; of the layers with weights, those of nested models
        included, in reverse of the order in which the model lists them.

    Raises:
        TypeError: `model` is no `keras.Model`, or `explain` can't be called.
        ValueError: another mode; `layers` below 1; a model without weights; images or maps empty, not finite
            or of different lengths.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: {type(model).__name__}")
    _check_callable("explain", explain)
    _inputs.one_of("mode", mode, ("cascading", "independent"))
    checks.whole_number("seed", seed, 0)
    if layers is not None:
        checks.whole_number("layers", layers, 1)
    images = _inputs.images_of(images)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    before = explain(copy, images)
    found = _layers_with_weights(copy)[::-1]
    if not found:
        raise ValueError("`model` must have layers with weights. Received: none")
    count = len(found) if layers is None else min(layers, len(found))
    looked_at = np.linspace(0, len(found) - 1, count).round().astype(int)
    progress = keras.utils.Progbar(count, verbose=verbose)
    rows, first = [], 0
    for last in looked_at:
        held = found[last].get_weights()
        for number in range(last if mode == "independent" else first, last + 1):
            _randomise(found[number], np.random.default_rng((seed, number)))
        maps = explain(copy, images)
        if mode == "independent":
            found[last].set_weights(held)
        rows.append(similarity(_one_each("explain", maps, images), before, absolute))
        first = last + 1
        progress.add(1)
    correlations, ssims = (np.array(values) for values in zip(*rows, strict=True))
    return Randomisation([found[number].path for number in looked_at], correlations, ssims)


def class_sensitivity(model, images, explain, *, from_logits=True, absolute=False, batch_size=32, verbose=0):
    """Similarity of the maps for the predicted and for the least likely class; lower is better.

    A method that draws the same map for both does not say why the model chose the class. Adapted from
    the class sensitivity of Nie, Zhang, Patel, "A Theoretical Explanation for Perplexing Behaviors of
    Backpropagation-based Visualizations", ICML 2018. With two classes a map may well be the negative of
    the other: see `absolute`.

    Args:
        model: callable from images to logits `[n, classes]`, or `keras.Model`.
        images: `[n, h, w, c]`, or a stream (see the package).
        explain: callable from (images `[n, h, w, c]`, class ids `[n]`) to maps `[n, h, w]`.
        from_logits: bool; False says that `model` gives probabilities.
        absolute: bool, whether absolute values are compared.
        batch_size: int, images at a time.
        verbose: 0 or 1.

    Returns:
        `Similarity`.

    Raises:
        TypeError: `model` or `explain` can't be called.
        ValueError: images or maps empty, not finite or of different lengths; probabilities where logits
            are due, or the reverse.
    """
    _check_callable("explain", explain)
    images = _inputs.images_of(images)
    scorer = _scoring.Scorer(model, images, None, from_logits, batch_size)
    pair = [
        _scoring.in_batches(
            len(images),
            lambda rows, ids=ids: _one_each("explain", explain(images[rows], ids[rows]), rows),
            batch_size,
            verbose,
        )
        for ids in (scorer.targets, scorer.outputs.argmin(1))
    ]
    return similarity(*pair, absolute)


def cosine_similarity_convergence(
    backward, images, outputs, *, directions=5, batch_size=32, seed=0, verbose=0
):
    """Cosine similarity, layer by layer, of signals that start from random directions at the output.

    A backward pass that heeds the later layers keeps different directions apart; one that ignores them
    ends in the same signal whatever it starts from, and the similarity goes to 1 towards the input. For
    directions v_1 … v_D ~ N(0, I) of each image, with b_l(v) the signal at layer l, the mean over pairs
    j < k of b_l(v_j)·b_l(v_k) / (‖b_l(v_j)‖ ‖b_l(v_k)‖). Sixt, Granz, Landgraf, "When Explanations Lie:
    Why Many Modified BP Attributions Fail", ICML 2020. They start from any layer; give a `backward` that
    does for that.

    Args:
        backward: callable from (images `[b, ...]`, directions float32 `[b, outputs]`) to a dict from
            layer names to signals `[b, ...]`.
        images: `[n, ...]`, or a stream (see the package).
        outputs: int, length of a direction.
        directions: int, at least 2, D.
        batch_size: int, images at a time.
        seed: int.
        verbose: 0 or 1.

    Returns:
        dict from layer names, in the order of `backward`, to float64 `[n]`, in [−1, 1]; a signal of
        zeros has 0 with any.

    Raises:
        TypeError: `backward` can't be called or gives no dict.
        ValueError: images or signals empty, not finite or of different lengths; layers that change.
    """
    _check_callable("backward", backward)
    for name, value, least in (("outputs", outputs, 1), ("directions", directions, 2), ("seed", seed, 0)):
        checks.whole_number(name, value, least)
    checks.whole_number("batch_size", batch_size, 1)
    images = _inputs.images_of(images)
    names = []

    def compute(rows):
        starts = np.stack(
            [np.random.default_rng((seed, row)).normal(size=(directions, outputs)) for row in rows]
        )
        runs = [
            _signals(backward(images[rows], starts[:, k].astype(np.float32)), rows) for k in range(directions)
        ]
        names[:] = names or runs[0]
        if any(list(run) != names for run in runs):
            raise ValueError(f"`backward` must give the same layers each time. Received: others than {names}")
        return np.stack([_mean_cosine([run[name] for run in runs]) for name in names], 1)

    cosines = _scoring.in_batches(len(images), compute, batch_size, verbose)
    return dict(zip(names, cosines.T, strict=True))


def _signals(given, rows):
    if not isinstance(given, abc.Mapping):
        raise TypeError(f"`backward` must give a dict of signals. Received: {type(given).__name__}")
    if not given:
        raise ValueError("`backward` must give signals of one layer at least. Received: none")
    return {
        name: _one_each("backward", signal, rows).reshape(len(rows), -1) for name, signal in given.items()
    }


def _mean_cosine(signals):
    """Mean cosine `[b]` over all pairs of the D signals `[b, d]`."""
    lengths = [np.linalg.norm(signal, axis=1, keepdims=True) for signal in signals]
    units = [
        signal / np.where(length > 0, length, 1) for signal, length in zip(signals, lengths, strict=True)
    ]
    pairs = [(units[j] * units[k]).sum(1) for k in range(len(units)) for j in range(k)]
    return np.mean(pairs, 0)


def _one_each(name, arrays, entries):
    arrays = _inputs.maps_of(arrays)
    if len(arrays) != len(entries):
        raise ValueError(
            f"`{name}` must give one entry an image. Received: {len(arrays)} for {len(entries)} images"
        )
    return arrays


def _check_callable(name, value):
    if not callable(value):
        raise TypeError(f"`{name}` must be a callable. Received: {type(value).__name__}")


def _scaled(maps):
    lowest, span = maps.min((1, 2), keepdims=True), np.ptp(maps, (1, 2), keepdims=True)
    return np.where(span > 0, (maps - lowest) / np.where(span > 0, span, 1), 0.0)


def _layers_with_weights(model):
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += [inner for inner in _layers_with_weights(layer) if inner not in found]
        elif layer.weights and layer not in found:
            found.append(layer)
    return found


def _randomise(layer, generator):
    # A frozen layer lists its kernels as not trainable; what never was are statistics and seeds.
    trainable, layer.trainable = layer.trainable, True
    chosen = list(layer.trainable_weights)
    layer.trainable = trainable
    for weight in chosen:
        value = np.asarray(weight.numpy(), np.float64)
        weight.assign(generator.normal(value.mean(), value.std(), value.shape))
