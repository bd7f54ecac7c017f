"""`Backend`: what the page asks a model; and `WrappedBackend`, a wrapped model in this process."""

import math
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from tf_learnprop import methods, readouts
from tf_learnprop.model import PropagationModel
from tf_learnprop.targets import Target
from tf_learnprop.zoo.model_spec import ModelSpec

#: The method that shows the rules of the model itself.
RULES = "learned rules"

#: What these rules can be asked: each question, the `contrast` of the readout that asks it, and its name.
_QUESTIONS = (
    ("Where is the object?", "objects", "objects compete"),
    ("What tells it from its rivals?", "names", "names compete"),
    ("What speaks for it at all?", None, "no competition"),
)

#: Methods of more passes are not among those that are compared at once.
_FEW_PASSES = 3


class Backend(Protocol):
    """Answers questions about photos of the model's size, uint8 `[h, w, c]`.

    Attributes:
        shape: (height, width, channels) of these photos.
        class_count: Number of classes.
        methods: Names of the methods that can explain, the main one first.
        questions: The questions that the main method can be asked, each with the name of the method that
            asks it, the main one among them; empty if there is no choice.
        compared: The methods that are compared at once, as they take few passes; the main one first, with
            all its questions.
    """

    shape: tuple[int, int, int]
    class_count: int
    methods: tuple[str, ...]
    questions: Mapping[str, str]
    compared: tuple[str, ...]

    def class_name(self, class_id: int) -> str:
        """Name of a class, or its id as text if the names are unknown."""

    def probabilities(self, photos: np.ndarray) -> np.ndarray:
        """Probabilities of all classes, float32 `[n, classes]`, for photos uint8 `[n, h, w, c]`."""

    def explain(self, photo: np.ndarray, class_id: int, method: str) -> np.ndarray:
        """The map of a class, float32 `[h, w]`; `method` is one of `methods`, or asks a question."""

    def asking(self, method: str, question: str | None) -> str:
        """One of `methods`; or in place of the main one the method that asks a question, if one is chosen."""
        return question if question and method == self.methods[0] else method

    def warm_up(self) -> None:
        """Answers for a blank photo, as the first answer takes seconds."""
        blank = np.zeros(self.shape, np.uint8)
        self.probabilities(blank[None])
        self.explain(blank, 0, self.methods[0])


class WrappedBackend(Backend):
    """A wrapped model, and the other methods on the same model, each wrapped when it is first used.

    Args:
        spec: The model with its preprocessing and class names.
        wrapped: The same model, wrapped with its rules.
        shape: (height, width, channels) of the photos.

    Raises:
        ValueError: If the model has several inputs.
    """

    def __init__(self, spec: ModelSpec, wrapped: PropagationModel, shape: tuple[int, int, int]):
        if len(wrapped.graph.inputs) > 1:
            names = [tensor.name for tensor in wrapped.graph.inputs]
            raise ValueError(f"The model must have a photo as its only input. Received: inputs {names}")
        self.shape, self.class_count = shape, wrapped.class_count
        asked = _questions_to(wrapped)
        self.questions = {question: method for question, method, _ in asked}
        self._contrast_of = {method: contrast for _, method, contrast in asked}
        own = {"learned", "names"} if asked else {"learned"}
        others = {name: methods.get(name) for name in methods.names() if name not in own}
        possible = [name for name, method in others.items() if method.is_possible(wrapped.explained)]
        self.methods = (RULES, *possible)
        passes = {name: others[name].passes(wrapped.explained) for name in possible}
        quick = [name for name in possible if (passes[name] or math.inf) <= _FEW_PASSES]
        self.compared = (*(self.questions.values() or [RULES]), *quick)
        self._spec, self._wrapped = spec, wrapped
        self._explainers: dict[str, Callable] = {RULES: wrapped.explain}
        self._lock = threading.Lock()  # wrapping and tracing are not made for several threads

    def class_name(self, class_id: int) -> str:
        """See `Backend`."""
        return self._spec.class_name(class_id)

    def probabilities(self, photos: np.ndarray) -> np.ndarray:
        """See `Backend`."""
        with self._lock:
            logits = self._wrapped.logits(self._inputs(photos))
        return self._wrapped.attributor.head.probabilities(logits).numpy()

    def explain(self, photo: np.ndarray, class_id: int | Target, method: str) -> np.ndarray:
        """See `Backend`; or the map of another target."""
        with self._lock:
            if method not in self._explainers:
                self._explainers[method] = self._make(method).explain
            return self._explainers[method](self._inputs(photo[None]), class_id)[0]

    def _make(self, method: str) -> methods.Explainer:
        if method in self._contrast_of:
            return self._wrapped.with_contrast(self._contrast_of[method])
        return methods.make(self._wrapped, method)

    def _inputs(self, photos: np.ndarray) -> np.ndarray:
        return np.asarray(self._spec.preprocess(photos.astype(np.float32)))


def _questions_to(wrapped: PropagationModel) -> list[tuple[str, str, str | None]]:
    """Each question, the method that asks it, and the contrast of its readout; none if no class competes."""
    readout = wrapped.rule_set.readout
    if not isinstance(readout, readouts.MultiLayerReadout) or not readout.needs.rivals:
        return []
    if not methods.Need.COMPETITION.is_met(wrapped.explained):
        return []
    return [
        (question, RULES if contrast == readout.contrast else f"{RULES}, {name}", contrast)
        for question, contrast, name in _QUESTIONS
    ]
