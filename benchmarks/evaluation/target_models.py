"""Small models for what is no class: a U-Net, a detector, regression, volumes, embeddings, texts, series."""

import keras
import numpy as np
from keras import layers, ops

from benchmarks.evaluation import target_images

SIDE = target_images.SIDE
#: Pixels of a side of the cells of the detector.
CELL = 4
#: Name of the last layer of a U-Net at its smallest size.
BOTTLENECK = "bottleneck"
_BATCH = 32


def _block(x, filters, kernel=3, convolution=layers.Conv2D, stride=1, name=None):
    x = convolution(filters, kernel, stride, padding="same", use_bias=False)(x)
    return layers.ReLU(name=name)(layers.BatchNormalization(momentum=0.9)(x))


def u_net(classes, widths=(12, 16, 24, 32), side=SIDE):
    """A U-Net: maps of four sizes, skip connections, logits for each pixel. `BOTTLENECK` sees all."""
    x = image = keras.Input((side, side, 3))
    skipped = []
    for width in widths[:-1]:
        x = _block(x, width)
        skipped.append(x)
        x = layers.MaxPooling2D()(x)
    for name in (None, None, BOTTLENECK):
        x = _block(x, widths[-1], name=name)
    for width, skip in zip(widths[-2::-1], skipped[::-1], strict=True):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        x = _block(x, width)
    return keras.Model(image, layers.Conv2D(classes, 1)(x))


def detector(classes):
    """A detector of one stage: an anchor for each cell; dict of "scores" and "boxes" (xyxy)."""
    x = image = keras.Input((SIDE, SIDE, 3))
    for width in (12, 24):
        x = layers.MaxPooling2D()(_block(x, width))
    for _ in range(2):
        x = _block(x, 32)
    cells = SIDE // CELL
    scores = layers.Reshape((cells**2, classes), name="scores")(
        layers.Conv2D(classes, 1, bias_initializer=keras.initializers.Constant(-4.0))(x)
    )
    offsets = layers.Reshape((cells**2, 4))(layers.Conv2D(4, 1)(x))
    boxes = DecodedBoxes(cells, name="boxes")(offsets)
    return keras.Model(image, {"scores": scores, "boxes": boxes})


@keras.saving.register_keras_serializable("benchmarks")
class DecodedBoxes(layers.Layer):
    """Boxes xyxy in pixels, from offsets `[n, cells², 4]` to the sides of a box around the middle of a cell.

    Args:
        cells: Number of cells a side.
    """

    def __init__(self, cells, **kwargs):
        super().__init__(**kwargs)
        self.cells = cells

    def call(self, offsets):
        row, column = np.indices((self.cells, self.cells)).reshape(2, -1) * CELL + CELL / 2
        half = target_images.BOX / 2
        default = np.stack([column - half, row - half, column + half, row + half], -1)
        return ops.convert_to_tensor(default.astype("float32")) + CELL * offsets

    def get_config(self):
        return {**super().get_config(), "cells": self.cells}


