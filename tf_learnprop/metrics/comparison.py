"""`compare`: several methods on one model, image by image, beside a blob at the centre and a random map."""

from __future__ import annotations  # aliases stay short in `help`

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs, ground_truth, ranking
from tf_learnprop.metrics._comparison import Comparison, Cost, Measure
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.metrics.additivity import SingleDeletion
from tf_learnprop.metrics.evaluation import Evaluation
from tf_learnprop.metrics.imputation import Fills
from tf_learnprop.metrics.insertion_deletion import insertion_deletion
from tf_learnprop.metrics.report import baselines
from tf_learnprop.metrics.sanity import leak

#: A method by name, a `tf_learnprop.methods.Method`, an object with `explain`, or a function from images and
#: class ids to maps.
Candidate: TypeAlias = Any
#: From images `[n, h, w, c]` and class ids `[n]` to maps `[n, h, w]`.
Explain: TypeAlias = Callable[..., npt.ArrayLike]

#: The measures of masks, by the titles of their rows.
_OF_MASKS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mass accuracy": ground_truth.mask_mass_accuracy,
    "rank accuracy": ground_truth.mask_rank_accuracy,
    "IoU": ground_truth.mask_iou,
    "ROC-AUC": ground_truth.mask_auc,
}


def compare(
    model: keras.Model,
    images: Arrays,
    methods: Sequence[Candidate] | Mapping[str, Candidate],
    targets: npt.ArrayLike | None = None,
    *,
    masks: npt.ArrayLike | None = None,
    boxes: Sequence[npt.ArrayLike] | np.ndarray | None = None,
    against: str | None = None,
    fills: Fills = ("mean", "blur"),
    steps: int = 5,
    tolerance: float = 15,
    mean: npt.ArrayLike | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[str, int], None] | None = None,
) -> Comparison:
    """Compares methods on a model: which is better, at what, and at what cost.

    All methods explain the same classes of the same images. Their maps, a random map and a blob at the centre
    are measured by `insertion_deletion` under each fill, by `single_deletion`, by the rank correlation of
    their maps of two classes, and by the `leak` through the map of the other class, which is the least likely
    one. With masks or boxes of the object that is explained, they are also measured by
    `pointing_game`, `mask_mass_accuracy` (of a box, the energy in it), `mask_rank_accuracy`, `mask_iou` and
    `mask_auc`.

    Differences are taken image by image. A method is called worse where the 95 % interval of its difference
    does not hold 0. With many methods and measures, one in twenty such intervals misses by chance.

    Args:
        model: A Keras model or a wrapped one, whose output is read as classes.
        images: `[n, h, w, c]`, at least two, preprocessed, or a stream of batches.
        methods: What is compared: names of `tf_learnprop.methods`, `Method` objects, objects with `explain`,
            or functions from images and class ids `[n]` to maps `[n, h, w]`. Of a dict, the keys are titles,
            which functions and objects need. The cost of a method of your own is known if it is a `Method`.
        targets: None for each image's predicted class, a class id, or ids `[n]`.
        masks: bool `[n, h, w]`: True on the object.
        boxes: Boxes of the object in each image, as for `box_masks`.
        against: The method that the others are compared with; None for the best at each measure.
        fills: As for `Evaluation`. Each takes 2·`steps` forward passes for each image and method.
        steps: Steps of the curves of insertion and deletion.
        tolerance: Of the pointing game, in pixels.
        mean: As for `Evaluation`.
        batch_size: At most `batch_size` images run at once.
        seed: Seed of everything random: the random map, random fills, ties, the bootstrap.
        progress: Function that is told what was done: the title of a method or a baseline, and how many of
            them there are.

    Returns:
        `Comparison`. `str` gives it as a table, and its method `save` writes a page.

    Raises:
        TypeError: If `model` is no Keras model, or a method is of no known form.
        ValueError: If there are no methods, two of one title, or fewer than two images; if the model does not
            have what a method needs; or if masks, boxes or another argument are as the metrics refuse them.
    """
    argument_checks.integer("steps", steps, 1)
    argument_checks.number("tolerance", tolerance, low=0)
    images = _inputs.images_of(images)
    if images.ndim != 4 or len(images) < 2:
        raise ValueError(f"`images` must be [n, h, w, c] with n >= 2. Received: shape={images.shape}")
    objects = _masks_of(masks, boxes, images.shape[:3])
    wrapped, explainers = _explainers(model, methods)
    if against is not None:
        argument_checks.one_of("against", against, explainers)
    evaluation = Evaluation(
        wrapped.logits, images, targets, fills=fills, mean=mean, batch_size=batch_size, seed=seed
    )
    measured = _Measured(evaluation, objects, steps, tolerance)
    maps, costs, scores = {}, {}, {}
    total = len(explainers) + 2
    for title, (explain, passes) in explainers.items():
        maps[title], others, seconds = _explained(evaluation, explain)
        costs[title] = Cost(passes, seconds)
        scores[title] = measured.scores(maps[title], others)
        _tell(progress, title, total)
    for title, given in baselines(images.shape[:3], seed).items():
        scores[title] = measured.scores(given, given)
        _tell(progress, title, total)
    measures = [
        Measure.of(
            name, higher, {title: row[name] for title, row in scores.items()}, list(maps), against, seed
        )
        for name, higher in measured.directions.items()
    ]
    return Comparison(len(images), float(evaluation.confidences.mean()), measures, costs, maps)


