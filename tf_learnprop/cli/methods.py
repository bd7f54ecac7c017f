"""The methods that `explain --compare` draws and `evaluate --methods` measures beside the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tf_learnprop.cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from tf_learnprop.model import PropagationModel

    #: From images `[n, h, w, c]` and class ids `[n]` to maps `[n, h, w]`.
    Explain = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: Their names on the command line and on pictures: all of `tlp.methods` but "learned", which are the rules
#: themselves. They are not asked for here, as that loads TensorFlow.
NAMES = {
    "universal": "universal rule",
    "saliency": "saliency",
    "gradient_x_input": "gradient × input",
    "guided_backprop": "guided backprop",
    "deconvnet": "DeconvNet",
    "libra": "LibraGrad × input",
    "grad_cam": "Grad-CAM",
    "grad_cam_pp": "Grad-CAM++",
    "layer_cam": "LayerCAM",
    "hires_cam": "HiResCAM",
    "names": "rules, names compete",
    "integrated_gradients": "Integrated Gradients",
    "smoothgrad": "SmoothGrad",
    "smoothgrad_squared": "SmoothGrad²",
    "vargrad": "VarGrad",
    "occlusion": "Occlusion",
    "rise": "RISE",
    "score_cam": "Score-CAM",
    "attention_rollout": "attention rollout",
    "gradient_x_attention": "gradient × attention",
}


def chosen(text: str | None, option: str = "--compare") -> list[str]:
    """The names in the value of an option.

    Raises:
        UsageError: If one of them is unknown.
    """
    names = list(dict.fromkeys(name.strip() for name in (text or "").split(",")))
    if names == [""]:
        return []
    for name in names:
        if name not in NAMES:
            raise UsageError(f"{option} must name methods among {', '.join(NAMES)}. Received: {name}")
    return names


def make(wrapped: PropagationModel, names: Sequence[str]) -> dict[str, Explain]:
    """The methods with these names, as functions that make maps of the source of a wrapped model.

    Raises:
        UsageError: If the model has nothing that a method could read.
    """
    import tf_learnprop as tlp

    try:
        return {name: tlp.methods.make(wrapped, name).explain for name in names}
    except ValueError as error:
        raise UsageError(f"--compare: {error}") from error
