"""`Target`: what is explained of a model's outputs, and `Asked`, the score that it asks for."""

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.output_head import OutputHead, promote_class
from tf_learnprop.targets.per_sample import PerSample


class Outputs(NamedTuple):
    """What a model gives for a batch, as targets read it.

    Attributes:
        logits: float32 `[n, *places, units]`, the explained output before its softmax or sigmoid.
        everything: All outputs, in the model's structure, as the model gives them.
        number: Number of the explained output.
        head: How the units are read as classes.
    """

    logits: tf.Tensor
    everything: Any
    number: int
    head: OutputHead

    @property
    def explained(self) -> tf.Tensor:
        """The explained output as the model gives it, float32."""
        return tf.cast(keras.tree.flatten(self.everything)[self.number], tf.float32)

    @property
    def class_logits(self) -> tf.Tensor:
        """Logits of the classes, float32 `[n, *places, classes]`; a single unit is two, no and yes."""
        return self.head.class_logits(self.logits)


class Asked(NamedTuple):
    """What is asked of a batch: logits of classes, and which of them.

    Attributes:
        class_logits: float32 `[n, classes]`. A score without classes is a single one.
        weights: float32 `[n, classes]`. Weights of the logits in the score, one-hot for a class.
        independent: Whether each class is a label of its own, which competes with its own absence.
        answer: float32 `[n, classes]`, logits of the probabilities by which this answer is compared with
            others: by a softmax, or by a sigmoid each if they are independent. None: the class logits.
    """

    class_logits: tf.Tensor
    weights: tf.Tensor
    independent: bool
    answer: tf.Tensor | None = None

    @classmethod
    def of_score(cls, score: tf.Tensor, answer: tf.Tensor | None = None) -> "Asked":
        """A score without classes, float32 `[n]`, which competes with its absence.

        Args:
            score: The score.
            answer: float32 `[n]`, as the attribute.
        """
        score = score[:, None]
        return cls(score, tf.ones_like(score), True, None if answer is None else answer[:, None])

    @property
    def has_classes(self) -> bool:
        """Whether the score is that of one class among others."""
        return self.class_logits.shape[-1] != 1

    @property
    def has_answer(self) -> bool:
        """Whether there is a probability for what is asked."""
        return self.has_classes or self.answer is not None

    @property
    def answer_logits(self) -> tf.Tensor:
        """`answer`, or the class logits in its place."""
        return self.class_logits if self.answer is None else self.answer

    def scores(self) -> tf.Tensor:
        """The explained score of each sample, float32 `[n]`."""
        return tf.reduce_sum(self.weights * self.class_logits, -1)

    def score(self, contrast: bool = False) -> tf.Tensor:
        """Sum over the batch of the asked logits, a float32 scalar.

        Args:
            contrast: Whether the logits of the rivals are taken away. The rivals, the classes that are not
                asked for, count by their softmax among themselves.
        """
        weights = self.weights
        if contrast and not self.independent:
            shares = tf.nn.softmax(self.rival_logits())
            weights -= tf.reduce_sum(weights, -1, keepdims=True) * shares
        return tf.reduce_sum(weights * self.class_logits)

    def rivals(self, count: int) -> tf.Tensor:
        """The classes with the largest logits that are not asked for, int32 `[n, count]`."""
        return tf.math.top_k(self.rival_logits(), count).indices

    def rival_logits(self) -> tf.Tensor:
        """Logits of the classes that are not asked for, without gradient; the others are as low as can be."""
        lowest = self.class_logits.dtype.min
        return tf.where(self.weights == 0.0, tf.stop_gradient(self.class_logits), lowest)

    def choosing(self, answer: tf.Tensor) -> "Asked":
        """The same with another answer, float32 `[n, classes]`, whose largest class is the one asked for."""
        weights = tf.one_hot(tf.argmax(answer, -1), self.class_logits.shape[-1])
        return self._replace(weights=weights, answer=answer)

    def promoted(self) -> "Asked":
        """The same with an answer in which the asked class has changed places with the largest."""
        return self._replace(answer=promote_class(self.answer_logits, self.class_ids()))

    def class_ids(self) -> tf.Tensor:
        """The asked class, the one with the largest weight, int64 `[n]`; −1 for a score without classes."""
        ids = tf.argmax(self.weights, -1)
        return ids if self.has_classes else tf.fill(tf.shape(ids), tf.constant(-1, tf.int64))

    def probabilities(self) -> tf.Tensor:
        """The probability of the asked class, float32 `[n]`; NaN for a score without classes."""
        if not self.has_classes:
            return tf.fill(tf.shape(self.weights)[:1], np.float32(np.nan))
        logits = self.answer_logits
        of_all = tf.sigmoid(logits) if self.independent else tf.nn.softmax(logits)
        return tf.gather(of_all, self.class_ids(), batch_dims=1)

    def answer_probabilities(self) -> tf.Tensor:
        """How probable the answer is, float32 `[n]`; for weights of several classes their weighted sum."""
        logits = self.answer_logits
        of_all = tf.sigmoid(logits) if self.independent else tf.nn.softmax(logits)
        return tf.reduce_sum(self.weights * of_all, -1)

    def log_probabilities(self, class_ids: tf.Tensor) -> tf.Tensor:
        """Log-probabilities that exclude each other, by which this answer is compared with others.

        Args:
            class_ids: int `[n]`. Of independent classes only this one is looked at: as no and yes.

        Returns:
            float32 `[n, classes]`, or `[n, 2]` of independent classes.
        """
        logits = self.answer_logits
        if self.independent:
            logits = OutputHead(1).class_logits(tf.gather(logits, class_ids[:, None], batch_dims=1))
        return tf.nn.log_softmax(logits)


