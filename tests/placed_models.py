"""Small models whose class depends on one bright spot, behind layers that move places.

All weights are set by hand: a convolution averages, and the class is the mean over all places of what is
brighter than the noise.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

#: Sides of the images, the spot in them, and how bright it is.
SHAPE = (96, 96, 1)
SPOT = (slice(58, 70), slice(24, 36))

Step = Callable[[keras.KerasTensor], keras.KerasTensor]


def images(spot: tuple[slice, slice] = SPOT, seed: int = 0) -> np.ndarray:
    """An image of weak noise with a bright spot."""
    image = np.random.default_rng(seed).uniform(0.0, 0.1, (1, *SHAPE)).astype("float32")
    image[(0, *spot)] += 1.0
    return image


def without_spot(seed: int = 1) -> np.ndarray:
    """An image of noise that is as bright as the convolutions see everywhere, without a spot."""
    return np.random.default_rng(seed).uniform(0.1, 0.3, (1, *SHAPE)).astype("float32")


def brightness(size: int = 3, strides: int = 1, padding: str = "same", **kwargs: object) -> layers.Layer:
    """A convolution with two channels: brightness above the noise, and half of it."""
    kernel = np.full((size, size, 1, 2), 1 / size**2) * [1.0, 0.5]
    return layers.Conv2D(
        2,
        size,
        strides,
        padding,
        activation="relu",
        kernel_initializer=_constant(kernel),
        bias_initializer=_constant(np.array([-0.1, -0.05])),
        **kwargs,
    )


def _constant(values: np.ndarray) -> Callable:
    return lambda shape, dtype=None: ops.convert_to_tensor(np.broadcast_to(values, shape), dtype)


def deeper(size: int = 3, strides: int = 2, padding: str = "same") -> layers.Layer:
    """A convolution of two channels to two."""
    kernel = np.full((size, size, 2, 2), 0.5 / size**2)
    return layers.Conv2D(2, size, strides, padding, activation="relu", kernel_initializer=_constant(kernel))


def backbone(image: keras.KerasTensor) -> keras.KerasTensor:
    """Brightness at steps of 2 and 4 pixels."""
    x = layers.MaxPooling2D(2)(brightness()(image))
    return deeper()(x)


def head(x: keras.KerasTensor) -> keras.KerasTensor:
    """Two classes, of which the second is there if any place is bright."""
    x = layers.GlobalAveragePooling2D()(x)
    kernel = np.stack([np.zeros(x.shape[-1]), np.full(x.shape[-1], 100.0)], -1)
    return layers.Dense(
        2, kernel_initializer=_constant(kernel), bias_initializer=_constant(np.array([0.3, 0.0]))
    )(x)


def chain(*steps: Step) -> Step:
    """One step after the other."""

    def run(x: keras.KerasTensor) -> keras.KerasTensor:
        for step in steps:
            x = step(x)
        return x

    return run


def model(before: Step | None = None, body: Step = backbone) -> keras.Model:
    """A model of one image."""
    image = keras.Input(SHAPE)
    return keras.Model(image, head(body(before(image) if before else image)))


#: What stands in front of the convolutions.
FRONTS: dict[str, Step | None] = {
    "Convolutions with strides and pooling": None,
    "An uneven crop, `Cropping2D`": layers.Cropping2D(((40, 16), (0, 0))),
    "A crop of the centre, `CenterCrop`": layers.CenterCrop(56, 88),
    "A slice, then `Resizing` with a crop": lambda x: layers.Resizing(40, 64, crop_to_aspect_ratio=True)(
        x[:, 20:]
    ),
    "Uneven padding, `ZeroPadding2D`": layers.ZeroPadding2D(((60, 0), (0, 40))),
    "A slice, `x[:, 48:]`": lambda x: x[:, 48:, :],
    "A flip, `keras.ops.flip`": lambda x: ops.flip(x, axis=2),
    "A flip by a slice, `x[:, ::-1]`": lambda x: x[:, ::-1],
    "Rows and columns swapped, `Permute`": layers.Permute((2, 1, 3)),
}

#: Convolutions whose places lie off those of an even division of the image.
BODIES: dict[str, Step] = {
    "Convolutions without padding": chain(
        brightness(5, 1, "valid"), deeper(5, 2, "valid"), deeper(3, 2, "valid")
    ),
    "Strides of 3": chain(brightness(3, 3, "valid"), deeper(3, 3, "valid")),
    "Padding on one side, between convolutions": chain(
        brightness(), layers.ZeroPadding2D(((0, 7), (0, 7))), deeper(8, 4, "valid")
    ),
}


def pair() -> list[keras.KerasTensor]:
    return [keras.Input(SHAPE, name="ct"), keras.Input(SHAPE, name="mr")]


def two_branches() -> keras.Model:
    """Two images with a backbone each; one is explained."""
    inputs = pair()
    return keras.Model(inputs, head(layers.Concatenate()([*map(backbone, inputs)])))


def siamese() -> keras.Model:
    """Two images that go through one backbone; one is explained."""
    image = keras.Input(SHAPE)
    shared = keras.Model(image, backbone(image), name="shared")
    inputs = pair()
    return keras.Model(inputs, head(layers.Add()([*map(shared, inputs)])))


def joined() -> keras.Model:
    """Two images with a backbone each, and a convolution of the sum of both."""
    inputs = pair()
    both = layers.Add()([*map(backbone, inputs)])
    return keras.Model(inputs, head(deeper(strides=1)(both)))


def apart() -> keras.Model:
    """Two images, of which each output uses one."""
    inputs = pair()
    return keras.Model(inputs, [head(backbone(x)) for x in inputs])


def stacked() -> keras.Model:
    """Two images that are joined as channels of one, so that no layer sees either alone."""
    inputs = pair()
    mean = layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")
    return keras.Model(inputs, head(backbone(mean(layers.Concatenate()(inputs)))))


def added_early() -> keras.Model:
    """Two images that meet behind one convolution each, with activations behind that."""
    inputs = pair()
    both = layers.Add()([brightness()(x) for x in inputs])
    return keras.Model(inputs, head(deeper()(layers.MaxPooling2D(2)(both))))


#: Models of two images whose layers see the images apart, at first.
PAIRS = (two_branches, siamese, joined)


def spots_of_tokens(patches: Step) -> keras.Model:
    """A model of patches, with attention among them."""
    image = keras.Input(SHAPE)
    tokens = patches(image)
    bright = layers.Dense(
        1,
        "relu",
        kernel_initializer=_constant(np.full((tokens.shape[-1], 1), 1 / tokens.shape[-1])),
        bias_initializer=_constant(np.array([-0.1])),
    )(tokens)
    attended = layers.MultiHeadAttention(1, 2)(bright, bright)
    return keras.Model(image, _class_of_mean(bright + 1e-3 * attended))


def _class_of_mean(x: keras.KerasTensor) -> keras.KerasTensor:
    x = layers.GlobalAveragePooling1D()(x)
    return layers.Dense(2, kernel_initializer=_constant(np.array([[0.0, 100.0]])))(x)


def patches_by_reshape(x: keras.KerasTensor, size: int = 6) -> keras.KerasTensor:
    """Cuts patches as `[n, tokens, pixels]`, without a convolution."""
    rows, columns = (side // size for side in SHAPE[:2])
    x = ops.reshape(x, (-1, rows, size, columns, size, SHAPE[-1]))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, rows * columns, size * size * SHAPE[-1]))


def series(length: int, before: Step | None = None, strides: int = 4) -> keras.Model:
    """A series in which one bright stretch makes the class."""
    x = image = keras.Input((length, 1))
    x = before(x) if before else x
    kernel = np.full((strides + 3, 1, 2), 1 / (strides + 3))
    x = layers.Conv1D(
        2,
        strides + 3,
        strides,
        activation="relu",
        kernel_initializer=_constant(kernel),
        bias_initializer=_constant(np.array([-0.1])),
    )(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(image, layers.Dense(2, kernel_initializer=_constant(np.array([[0.0, 99.0]] * 2)))(x))


def a_series(length: int, stretch: slice) -> np.ndarray:
    """Weak noise with a bright stretch."""
    values = np.random.default_rng(2).uniform(0.0, 0.1, (1, length, 1)).astype("float32")
    values[0, stretch] += 1.0
    return values
