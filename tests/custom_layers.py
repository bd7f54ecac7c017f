"""Layers and models with a `call` of their own."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

PACKAGE = "tf_learnprop_tests"

Tensor: TypeAlias = keras.KerasTensor
Shape = tuple[Any, ...]


@keras.saving.register_keras_serializable(PACKAGE)
class Block(layers.Layer):
    """Layers of one name, a weight in an expression, a dropout, and two activations of one name."""

    def __init__(self, filters: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.convs = [layers.Conv2D(filters, 3, padding="same", name="conv") for _ in range(2)]
        self.norm = layers.BatchNormalization(name="norm")
        self.dropout = layers.Dropout(0.5, name="dropout")

    def build(self, shape: Shape) -> None:
        self.convs[0].build(shape)
        self.convs[1].build((*shape[:-1], self.filters))
        self.norm.build((*shape[:-1], self.filters))
        self.scale = self.add_weight(shape=(self.filters,), initializer="uniform", name="scale")

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        x = ops.relu(self.convs[0](x))
        x = self.dropout(self.norm(x, training=training), training=training)
        return ops.relu(self.convs[1]((1.0 + self.scale) * x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(PACKAGE)
class Patches(layers.Layer):
    """Tokens with a class token and positions, as in keras.io's vision transformer."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.projection = layers.Dense(4, "gelu", name="projection")

    def build(self, shape: Shape) -> None:
        self.count = shape[1] * shape[2] // 4
        self.projection.build((None, None, 4 * shape[-1]))
        self.token = self.add_weight(shape=(1, 1, 4), initializer="uniform", name="token")
        self.positions = layers.Embedding(self.count + 1, 4)
        self.positions.build((None,))

    def call(self, images: Tensor) -> Tensor:
        size = ops.shape(images)[0]
        patches = ops.image.extract_patches(images, 2)
        tokens = self.projection(ops.reshape(patches, (size, self.count, patches.shape[-1])))
        tokens = ops.concatenate([ops.broadcast_to(self.token, (size, 1, 4)), tokens], 1)
        return tokens + self.positions(ops.arange(self.count + 1))


