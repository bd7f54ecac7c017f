"""`OutputHead`: how the units of the explained output are read as classes, and which class leads."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class OutputHead:
    """Reads logits as classes, the same way wherever a class is chosen, explained or given a probability.

    A single unit z stands for two classes, no (0) and yes (1), with the logits −z/2 and z/2. Several units
    that end in a sigmoid are independent labels, each with a probability of its own. All other units are
    classes that exclude each other.

    Args:
        units: Units of the output.
        activation: "softmax" or "sigmoid" if the model's output has passed one, else "".
    """

    units: int
    activation: str = ""

    @property
    def multi_label(self) -> bool:
        """Whether each unit is a label of its own."""
        return self.activation == "sigmoid" and self.units > 1

    @property
    def class_count(self) -> int:
        """Number of classes; 2 for a single unit."""
        return 2 if self.units == 1 else self.units

    def class_logits(self, logits: tf.Tensor) -> tf.Tensor:
        """Logits of the classes.

        Args:
            logits: float `[n, ..., units]`.

        Returns:
            The same dtype, `[n, ..., classes]`.
        """
        return logits if self.units > 1 else tf.concat([-logits, logits], -1) / 2

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Probabilities of the classes, `[n, classes]`, for logits `[n, units]`."""
        classes = self.class_logits(logits)
        return tf.sigmoid(classes) if self.multi_label else tf.nn.softmax(classes)

    def predicted(self, logits: tf.Tensor) -> tf.Tensor:
        """The class with the largest logit, int64 `[n]`, for logits `[n, units]`."""
        return tf.argmax(self.class_logits(logits), -1)


def promote_class(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Logits in which a class of each sample has changed places with the largest, so that it leads.

    Args:
        logits: float `[n, classes]`.
        classes: int `[n]`.

    Returns:
        The same dtype and shape.
    """
    count = tf.shape(logits)[-1]
    first, asked = tf.one_hot(tf.argmax(logits, -1), count), tf.one_hot(classes, count)
    gap = tf.reduce_sum((first - asked) * logits, -1, keepdims=True)
    return logits + gap * (asked - first)


def promote_runner_up(logits: tf.Tensor) -> tf.Tensor:
    """Logits `[n, classes]` in which the two largest have changed places, the same dtype and shape."""
    return promote_class(logits, tf.math.top_k(logits, 2).indices[:, 1])
