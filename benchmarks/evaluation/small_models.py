"""Models that the benchmark trains itself: convolutional up to their pooling, with linear outputs."""

import keras
from keras import layers

from tf_learnprop import zoo


def trained(name, images, labels):
    """Trains the model of that name from a fixed seed.

    Args:
        name: str, name of an architecture below.
        images: float32 `[n, h, w, c]`, preprocessed.
        labels: int `[n]`.

    Returns:
        `keras.Model`.
    """
    keras.utils.set_random_seed(0)
    model = _ARCHITECTURES[name](images.shape[1:], int(labels.max()) + 1)
    if name == "animals_transfer":
        _train_head(model, images, labels)
    else:
        epochs, batch_size, rate = _SCHEDULES[name]
        _fit(model, images, labels, epochs, batch_size, rate)
    model.trainable = True
    return model


def enlarged(name, model, factor):
    """The same model, with the same weights, for images `factor` times as large."""
    height, width, channels = model.input_shape[1:]
    larger = _ARCHITECTURES[name]((factor * height, factor * width, channels), model.output_shape[-1])
    larger.set_weights(model.get_weights())
    return larger


def digits_swish(shape, classes):
    """Three convolutions with swish, for images of 8 pixels a side."""
    x = inputs = keras.Input(shape)
    x = layers.Conv2D(32, 3, padding="same", activation="swish")(x)
    x = layers.Conv2D(64, 3, padding="same", activation="swish")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, padding="same", activation="swish")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name="digits_swish")


def mnist_inception(shape, classes):
    """Two blocks of Inception-style branches with batch normalisation and ReLU layers."""

    def convolution(x, filters, kernel):
        x = layers.Conv2D(filters, kernel, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    def block(x, filters):
        branches = [
            convolution(x, filters, 1),
            convolution(convolution(x, filters // 2, 1), filters, 3),
            convolution(convolution(x, filters // 2, 1), filters, 5),
            convolution(layers.MaxPooling2D(3, 1, padding="same")(x), filters, 1),
        ]
        return layers.Concatenate()(branches)

    x = inputs = keras.Input(shape)
    x = layers.MaxPooling2D()(convolution(x, 16, 3))
    x = layers.MaxPooling2D()(block(x, 16))
    x = block(x, 24)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name="mnist_inception")


def animals_vgg(shape, classes):
    """Eight convolutions with fused ReLUs like VGG, with a normalisation before each pooling."""
    x = inputs = keras.Input(shape)
    for filters in (16, 32, 64, 128):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    return keras.Model(inputs, layers.Dense(classes)(x), name="animals_vgg")


def animals_transfer(shape, classes):
    """EfficientNet-Lite0 with ImageNet weights as a nested backbone, and a head of its own."""
    inputs = keras.Input(shape)
    backbone = zoo.efficientnet_lite0(include_top=False, pooling="avg", input_shape=shape)
    x = layers.Dropout(0.2)(backbone(inputs))
    return keras.Model(inputs, layers.Dense(classes, name="head")(x), name="animals_transfer")


def _fit(model, images, labels, epochs, batch_size, rate):
    steps = epochs * (len(images) // batch_size)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(images, labels, batch_size=batch_size, epochs=epochs, verbose=0)


def _train_head(model, images, labels):
    """Trains the last layer on the features of the backbone, which is not trained."""
    head, backbone = model.get_layer("head"), model.layers[1]
    features = backbone.predict(images, verbose=0)
    inputs = keras.Input(features.shape[1:])
    _fit(keras.Model(inputs, head(inputs)), features, labels, epochs=30, batch_size=32, rate=3e-3)


_ARCHITECTURES = {
    "digits_swish": digits_swish,
    "mnist_inception": mnist_inception,
    "animals_vgg": animals_vgg,
    "animals_transfer": animals_transfer,
}
_SCHEDULES = {
    # epochs, batch size, rate
    "digits_swish": (15, 32, 3e-3),
    "mnist_inception": (6, 32, 3e-3),
    "animals_vgg": (15, 16, 1e-3),
}
