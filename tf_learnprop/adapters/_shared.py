"""What the adapters to other libraries share."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_learnprop.model import PropagationModel
from tf_learnprop.wrapping import wrap_model


def wrapped(model: keras.Model | PropagationModel, options: Mapping[str, Any]) -> PropagationModel:
    """A wrapped model as it is; another model, wrapped with the options of `wrap_model`.

    Raises:
        TypeError: If options come with a wrapped model.
        TypeError, ValueError: As `wrap_model`.
    """
    if not isinstance(model, PropagationModel):
        return wrap_model(model, **options)
    if options:
        raise TypeError(f"A wrapped model takes no options of `wrap_model`. Received: {', '.join(options)}")
    return model
