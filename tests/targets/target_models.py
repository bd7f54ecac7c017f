"""Small models whose outputs are no classes: a segmenter, a detector, an embedding, a language model."""

import keras
from keras import layers


def conv(filters: int, activation: str | None = "relu") -> keras.layers.Layer:
    return layers.Conv2D(filters, 3, padding="same", activation=activation)


def unet(
    classes: int = 3, activation: str | None = "softmax", side: int = 12, channels: int = 2
) -> keras.Model:
    """Images to classes of pixels, with a skip connection at each of two levels."""
    keras.utils.set_random_seed(0)
    image = keras.Input((side, side, channels))
    fine = conv(5)(image)
    middle = conv(6)(layers.MaxPooling2D()(fine))
    coarse = conv(7)(layers.MaxPooling2D()(middle))
    middle = conv(6)(layers.Concatenate()([layers.UpSampling2D()(coarse), middle]))
    fine = conv(5)(layers.Concatenate()([layers.UpSampling2D()(middle), fine]))
    return keras.Model(image, layers.Conv2D(classes, 1, activation=activation, name="pixels")(fine))


def coarse_segmenter(classes: int = 3) -> keras.Model:
    """Images `[n, 12, 12, 2]` to logits `[n, 6, 6, classes]`."""
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 2))
    return keras.Model(image, layers.Conv2D(classes, 1)(layers.MaxPooling2D()(conv(6)(image))))


def volume_segmenter() -> keras.Model:
    """Volumes to classes of voxels."""
    keras.utils.set_random_seed(0)
    volume = keras.Input((6, 6, 4, 1))
    x = layers.Conv3D(4, 3, padding="same", activation="relu")(volume)
    return keras.Model(volume, layers.Conv3D(3, 1, activation="softmax")(x))


def series_segmenter() -> keras.Model:
    """Series to classes of steps."""
    keras.utils.set_random_seed(0)
    series = keras.Input((20, 2))
    x = layers.Conv1D(6, 5, padding="same", activation="relu")(series)
    return keras.Model(series, layers.Dense(3)(x))


def regressor(values: int = 1, activation: str | None = None, channels: int = 2) -> keras.Model:
    """Images to values."""
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, channels))
    x = layers.GlobalAveragePooling2D()(conv(6)(conv(5)(image)))
    return keras.Model(image, layers.Dense(values, activation=activation)(x))


def flat_regressor() -> keras.Model:
    """Images to one value without an axis, `[n]`."""
    model = regressor()
    return keras.Model(model.input, layers.Reshape(())(model.output))


def embedding() -> keras.Model:
    """Images to vectors of length one, by a branch that a siamese model uses twice."""
    model = regressor(8)
    return keras.Model(model.input, layers.UnitNormalization()(model.output))


def language_model(vocabulary: int = 11, length: int = 7) -> keras.Model:
    """Ids to the logits of the following token: causal attention over embeddings of tokens and positions."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((length,), dtype="int32")
    x = layers.Embedding(vocabulary, 8)(ids)
    x = x + layers.Embedding(length, 8)(keras.ops.arange(length))
    x = x + layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    x = x + layers.Dense(8)(layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x)))
    return keras.Model(ids, layers.Dense(vocabulary, activation="softmax")(x))


def detector(anchors: int = 9, classes: int = 3) -> keras.Model:
    """Images to boxes `[n, anchors, 4]` and class probabilities `[n, anchors, classes]`, in a dict."""
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 2))
    x = conv(6)(layers.MaxPooling2D(2)(conv(5)(image)))
    x = layers.AveragePooling2D(2)(x)
    boxes = layers.Reshape((anchors, 4))(layers.Conv2D(4, 1)(x))
    logits = layers.Reshape((anchors, classes))(layers.Conv2D(classes, 1)(x))
    return keras.Model(image, {"boxes": boxes, "classes": layers.Activation("sigmoid")(logits)})
