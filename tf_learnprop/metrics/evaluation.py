"""`Evaluation`: what the metrics of one model on one set of images share."""

from __future__ import annotations  # aliases stay short in `help`

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

import keras
import numpy as np
import numpy.typing as npt

from tf_learnprop import argument_checks
from tf_learnprop.metrics import _inputs
from tf_learnprop.metrics._answers import AnswerReader, is_asked
from tf_learnprop.metrics._batches import in_batches
from tf_learnprop.metrics._inputs import Arrays
from tf_learnprop.metrics._masked_inputs import joint_inputs, masked_inputs
from tf_learnprop.metrics._outputs import JointReader, OutputReader
from tf_learnprop.metrics._several import JointImputer, Several, explains_several
from tf_learnprop.metrics.imputation import NAMES, Fill, Fills, Imputer, by_name
from tf_learnprop.targets.classes import class_ids


class Evaluation:
    """A model with images that are checked and run once, however many maps are then measured on them.

    Args:
        model: Callable from images `[n, ...]` to logits `[n, classes]`, or `keras.Model` with such an output.
            The callable gets NumPy arrays and returns arrays or tensors. A single unit z counts as two
            classes: no (0) and yes (1), with the logits −z/2 and z/2. For a target of `tlp.targets`, and for
            a model of texts, the wrapped model itself.
        images: `[n, *spatial, c]` or `[n, features]`, preprocessed as the model needs them, or a stream of
            batches. Token ids `[n, tokens]` of a text; what is perturbed is then their embedding. Of a
            `JointModel`, the inputs of the model: all that it explains are perturbed together.
        targets: The class to follow in each image: None for the predicted one, an id, or ids `[n]`. Or a
            target of `tlp.targets`: then the probability of its answer is followed, see the targets guide.
        fills: The fills of `insertion_deletion` and `report`: a name, several names, or a dict from names of
            your own to fills. Every metric can refer to a fill of the dict by its name.
        mean: Number or `[c]`. The mean colour; None for the mean of `images`.
        from_logits: False if `model` returns probabilities.
        multi_label: True if the units are independent labels, each with a sigmoid of its own; False if
            they are classes that exclude each other (softmax). None takes it from the model: True for a
            wrapped model or a `keras.Model` that ends in a sigmoid of several units, else False.
        batch_size: At most `batch_size` images run at once.
        seed: Seed of everything random: the order of ties, random fills, random sets of pixels.
        verbose: 0 is silent, 1 shows Keras' progress bar.

    Attributes:
        several: What is perturbed of a `JointModel`; None for one input.
        follows_classes: Whether classes of the outputs are followed. If not, outputs and probabilities are
            the scores and the probabilities of the answers, `[n, 1]`.
        targets: int64 `[n]`, the classes that are followed.
        outputs: float64 `[n, classes]`, the model's outputs for the images.
        probabilities: float64 `[n, classes]`.
        confidences: float64 `[n]`, the probabilities of the classes that are followed.
        fills: The fills by name.
        seed: As passed.

    Raises:
        TypeError: If `model` is not callable.
        ValueError: If the images are empty or not finite, a stream has no end, targets are out of range or
            have another length, a fill is unknown, or the model returns probabilities where logits are
            expected or the reverse.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        images: Arrays,
        targets: npt.ArrayLike | None = None,
        *,
        fills: Fills = NAMES,
        mean: npt.ArrayLike | None = None,
        from_logits: bool = True,
        multi_label: bool | None = None,
        batch_size: int = 32,
        seed: int = 0,
        verbose: int = 0,
    ):
        argument_checks.integer("batch_size", batch_size, 1)
        argument_checks.integer("seed", seed, 0)
        self.fills: dict[str, Fill] = by_name(fills)
        self.seed: int = seed
        self._mean, self._batch_size, self._verbose = mean, batch_size, verbose
        self.several: Several | None = None
        self.follows_classes: bool = not is_asked(model, targets)
        perturbed = self._open(model, images, targets, from_logits, multi_label)
        targets = targets if self.follows_classes else 0
        self._count = count = len(keras.tree.flatten(perturbed)[0])

        def compute(rows: np.ndarray) -> np.ndarray:
            return self._reader(keras.tree.map_structure(lambda array: array[rows], perturbed), rows)

        outputs = in_batches(count, compute, batch_size)
        if isinstance(self._reader, OutputReader):
            self._reader.check_kind(outputs)
        self.outputs: np.ndarray = self._reader.class_outputs(outputs)
        self.probabilities: np.ndarray = self._reader.probabilities(outputs)
        predicted = self.outputs.argmax(1)
        classes = self.outputs.shape[1]
        self.targets: np.ndarray = predicted if targets is None else class_ids(targets, count, classes)
        self.confidences: np.ndarray = self._followed(self.probabilities, np.arange(count))

    def _open(
        self, model: Any, images: Any, targets: Any, from_logits: bool, multi_label: bool | None
    ) -> np.ndarray | list[np.ndarray]:
        """Makes the reader of the model; returns what is perturbed, of several inputs a list."""
        self._reader: OutputReader | AnswerReader
        self._arrays: Callable[[np.ndarray], Any]  # the inputs of some samples
        if self.follows_classes and not explains_several(model):
            array = self._images = _inputs.images_of(images)
            self._arrays = lambda rows: array[rows]
            self._reader = OutputReader(model, array.shape[1:], from_logits, multi_label)
            return array
        if explains_several(model):
            inputs = joint_inputs(model, images, self._batch_size)
            self.several = Several(model, inputs.images)
        else:
            inputs = masked_inputs(model, _inputs.images_of(images), self._batch_size)
            self._images = inputs.images
        self._arrays = inputs.arrays
        if self.follows_classes:
            self._reader = JointReader(model, inputs, multi_label)
        else:
            self._reader = AnswerReader(inputs, targets, self._batch_size)
        return inputs.images

    @property
    def images(self) -> np.ndarray:
        """What is perturbed, float32 `[n, ...]`.

        Raises:
            TypeError: If several inputs are perturbed together.
        """
        if self.several is not None:
            raise TypeError(
                "This metric perturbs one input; `insertion`, `deletion`, `insertion_deletion` and `report` "
                "perturb several. Measure a model in which the others are fixed. "
                f"Received: a model with the explained inputs {self.several.names}"
            )
        return self._images

    def imputer(self, fill: Fill) -> Imputer | JointImputer:
        """Function that replaces pixels by `fill`, which may be the name of one of `fills`."""
        if isinstance(fill, str):
            fill = self.fills.get(fill, fill)
        if self.several is not None:
            return self.several.imputer(fill, self._mean, self.seed)
        return Imputer(self._images, fill, self._mean, self.seed)

    def perturbed_outputs(
        self, variants: int, perturb: Callable[[np.ndarray, np.ndarray], Any]
    ) -> np.ndarray:
        """The output of the followed class for perturbed images.

        Args:
            variants: v, the number of perturbed images for each image.
            perturb: Maps (indices of images `[b]`, numbers of variants `[b]`) to perturbed images `[b, ...]`.
                Only one batch of them exists at a time.

        Returns:
            float64 `[n, v]`.
        """
        return self._perturbed(variants, perturb, self._reader.class_outputs)

    def perturbed_probabilities(
        self, variants: int, perturb: Callable[[np.ndarray, np.ndarray], Any]
    ) -> np.ndarray:
        """As `perturbed_outputs`, the probability of the followed class."""
        return self._perturbed(variants, perturb, self._reader.probabilities)

    def maps(self, explain: Callable[..., npt.ArrayLike], class_ids: np.ndarray) -> np.ndarray:
        """Maps of the images for given classes, float64 `[n, *spatial]`.

        Of a `JointModel`, what they give to all places of its inputs by area, float64 `[n, places]`.

        Args:
            explain: Callable from (images `[b, ...]`, class ids `[b]`) to maps `[b, *spatial]`.
            class_ids: int `[n]`.

        Raises:
            ValueError: If the maps are not finite or not as many as the images.
        """

        def compute(rows: np.ndarray) -> Any:
            maps = explain(self._arrays(rows), class_ids[rows])
            return maps if self.several else _inputs.one_each("explain", maps, len(rows))

        maps = in_batches(self._count, compute, self._batch_size, self._verbose)
        return self.several.values(maps) if self.several else maps

    def _perturbed(
        self,
        variants: int,
        perturb: Callable[[np.ndarray, np.ndarray], Any],
        read: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        def compute(flat: np.ndarray) -> np.ndarray:
            indices, numbers = np.divmod(flat, variants)
            return self._followed(read(self._reader(perturb(indices, numbers), indices)), indices)

        count = self._count * variants
        return in_batches(count, compute, self._batch_size, self._verbose).reshape(-1, variants)

    def _followed(self, values: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return values[np.arange(len(indices)), self.targets[indices]]


P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Metric(Protocol[P, R]):
    """A metric in its two forms: with an `Evaluation`, or with all that one is made of."""

    @overload
    def __call__(self, evaluation: Evaluation, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(self, model: Callable[..., Any], images: Arrays, /, *args: Any, **kwargs: Any) -> R: ...


def takes_evaluation(metric: Callable[Concatenate[Evaluation, P], R]) -> Metric[P, R]:
    """Gives a metric `(evaluation, subject, *, ...)` its one-off form as well.

    That form is `(model, images, subject, targets=None, *, ...)`, where `subject` is what is measured.
    Keyword arguments that the metric does not have go to `Evaluation`.
    """
    _, subject, *options = inspect.signature(metric).parameters
    _, _, _, *shared = inspect.signature(Evaluation).parameters  # after the model, the images and the targets
    kinds = inspect.Parameter
    one_off = inspect.Signature(
        [
            *(kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in ("model", "images", subject)),
            kinds("targets", kinds.POSITIONAL_OR_KEYWORD, default=None),
            *(kinds(name, kinds.KEYWORD_ONLY, default=None) for name in dict.fromkeys([*options, *shared])),
        ]
    )

    @functools.wraps(metric)
    def call(*args: Any, **kwargs: Any) -> R:
        if "evaluation" in kwargs or args and isinstance(args[0], Evaluation):
            return metric(*args, **kwargs)
        try:
            arguments = one_off.bind(*args, **kwargs).arguments
        except TypeError as error:
            names = ", ".join(one_off.parameters)
            raise TypeError(f"`{metric.__name__}`: {error}. Its arguments are {names}") from None
        own = {name: arguments.pop(name) for name in options if name in arguments}
        measured = arguments.pop(subject)
        return metric(Evaluation(**arguments), measured, **own)

    return call