class _Measured:
    """What is measured of any maps.

    Attributes:
        directions: For each measure by its title, whether higher is better.
    """

    def __init__(self, evaluation: Evaluation, objects: dict[str, np.ndarray], steps: int, tolerance: float):
        self._evaluation, self._objects, self._tolerance = evaluation, objects, tolerance
        self._step = -(-evaluation.images[0, ..., 0].size // steps)
        # The model runs on images without a patch once for all maps.
        side = min(evaluation.images.shape[1:3])
        self._single_deletion = SingleDeletion(evaluation, min(4, side)) if side > 1 else None
        self.directions: dict[str, bool] = {}

    def scores(self, maps: np.ndarray, others: np.ndarray) -> dict[str, np.ndarray]:
        """The scores of maps by the title of the measure, each float64 `[n]`.

        Args:
            maps: Maps of the classes that are followed.
            others: Maps of other classes.
        """
        rows = list(self._rows(maps, others))
        self.directions = {title: higher for title, higher, _ in rows}
        return {title: values for title, _, values in rows}

    def _rows(self, maps: np.ndarray, others: np.ndarray) -> Iterable[tuple[str, bool, np.ndarray]]:
        evaluation = self._evaluation
        curves = insertion_deletion(evaluation, maps, step=self._step)
        for fill in evaluation.fills:
            areas = curves.insertion[fill].scores - curves.deletion[fill].scores
            yield f"insertion − deletion, {fill}", True, areas
        if self._single_deletion is not None:
            yield "single deletion", True, self._single_deletion(maps)
        flat = (one.reshape(len(one), -1) for one in (maps, others))
        yield "correlation of classes", False, ranking.spearman(*flat)
        yield "leak", False, leak(evaluation, others)
        for kind, masks in self._objects.items():
            points = ground_truth.pointing_game(maps, masks, self._tolerance)
            yield f"pointing game, {kind}", True, points
            for title, measure in _OF_MASKS.items():
                yield f"{title}, {kind}", True, measure(maps, masks)


def _masks_of(masks: Any, boxes: Any, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Checked masks by their kind."""
    found = {}
    if masks is not None:
        found["mask"] = np.asarray(masks)
    if boxes is not None:
        if len(boxes) != shape[0]:
            raise argument_checks.ArgumentError(
                "boxes", f"hold boxes for each of {shape[0]} images", boxes, f"boxes for {len(boxes)}"
            )
        found["box"] = ground_truth.box_masks(boxes, shape[1:])  # type: ignore[arg-type]
    for one in found.values():  # before work starts
        ground_truth.mask_auc(np.zeros(shape), one)
    return found


def _explainers(
    model: keras.Model, methods: Sequence[Candidate] | Mapping[str, Candidate]
) -> tuple[Any, dict[str, tuple[Explain, int | None]]]:
    """The wrapped model, and by title the functions that make maps, each with its passes."""
    # The metrics know no methods but by these names.
    from tf_learnprop import methods as by_name
    from tf_learnprop.model import PropagationModel
    from tf_learnprop.wrapping import wrap_model

    if isinstance(methods, str) or not len(methods):
        raise argument_checks.ArgumentError("methods", "be a list or a dict of methods", methods)
    if not isinstance(methods, Mapping):
        titles = [by_name.get(one).name for one in methods]
        if len(set(titles)) < len(titles):
            raise argument_checks.ArgumentError("methods", "name each method once, or be a dict", titles)
        methods = dict(zip(titles, methods, strict=True))
    wrapped = model if isinstance(model, PropagationModel) else wrap_model(model, "gradient")
    found: dict[str, tuple[Explain, int | None]] = {}
    for title, one in methods.items():
        if isinstance(one, str | by_name.Method):
            method = by_name.get(one)
            own = isinstance(method, by_name.Learned)  # which asks for the rules of the model itself
            explainer = method.on(model if own else wrapped)
            found[title] = explainer.explain, method.passes(method.reading(by_name.explained_of(wrapped)))
        else:
            explain: Any = getattr(one, "explain", one)
            _inputs.is_callable(f"methods[{title!r}]", explain)
            found[title] = explain, None
    return wrapped, found


def _explained(evaluation: Evaluation, explain: Explain) -> tuple[np.ndarray, np.ndarray, float]:
    """Maps of the classes that are followed and of the least likely ones, and the seconds for one image."""
    first = slice(0, 1)
    explain(evaluation.images[first], evaluation.targets[first])  # traces, which is not the cost of a map
    start = time.perf_counter()
    maps = evaluation.maps(explain, evaluation.targets)
    seconds = (time.perf_counter() - start) / len(evaluation.images)
    checked = _inputs.maps_of_images(maps, evaluation.images)
    predicted, least_likely = evaluation.outputs.argmax(1), evaluation.outputs.argmin(1)
    others = np.where(least_likely == evaluation.targets, predicted, least_likely)
    return checked, evaluation.maps(explain, others), seconds


def _tell(progress: Callable[[str, int], None] | None, title: str, total: int) -> None:
    if progress is not None:
        progress(title, total)
