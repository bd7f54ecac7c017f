"""Peers that read the attention of `keras.layers.MultiHeadAttention`: rollout, and gradient × attention.

The grid of patches is the largest square that the tokens fill, and those before it are class tokens. This
holds for the square images of the benchmark.
"""

import contextlib
import math

import keras
import numpy as np
import tensorflow as tf

from benchmarks.evaluation.method import Method
from tf_learnprop import resampling


def methods(model):
    """Both methods for a model with such layers; an empty list for another one.

    Args:
        model: `keras.Model` from images `[n, h, w, c]` to logits, each attention among tokens of one number.

    Returns:
        list of `Method`.
    """
    attentions = [
        layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.MultiHeadAttention)
    ]
    if not attentions:
        return []

    def of_batches(relevance):
        def explain(images, targets):
            maps = [
                _to_image(
                    relevance(*_run(model, attentions, images[k : k + 16], targets[k : k + 16])), images
                )
                for k in range(0, len(images), 16)
            ]
            return np.concatenate(maps)

        return explain

    return [
        Method("attention rollout", 1, of_batches(lambda scores, gradients: rollout(scores))),
        Method("gradient × attention", 2, of_batches(gradient_times_attention)),
    ]


def rollout(scores):
    """Attention rollout: Abnar, Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020.

    The attention of a layer is averaged over its heads, half of the identity stands for the residual path,
    and the layers are multiplied.

    Args:
        scores: list of float `[n, heads, tokens, tokens]`, the attention of each layer in order.

    Returns:
        float `[n, tokens, tokens]`, how much of each token (last axis) reaches each token.
    """
    identity = np.eye(scores[0].shape[-1])
    joined = identity[None]
    for layer in scores:
        joined = (layer.mean(1) + identity) / 2 @ joined
    return joined


def gradient_times_attention(scores, gradients):
    """Chefer, Gur, Wolf, "Generic Attention-model Explainability", ICCV 2021, for self-attention.

    R starts as the identity; each layer adds mean over heads of relu(∂s/∂A ⊙ A) times R, s being the logit.

    Args:
        scores: list of float `[n, heads, tokens, tokens]`, the attention A of each layer in order.
        gradients: list of float of the same shapes, ∂s/∂A.

    Returns:
        float `[n, tokens, tokens]`.
    """
    relevance = np.eye(scores[0].shape[-1])[None]
    for layer, gradient in zip(scores, gradients, strict=True):
        relevance = relevance + np.maximum(layer * gradient, 0).mean(1) @ relevance
    return relevance


def _to_image(relevance, images):
    """Maps `[n, h, w]`: what reaches the class token, or all tokens on average without one."""
    tokens = relevance.shape[-1]
    side = math.isqrt(tokens)
    first = tokens - side**2
    reaching = relevance[:, :first].mean(1) if first else relevance.mean(1)
    grid = reaching[:, first:].reshape(-1, side, side)
    return resampling.resize(tf.constant(grid, tf.float32), images.shape[1:3]).numpy()


def _run(model, attentions, images, targets):
    """Attention of each layer, and the gradients of the logits of the targets with respect to it."""
    found = []
    with tf.GradientTape() as tape, _recorded(attentions, found):
        logits = model(images, training=False)
        score = tf.reduce_sum(tf.gather(logits, tf.cast(targets, tf.int32), batch_dims=1))
    gradients = tape.gradient(score, found)
    return [scores.numpy() for scores in found], [gradient.numpy() for gradient in gradients]


@contextlib.contextmanager
def _recorded(attentions, found):
    """Layers whose attention is appended to `found` when they are called."""

    def recording(compute):
        def compute_and_record(query, key, value, mask=None, training=None, wanted=False, **others):
            # With scores wanted, Keras takes no fused kernel, which would keep them to itself.
            output, scores = compute(query, key, value, mask, training, True, **others)
            found.append(scores)
            return output, scores

        return compute_and_record

    for layer in attentions:
        layer._compute_attention = recording(layer._compute_attention)
    try:
        yield
    finally:
        for layer in attentions:
            del layer._compute_attention