class Windows(layers.Layer):
    """Divides the batch, as window attention does."""

    def call(self, x: Tensor) -> Tensor:
        size, height, width, filters = ops.shape(x)
        x = ops.reshape(x, (size * height // 2, 2, width, filters))
        x = ops.relu(x - ops.mean(x, (1, 2), keepdims=True))
        return ops.reshape(x, (ops.shape(x)[0] // (height // 2), height, width, filters))


class ReturnsNone(layers.Layer):
    """Returns None beside a tensor, as blocks do that may return attention scores."""

    def call(self, x: Tensor) -> tuple[Tensor, None]:
        return ops.relu(x), None


class UsesNone(layers.Layer):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = ReturnsNone(name="inner")

    def call(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


class Tied(layers.Layer):
    """Uses the weights of a layer inside it in an expression."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = layers.Dense(5, "tanh", name="inner")

    def build(self, shape: Shape) -> None:
        self.inner.build(shape)

    def call(self, x: Tensor) -> Tensor:
        return ops.matmul(self.inner(x), ops.transpose(self.inner.kernel))


class DoublingDense(layers.Dense):
    """A layer with a fused activation and a `call` of its own."""

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        return super().call(inputs, training) * 2.0


class Remembers(layers.Layer):
    """Leaves what it computes in itself and in a layer inside it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = ReturnsNone(name="inner")
        self.last = None

    def call(self, x: Tensor) -> Tensor:
        self.last = self.inner.last = x = self.inner(x)[0]
        return x


class InTensorFlow(layers.Layer):
    def call(self, x: Tensor) -> Tensor:
        return tf.nn.relu(x)


class Branches(layers.Layer):
    def compute_output_shape(self, shape: Shape) -> Shape:
        return shape

    def call(self, x: Tensor) -> Tensor:
        return ops.relu(x) if np.prod(x.shape[1:]) > 1 and ops.max(x) > 0 else x


class Counts(layers.Layer):
    """Changes a variable of its own in each call."""

    def build(self, shape: Shape) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x: Tensor) -> Tensor:
        self.calls.assign_add(1.0)
        return ops.relu(x)


@keras.saving.register_keras_serializable(PACKAGE)
class Classifier(keras.Model):
    """A subclassed model, with a weight and an activation of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks = [Block(4), Block(5)]
        self.hidden = layers.Dense(6)
        self.head = layers.Dense(3, "softmax")

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        for block in self.blocks:
            x = block(x, training=training)
        x = ops.reshape(x, (ops.shape(x)[0], x.shape[1] * x.shape[2], x.shape[3]))
        return self.head(ops.tanh(self.hidden(ops.mean(x, 1))))


def subclassed() -> keras.Model:
    """A subclassed model, with layers of your own inside."""
    model = Classifier()
    model(np.zeros((2, 8, 8, 3), "float32"))
    return model


def around(layer: layers.Layer, shape: Shape = (8, 8, 3)) -> keras.Model:
    """A model with a layer between two others."""
    inputs = keras.Input(shape)
    x = layer(layers.Dense(4, "elu", name="before")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="after")(layers.Flatten()(x)))


#: Layers that are opened, and the activations inside them by their paths.
OPENED: dict[str, tuple[Callable[[], layers.Layer], dict[str, str]]] = {
    "A layer of your own, with layers inside and a weight of its own": (
        lambda: Block(name="mine"),
        {"mine/relu": "relu", "mine/relu_1": "relu"},
    ),
    "Patches with a class token and positions": (
        lambda: Patches(name="mine"),
        {"mine/projection": "gelu"},
    ),
    "A layer that divides the batch, as window attention does": (
        lambda: Windows(name="mine"),
        {"mine/relu": "relu"},
    ),
    "A layer whose inner layer also returns None": (
        lambda: UsesNone(name="mine"),
        {"mine/inner/relu": "relu"},
    ),
    "Tied weights: a layer's kernel is used once more": (lambda: Tied(name="mine"), {"mine/inner": "tanh"}),
    "A subclass of a Keras layer, with an `activation`": (
        lambda: DoublingDense(4, "gelu", name="mine"),
        {"mine/gelu": "gelu"},
    ),
    "A `Lambda`": (
        lambda: layers.Lambda(lambda x: ops.selu(x) + 1.0, name="mine"),
        {"mine/selu": "selu"},
    ),
    "`Activation` of a function of your own": (
        lambda: layers.Activation(lambda x: ops.gelu(x, approximate=False), name="mine"),
        {"mine/gelu": "gelu"},
    ),
    "A layer of your own in a nested model": (
        lambda: keras.Sequential([keras.Input((8, 8, 4)), Block(name="block")], name="mine"),
        {"mine/block/relu": "relu", "mine/block/relu_1": "relu"},
    ),
}

#: Layers that can't be opened, and why.
CLOSED: dict[str, tuple[Callable[..., layers.Layer], str]] = {
    "A layer that calls TensorFlow, such as `tf.nn.relu`": (
        InTensorFlow,
        "it calls TensorFlow, not Keras operations",
    ),
    "A layer that branches on values, which `explain` refuses": (
        Branches,
        "what it computes depends on values",
    ),
    "A layer that changes its own variables": (Counts, "it changes its own variables"),
}


class Causal(layers.Layer):
    """Weighs what came before, with a mask of the batch's size and positions that it computes."""

    def call(self, x: Any) -> Any:
        size, length, _ = ops.shape(x)
        index = ops.arange(length, dtype="float32")
        mask = ops.broadcast_to(ops.expand_dims(index, 1) >= index, (size, length, length))
        weights = ops.cast(mask, "float32") / (1.0 + ops.expand_dims(index, 1))
        return ops.relu(ops.matmul(weights, x) - 0.1 * ops.expand_dims(index, 1))


class Padded(layers.Layer):
    """Puts a token in front and cuts the last one off: sizes with an offset."""

    def call(self, x: Any) -> Any:
        size, length, filters = ops.shape(x)
        x = ops.concatenate([ops.ones((size, 1, filters)), ops.elu(x)], 1)
        return ops.slice(x, (0, 0, 0), (size, length - 1, filters))


class Grid(layers.Layer):
    """Makes tokens of a grid: a product of sizes."""

    def call(self, x: Any) -> Any:
        size, height, width, filters = ops.shape(x)
        return ops.reshape(ops.relu(x), (size, height * width, filters))


class Attends(layers.Layer):
    """Two sequences of their own lengths, and one mask of each."""

    def call(self, x: Any, other: Any, mask: Any) -> Any:
        lengths = ops.cast(ops.shape(other)[1], "float32")
        weights = ops.tanh(ops.einsum("bqc,bkc->bqk", x, other))
        weights = weights * ops.expand_dims(ops.cast(mask, "float32"), 1)
        positions = ops.reshape(ops.arange(ops.shape(x)[1], dtype="float32"), (1, -1, 1))
        return ops.matmul(weights, other) + positions + 0.0 * lengths
