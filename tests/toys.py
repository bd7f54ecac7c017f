"""Small models and data whose answers are known."""

import keras
import numpy as np

from tf_learnprop.targets import Classes

SIDE = 16


def rng(seed=0):
    return np.random.default_rng(seed)


def normal(*shape, seed=0):
    return rng(seed).normal(size=shape).astype(np.float32)


def images(count, shape=(SIDE, SIDE, 3), seed=0):
    return normal(count, *shape, seed=seed)


def jolt(wrapped, seed=0):
    """Moves every weight of the rules and the readout away from its start, as training would."""
    generator = rng(seed)
    for variable in wrapped.rule_set.weights:
        variable.assign_add(0.1 * generator.normal(size=variable.shape).astype("float32"))
    return wrapped


def traces(function):
    """How often a function of inputs and a target was traced for classes."""
    return function.of_kind(Classes().kind).traced.experimental_get_tracing_count()


def small_cnn(classes=4, shape=(SIDE, SIDE, 3), activation="softmax"):
    """A CNN with a fused activation, a batch normalisation and an activation layer."""
    image = keras.Input(shape)
    x = keras.layers.Conv2D(6, 3, padding="same", use_bias=False)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, activation=activation)(x))


def linear(weights):
    """logits = relu(x)·weights, `weights` of shape `[features, classes]`; x >= 0 makes it linear."""
    image = keras.Input((len(weights),))
    x = keras.layers.ReLU()(image)
    layer = keras.layers.Dense(weights.shape[1], use_bias=False)
    model = keras.Model(image, layer(x))
    layer.set_weights([weights])
    return model


def stripes(count, seed=0):
    """Noisy images with stripes in each quadrant, upright or lying by chance.

    Returns:
        images `[n, 16, 16, 1]`, and labels `[n]`: 1 if the stripes of the top left quadrant lie.
    """
    generator = rng(seed)
    half = SIDE // 2
    upright = np.where(np.arange(half) % 4 < 2, 1.0, -1.0) * np.ones((half, 1))
    lying = generator.integers(0, 2, (count, 2, 2, 1, 1))
    blocks = np.where(lying == 0, upright, upright.T)
    x = blocks.transpose(0, 1, 3, 2, 4).reshape(count, SIDE, SIDE)
    x = x + 0.5 * generator.normal(size=x.shape)
    return x[..., None].astype(np.float32), lying[:, 0, 0, 0, 0]


def stripe_classifier():
    """A CNN that tells the labels of `stripes`, so that only the top left quadrant matters to it."""
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = keras.layers.MaxPooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=["accuracy"],
    )
    x, labels = stripes(512)
    model.fit(x, np.eye(2)[labels], epochs=10, batch_size=32, verbose=0)
    return model


def inside(maps):
    """Fraction of each map's positive mass that lies in the top left quadrant, mean over the maps."""
    mass = np.maximum(maps, 0)
    half = SIDE // 2
    return float(np.mean(mass[:, :half, :half].sum((1, 2)) / mass.sum((1, 2))))
