"""`Token`: a token of a language model."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph.explained import Explained
from tf_learnprop.targets import per_sample
from tf_learnprop.targets.base import Asked, Outputs, Target
from tf_learnprop.targets.fitting import check_output
from tf_learnprop.targets.per_sample import PerSample


@keras.saving.register_keras_serializable("tf_learnprop")
class Token(Target):
    """The logit of a token at a position of an output `[n, positions, vocabulary]`, of a language model.

    In a causal model, the output at a position is the token that follows. In a masked one, it is the token at
    the position itself. Who competes are the other tokens.

    Args:
        position: An int, or ints `[n]`; below 0, it counts from the end. Padding counts too, so a batch of
            texts of several lengths needs a position for each.
        token: An int, or ints `[n]`. None: the token that the model predicts there.
        rather_than: An int, or ints `[n]`: a token whose logit is taken away from that of `token`.
    """

    per_sample = ("position", "token", "rather_than")

    def __init__(self, position: Any = -1, token: Any = None, rather_than: Any = None):
        self.position = position
        self.token = token
        self.rather_than = rather_than

    def checked(self, explained: Explained) -> "Token":
        shape = explained.output_tensor.shape
        form = "[n, positions, vocabulary]"
        check_output(explained, "`Token`", form, len(shape) == 3 and shape[-1] is not None)
        data = {name: value for name, value in self.data.items() if value is not None}
        data["position"] = _positions(self.position, shape[1])
        for name in data.keys() - {"position"}:
            data[name] = per_sample.class_ids(name, data[name], shape[-1], "token")
        return self.with_data(data)  # type: ignore[return-value]

    def settled(self, outputs: Outputs) -> "Token":
        token = tf.argmax(self._logits(outputs), -1) if self.token is None else self.token
        return Token(self.position, token, self.rather_than)

    def ask(self, outputs: Outputs) -> Asked:
        logits = self._logits(outputs)
        weights = tf.one_hot(self.token, logits.shape[-1])
        if self.rather_than is not None:
            weights -= tf.one_hot(self.rather_than, logits.shape[-1])
        return Asked(logits, weights, False)

    def _logits(self, outputs: Outputs) -> tf.Tensor:
        """Logits at the position, float32 `[n, vocabulary]`."""
        length = tf.shape(outputs.logits, tf.int64)[1]
        position = tf.where(self.position < 0, self.position + length, self.position)
        rule = "`position` must be a position of the output"
        position = per_sample.required(position, (position >= 0) & (position < length), rule)
        return tf.gather(outputs.logits, position, axis=1, batch_dims=1)


def _positions(value: Any, length: int | None) -> PerSample:
    """Positions from −length to length − 1, as `per_sample.class_ids` takes them."""
    if length is None:
        length = np.iinfo(np.int32).max
    if value is None or per_sample.kind_of(value) not in "iu":
        received = value if value is None else f"dtype={value.dtype}"
        raise TypeError(f"`position` must be an int or ints [n]. Received: {received}")
    try:
        found = per_sample.class_ids("position", value + length, 2 * length, "position")
    except ValueError:
        rule = f"`position` must be ints in {-length}..{length - 1}"
        raise ValueError(f"{rule}. Received: {np.min(value)} to {np.max(value)}") from None
    return PerSample("position", found.values - length, found.shared)
