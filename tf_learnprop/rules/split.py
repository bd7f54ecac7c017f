"""Rules for attention, normalisation, products, gates and recurrence: a backward pass in two parts.

A non-linear operation of a transformer or a recurrent layer multiplies things that all depend on the input:
attention weights and values, features and a statistic of them, two branches, a number and its gate. Its
gradient is then a sum of two parts. LibraGrad (Mehri et al., CVPR 2025, arXiv 2411.16760) keeps one of them,
so that Σ input·signal stays what Σ output·signal was:

| operation | kept | the rest |
|---|---|---|
| attention | through the values | through queries and keys, that is, through the attention weights |
| normalisation | with the scale (one over the standard deviation) held fixed | through the scale |
| product a·b | half of the gradient | the other half |
| recurrent layer | with its gates fixed, and dy·y/x at its activations | the gradient less that |
| activation y = σ(x) with σ(0) = 0 | dy·y/x, as if the gate y/x were fixed | the gradient less that |

Both parts are linear in the signal dy that arrives at the output.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_learnprop.rules import relevance
from tf_learnprop.rules.base import PropagationRule, Shape, Site, Vjp, WeightSpecs, register, serializable

#: A part of a backward pass: from a signal at the output to the list of those at the inputs, None for zero.
Part = Callable[[tf.Tensor], list[tf.Tensor | None]]


class SplitRule(PropagationRule):
    """A backward rule that sees the two parts of an operation's gradient. Subclass it and write `combine`.

    It may stand at attention, normalisation, gated products and recurrent layers, and behind an activation
    with σ(0) = 0: where that is not so, the ratio y/x has no bound.
    """

    @property
    def reads_layers(self) -> bool:
        return True

    def suits(self, site: Site) -> bool:
        return site.kind != "activation" or site.at_zero == 0.0

    def at_operation(self, kind: str) -> "SplitRule":
        return self

    def combine(self, y: tf.Tensor, dy: tf.Tensor, kept: Part, rest: Part) -> list[tf.Tensor | None]:
        """Backward signals of one operation.

        Args:
            y: float32 `[n, ..., c]`, the output of the operation; `[n, tokens, heads, c]` for attention.
            dy: float32 `[n, ..., c]`, the signal that arrives at y.
            kept: The part that LibraGrad keeps, for a signal with the shape of y.
            rest: The rest of the gradient.

        Returns:
            list of float32 tensors or None (for zero), the signals at the inputs of the operation.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `combine(y, dy, kept, rest)`.")

    def propagate(self, x: tf.Tensor, y: tf.Tensor, dy: tf.Tensor, vjp: Vjp) -> tf.Tensor:
        near_zero = tf.abs(x) < 1e-6
        ratio = tf.where(near_zero, vjp(tf.ones_like(y)), y / tf.where(near_zero, tf.ones_like(x), x))
        (signal,) = self.combine(
            y, dy, lambda signal: [signal * ratio], lambda signal: [vjp(signal) - signal * ratio]
        )
        return tf.zeros_like(x) if signal is None else signal


@register("libra")
@serializable
class LibraRule(SplitRule):
    """Only the part that LibraGrad keeps (Mehri et al., CVPR 2025, arXiv 2411.16760).

    Behind a ReLU, it is the gradient.
    """

    def combine(self, y: tf.Tensor, dy: tf.Tensor, kept: Part, rest: Part) -> list[tf.Tensor | None]:
        return kept(dy)


@serializable
class BlendedRule(SplitRule):
    """Learned blend: kept(dy) + α·rest(dy), with one α in (−1, 1). Untrained, α = 0: `LibraRule`.

    Args:
        initial: "untrained" or "universal"; see `RelevanceRule`.
    """

    starts = ("untrained", "universal")

    def weight_specs(self, shape: Shape) -> WeightSpecs:
        return {"raw_share": ((), "zeros")}

    def combine(self, y: tf.Tensor, dy: tf.Tensor, kept: Part, rest: Part) -> list[tf.Tensor | None]:
        return add(kept(dy), rest(dy * tf.tanh(tf.convert_to_tensor(self.raw_share))))


@serializable
class LearnedSplitRule(SplitRule):
    """Learned shares of what LibraGrad keeps: kept(β·dy), with a β for each head and token.

    β in (0, 2) is computed by a small network from the features of a `RelevanceRule`, which do not depend on
    the scale of y and dy. Untrained, β = 1: `LibraRule`. The rule has 7·hidden + 1 weights. Learned shares of
    the rest, which goes through the attention weights, moved maps off evidence that is known
    (docs/results.md), so the rest stays out, which also makes a map cheaper.

    Args:
        hidden: From 1 to 1024. Width of the network's hidden layer.
        initial: "untrained" or "universal"; see `RelevanceRule`.
    """

    starts = ("untrained", "universal")

    def __init__(self, hidden: int = 8, initial: str = "untrained", **kwargs: Any):
        super().__init__(initial, **kwargs)
        self.hidden = relevance.width(hidden)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}

    def weight_specs(self, shape: Shape) -> WeightSpecs:
        return relevance.weight_specs(self.hidden)

    def combine(self, y: tf.Tensor, dy: tf.Tensor, kept: Part, rest: Part) -> list[tf.Tensor | None]:
        return kept(dy * relevance.gate(self, y, dy))


def add(first: list[Any], second: list[Any]) -> list[Any]:
    """Sums of two lists of signals, in which None stands for zero."""
    pairs = zip(first, second, strict=True)
    return [b if a is None else a if b is None else a + b for a, b in pairs]
