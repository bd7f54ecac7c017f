"""Small models of ids whose zeros are masked."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import layers, ops

from tests import token_models

HEADS, WIDTH = 2, 4
LENGTH, CHANNELS = 5, 8

Tensor: TypeAlias = keras.KerasTensor


class Block(layers.Layer):
    """Attention after a normalisation, inside a layer that neither takes nor makes masks."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.attention = layers.MultiHeadAttention(HEADS, WIDTH)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.norm.build(shape)
        self.attention.build(shape, shape)

    def call(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        return x + self.attention(h, h)


class MaskedBlock(Block):
    """The same, with a mask as an argument."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = ops.relu(super().call(x))
        return x if mask is None else x * ops.cast(mask, x.dtype)[..., None]


def attend(x: Tensor, **options: Any) -> Tensor:
    return layers.MultiHeadAttention(HEADS, WIDTH)(x, x, **options)


def nested(x: Tensor) -> Tensor:
    inputs = keras.Input((LENGTH, CHANNELS))
    h = layers.LayerNormalization()(inputs)
    inner = keras.Model(inputs, layers.LayerNormalization()(layers.Add()([inputs, attend(h)])))
    return inner(layers.Dense(CHANNELS, "relu")(inner(x)))


def crossed(x: Tensor) -> Tensor:
    """The second attention is to a tensor from which Keras has taken the mask in the first."""
    value, query = layers.Dense(CHANNELS)(x), layers.LayerNormalization()(x)
    for _ in range(2):
        query = layers.Add()([query, layers.MultiHeadAttention(HEADS, WIDTH)(query, value)])
    return query


def sequential(x: Tensor) -> Tensor:
    return keras.Sequential([keras.Input((LENGTH, CHANNELS)), MaskedBlock(), layers.ReLU()])(x)


#: What follows a masked embedding, up to the pooling.
BODIES: dict[str, Callable[[Tensor], Tensor]] = {
    "Attention, `MultiHeadAttention`": attend,
    "Causal attention": lambda x: attend(x, use_causal_mask=True),
    "`Attention`": lambda x: layers.Attention()([x, x]),
    "A transformer": lambda x: token_models.block(token_models.block(x)),
    "Attention beside a skip connection": lambda x: layers.Add()([x, attend(x)]),
    "Attention from one tensor to another, twice": crossed,
    "A nested model with attention": nested,
    "A layer of your own that takes no mask": lambda x: Block()(Block()(x)),
    "A layer of your own that takes a mask": lambda x: MaskedBlock()(x),
    "An activation as an operation": lambda x: ops.relu(layers.Dense(CHANNELS)(x)),
    "A nested Sequential model": sequential,
}

#: Bodies that are tried in half precision as well.
MIXED_PRECISION = ("A transformer", "A nested model with attention")


def classifier(body: Callable[[Tensor], Tensor], seed: int = 5) -> keras.Model:
    """Three classes of ids, from a body on their embeddings, with random weights."""
    rng = np.random.default_rng(seed)
    ids = keras.Input((LENGTH,), dtype="int32")
    x = body(layers.Embedding(20, CHANNELS, mask_zero=True)(ids))
    model = keras.Model(ids, layers.Dense(3)(layers.Dense(4, "relu")(layers.GlobalAveragePooling1D()(x))))
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return model
