"""Parameter randomisation: does a map depend on the model's weights?"""

from __future__ import annotations  # aliases stay short in `help`

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.metrics.similarity import similarity


class Randomisation(NamedTuple):
    """How similar maps remain when the model's weights are randomised.

    Attributes:
        layers: The layers' paths from the output to the input.
        rank_correlation: float64 `[layers, n]`.
        ssim: float64 `[layers, n]`.
    """

    layers: list[str]
    rank_correlation: np.ndarray
    ssim: np.ndarray


def randomisation(
    model: keras.Model,
    images: Arrays,
    explain: Callable[[keras.Model, np.ndarray], npt.ArrayLike],
    *,
    layers: int | None = None,
    mode: str = "cascading",
    absolute: bool = False,
    seed: int = 0,
    verbose: int = 0,
) -> Randomisation:
    """Similarity of maps to those of the model with random weights, layer after layer; lower is better.

    `"cascading"` randomises all layers from the output down to each layer, `"independent"` each layer alone.
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018. Each
    trainable weight is drawn from the normal distribution with its own mean and standard deviation. So its
    scale does not depend on an initialiser that a loaded model may not know. Constant weights and moving
    statistics stay as they are.

    One random head may resemble the trained one: judge the last layer by the mean over several seeds.

    The weights of a copy are randomised (`keras.models.clone_model`); the model is not changed. If `explain`
    has rules to train, it decides itself whether to train them again on the copy.

    Args:
        model: Functional or Sequential `keras.Model`.
        images: `[n, h, w, c]`, or a stream of batches.
        explain: Callable from (model, images) to maps `[n, h, w]`. It should explain the same classes each
            time; otherwise a change of the predicted class is measured as well.
        layers: Number of layers to look at, spread evenly from the output to the input; None, or more
            than there are, for all. In the cascading mode, the layers in between are randomised together
            with the next one.
        mode: `"cascading"` or `"independent"`.
        absolute: Whether absolute values are compared.
        seed: Seed of the draws.
        verbose: 0 is silent, 1 shows Keras' progress bar.

    Returns:
        `Randomisation`, one row for each layer looked at. Only layers with weights count, including those of
        nested models, in the reverse of the order in which the model lists them.

    Raises:
        TypeError: If `model` is not a `keras.Model`, or `explain` is not callable.
        ValueError: If the mode is unknown, `layers` is below 1, the model has no weights, or images or maps
            are empty, not finite or of different lengths.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: {type(model).__name__}")
    _inputs.is_callable("explain", explain)
    argument_checks.one_of("mode", mode, ("cascading", "independent"))
    argument_checks.integer("seed", seed, 0)
    if layers is not None:
        argument_checks.integer("layers", layers, 1)
    images = _inputs.images_of(images)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    before = explain(copy, images)
    weighted = _layers_with_weights(copy)[::-1]
    if not weighted:
        raise ValueError("`model` must have layers with weights. Received: none")
    count = len(weighted) if layers is None else min(layers, len(weighted))
    places = np.linspace(0, len(weighted) - 1, count).round().astype(int)
    progress = keras.utils.Progbar(count, verbose=verbose)
    rows, first = [], 0
    for last in places:
        weights = weighted[last].get_weights()
        for number in range(last if mode == "independent" else first, last + 1):
            _randomise(weighted[number], np.random.default_rng((seed, number)))
        maps = explain(copy, images)
        if mode == "independent":
            weighted[last].set_weights(weights)
        rows.append(similarity(_inputs.one_each("explain", maps, len(images)), before, absolute))
        first = last + 1
        progress.add(1)
    correlations, ssims = (np.array(values) for values in zip(*rows, strict=True))
    return Randomisation([weighted[number].path for number in places], correlations, ssims)


def _layers_with_weights(model: keras.Model) -> list[keras.Layer]:
    weighted: list[keras.Layer] = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            weighted += [inner for inner in _layers_with_weights(layer) if inner not in weighted]
        elif layer.weights and layer not in weighted:
            weighted.append(layer)
    return weighted


def _randomise(layer: keras.Layer, generator: np.random.Generator) -> None:
    # A frozen layer lists its kernels as not trainable. Statistics and seeds are never trainable.
    trainable, layer.trainable = layer.trainable, True
    weights = list(layer.trainable_weights)
    layer.trainable = trainable
    for weight in weights:
        value = np.asarray(weight.numpy(), np.float64)
        weight.assign(generator.normal(value.mean(), value.std(), value.shape))
