"""The cases of the benchmark `targets`: a model, its samples, what is asked and what to compare with."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from benchmarks.evaluation import target_images as images
from benchmarks.evaluation import target_models as models
from benchmarks.evaluation import target_series as series
from benchmarks.evaluation import target_texts as texts
from tf_learnprop import targets

#: Options of `tlp.explain`.
PEERS: dict[str, dict[str, Any]] = {
    "gradient × input": {"method": "gradient_x_input"},
    "Integrated Gradients, 50 steps": {"method": "integrated_gradients", "steps": 50},
    "Grad-CAM": {"method": "grad_cam"},
}
#: Seg-Grad-CAM (Vinogradova et al. 2020) is Grad-CAM of the score of a region.
OF_REGIONS: dict[str, dict[str, Any]] = {
    **{title: PEERS[title] for title in list(PEERS)[:2]},
    "Seg-Grad-CAM, last map": {"method": "grad_cam"},
    "Seg-Grad-CAM, smallest map": {"method": "grad_cam", "layer": models.BOTTLENECK},
}
ATTENTION: dict[str, dict[str, Any]] = {
    "attention rollout": {"method": "attention_rollout"},
    "gradient × attention": {"method": "gradient_x_attention"},
}
RISE = {"D-RISE, 1,000 masks": {"method": "rise", "masks": 1000}}
ANCHORS = targets.Anchors(boxes="boxes", independent=True)


class Case(NamedTuple):
    """A model, and what is asked of it.

    Attributes:
        model: Name of the model.
        train: Trains the model.
        make: Function from a count and a seed to `Known`.
        target: Function from the model and `Known` to a target.
        is_right: Function from the model and `Known` to bool `[n]`.
        peers: Options of `tlp.explain` for other methods, by title.
        output: The output that is explained.
        trains_rules: Whether the rules are trained as well.
    """

    model: str
    train: Callable[[], keras.Model]
    make: Callable[[int, int], images.Known]
    target: Callable[[keras.Model, images.Known], Any]
    is_right: Callable[[keras.Model, images.Known], np.ndarray]
    peers: dict[str, dict[str, Any]]
    output: int | str = 0
    trains_rules: bool = False


def _region(model: keras.Model, known: images.Known) -> targets.Region:
    return targets.Region(**known.asked)


def _box(model: keras.Model, known: images.Known) -> targets.Box:
    return targets.Box(**known.asked, anchors=ANCHORS)


def _class(model: keras.Model, known: images.Known) -> np.ndarray:
    return known.asked["class_id"]


def _value(reference: float | None) -> Callable[..., targets.Value]:
    return lambda model, known: targets.Value(reference=reference)


def _similarity(model: keras.Model, known: images.Known) -> targets.Similarity:
    return targets.Similarity(_predicted(model, known.asked["view"]))


def _token(model: keras.Model, known: images.Known) -> targets.Token:
    return targets.Token(**known.asked)


def _predicted(model: keras.Model, inputs: np.ndarray) -> Any:
    return model.predict(inputs, batch_size=16, verbose=0)


def _region_is_right(model: keras.Model, known: images.Known) -> np.ndarray:
    """Whether nine tenths of the region that is asked for are of its class."""
    own = _predicted(model, known.inputs).argmax(-1) == known.asked["class_id"][:, None, None]
    return (own & known.asked["mask"]).sum((1, 2)) > 0.9 * known.asked["mask"].sum((1, 2))


def _box_is_right(model: keras.Model, known: images.Known) -> np.ndarray:
    """Whether the anchor in the middle of the box has the class, with a probability above one half."""
    scores = _predicted(model, known.inputs)["scores"][
        np.arange(len(known.inputs)), models.cell_of(known.asked["box"])
    ]
    return (scores.argmax(-1) == known.asked["class_id"]) & (scores.max(-1) > 0)


def _class_is_right(model: keras.Model, known: images.Known) -> np.ndarray:
    return _predicted(model, known.inputs).argmax(-1) == known.asked["class_id"]


def _value_is_right(most: float, least: float) -> Callable[..., np.ndarray]:
    """Whether the value is at most so far from the answer, and the answer at least so far from 0."""

    def is_right(model: keras.Model, known: images.Known) -> np.ndarray:
        error = np.abs(_predicted(model, known.inputs)[:, 0] - known.answers)
        return (error < most) & (np.abs(known.answers) >= least)

    return is_right


def _view_is_found(model: keras.Model, known: images.Known) -> np.ndarray:
    """Whether the embedding nearest to that of the other view is of the same object."""
    own, view = (_predicted(model, each) for each in (known.inputs, known.asked["view"]))
    own, view = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (own, view))
    return known.answers[(view @ own.T).argmax(1)] == known.answers


def _token_is_right(model: keras.Model, known: images.Known) -> np.ndarray:
    at = _predicted(model, known.inputs)[np.arange(len(known.inputs)), known.asked["position"]]
    return at.argmax(-1) == known.asked["token"]


def _labels(known: images.Known) -> np.ndarray:
    return known.answers["labels"] if isinstance(known.answers, dict) else known.answers


_CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
_TEXT = functools.partial(models.transformer, texts.WORDS, texts.LENGTH, texts.CLASSES)
_WORDS = functools.partial(models.recurrent_of_ids, texts.WORDS, texts.LENGTH, texts.CLASSES)
_COPY = functools.partial(models.transformer, texts.LETTERS + 1, texts.COPY_LENGTH, texts.LETTERS, True)
_DARK = functools.partial(images.dials, hand_light=0.05)
_U_NET = functools.partial(models.u_net, 4)


def _trained(build, make, steps, loss=_CROSS_ENTROPY, answers=_labels, **options):
    return functools.partial(models.fitted, build, make, steps, loss, answers, **options)


def _square(count: int, seed: int) -> images.Known:
    return images.square_of(images.marked(count, seed))


def _of_series(name: str, build: Callable, make: Callable, is_value: bool = False) -> Case:
    """A class by a channel of spikes, or a value. Their models see 700 fresh batches."""
    sizes = (1, 1, series.LENGTH) if is_value else (series.CHANNELS, series.CHANNELS, series.LENGTH)
    loss = "mse" if is_value else _CROSS_ENTROPY
    train = _trained(functools.partial(build, *sizes), make, 700, loss, epochs=1)
    target, is_right = (_value(None), _value_is_right(0.3, 0)) if is_value else (_class, _class_is_right)
    peers = {title: PEERS[title] for title in list(PEERS)[:2]}
    has_rules_to_train = build is models.convolutional and not is_value
    return Case(name, train, make, target, is_right, peers, 0, has_rules_to_train)


_MARKED = _trained(_U_NET, images.marked, 700, models.pixel_loss)
CASES = {
    "segmenter_marker": Case("u_net_marker", _MARKED, images.marked, _region, _region_is_right, OF_REGIONS),
    "segmenter_square": Case("u_net_marker", _MARKED, _square, _region, _region_is_right, OF_REGIONS),
    "segmenter_objects": Case(
        "u_net_objects",
        _trained(_U_NET, images.textured, 300, models.pixel_loss),
        images.textured,
        _region,
        _region_is_right,
        OF_REGIONS,
    ),
    "detector": Case(
        "detector",
        _trained(
            functools.partial(models.detector, images.TEXTURES),
            images.boxed,
            500,
            {"scores": keras.losses.BinaryCrossentropy(from_logits=True), "boxes": models.box_loss},
            models.detector_answers,
        ),
        images.boxed,
        _box,
        _box_is_right,
        {**PEERS, **RISE},
        "scores",
    ),
    "dots": Case(
        "dots",
        _trained(models.regressor, images.dots, 300, "mse"),
        images.dots,
        _value(None),
        _value_is_right(0.5, 0),
        PEERS,
    ),
    "dial": Case(
        "dial",
        _trained(functools.partial(models.regressor, pool=False), images.dials, 300, "mse"),
        images.dials,
        _value(0.0),
        _value_is_right(0.15, 0.3),
        PEERS,
    ),
    "dial_dark": Case(
        "dial_dark",
        _trained(functools.partial(models.regressor, pool=False), _DARK, 300, "mse"),
        _DARK,
        _value(0.0),
        _value_is_right(0.15, 0.3),
        PEERS,
    ),
    "volume": Case(
        "volume", _trained(models.volume_net, images.blobs, 100), images.blobs, _class, _class_is_right, PEERS
    ),
    "embedding": Case(
        "embedding",
        lambda: models.embedding_of(_trained(models.embedder, images.views, 200)()),
        images.views,
        _similarity,
        _view_is_found,
        PEERS,
    ),
    "text": Case(
        "text",
        _trained(_TEXT, texts.planted, 200),
        texts.planted,
        _class,
        _class_is_right,
        ATTENTION,
        0,
        True,
    ),
    "text_lstm": Case(
        "text_lstm",
        _trained(_WORDS, texts.planted, 200),
        texts.planted,
        _class,
        _class_is_right,
        {},
    ),
    "spikes_conv": _of_series("spikes_conv", models.convolutional, series.trains),
    "spikes_lstm": _of_series("spikes_lstm", models.recurrent, series.trains),
    "spikes_value_conv": _of_series("spikes_value_conv", models.convolutional, series.rectified, True),
    "spikes_value_lstm": _of_series("spikes_value_lstm", models.recurrent, series.rectified, True),
    "language_model": Case(
        "language_model",
        _trained(_COPY, texts.copied, 300, models.second_half),
        texts.copied,
        _token,
        _token_is_right,
        ATTENTION,
    ),
}
