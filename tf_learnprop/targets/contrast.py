"""`Contrast`: one score less another."""

from typing import Any

import keras

from tf_learnprop.graph.explained import Explained
from tf_learnprop.targets.base import Asked, Outputs, Target
from tf_learnprop.targets.choosing import as_target


@keras.saving.register_keras_serializable("tf_learnprop")
class Contrast(Target):
    """The score of one target less that of another: what speaks for the first rather than the second.

    Args:
        a: The first: a target, a class id, ids, weights or a function.
        b: The second.
    """

    per_sample = ("a", "b")

    def __init__(self, a: Any, b: Any):
        self.a, self.b = as_target(a), as_target(b)

    def checked(self, explained: Explained) -> "Contrast":
        return Contrast(self.a.checked(explained), self.b.checked(explained))

    def settled(self, outputs: Outputs) -> "Contrast":
        return Contrast(self.a.settled(outputs), self.b.settled(outputs))

    def ask(self, outputs: Outputs) -> Asked:
        a, b = self.a.ask(outputs), self.b.ask(outputs)
        score = a.scores() - b.scores()
        # Of two logits of classes, it is that of a softmax over the two.
        return Asked.of_score(score, score if a.has_classes and b.has_classes else None)
