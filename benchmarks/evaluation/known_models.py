"""Small models for images with known evidence, trained until hardly any image is taken for another class."""

import functools

import keras
import numpy as np
from keras import layers

from benchmarks.evaluation import known_images, token_models

_BATCH = 50


def trained(name, photos):
    """Trains a model from a fixed seed; in each epoch, other boxes are pasted on the photos.

    Args:
        name: str, one of `NAMES`.
        photos: uint8 `[n, side, side, 3]`.

    Returns:
        `keras.Model` that gives logits.
    """
    build, epochs = _MODELS[name]
    keras.utils.set_random_seed(0)
    classes = len(known_images.CLASSES)
    model = build(photos.shape[1:], classes)
    steps = epochs * (len(photos) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=2e-3, warmup_steps=steps // 10)
    model.compile(
        keras.optimizers.Adam(rate, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for epoch in range(epochs):
        labels = np.random.default_rng(epoch).integers(0, classes, len(photos))
        shown = known_images.make(photos / 255, labels, epoch)
        model.fit(shown.images, shown.labels, batch_size=_BATCH, verbose=0)
    return model


def conv_net(shape, classes):
    """Five convolutions with ReLUs and a pooled head."""
    x = inputs = keras.Input(shape)
    for filters in (16, 32):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)), name="known_cnn")


_MODELS = {
    # architecture, epochs
    "known_cnn": (conv_net, 3),
    "known_vit_gap": (functools.partial(token_models.vit, head="gap"), 6),
    "known_vit_cls": (functools.partial(token_models.vit, head="cls"), 6),
    "known_vit_flat": (functools.partial(token_models.vit, head="flat"), 6),
    "known_mixer": (token_models.mixer, 6),
    "known_swin": (token_models.swin, 4),
}
NAMES = tuple(_MODELS)
