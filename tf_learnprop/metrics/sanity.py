"""Sanity: does a map depend on the class, and the backward pass on the later layers?

A method that passes is not right for that reason; one that fails explains something other than the model.
"""

from __future__ import annotations  # aliases stay short in `help`

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs, ranking
from tf_learnprop.metrics._batches import in_batches
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.metrics._perturbation import Perturbation
from tf_learnprop.metrics.evaluation import Evaluation, takes_evaluation
from tf_learnprop.metrics.imputation import Fill
from tf_learnprop.metrics.similarity import Similarity, similarity


@takes_evaluation
def class_sensitivity(
    evaluation: Evaluation, explain: Callable[..., npt.ArrayLike], *, absolute: bool = False
) -> Similarity:
    """Similarity of the maps for the predicted and for the least likely class; lower is better.

    A method that draws the same map for both does not say why the model chose the class. Adapted from the
    class sensitivity of Nie, Zhang, Patel, "A Theoretical Explanation for Perplexing Behaviors of
    Backpropagation-based Visualizations", ICML 2018. With two classes one map may well be the negative of
    the other: see `absolute`.

    Args:
        evaluation: `Evaluation`, or what one is made of: `class_sensitivity(model, images, explain, ...)`.
            Its targets play no role.
        explain: Callable from (images `[n, h, w, c]`, class ids `[n]`) to maps `[n, h, w]`.
        absolute: Whether absolute values are compared.

    Returns:
        `Similarity`. Of a `JointModel`, the rank correlation is that of all places of the inputs, in which
        each input counts alike, and SSIM is NaN, as they make no picture.

    Raises:
        TypeError: As `Evaluation`; or if `explain` is not callable.
        ValueError: As `Evaluation`; or if the maps are empty, not finite or not as many as the images.
    """
    _inputs.is_callable("explain", explain)
    if not evaluation.follows_classes:
        raise ValueError("Class sensitivity needs classes. Received: an evaluation of another target")
    predicted, least_likely = evaluation.outputs.argmax(1), evaluation.outputs.argmin(1)
    maps, others = (evaluation.maps(explain, ids) for ids in (predicted, least_likely))
    if evaluation.several is None:
        return similarity(maps, others, absolute)
    if absolute:
        maps, others = np.abs(maps), np.abs(others)
    correlation = ranking.spearman(maps, others, evaluation.several.areas)
    return Similarity(correlation, np.full(len(maps), np.nan))


@takes_evaluation
def leak(
    evaluation: Evaluation, maps: Arrays, *, share: npt.ArrayLike = 0.2, fill: Fill = "blur"
) -> np.ndarray:
    """The class' probability seen through the map of another class; lower is better.

    The highest-ranked pixels of another class' map stay, and the fill replaces the rest. If the class that is
    followed is still there, the map shows evidence that is not its own. Stalder, Perraudin, Achanta,
    Perez-Cruz, Volpi, "What You See is What You Classify: Black Box Attributions", NeurIPS 2022, learn masks
    of all classes and train those of other classes to show nothing of a class.

    There is no chance level: a fill that still shows the class leaks. Classes that look alike share their
    evidence, so take one that does not, or photos with two objects. Scattered pixels show no class, and a map
    that points anywhere off the object has the best score, so use it together with fidelity.

    Args:
        evaluation: `Evaluation`, or what one is made of: `leak(model, images, maps, targets, ...)`. Its
            targets are the classes whose probability is looked at.
        maps: `[n, *spatial]`, or a stream of batches: maps for another class in each image.
        share: Share of the pixels that stay, in (0, 1); or one for each image, `[n]`, such as the area of the
            other object.
        fill: What replaces pixels.

    Returns:
        float64 `[n]`, in [0, 1].

    Raises:
        TypeError: As `deletion`.
        ValueError: As `deletion`; or if `share` is out of range.
    """
    perturbation = Perturbation(evaluation, maps)
    count, pixels = perturbation.maps.shape
    shares = np.asarray(share)
    fits = shares.dtype.kind == "f" and shares.shape in ((), (count,))
    if not fits or not ((shares > 0) & (shares < 1)).all():
        raise argument_checks.ArgumentError("share", f"be a number in (0, 1) or {count} of them", share)
    kept = np.broadcast_to(np.maximum(np.rint(shares * pixels), 1), (count,))
    shown = ranking.descending_ranks(perturbation.maps, evaluation.seed) < kept[:, None]
    imputer, keep = evaluation.imputer(fill), shown.reshape(count, *perturbation.size)
    return evaluation.perturbed_probabilities(1, lambda rows, _: imputer(rows, keep[rows]))[:, 0]


