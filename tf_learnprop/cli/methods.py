"""The methods that `explain --compare` draws beside the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tf_learnprop.cli.errors import UsageError

if TYPE_CHECKING:
    import keras
    import numpy as np

    #: From images `[n, h, w, c]` and class ids `[n]` to maps `[n, h, w]`.
    Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: Their names on the command line and on pictures: Grad-CAM, and all `rules.handmade()`, which is not called
#: here as it loads TensorFlow.
NAMES = {
    "gradient": "gradient",
    "deconvnet": "deconvnet",
    "guided_backprop": "guided backprop",
    "libra": "LibraGrad",
    "grad_cam": "Grad-CAM",
}


def chosen(text: str | None) -> list[str]:
    """The names in the value of --compare.

    Raises:
        UsageError: If one of them is unknown.
    """
    names = list(dict.fromkeys(name.strip() for name in (text or "").split(",")))
    if names == [""]:
        return []
    for name in names:
        if name not in NAMES:
            raise UsageError(f"--compare must name methods among {', '.join(NAMES)}. Received: {name}")
    return names


def make(model: keras.Model, names: Sequence[str]) -> dict[str, Explain]:
    """The methods with these names, as functions that make maps of a model.

    Raises:
        UsageError: If the model has nothing that a method could read.
    """
    import tf_learnprop as tlp

    try:
        return {
            name: tlp.wrap_model(model, "gradient", readout=name).explain
            if name == "grad_cam"
            else tlp.wrap_model(model, name, readout="saliency").explain
            for name in names
        }
    except ValueError as error:
        raise UsageError(f"--compare: {error}") from error
