"""Maps in the form that Quantus asks for, so that its metrics can be used on them.

Nothing is imported from Quantus. See `docs/migrating.md`.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from tf_learnprop.adapters import _shared
from tf_learnprop.model import PropagationModel


class _Last(NamedTuple):
    model: keras.Model
    options: dict[str, Any]
    wrapped: PropagationModel


_last: _Last | None = None


def explain_func(
    model: keras.Model | PropagationModel,
    inputs: npt.ArrayLike,
    targets: npt.ArrayLike | None = None,
    *,
    batch_size: int = 32,
    refine_steps: int = 0,
    device: str | None = None,
    method: str | None = None,
    **options: Any,
) -> np.ndarray:
    """Computes maps; pass it to Quantus as `explain_func`, and its options as `explain_func_kwargs`.

    Quantus calls it with the model that the metric was given. The model is wrapped at the first call, and
    again if another model or other options come.

    Args:
        model: `keras.Model`, or a `PropagationModel` that is used as it is.
        inputs: Images `[n, h, w, c]`, preprocessed as the model needs them; or `[n, c, h, w]`, as some
            metrics pass them. Or features `[n, features]`.
        targets: Class ids `[n]`; None for the predicted classes.
        batch_size: At most `batch_size` images are explained at once.
        refine_steps: At least 0, as for `PropagationModel.explain`.
        device: Passed by metrics, and not used: TensorFlow chooses the device.
        method: Passed by `quantus.evaluate`, and not used.
        **options: Options of `wrap_model`, such as `rule`. Only for a model that is not wrapped yet.

    Returns:
        float32 `[n, 1, h, w]`, as Quantus puts the channels first; `[n, features]` for features.

    Raises:
        TypeError: If options come with a wrapped model.
        TypeError, ValueError: As `wrap_model` and `PropagationModel.explain`.
    """
    wrapped = _wrap(model, options)
    inputs = np.asarray(inputs)
    channels = wrapped.explained.input_shape[-1]
    if inputs.ndim == 4 and inputs.shape[-1] != channels and inputs.shape[1] == channels:
        inputs = np.moveaxis(inputs, 1, -1)
    maps = wrapped.explain(inputs, targets, batch_size=batch_size, refine_steps=refine_steps)
    return maps if maps.ndim == 2 else maps[:, None]


def _wrap(model: keras.Model | PropagationModel, options: dict[str, Any]) -> PropagationModel:
    global _last
    if isinstance(model, PropagationModel):
        return _shared.wrapped(model, options)
    if _last is None or _last.model is not model or _last.options != options:
        _last = _Last(model, options, _shared.wrapped(model, options))
    return _last.wrapped