class Kind(NamedTuple):
    """A target without what it says of single samples: what a traced function depends on.

    Attributes:
        target: Class of the target.
        options: Names and values of its other attributes.
    """

    target: type["Target"]
    options: tuple[tuple[str, Hashable], ...]

    def of(self, data: Mapping[str, Any]) -> "Target":
        """The target of this kind with `data`."""
        target = object.__new__(self.target)
        vars(target).update(self.options)
        for name in self.target.per_sample:
            own = vars(target).get(name)
            setattr(target, name, own.of(data[name]) if isinstance(own, Kind) else data[name])
        return target


class Target:
    """What is explained of a model's outputs: the base of all targets. Subclass it and write `ask`.

    The attributes that `per_sample` names hold what goes with single samples, such as masks: arrays
    `[n, ...]`, None, or other targets. They are cut into batches with the inputs, and are tensors when `ask`
    is called. All other attributes are options. They must be hashable, as a function is traced for each
    choice of them.

    Attributes:
        per_sample: Names of the attributes that go with single samples.
    """

    per_sample: ClassVar[tuple[str, ...]] = ()

    # -- what subclasses write ---------------------------------------------------------------------------

    def checked(self, explained: Explained) -> "Target":
        """Checks the target before any work starts.

        Args:
            explained: The output and the input that are explained. Its `output_tensor` has the output's
                shape.

        Returns:
            The same target with a `PerSample` for each array.

        Raises:
            TypeError, ValueError: If the target does not fit the output.
        """
        return self.with_data(_map(PerSample.each, self.data))

    def settled(self, outputs: Outputs) -> "Target":
        """The target with what it leaves to the model, such as the predicted class, taken from `outputs`.

        A settled target asks the same of other outputs, such as those for a masked image.

        Args:
            outputs: What the model gives for the images that are explained.
        """
        return self

    def ask(self, outputs: Outputs) -> Asked:
        """What a settled target asks of outputs.

        Args:
            outputs: What the model gives.

        Returns:
            `Asked`; `Asked.of_score(score)` for a score `[n]` without classes.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `ask(outputs)`.")

    # -- what the package uses ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The attributes, for Keras' files."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Target":
        """The target with the attributes of `get_config`, as Keras' files hold them."""
        target = object.__new__(cls)
        vars(target).update({k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})
        return target

    @property
    def data(self) -> dict[str, Any]:
        """What goes with single samples, a dict; nested for targets of targets."""
        values = {name: getattr(self, name) for name in self.per_sample}
        return {name: v.data if isinstance(v, Target) else v for name, v in values.items()}

    @property
    def kind(self) -> Kind:
        """The `Kind` of the target.

        Raises:
            TypeError: If an option is not hashable.
        """
        options = {
            name: value.kind if isinstance(value, Target) else value
            for name, value in sorted(vars(self).items())
            if name not in self.per_sample or isinstance(value, Target)
        }
        for name, value in options.items():
            try:
                hash(value)
            except TypeError as error:
                raise TypeError(
                    f"The options of a target must be hashable, and what goes with samples must be named in "
                    f"`per_sample`. Received: {type(self).__name__}.{name} of {error}"
                ) from None
        return Kind(type(self), tuple(options.items()))

    def with_data(self, data: Mapping[str, Any]) -> "Target":
        """The same target with other `data`."""
        target = copy.copy(self)
        for name, value in data.items():
            own = getattr(self, name)
            setattr(target, name, own.with_data(value) if isinstance(own, Target) else value)
        return target

    def map(self, function: Callable[[Any], Any]) -> "Target":
        """The same target with a function of each value of its data that is not None."""
        return self.with_data(_map(function, self.data))

    @property
    def length(self) -> int | None:
        """Number of samples that a checked target is for, None if it is for any number."""
        lengths = [values.length for values in self.leaves if values.length is not None]
        return lengths[0] if lengths else None

    def for_samples(self, count: Any) -> "Target":
        """A checked target with arrays or tensors `[count, ...]`.

        Args:
            count: int, or an int scalar tensor.

        Raises:
            ValueError: If it is for another number of samples; for tensors, InvalidArgumentError when they
                run.
        """
        return self.map(lambda values: values.rows(count))

    @property
    def leaves(self) -> list[Any]:
        """The values of the data that are not None."""
        leaves: list[Any] = []
        self.map(leaves.append)
        return leaves

    def with_leaves(self, leaves: Sequence[Any]) -> "Target":
        """The same target with other `leaves`."""
        following = iter(leaves)
        return self.map(lambda _: next(following))

    def cut(self, rows: Any) -> "Target":
        """The target of some samples, a slice or positions, of one that has arrays."""
        return self.map(lambda array: array[rows])


def _map(function: Callable[[Any], Any], data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _map(function, value) if isinstance(value, dict) else None if value is None else function(value)
        for name, value in data.items()
    }
