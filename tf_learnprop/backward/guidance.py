"""How an objective guides maps: by what a model says of masked inputs, compared with its answer."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_learnprop.backward.runner import GraphRunner, Trace
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.output_head import OutputHead
from tf_learnprop.objectives import Objective
from tf_learnprop.targets.base import Asked, Outputs, Target
from tf_learnprop.targets.classes import Classes
from tf_learnprop.targets.closeness import Closeness

#: From logits of classes to others, the largest of which is that of the class to explain.
SelectTarget = Callable[[tf.Tensor], tf.Tensor]

#: The class that the model predicts.
PREDICTED = Classes()


class Answer(NamedTuple):
    """What a model says of a target, for an objective to compare with what it says of masked inputs.

    Attributes:
        target: The target, settled.
        class_ids: int64 `[n]`, the class that is explained.
        log_probabilities: float32 `[n, classes]`, or `[n, 2]`, as of `Asked`.
    """

    target: Target
    class_ids: tf.Tensor
    log_probabilities: tf.Tensor

    @classmethod
    def to(cls, target: Target, asked: Asked, is_selected: bool) -> "Answer":
        """The answer to a settled target.

        Args:
            target: The target.
            asked: What it asks.
            is_selected: Whether the class was chosen by a `SelectTarget`, which has made its answer.
        """
        if not is_selected and asked.has_classes:
            asked = asked.promoted()
        elif not asked.has_answer:
            target = closeness = Closeness.to(target, asked.scores())
            asked = closeness.of(asked)
        class_ids = tf.argmax(asked.answer_logits, -1)
        return cls(target, class_ids, tf.stop_gradient(asked.log_probabilities(class_ids)))

    @property
    def tensors(self) -> list[tf.Tensor]:
        """All tensors, each `[n, ...]`."""
        return [*self.target.leaves, *self[1:]]

    def with_tensors(self, tensors: Sequence[tf.Tensor]) -> "Answer":
        """The same with other `tensors`."""
        *leaves, class_ids, log_probabilities = tensors
        return Answer(self.target.with_leaves(leaves), class_ids, log_probabilities)


class Guided:
    """A source model with rules, whose answers to masked inputs an objective compares.

    Subclasses write `maps_and_asked`, `maps_to_compare` and `masked`. What masks act on is one tensor, and so
    are the maps; or both are lists of tensors, one for each of several explained inputs.

    Args:
        explained: The output, and an input of the source model.
        runner: Runs the graph.

    Attributes:
        explained: As passed.
        runner: As passed.
        head: How the explained output is read as classes.
    """

    def __init__(self, explained: Explained, runner: GraphRunner):
        self.explained, self.runner = explained, runner
        self.head: OutputHead = explained.head

    def maps_and_asked(self, inputs: Any, target: Target = PREDICTED) -> tuple[Any, Asked]:
        """Attribution maps as users get them, and what the target asks of the same forward pass.

        Args:
            inputs: Tensors in the structure of the model's inputs.
            target: What is explained; its data are tensors `[n, ...]`.

        Returns:
            float32 `[n, *spatial]` or a structure of them, and `Asked`.
        """
        raise NotImplementedError

    def maps_to_compare(
        self, inputs: Any, target: Target = PREDICTED, select_target: SelectTarget | None = None
    ) -> tuple[Any, Answer]:
        """Maps with the answer of the same forward pass, for `loss_of_maps`.

        Args:
            inputs: As for `maps_and_asked`.
            target: As for `maps_and_asked`.
            select_target: Maps the logits of the classes to others, whose largest entry is the class that is
                explained. A score without classes has no choice.
        """
        raise NotImplementedError

    def masked(self, inputs: Any) -> tuple[Any, Callable[..., Outputs]]:
        """What masks act on, float32, and a function that runs the model on masked copies of it.

        That is the explained input, or the embedding of its ids. The function takes the copies, one batch
        behind the other, and their number.
        """
        raise NotImplementedError

    def outputs(self, inputs: Any) -> Any:
        """The model's outputs; a tape around this call gets the rules' backward pass."""
        return self.runner(inputs).outputs

    def read(self, inputs: Any) -> Outputs:
        """What the model gives, with its own backward pass."""
        return self._outputs(self.runner(inputs, with_rules=False))

    def logits(self, inputs: Any) -> tf.Tensor:
        """The explained output before its final softmax or sigmoid, float32 `[n, ..., units]`."""
        return self.read(inputs).logits

    def scores(self, inputs: Any, target: Target = PREDICTED) -> tf.Tensor:
        """The explained score of each sample, float32 `[n]`."""
        outputs = self.read(inputs)
        return target.settled(outputs).ask(outputs).scores()

    def guidance(
        self, inputs: Any, objective: Objective, training: bool, target: Target = PREDICTED
    ) -> dict[str, tf.Tensor]:
        """The objective's losses for a batch, dict of float32 `[n]`."""
        flat = keras.tree.flatten(inputs)
        # Another image beside inputs that belong to this one would be no sample of the data.
        if training and len(flat) == 1:
            image = objective.augment(self.in_float(tf.convert_to_tensor(flat[0])))
            inputs = keras.tree.pack_sequence_as(inputs, [image])
        select_target = objective.select_target if training else None
        maps, answer = self.maps_to_compare(inputs, target, select_target)
        return self.loss_of_maps(inputs, maps, answer, objective, training)

    def loss_of_maps(
        self, inputs: Any, maps: Any, answer: Answer, objective: Objective, training: bool
    ) -> dict[str, tf.Tensor]:
        """The objective's losses for given maps of a batch, and the answer that they explain."""
        image, run = self.masked(inputs)

        def classify(images: Any) -> tf.Tensor:
            repeats = _count(images) // _count(image)
            outputs = run(images, repeats)
            asked = answer.target.map(lambda tensor: tile(tensor, repeats)).ask(outputs)
            return asked.log_probabilities(tf.tile(answer.class_ids, [repeats]))

        return objective(image, maps, answer.log_probabilities, classify=classify, training=training)

    def in_float(self, image: tf.Tensor) -> tf.Tensor:
        """The explained input in float32, unless it holds ids."""
        return image if self.explained.holds_ids else tf.cast(image, tf.float32)

    def _ask(
        self, trace: Trace, target: Target, select_target: SelectTarget | None
    ) -> tuple[Outputs, Target, Asked]:
        """What a run gave, the settled target, and what it asks of that."""
        outputs = self._outputs(trace)
        target = target.settled(outputs)
        asked = target.ask(outputs)
        if select_target and asked.has_classes:
            asked = asked.choosing(select_target(asked.answer_logits))
        return outputs, target, asked

    def _outputs(self, trace: Trace) -> Outputs:
        return Outputs(trace.logits, trace.outputs, self.explained.output, self.head)


def tile(tensor: tf.Tensor, repeats: int | tf.Tensor) -> tf.Tensor:
    """Copies of a batch, one behind the other."""
    return tf.tile(tensor, [repeats] + [1] * (tensor.shape.rank - 1))


def _count(tensors: Any) -> tf.Tensor:
    """Number of samples."""
    return tf.shape(keras.tree.flatten(tensors)[0])[0]
