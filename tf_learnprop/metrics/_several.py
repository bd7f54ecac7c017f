"""Several inputs of a model that are masked together: their maps on one scale, and their fills."""

from __future__ import annotations  # aliases stay short in `help`

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_learnprop import areas
from tf_learnprop.metrics import _inputs
from tf_learnprop.metrics.imputation import Fill, Imputer

#: What replaces values of a table where a fill needs places.
_OF_TABLES = {"blur": "mean", "neighbours": "mean", "blocks": "mean"}


def explains_several(model: Any) -> bool:
    """Whether a model is a `JointModel`."""
    return getattr(model, "explains_several", False)


class Several:
    """What masks act on in a `JointModel`.

    Args:
        model: The model.
        images: float32 `[n, ...]` of each explained input, in their order.

    Attributes:
        names: Names of the inputs.
        images: As passed.
        sizes: The spatial axes of the map of each.
        areas: float64 `[places]`, the area of each place, one input behind the other; see
            `tf_learnprop.areas`.
    """

    def __init__(self, model: Any, images: Sequence[np.ndarray]):
        self.names, self.images = list(model.names), list(images)
        self._in_order = model.in_order
        self.sizes = [_inputs.shape_of_maps(image)[1:] for image in self.images]
        self.areas = np.asarray(areas.values_and_areas([np.zeros((1, *size)) for size in self.sizes])[1])

    def values(self, maps: Any) -> np.ndarray:
        """What maps give to the places, by area, float64 `[n, places]`.

        Args:
            maps: In the structure that `JointModel.explain` returns, on one scale; or the values themselves.

        Raises:
            ValueError: If the maps have another structure, are not finite, or have other sizes than the
                inputs.
        """
        if isinstance(maps, np.ndarray) and maps.shape == (len(self.images[0]), len(self.areas)):
            return _inputs.maps_of(maps)
        pairs = zip(self._in_order(maps), self.images, strict=True)
        checked = [_inputs.maps_of_images(one, image) for one, image in pairs]
        return np.asarray(areas.values_and_areas(checked)[0])

    @property
    def width(self) -> int:
        """Places that change in a step if nothing else is asked for: the largest width of an image, or 1."""
        return max(size[-1] if len(size) > 1 else 1 for size in self.sizes)

    def imputer(self, fill: Any, mean: Any, seed: int) -> JointImputer:
        """What replaces places by a fill, as `Evaluation` has it."""
        return JointImputer(dict(zip(self.names, self.images, strict=True)), fill, mean, seed)


class JointImputer:
    """Replaces places of several inputs by a fill of each.

    Args:
        images: float32 `[n, ...]` of each input, by its name.
        fill: A name, for all inputs; or a dict from their names to fills. In a table, "blur", "neighbours"
            and "blocks" are the mean of each column.
        mean: A dict from names of inputs to means; None for their own.
        seed: Seed of random fills.

    Raises:
        ValueError: If an input has no fill; or as `Imputer`.
    """

    def __init__(
        self,
        images: Mapping[str, np.ndarray],
        fill: Any,
        mean: Mapping[str, npt.ArrayLike] | None = None,
        seed: int = 0,
    ):
        fills: Any = dict.fromkeys(images, fill) if isinstance(fill, str) else fill
        for name, given in (("fill", fills), ("mean", mean)):
            is_none = given is None and name == "mean"
            if not (is_none or isinstance(given, Mapping) and given.keys() == images.keys()):
                rule = "a dict with the inputs" if name == "mean" else "a name, or a dict with the inputs"
                raise ValueError(f"`{name}` must be {rule} {list(images)}. Received: {name}={given!r:.200}")
        self._imputers = [
            Imputer(image, _fitting(fills[name], image), (mean or {}).get(name), seed, number)
            for number, (name, image) in enumerate(images.items())
        ]
        self._sizes = [_inputs.shape_of_maps(image)[1:] for image in images.values()]

    def __call__(self, indices: np.ndarray, keep: np.ndarray) -> list[np.ndarray]:
        """As `Imputer`, for all inputs; `keep` is bool `[b, places]`, one input behind the other."""
        counts = [int(np.prod(size)) for size in self._sizes]
        parts = np.split(keep, np.cumsum(counts)[:-1], 1)
        return [
            imputer(indices, part.reshape(-1, *size))
            for imputer, part, size in zip(self._imputers, parts, self._sizes, strict=True)
        ]


def _fitting(fill: Fill, image: np.ndarray) -> Fill:
    return _OF_TABLES.get(fill, fill) if isinstance(fill, str) and image.ndim == 2 else fill
