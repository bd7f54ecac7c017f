"""Methods to compare with, by name: gradients, class activation, masks and attention, on any model.

`tlp.explain(model, images, method="rise")` explains once. `make(model, "rise")` makes an explainer that can
be kept, so that nothing is traced twice. `@register("my_method")` gives a method of your own a name.
"""

from typing import Any

import keras
import numpy as np

from tf_learnprop.methods.one_pass import (
    ClassActivationMethod,
    DeconvNet,
    GradCAM,
    GradCAMPlusPlus,
    GradientTimesInput,
    GuidedBackprop,
    HiResCAM,
    LayerCAM,
    Learned,
    Libra,
    OnePassMethod,
    Saliency,
    Universal,
)

# isort: split
# Messages and tables name the methods in the order of these imports.
from tf_learnprop.methods.names import Names

# isort: split
from tf_learnprop.methods.averaged import (
    AveragedGradients,
    IntegratedGradients,
    NoisyGradients,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)

# isort: split
from tf_learnprop.methods.base import REGISTRY, Explainer, Method, Need, explained_of, register
from tf_learnprop.methods.looped import LoopedExplainer, LoopedMethod
from tf_learnprop.methods.occlusion import Occlusion
from tf_learnprop.methods.passes import Samples
from tf_learnprop.methods.rise import RISE
from tf_learnprop.methods.score_cam import ScoreCAM

# isort: split
from tf_learnprop.methods.attention import AttentionMethod, AttentionRollout, GradientTimesAttention
from tf_learnprop.model import PropagationModel

__all__ = [
    "AttentionMethod",
    "AttentionRollout",
    "AveragedGradients",
    "ClassActivationMethod",
    "DeconvNet",
    "Explainer",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientTimesAttention",
    "GradientTimesInput",
    "GuidedBackprop",
    "HiResCAM",
    "IntegratedGradients",
    "LayerCAM",
    "Learned",
    "Libra",
    "LoopedExplainer",
    "LoopedMethod",
    "Method",
    "Names",
    "Need",
    "NoisyGradients",
    "Occlusion",
    "OnePassMethod",
    "RISE",
    "Saliency",
    "Samples",
    "ScoreCAM",
    "SmoothGrad",
    "SmoothGradSquared",
    "Universal",
    "VarGrad",
    "explain",
    "get",
    "make",
    "names",
    "register",
    "table",
]


def names() -> list[str]:
    """The names of all methods, those of your own among them."""
    return REGISTRY.names()


def get(method: str | Method, **options: Any) -> Method:
    """Returns a method.

    Args:
        method: One of `names()`, or a `Method`, whose options are kept but for those given here.
        **options: Options of the method.

    Raises:
        ValueError: If the name or an option is unknown, or a value is out of range.
        TypeError: If it is neither a name nor a method.
    """
    known = REGISTRY.get(method).get_config()
    for option, value in options.items():
        if option not in known:
            raise ValueError(
                f"The options of method {method!r} are {', '.join(known) or 'none'}. "
                f"Received: {option}={value!r:.100}"
            )
    return REGISTRY.get(method, **options)


def make(
    model: keras.Model,
    method: str | Method | None = None,
    *,
    output: int | str | None = None,
    explained_input: int | str | None = None,
    inputs: Any = None,
    **options: Any,
) -> Explainer:
    """Makes an explainer: a method on a model.

    Args:
        model: A Keras model, or a wrapped one. Of a wrapped one, the source model is explained, with the same
            output and input.
        method: One of `names()`, or a `Method`. None: the rules of a wrapped model, "universal" for another.
        output: As for `wrap_model`; not for a wrapped model.
        explained_input: As for `wrap_model`; not for a wrapped model.
        inputs: As for `wrap_model`; not for a wrapped model.
        **options: Options of the method, such as `steps` or `masks`.

    Returns:
        An object with `explain` and `explain_batches`, as those of `PropagationModel`. It is a
        `PropagationModel` for methods of one pass.

    Raises:
        TypeError, ValueError: As `get` and `wrap_model`; or if the model does not have what the method needs.
    """
    if method is None:
        method = "learned" if isinstance(model, PropagationModel) else "universal"
    ends = {"output": output, "explained_input": explained_input, "inputs": inputs}
    given = {name: value for name, value in ends.items() if value is not None}
    return get(method, **options).on(model, **given)


def explain(
    model: keras.Model,
    images: Any,
    targets: Any = None,
    *,
    method: str | Method | None = None,
    batch_size: int = 32,
    verbose: int = 0,
    output: int | str | None = None,
    explained_input: int | str | None = None,
    inputs: Any = None,
    **options: Any,
) -> np.ndarray:
    """Computes attribution maps of a model with a method.

    Args:
        model: As for `methods.make`, which is faster for more than one call.
        images: As for `PropagationModel.explain`.
        targets: As for `PropagationModel.explain`.
        method: As for `methods.make`.
        batch_size: Most samples that run at once, changed copies of samples among them.
        verbose: 0 is silent, 1 shows Keras' progress bar.
        output: As for `methods.make`.
        explained_input: As for `methods.make`.
        inputs: As for `methods.make`.
        **options: Options of the method, such as `steps` or `masks`.

    Returns:
        float32 NumPy array `[n, h, w]` (in general `[n, *spatial]` or `[n, features]`). Larger values are
        more important; the scale is arbitrary.

    Raises:
        TypeError, ValueError: As `methods.make` and `PropagationModel.explain`.
    """
    explainer = make(model, method, output=output, explained_input=explained_input, inputs=inputs, **options)
    return explainer.explain(images, targets, batch_size=batch_size, verbose=verbose)


def table(model: keras.Model | None = None) -> str:
    """All methods as text: passes, what they need, and where they were published.

    Args:
        model: A Keras model, or a wrapped one. With it, the passes are numbers, of the default options, and
            methods that it can't have are marked by a dash.
    """
    explained = None if model is None else explained_of(model)
    rows = [("method", "passes", "needs", "source")]
    for name in names():
        method = REGISTRY.make(name)
        passes: Any = method.cost
        if explained is not None:
            passes = method.passes(explained) if method.is_possible(explained) else "–"
        needs = ", ".join(need.name.lower().replace("_", " ") for need in method.needs)
        rows.append((name, str(passes), needs, method.source))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
