"""Maps in the form of xplique's explainers, so that its metrics can be used on them.

Nothing is imported from xplique. See `docs/migrating.md`.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop.adapters import _shared
from tf_learnprop.model import PropagationModel
from tf_learnprop.targets.classes import weights_of_one_unit


class Explainer:
    """Explains images as xplique's `BlackBoxExplainer` does: `explainer(inputs, targets)`.

    Args:
        model: `keras.Model`, or a `PropagationModel` that is used as it is.
        batch_size: At most `batch_size` images are explained at once.
        refine_steps: At least 0, as for `PropagationModel.explain`.
        **options: Options of `wrap_model`, such as `rule`. Only for a model that is not wrapped yet.

    Raises:
        TypeError: If options come with a wrapped model.
        TypeError, ValueError: As `wrap_model`.
    """

    def __init__(
        self,
        model: keras.Model | PropagationModel,
        batch_size: int = 32,
        *,
        refine_steps: int = 0,
        **options: Any,
    ):
        self.wrapped = _shared.wrapped(model, options)
        self.batch_size = batch_size
        self.refine_steps = refine_steps

    @property
    def model(self) -> keras.Model:
        """The source model. A model of the same structure in its place is explained by the same rules.

        xplique's `ModelRandomizationMetric` sets a copy with random weights.
        """
        return self.wrapped.source

    @model.setter
    def model(self, model: keras.Model) -> None:
        self.wrapped = PropagationModel(model, self.wrapped.rule_set, self.wrapped.explained.of(model))

    def explain(
        self, inputs: tf.data.Dataset | tf.Tensor | np.ndarray, targets: npt.ArrayLike | None = None
    ) -> tf.Tensor:
        """Computes maps.

        Args:
            inputs: Images `[n, h, w, c]` or features `[n, features]`; or a `tf.data.Dataset` of pairs
                (images, targets), in batches or one by one.
            targets: One-hot classes or weights of the logits, `[n, classes]`; for a model with a single
                unit also `[n, 1]`: 1 for yes, −1 for no. None for the predicted classes.

        Returns:
            float32 `[n, h, w, 1]`; `[n, features]` for features.
        """
        if isinstance(inputs, tf.data.Dataset):
            if targets is not None:
                raise ValueError("`targets` must be None for a dataset, which yields (images, targets).")
            images, _ = inputs.element_spec
            rank = len(self.wrapped.explained.input_shape)
            batches = inputs if images.shape.rank == rank else inputs.batch(self.batch_size)
            return tf.concat([self.explain(*batch) for batch in batches], 0)
        maps = self.wrapped.explain(
            inputs, self._weights(targets), batch_size=self.batch_size, refine_steps=self.refine_steps
        )
        return tf.constant(maps if maps.ndim == 2 else maps[..., None])

    def __call__(
        self, inputs: tf.data.Dataset | tf.Tensor | np.ndarray, targets: npt.ArrayLike | None = None
    ) -> tf.Tensor:
        """The same as `explain`."""
        return self.explain(inputs, targets)

    def _weights(self, targets: npt.ArrayLike | None) -> np.ndarray | None:
        """Targets as weights of the logits of all classes; a single unit counts as two classes."""
        if targets is None:
            return None
        weights = np.asarray(targets, np.float32)
        if weights.ndim == 2 and weights.shape[1] == 1 and self.wrapped.class_count == 2:
            return weights_of_one_unit(weights)
        return weights