def cosine_similarity_convergence(
    backward: Callable[..., Mapping[Any, npt.ArrayLike]],
    images: Arrays,
    outputs: int,
    *,
    directions: int = 5,
    batch_size: int = 32,
    seed: int = 0,
    verbose: int = 0,
) -> dict[Any, np.ndarray]:
    """Cosine similarity, layer by layer, of signals that start from random directions at the output.

    A backward pass that depends on the later layers keeps different directions apart. One that ignores them
    ends in the same signal wherever it starts, and the similarity goes to 1 towards the input. Each image
    gets directions v_1 … v_D ~ N(0, I). With b_l(v) the signal at layer l, the result is the mean of
    b_l(v_j)·b_l(v_k) / (‖b_l(v_j)‖ ‖b_l(v_k)‖) over pairs j < k. Sixt, Granz, Landgraf, "When Explanations
    Lie: Why Many Modified BP Attributions Fail", ICML 2020. They start from any layer; pass a `backward` that
    does so to do the same.

    Args:
        backward: Callable from (images `[b, ...]`, directions float32 `[b, outputs]`) to a dict from the
            names of layers to signals `[b, ...]`.
        images: `[n, ...]`, or a stream of batches.
        outputs: Length of a direction.
        directions: D, at least 2.
        batch_size: At most `batch_size` images run at once.
        seed: Seed of the directions.
        verbose: 0 is silent, 1 shows Keras' progress bar.

    Returns:
        For the name of each layer, in the order of `backward`, float64 `[n]` in [−1, 1]. A signal of
        zeros counts as 0.

    Raises:
        TypeError: If `backward` is not callable or does not return a dict.
        ValueError: If images or signals are empty, not finite or of different lengths, or the layers change
            from call to call.
    """
    _inputs.is_callable("backward", backward)
    for name, value, least in (("outputs", outputs, 1), ("directions", directions, 2), ("seed", seed, 0)):
        argument_checks.integer(name, value, least)
    argument_checks.integer("batch_size", batch_size, 1)
    images = _inputs.images_of(images)
    names: list[Any] = []

    def compute(rows: np.ndarray) -> np.ndarray:
        starts = np.stack(
            [np.random.default_rng((seed, row)).normal(size=(directions, outputs)) for row in rows]
        )
        runs = [
            _signals(backward(images[rows], starts[:, k].astype(np.float32)), rows) for k in range(directions)
        ]
        names[:] = names or runs[0]
        if any(list(run) != names for run in runs):
            raise ValueError(
                f"`backward` must return the same layers each time. Received: others than {names}"
            )
        return np.stack([_mean_cosine([run[name] for run in runs]) for name in names], 1)

    cosines = in_batches(len(images), compute, batch_size, verbose)
    return dict(zip(names, cosines.T, strict=True))


def _signals(signals: Any, rows: np.ndarray) -> dict[Any, np.ndarray]:
    if not isinstance(signals, Mapping):
        raise TypeError(f"`backward` must return a dict of signals. Received: {type(signals).__name__}")
    if not signals:
        raise ValueError("`backward` must return signals of at least one layer. Received: none")
    return {
        name: _inputs.one_each("backward", signal, len(rows)).reshape(len(rows), -1)
        for name, signal in signals.items()
    }


def _mean_cosine(signals: list[np.ndarray]) -> np.ndarray:
    """Mean cosine `[b]` over all pairs of the D signals `[b, d]`."""
    lengths = [np.linalg.norm(signal, axis=1, keepdims=True) for signal in signals]
    units = [
        signal / np.where(length > 0, length, 1) for signal, length in zip(signals, lengths, strict=True)
    ]
    pairs = [(units[j] * units[k]).sum(1) for k in range(len(units)) for j in range(k)]
    return np.mean(pairs, 0)
