"""Methods of attention: rollout, and gradient × attention."""

import abc
from collections.abc import Callable

import tensorflow as tf

from tf_learnprop.graph.explained import Explained
from tf_learnprop.methods.attention_reader import AttentionReader, TokenPlaces
from tf_learnprop.methods.base import Need, register
from tf_learnprop.methods.looped import LoopedMethod
from tf_learnprop.methods.passes import Samples


class AttentionMethod(LoopedMethod):
    """What flows from token to token through all layers of attention. Write `of_layer`.

    R, `[tokens, tokens]`, starts as the identity and is multiplied by a matrix of each layer. The map is what
    reaches the tokens in front of those of the input, such as the class token; without any, it is the mean
    over all tokens.
    """

    needs = (Need.ATTENTION,)
    cost = "3"

    def passes(self, explained: Explained) -> int:
        return 3  # that of the class, and one forward and one backward pass

    def maps_of(self, explained: Explained) -> Callable[[Samples], tf.Tensor]:
        reader, places = AttentionReader(explained), TokenPlaces(explained)

        def maps(samples: Samples) -> tf.Tensor:
            attention, gradients = reader(samples.inputs, samples.target)
            samples.report(2 * len(samples.image))
            flow = tf.eye(attention[0].shape[-1])
            for layer in zip(attention, gradients, strict=True):
                flow = tf.matmul(self.of_layer(*layer), flow)
            return places.on_input(flow, samples.image)

        return maps

    @abc.abstractmethod
    def of_layer(self, attention: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """What a layer multiplies R by, float32 `[n, tokens, tokens]`.

        Args:
            attention: float32 `[n, heads, tokens, tokens]`, the weights A, which sum to 1 in each row.
            gradient: float32, the same shape, ∂s/∂A.
        """


@register("attention_rollout")
class AttentionRollout(AttentionMethod):
    """The product over the layers of (A + 1)/2, A the mean attention of the heads; it knows no target."""

    label = "attention rollout"
    source = "Abnar & Zuidema 2020, ACL, arXiv 2005.00928"
    has_target = False

    def of_layer(self, attention: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return (tf.reduce_mean(attention, 1) + tf.eye(attention.shape[-1])) / 2.0


@register("gradient_x_attention")
class GradientTimesAttention(AttentionMethod):
    """The product over the layers of 1 + mean over the heads of relu(A ⊙ ∂s/∂A)."""

    label = "gradient × attention"
    source = "Chefer et al. 2021, ICCV, arXiv 2103.15679"

    def of_layer(self, attention: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.nn.relu(attention * gradient), 1) + tf.eye(attention.shape[-1])
