"""`Method`: the base of all methods, what a method needs of a model, and the names of all methods."""

import abc
import dataclasses
import enum
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

import keras
import numpy as np

from tf_learnprop.explanations import Explanations
from tf_learnprop.graph.explained import Explained
from tf_learnprop.joint import JointModel
from tf_learnprop.model import PropagationModel
from tf_learnprop.registry import Registry
from tf_learnprop.wrapping import wrap_model


class Explainer(Protocol):
    """A method on one model. A `PropagationModel` is one as well."""

    def explain(
        self, images: Any, targets: Any = None, *, batch_size: int = 32, verbose: int = 0
    ) -> np.ndarray:
        """Computes attribution maps, see `PropagationModel.explain`."""

    def explain_batches(
        self, data: Any, targets: Any = None, *, batch_size: int = 32, on_error: str = "raise"
    ) -> Iterator[Explanations]:
        """Explains one batch after the other, see `PropagationModel.explain_batches`."""


class Need(enum.Enum):
    """What a method may need of a model. The value is the text."""

    GRADIENT = "an input with a gradient, which ids don't have"
    PIXELS = "an input with places, [n, *sides, channels]"
    FEATURE_MAP = "a feature map: a tensor with places that all paths to the output pass"
    COMPETITION = "several classes that compete in a feature map, and a readout of many layers"
    ATTENTION = "attention that can be read"

    def is_met(self, explained: Explained) -> bool:
        """Whether a model has it."""
        if self is Need.GRADIENT:
            return not explained.holds_ids
        if self is Need.PIXELS:
            return len(explained.input_shape) > 2 and not explained.holds_ids
        if self is Need.FEATURE_MAP:
            return explained.feature_map is not None
        if self is Need.COMPETITION:
            has_map = Need.FEATURE_MAP.is_met(explained) and Need.PIXELS.is_met(explained)
            return has_map and not explained.is_of_tokens and not explained.is_series
        return any(site.kind == "attention" for site in explained.graph.activations)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """A way to make maps of any model. Its fields are its options.

    Subclass it as a frozen dataclass and write `on_explained` and `passes`; `register` gives it a name.

    Attributes:
        label: Its name in pictures and tables.
        cost: Runs of the model for each sample, in terms of the options.
        source: Where it was published.
        needs: What it needs of a model.
        signed: Whether the sign of a map counts: positive where a place speaks for the target.
        has_target: Whether the map depends on the target.
    """

    label: ClassVar[str] = ""
    cost: ClassVar[str] = "2"
    source: ClassVar[str] = ""
    needs: ClassVar[tuple[Need, ...]] = ()
    signed: ClassVar[bool] = False
    has_target: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The name that `get` knows, or that of the class."""
        return REGISTRY.name_of(self)

    def get_config(self) -> dict[str, Any]:
        """The options."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Method":
        """A method of this class with these options."""
        return cls(**config)

    @abc.abstractmethod
    def passes(self, explained: Explained) -> int | None:
        """Runs of the model for each sample, a forward and a backward one counted once each.

        None if that depends on the size of the sample.
        """

    @abc.abstractmethod
    def on_explained(self, explained: Explained) -> Explainer:
        """The method on a model that meets its needs."""

    def reading(self, explained: Explained) -> Explained:
        """What is explained, with the layer that the method reads."""
        return explained

    def on(self, model: keras.Model, **ends: Any) -> Explainer:
        """The method on a model.

        Args:
            model: A Keras model or a wrapped one.
            **ends: `output`, `explained_input` and `inputs` of `wrap_model`, for a Keras model.

        Raises:
            ValueError: If the model does not have what the method needs, or an option does not fit it.
        """
        explained = self.reading(explained_of(model, **ends))
        for need in self.needs:
            if not need.is_met(explained):
                raise ValueError(
                    f"Method {self.name!r} needs {need.value}. Received: model "
                    f"'{explained.graph.model.name}' with an input of shape {explained.input_shape}"
                )
        return self.on_explained(explained)

    def is_possible(self, explained: Explained) -> bool:
        """Whether a model has what the method needs."""
        return all(need.is_met(explained) for need in self.needs)


def explained_of(model: keras.Model, **ends: Any) -> Explained:
    """What is explained of a Keras model or of a wrapped one.

    Raises:
        TypeError, ValueError: As `wrap_model`; or if `ends` are given for a wrapped model, or several inputs
            are explained.
    """
    if not isinstance(model, PropagationModel | JointModel):
        model, ends = wrap_model(model, "gradient", **ends), {}
    if isinstance(model, JointModel):
        raise ValueError(
            "A method explains one input. Name it, such as `explained_input=0`, or pass `joint[0]`. "
            f"Received: a model with the explained inputs {model.names}"
        )
    if ends:
        raise ValueError(
            f"A wrapped model has its output and its input. Received: {', '.join(ends)} for a wrapped model"
        )
    explained = model.explained.with_grid(None).with_layer(None)
    return explained if explained.graph.is_current() else explained.of(model.source)


#: All methods that have a name.
REGISTRY: Registry[Method] = Registry("method", Method, "a name or a `Method`")  # type: ignore[type-abstract]
register = REGISTRY.register