def detector_answers(known):
    """What `detector` learns: classes, float `[n, cells², classes]`, and boxes, 0 where there is none."""
    middle = np.indices((SIDE // CELL,) * 2).reshape(2, -1)[::-1].T * CELL + CELL / 2  # x, y
    boxes = known.answers["boxes"][:, :, None]
    is_in = ((boxes[..., :2] <= middle) & (middle < boxes[..., 2:])).all(-1)  # [n, objects, cells²]
    classes = np.eye(target_images.TEXTURES, dtype="float32")[known.answers["classes"]]
    return {
        "scores": np.einsum("noa,noc->nac", is_in.astype("float32"), classes),
        "boxes": (is_in[..., None] * boxes).sum(1),
    }


def cell_of(boxes):
    """Number of the anchor in the middle of boxes `[n, 4]`."""
    x, y = ((boxes[:, k] + boxes[:, k + 2]) // 2 // CELL for k in (0, 1))
    return (y * (SIDE // CELL) + x).astype(int)


def box_loss(boxes, predicted):
    """Mean distance of the sides, in cells, where there is a box."""
    is_box = ops.cast(ops.any(boxes != 0, -1), "float32")
    distances = ops.mean(ops.abs(boxes - predicted), -1) / CELL
    return ops.sum(is_box * distances, -1) / ops.sum(is_box, -1)


def pixel_loss(labels, logits):
    """Cross-entropy of each pixel; those of objects, which are few, count ten times."""
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return ops.mean(losses * ops.where(labels > 0, 10.0, 1.0), (1, 2))


def second_half(letters, logits):
    """Cross-entropy of the letters that are copied."""
    count = letters.shape[1]
    return ops.mean(
        keras.losses.sparse_categorical_crossentropy(letters, logits[:, -count:], from_logits=True), -1
    )


def regressor(pool=True):
    """Convolutions, pooling or flattening, and one value."""
    x = image = keras.Input((SIDE, SIDE, 1))
    for width in (12, 24):
        x = layers.MaxPooling2D()(_block(x, width))
    x = _block(x, 32)
    if pool:
        x = layers.GlobalAveragePooling2D()(x)
    else:
        x = layers.Dense(32, "relu")(layers.Flatten()(layers.MaxPooling2D()(x)))
    return keras.Model(image, layers.Dense(1)(x))


def volume_net(side=16):
    """3-D convolutions and a pooled head of three classes."""
    x = volume = keras.Input((side, side, side, 1))
    for width in (8, 16):
        x = layers.MaxPooling3D()(_block(x, width, convolution=layers.Conv3D))
    x = _block(x, 24, convolution=layers.Conv3D)
    return keras.Model(volume, layers.Dense(3)(layers.GlobalAveragePooling3D()(x)))


def convolutional(channels, units, length):
    """Two 1-D convolutions and a pooled head."""
    x = series = keras.Input((length, channels))
    for width in (12, 24):
        x = _block(x, width, convolution=layers.Conv1D)
    return keras.Model(series, layers.Dense(units)(layers.GlobalAveragePooling1D()(x)))


def recurrent(channels, units, length, width=24):
    """An LSTM over a series, and a head at its last state."""
    series = keras.Input((length, channels))
    return keras.Model(series, layers.Dense(units)(layers.LSTM(width)(series)))


def recurrent_of_ids(vocabulary, length, classes, width=32):
    """An embedding, an LSTM over the words, and a head at its last state."""
    ids = keras.Input((length,), dtype="int32")
    x = layers.LSTM(width)(layers.Embedding(vocabulary, width)(ids))
    return keras.Model(ids, layers.Dense(classes)(x))


def embedder():
    """Convolutions, an embedding of 16 values, and its cosines with one vector for each object, times 10."""
    x = image = keras.Input((SIDE, SIDE, 3))
    for width in (16, 24):
        x = layers.MaxPooling2D()(_block(x, width))
    x = _block(_block(x, 32), 48)
    x = layers.Dense(16, name="embedding")(layers.GlobalAveragePooling2D()(x))
    kernel = keras.constraints.UnitNorm(axis=0)
    cosines = layers.Dense(target_images.OBJECTS, use_bias=False, kernel_constraint=kernel)
    return keras.Model(image, layers.Rescaling(10.0)(cosines(layers.UnitNormalization()(x))))


def embedding_of(model):
    """The part of `embedder` up to the embedding."""
    return keras.Model(model.input, model.get_layer("embedding").output)


@keras.saving.register_keras_serializable("benchmarks")
class TokensAndPositions(layers.Layer):
    """Embeds ids `[n, length]` and adds a learned vector for each position."""

    def __init__(self, vocabulary, length, width, **kwargs):
        super().__init__(**kwargs)
        self.sizes = (vocabulary, length, width)
        self.tokens = layers.Embedding(vocabulary, width)
        self.positions = layers.Embedding(length, width)

    def call(self, ids):
        return self.tokens(ids) + self.positions(ops.arange(self.sizes[1]))

    def get_config(self):
        return {
            **super().get_config(),
            **dict(zip(("vocabulary", "length", "width"), self.sizes, strict=True)),
        }


def transformer(vocabulary, length, classes, causal=False, width=48, blocks=2, heads=4):
    """A transformer: logits of classes from the mean token, or if it is causal of the next tokens."""
    ids = keras.Input((length,), dtype="int32")
    x = TokensAndPositions(vocabulary, length, width)(ids)
    for _ in range(blocks):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(heads, width // heads)(y, y, use_causal_mask=causal)
        y = layers.LayerNormalization()(x)
        x = x + layers.Dense(width)(layers.Dense(2 * width, "gelu")(y))
    x = layers.LayerNormalization()(x)
    return keras.Model(ids, layers.Dense(classes)(x if causal else layers.GlobalAveragePooling1D()(x)))


def _compiled(model, steps, loss, rate):
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=rate, warmup_steps=steps // 10
    )
    model.compile(keras.optimizers.Adam(schedule, global_clipnorm=1.0), loss)
    return model


def fitted(build, make, steps, loss, answers=lambda known: known.answers, rate=5e-3, epochs=5):
    """Trains a model from a fixed seed.

    Args:
        build: Makes the model.
        make: Function from a count and a seed to `Known`.
        steps: Steps of training.
        loss: Keras' loss.
        answers: What the model learns, from `Known`.
        rate: Largest learning rate.
        epochs: How often it sees each sample.
    """
    keras.utils.set_random_seed(0)
    model = _compiled(build(), steps, loss, rate)
    known = make(steps * _BATCH // epochs, 1000)
    model.fit(known.inputs, answers(known), batch_size=_BATCH, epochs=epochs, verbose=0)
    return model
