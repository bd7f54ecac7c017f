"""Small models of tokens, written as users write them."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
from keras import layers, ops

Tensor: TypeAlias = keras.KerasTensor
Shape = tuple[int, int, int]


@keras.saving.register_keras_serializable("tests")
class Patches(layers.Layer):
    """Cuts an image into patches, `[n, rows·columns, side·side·c]`."""

    def __init__(self, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = side

    def call(self, images: Tensor) -> Tensor:
        patches = ops.image.extract_patches(images, size=self.side)
        size, (_, rows, columns, values) = ops.shape(images)[0], patches.shape
        return ops.reshape(patches, (size, rows * columns, values))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "side": self.side}


@keras.saving.register_keras_serializable("tests")
class PatchEncoder(layers.Layer):
    """Projects patches and adds an embedding of their positions."""

    def __init__(self, count: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count, self.width = count, width
        self.projection = layers.Dense(width)
        self.position = layers.Embedding(count, width)

    def build(self, shape: tuple[Any, ...]) -> None:
        self.projection.build(shape)
        self.position.build((1, self.count))
        self.built = True

    def call(self, patches: Tensor) -> Tensor:
        positions = ops.expand_dims(ops.arange(self.count), 0)
        return self.projection(patches) + self.position(positions)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "count": self.count, "width": self.width}


@keras.saving.register_keras_serializable("tests")
class ClassToken(layers.Layer):
    """Puts a learned token in front of the others."""

    def build(self, shape: tuple[Any, ...]) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="random_normal", name="token")

    def call(self, x: Tensor) -> Tensor:
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], 1)


def block(x: Tensor, heads: int = 2) -> Tensor:
    """A transformer block with the norms before its two branches."""
    width = x.shape[-1]
    h = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([layers.MultiHeadAttention(heads, width // heads, dropout=0.1)(h, h), x])
    h = layers.LayerNormalization(epsilon=1e-6)(x)
    h = layers.Dense(width)(
        layers.Dropout(0.1)(layers.Dense(2 * width, activation=keras.activations.gelu)(h))
    )
    return layers.Add()([h, x])


def head(x: Tensor) -> Tensor:
    return layers.Dense(3, name="logits")(x)


def vit(shape: Shape = (12, 12, 3), side: int = 4, blocks: int = 2) -> keras.Model:
    """A vision transformer as in the example of keras.io, with a flattened head."""
    image = keras.Input(shape)
    count = (shape[0] // side) * (shape[1] // side)
    x = PatchEncoder(count, 8)(Patches(side)(image))
    for _ in range(blocks):
        x = block(x)
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(image, head(layers.Dropout(0.5)(x)))


def vit_with_class_token(shape: Shape = (12, 16, 3)) -> keras.Model:
    """A vision transformer with a class token."""
    image = keras.Input(shape)
    x = layers.Conv2D(8, 4, 4, name="patches")(image)
    x = ClassToken()(layers.Reshape((-1, 8))(x))
    x = layers.LayerNormalization()(block(block(x)))
    return keras.Model(image, head(x[:, 0]))


def mixer(shape: Shape = (12, 12, 3)) -> keras.Model:
    """An MLP mixer: dense layers over patches and over channels."""
    image = keras.Input(shape)
    x = layers.Reshape((9, 8))(layers.Conv2D(8, 4, 4, name="patches")(image))
    for _ in range(2):
        h = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        h = layers.Dense(9)(layers.Dense(12, activation="gelu")(h))
        x = layers.Add()([x, layers.Permute((2, 1))(h)])
        h = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(8)(h)])
    return keras.Model(image, head(layers.GlobalAveragePooling1D()(x)))


def windows(shape: Shape = (16, 16, 3)) -> keras.Model:
    """Attention within windows that shift, and patches that merge, as in Swin."""
    image = keras.Input(shape)
    x = layers.Conv2D(8, 4, 4, name="patches")(image)
    for shift in (0, -1):
        h = ops.roll(layers.LayerNormalization()(x), (shift, shift), (1, 2))
        h = ops.transpose(ops.reshape(h, (-1, 2, 2, 2, 2, 8)), (0, 1, 3, 2, 4, 5))
        h = ops.reshape(h, (-1, 4, 8))
        query, key, value = (layers.Dense(8)(h) for _ in range(3))
        weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 8**0.5, -1)
        h = ops.reshape(ops.matmul(weights, value), (-1, 2, 2, 2, 2, 8))
        h = ops.reshape(ops.transpose(h, (0, 1, 3, 2, 4, 5)), (-1, 4, 4, 8))
        x = layers.Add()([x, ops.roll(h, (-shift, -shift), (1, 2))])
    x = layers.Conv2D(16, 2, 2, activation="relu", name="merge")(x)
    return keras.Model(image, head(layers.GlobalAveragePooling2D()(x)))


def hybrid(shape: Shape = (16, 16, 3)) -> keras.Model:
    """Convolutions, then attention."""
    image = keras.Input(shape)
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="stem")(image)
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="before")(x)
    x = block(layers.Reshape((16, 8))(x))
    return keras.Model(image, head(layers.GlobalAveragePooling1D()(x)))


def signal() -> keras.Model:
    """A transformer on a signal."""
    inputs = keras.Input((24, 2))
    x = block(layers.Conv1D(8, 3, 3, name="patches")(inputs))
    return keras.Model(inputs, head(layers.GlobalAveragePooling1D()(x)))


def text(mask_zero: bool = False, length: int | None = None) -> keras.Model:
    """A transformer on text: ids that are embedded."""
    ids = keras.Input((length,), dtype="int32")
    x = layers.Embedding(20, 8, mask_zero=mask_zero, name="embedding")(ids)
    return keras.Model(ids, head(layers.GlobalAveragePooling1D()(block(x))))


@keras.saving.register_keras_serializable("tests")
class SubclassedText(keras.Model):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(20, 8)
        self.attention = layers.MultiHeadAttention(2, 4)
        self.head = layers.Dense(3)

    def call(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        return self.head(ops.mean(x + self.attention(x, x), 1))


#: Each model, and the shape of what its map is read from.
MODELS: dict[str, tuple[Callable[..., keras.Model], tuple[int | None, ...]]] = {
    "vit": (vit, (None, 3, 3, 48)),
    "vit_with_class_token": (vit_with_class_token, (None, 3, 4, 8)),
    "mixer": (mixer, (None, 3, 3, 8)),
    "windows": (windows, (None, 4, 4, 8)),
    "hybrid": (hybrid, (None, 4, 4, 8)),
    "signal": (signal, (None, 8, 8)),
    "text": (text, (None, None, 8)),
}
