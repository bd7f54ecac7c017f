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

#: Their names on the command line, and on pictures.
NAMES = {
    "gradient": "gradient",
    "deconvnet": "deconvnet",
    "guided_backprop": "guided backprop",
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
    import numpy as np

    import tf_learnprop as tlp

    def of_rule(rule: str) -> Explain:
        wrapped = tlp.wrap_model(model, rule, readout="input")
        # Of the channels, the largest counts (Simonyan et al. 2013).
        return lambda images, class_ids: np.abs(wrapped.input_signal(images, class_ids)).max(-1)

    try:
        return {
            name: tlp.wrap_model(model, "gradient", readout=name).explain
            if name == "grad_cam"
            else of_rule(name)
            for name in names
        }
    except ValueError as error:
        raise UsageError(f"--compare: {error}") from error
