"""Layers and models with a `call` of their own."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

PACKAGE = "tf_learnprop_tests"


@keras.saving.register_keras_serializable(PACKAGE)
class Block(layers.Layer):
    """Layers of one name, a weight in an expression, a dropout, and two activations of one name."""

    def __init__(self, filters=4, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.convs = [layers.Conv2D(filters, 3, padding="same", name="conv") for _ in range(2)]
        self.norm = layers.BatchNormalization(name="norm")
        self.dropout = layers.Dropout(0.5, name="dropout")

    def build(self, shape):
        self.convs[0].build(shape)
        self.convs[1].build((*shape[:-1], self.filters))
        self.norm.build((*shape[:-1], self.filters))
        self.scale = self.add_weight(shape=(self.filters,), initializer="uniform", name="scale")

    def call(self, x, training=None):
        x = ops.relu(self.convs[0](x))
        x = self.dropout(self.norm(x, training=training), training=training)
        return ops.relu(self.convs[1]((1.0 + self.scale) * x))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(PACKAGE)
class Patches(layers.Layer):
    """Tokens with a class token and positions, as in keras.io's vision transformer."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.projection = layers.Dense(4, "gelu", name="projection")

    def build(self, shape):
        self.count = shape[1] * shape[2] // 4
        self.projection.build((None, None, 4 * shape[-1]))
        self.token = self.add_weight(shape=(1, 1, 4), initializer="uniform", name="token")
        self.positions = layers.Embedding(self.count + 1, 4)
        self.positions.build((None,))

    def call(self, images):
        size = ops.shape(images)[0]
        patches = ops.image.extract_patches(images, 2)
        tokens = self.projection(ops.reshape(patches, (size, self.count, patches.shape[-1])))
        tokens = ops.concatenate([ops.broadcast_to(self.token, (size, 1, 4)), tokens], 1)
        return tokens + self.positions(ops.arange(self.count + 1))


class Windows(layers.Layer):
    """Divides the batch, as window attention does."""

    def call(self, x):
        size, height, width, filters = ops.shape(x)
        x = ops.reshape(x, (size * height // 2, 2, width, filters))
        x = ops.relu(x - ops.mean(x, (1, 2), keepdims=True))
        return ops.reshape(x, (ops.shape(x)[0] // (height // 2), height, width, filters))


class ReturnsNone(layers.Layer):
    """Returns None beside a tensor, as blocks do that may return attention scores."""

    def call(self, x):
        return ops.relu(x), None


class UsesNone(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = ReturnsNone(name="inner")

    def call(self, x):
        return self.inner(x)[0]


class Tied(layers.Layer):
    """Uses the weights of a layer inside it in an expression."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(5, "tanh", name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return ops.matmul(self.inner(x), ops.transpose(self.inner.kernel))


class DoublingDense(layers.Dense):
    """A layer with a fused activation and a `call` of its own."""

    def call(self, inputs, training=None):
        return super().call(inputs, training) * 2.0


class Remembers(layers.Layer):
    """Leaves what it computes in itself and in a layer inside it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = ReturnsNone(name="inner")
        self.last = None

    def call(self, x):
        self.last = self.inner.last = x = self.inner(x)[0]
        return x


class InTensorFlow(layers.Layer):
    def call(self, x):
        return tf.nn.relu(x)


class Branches(layers.Layer):
    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        return ops.relu(x) if np.prod(x.shape[1:]) > 1 and ops.max(x) > 0 else x


class Counts(layers.Layer):
    """Changes a variable of its own in each call."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return ops.relu(x)


@keras.saving.register_keras_serializable(PACKAGE)
class Classifier(keras.Model):
    """A subclassed model, with a weight and an activation of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(4), Block(5)]
        self.hidden = layers.Dense(6)
        self.head = layers.Dense(3, "softmax")

    def call(self, x, training=False):
        for block in self.blocks:
            x = block(x, training=training)
        x = ops.reshape(x, (ops.shape(x)[0], x.shape[1] * x.shape[2], x.shape[3]))
        return self.head(ops.tanh(self.hidden(ops.mean(x, 1))))
