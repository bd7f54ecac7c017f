"""Small linear models of all layers that move places, for the tests of geometry."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
from keras import layers, ops

Tensor: TypeAlias = keras.KerasTensor
Step = Callable[[Tensor], Tensor]
#: Shape of the input, and a function of a tensor.
Placed = tuple[tuple[int, ...], Step]

IMAGE, ODD, SERIES, VOLUME = (24, 36, 2), (25, 31, 2), (45, 2), (8, 9, 10, 1)


def conv(
    size: Any = 3, strides: Any = 1, padding: str = "valid", filters: int = 2, **kwargs: Any
) -> layers.Layer:
    return layers.Conv2D(filters, size, strides, padding, use_bias=False, **kwargs)


def conv1(size: int = 3, strides: int = 1, padding: str = "valid", **kwargs: Any) -> layers.Layer:
    return layers.Conv1D(2, size, strides, padding, use_bias=False, **kwargs)


def chain(*steps: Step) -> Step:
    """A function of a tensor that applies layers or functions one after the other."""

    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run


def patches_by_reshape(size: int, shape: tuple[int, ...], channels: int) -> Step:
    """Cuts patches as keras.io's vision transformers do."""
    rows, columns = shape[0] // size, shape[1] // size

    def cut(x: Tensor) -> Tensor:
        x = ops.reshape(x, (-1, rows, size, columns, size, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, rows * columns, size * size * channels))

    return cut


def windows(size: int, shape: tuple[int, ...], channels: int) -> Step:
    """Cuts windows as Swin does, into the batch."""

    def cut(x: Tensor) -> Tensor:
        x = ops.reshape(x, (-1, shape[0] // size, size, shape[1] // size, size, channels))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, size * size, channels))

    return cut


def joined_windows(size: int, shape: tuple[int, ...], channels: int) -> Step:
    """The inverse of `windows`."""

    def join(x: Tensor) -> Tensor:
        x = ops.reshape(x, (-1, shape[0] // size, shape[1] // size, size, size, channels))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, *shape[:2], channels))

    return join


def with_class_token(x: Tensor) -> Tensor:
    """Puts a token of zeros in front of tokens."""
    return ops.concatenate([ops.zeros_like(x[:, :1]), x], axis=1)


def squeeze_and_excite(x: Tensor) -> Tensor:
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Multiply()([x, layers.Dense(x.shape[-1], use_bias=False)(gate)])


def residual(strides: int, padding: str = "same") -> Step:
    def block(x: Tensor) -> Tensor:
        return layers.Add()([conv(1, strides, padding)(x), conv(3, strides, padding)(x)])

    return block


def merged_patches(x: Tensor) -> Tensor:
    """Joins 2 x 2 patches as Swin does, by strided slices."""
    parts = [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return layers.Dense(2, use_bias=False)(ops.concatenate(parts, axis=-1))


def nested(x: Tensor) -> Tensor:
    inner = keras.Input((None, None, 2))
    return keras.Model(inner, conv(3, 2, "same")(conv(3, 2)(inner)))(x)


#: {what moves the places: {name: model}}; each model gives a tensor with places.
PLACED_BY_KIND: dict[str, dict[str, Placed]] = {
    "Convolutions of all sizes, strides, paddings and dilations": {
        **{
            f"conv2d-{size}-{strides}-{padding}-{side}": (shape, conv(size, strides, padding))
            for size in (1, 2, 3, 5)
            for strides in (1, 2, 3)
            for padding in ("valid", "same")
            for side, shape in (("even", IMAGE), ("odd", ODD))
        },
        "conv2d-dilated-valid": (IMAGE, conv(3, 1, "valid", dilation_rate=3)),
        "conv2d-dilated-same": (ODD, conv(4, 1, "same", dilation_rate=2)),
        "conv2d-uneven": (ODD, conv((3, 2), (2, 3), "same")),
        "conv1d-valid": (SERIES, conv1(4, 3)),
        "conv1d-same": (SERIES, conv1(4, 2, "same")),
        "conv1d-causal": (SERIES, conv1(3, 1, "causal", dilation_rate=2)),
        "conv1d-causal-strided": (SERIES, conv1(4, 2, "causal")),
        "conv3d": (VOLUME, layers.Conv3D(2, (2, 3, 2), (1, 2, 3), "same", use_bias=False)),
        "depthwise2d": (ODD, layers.DepthwiseConv2D(3, 2, "same", use_bias=False, depth_multiplier=2)),
        "depthwise1d": (SERIES, layers.DepthwiseConv1D(3, 2, "valid", use_bias=False)),
        "separable2d": (ODD, layers.SeparableConv2D(3, 3, 2, "same", use_bias=False)),
        "separable1d": (SERIES, layers.SeparableConv1D(3, 2, 3, "valid", use_bias=False)),
        "op-conv": (ODD, lambda x: ops.conv(x, ops.ones((3, 3, 2, 2)), 2, "same")),
        "blur": (IMAGE, lambda x: ops.image.gaussian_blur(x, (3, 5), (1.0, 1.0))),
    },
    "Pooling": {
        "average-pool": (ODD, layers.AveragePooling2D(2)),
        "average-pool-same": (ODD, layers.AveragePooling2D(3, 2, "same")),
        "average-pool-1d": (SERIES, layers.AveragePooling1D(3, 2)),
        "average-pool-3d": (VOLUME, layers.AveragePooling3D(2)),
        "max-pool": (ODD, layers.MaxPooling2D(2)),
        "max-pool-same": (ODD, layers.MaxPooling2D(3, 2, "same")),
        "max-pool-1d": (SERIES, layers.MaxPooling1D(3)),
        "max-pool-3d": (VOLUME, layers.MaxPooling3D(2, 2)),
        "adaptive-pool": (IMAGE, layers.AdaptiveAveragePooling2D((6, 9))),
        "adaptive-pool-uneven": (ODD, layers.AdaptiveAveragePooling2D((6, 7))),
        "op-average-pool": (ODD, lambda x: ops.average_pool(x, 3, 2, "same")),
    },
    "Crops and padding": {
        "cropping2d": (IMAGE, chain(layers.Cropping2D(((7, 3), (2, 5))), conv(3, 2, "same"))),
        "cropping1d": (SERIES, layers.Cropping1D((5, 2))),
        "cropping3d": (VOLUME, layers.Cropping3D(((1, 2), (3, 1), (0, 2)))),
        "cropping-behind": (IMAGE, chain(conv(3, 2), layers.Cropping2D(((2, 1), (0, 3))))),
        "padding2d": (IMAGE, chain(layers.ZeroPadding2D(((7, 3), (2, 5))), conv(3, 2))),
        "padding1d": (SERIES, layers.ZeroPadding1D((3, 1))),
        "padding3d": (VOLUME, layers.ZeroPadding3D(((1, 2), (3, 1), (0, 2)))),
        "op-pad": (IMAGE, lambda x: ops.pad(x, ((0, 0), (2, 3), (4, 0), (0, 0)))),
        "op-pad-reflect": (IMAGE, lambda x: conv(3)(ops.pad(x, ((0, 0), (2, 3), (4, 0), (0, 0)), "reflect"))),
        "pad-series": (SERIES, lambda x: conv1(3, 2)(ops.pad(x, ((0, 0), (4, 1), (0, 0))))),
        "centre-crop": (IMAGE, layers.CenterCrop(11, 20)),
        "centre-crop-small": (IMAGE, layers.CenterCrop(36, 20)),
        "crop-images": (IMAGE, lambda x: ops.image.crop_images(x, 3, 4, target_height=12, target_width=20)),
        "pad-images": (IMAGE, lambda x: ops.image.pad_images(x, 3, 4, target_height=32, target_width=50)),
    },
    "Resizing": {
        "resizing": (IMAGE, layers.Resizing(12, 9)),
        "resizing-odd": (ODD, layers.Resizing(12, 20)),
        "resizing-crop": (IMAGE, layers.Resizing(12, 12, crop_to_aspect_ratio=True)),
        "resizing-pad": (IMAGE, layers.Resizing(12, 12, pad_to_aspect_ratio=True)),
        "resizing-nearest": (IMAGE, layers.Resizing(8, 9, "nearest")),
        "resizing-antialias": (IMAGE, layers.Resizing(8, 9, antialias=True)),
        "resizing-bicubic": (IMAGE, layers.Resizing(12, 12, "bicubic")),
        "op-resize": (IMAGE, lambda x: ops.image.resize(x, (48, 54))),
    },
    "Slices, splits and flips": {
        "slice": (IMAGE, lambda x: conv(3)(x[:, 5:20, :-7])),
        "slice-strided": (IMAGE, lambda x: x[:, 1::3, 2:30:2]),
        "slice-backwards": (IMAGE, lambda x: conv(3, 2)(x[:, ::-1, 30:3:-2])),
        "slice-ellipsis": (IMAGE, lambda x: x[..., 4:, :]),
        "slice-new-axis": (SERIES, lambda x: x[:, None, 3:]),
        "slice-one-row": (IMAGE, lambda x: x[:, 7]),
        "take-even": (IMAGE, lambda x: ops.take(x, [2, 5, 8, 11], axis=1)),
        "split": (IMAGE, lambda x: ops.split(x, 3, axis=2)[1]),
        "split-and-joined": (IMAGE, lambda x: ops.concatenate(ops.split(x, 3, axis=2), axis=2)),
        "unstack": (IMAGE, lambda x: ops.unstack(x, axis=1)[5]),
        "flip": (ODD, lambda x: conv(3, 2, "same")(ops.flip(x, axis=2))),
        "flip-both": (ODD, lambda x: ops.flip(conv(4, 3, "same")(x), axis=(1, 2))),
        "flip-series": (SERIES, lambda x: conv1(3, 2, "causal")(ops.flip(x, axis=1))),
        "lambda": (IMAGE, layers.Lambda(lambda x: x[:, 3:, ::-1])),
    },
    "Another order of axes": {
        "permute": (IMAGE, chain(layers.Permute((2, 1, 3)), conv((3, 1), (2, 3)))),
        "permute-series": (SERIES, chain(layers.Permute((2, 1)))),
        "transpose": (IMAGE, lambda x: ops.transpose(x, (0, 2, 1, 3))),
        "moveaxis": (VOLUME, lambda x: ops.moveaxis(x, (3, 1), (1, 2))),
        "swapaxes": (VOLUME, lambda x: ops.swapaxes(x, 1, -2)),
        "channels-first": (IMAGE, chain(layers.Permute((3, 1, 2)), layers.Permute((2, 3, 1)), conv(3, 2))),
        "expand-and-squeeze": (SERIES, lambda x: ops.squeeze(conv((3, 1))(ops.expand_dims(x, 2)), 2)),
    },
    "Upsampling and transposed convolutions": {
        "upsampling2d": (IMAGE, layers.UpSampling2D(2)),
        "upsampling2d-bilinear": (IMAGE, layers.UpSampling2D((2, 3), interpolation="bilinear")),
        "upsampling1d": (SERIES, layers.UpSampling1D(3)),
        "upsampling3d": (VOLUME, layers.UpSampling3D(2)),
        "repeat": (SERIES, lambda x: ops.repeat(x, 2, axis=1)),
        **{
            f"transposed-{size}-{strides}-{padding}": (
                ODD,
                layers.Conv2DTranspose(2, size, strides, padding, use_bias=False),
            )
            for size in (1, 2, 3, 4)
            for strides in (1, 2, 3)
            for padding in ("valid", "same")
        },
        "transposed-1d": (SERIES, layers.Conv1DTranspose(2, 3, 2, "same", use_bias=False)),
        "transposed-more": (ODD, layers.Conv2DTranspose(2, 3, 2, "same", output_padding=1, use_bias=False)),
        "transposed-more-valid": (ODD, layers.Conv2DTranspose(2, 3, 2, output_padding=1, use_bias=False)),
        "transposed-3d": (VOLUME, layers.Conv3DTranspose(1, 3, 2, "valid", use_bias=False)),
    },
    "Patches, tokens and windows": {
        "patches-by-reshape": (IMAGE, patches_by_reshape(6, IMAGE, 2)),
        "patches-embedded": (IMAGE, chain(patches_by_reshape(4, IMAGE, 2), layers.Dense(3, use_bias=False))),
        "patches-one-channel": ((24, 36, 1), patches_by_reshape(6, IMAGE, 1)),
        "patches-op": (IMAGE, lambda x: ops.image.extract_patches(x, 6)),
        "patches-op-overlapping": (ODD, lambda x: ops.image.extract_patches(x, 5, 3, padding="same")),
        "patches-op-dilated": (ODD, lambda x: ops.image.extract_patches(x, 3, 1, 2)),
        "patches-3d": (VOLUME, lambda x: ops.image.extract_patches(x, (2, 3, 5))),
        "patch-tokens": (IMAGE, chain(conv(6, 6), layers.Reshape((24, 2)))),
        "patch-tokens-and-class": (IMAGE, chain(conv(6, 6), layers.Reshape((24, 2)), with_class_token)),
        "class-token-taken-away": (
            IMAGE,
            chain(
                conv(4, 4),
                layers.Reshape((54, 2)),
                with_class_token,
                lambda x: x[:, 1:],
                layers.Reshape((6, 9, 2)),
            ),
        ),
        "tokens-less-a-row": (IMAGE, chain(conv(4, 4), layers.Reshape((54, 2)), lambda x: x[:, 9:])),
        "windows-and-back": (IMAGE, chain(windows(4, IMAGE, 2), joined_windows(4, IMAGE, 2), conv(3))),
        "flatten-and-back": (IMAGE, chain(layers.Flatten(), layers.Reshape(IMAGE), conv(3, 2))),
        "image-of-features": ((24 * 36,), chain(layers.Reshape((24, 36, 1)), lambda x: x[:, 3:])),
        "merged-patches": (IMAGE, chain(conv(2, 2), merged_patches)),
        "space-to-depth": (IMAGE, chain(lambda x: ops.nn.space_to_depth(x, 3), conv(3))),
        "space-to-depth-and-back": (
            IMAGE,
            chain(lambda x: ops.nn.space_to_depth(x, 3), lambda x: ops.nn.depth_to_space(x, 3), conv(3)),
        ),
        "depth-to-space": (IMAGE, chain(conv(3, 2, filters=8), lambda x: ops.nn.depth_to_space(x, 2))),
    },
    "Paths that meet": {
        "residual": (IMAGE, chain(conv(3, 2, "same"), residual(1))),
        "residual-strided": (IMAGE, chain(conv(3, 2, "same"), residual(2), residual(2))),
        "concatenate": (ODD, lambda x: layers.Concatenate()([conv(3, 2)(x), layers.MaxPooling2D(3, 2)(x)])),
        "average": (ODD, lambda x: layers.Average()([conv(3, 2)(x), layers.AveragePooling2D(3, 2)(x)])),
        "subtract-neighbour": (SERIES, lambda x: x[:, 1:] + x[:, :-1]),
        "stack": (IMAGE, lambda x: ops.stack([conv(3)(x), x[:, 1:-1, 1:-1]], axis=1)),
    },
    "What acts on channels, on each place alone, or sums over a side": {
        "identity": (IMAGE, layers.Identity()),
        "roll-channels": (IMAGE, lambda x: ops.roll(x, 1, axis=-1)),
        "dense": (IMAGE, chain(conv(3, 2), layers.Dense(3, use_bias=False))),
        "einsum-dense": (IMAGE, chain(conv(3, 2), layers.EinsumDense("abcd,de->abce", (None, None, 3)))),
        "einsum": (SERIES, lambda x: ops.einsum("ntc,cd->ntd", x, ops.ones((2, 3)))),
        "matmul": (SERIES, lambda x: ops.matmul(x, ops.ones((2, 3)))),
        "tensordot": (IMAGE, lambda x: ops.tensordot(conv(3, 2)(x), ops.ones((2, 3)), axes=1)),
        "mean-of-rows": (IMAGE, lambda x: ops.mean(conv(3, 2)(x), axis=1)),
        "mean-of-channels": (IMAGE, lambda x: ops.mean(conv(3, 2)(x), axis=-1)),
        "activations": (IMAGE, lambda x: keras.activations.relu(layers.ReLU()(ops.relu(conv(3, 2)(x))))),
        "batch-normalization": (IMAGE, chain(conv(3, 2), layers.BatchNormalization())),
    },
    "Models and wrappers around layers": {
        "time-distributed": ((3, 14, 12, 2), layers.TimeDistributed(conv(3, 2))),
        "time-distributed-model": (
            (3, 14, 12, 2),
            lambda x: layers.TimeDistributed(
                keras.Sequential([keras.Input((14, 12, 2)), conv(3, 2), conv(3)])
            )(x),
        ),
        "spectral-normalization": (IMAGE, layers.SpectralNormalization(conv(3, 2))),
        "nested": (IMAGE, nested),
        "several": (
            ODD,
            chain(layers.ZeroPadding2D(3), conv(7, 2), layers.ZeroPadding2D(1), layers.MaxPooling2D(3, 2)),
        ),
    },
}
PLACED = {name: placed for group in PLACED_BY_KIND.values() for name, placed in group.items()}
#: As `PLACED`, with places that may depend on all pixels.
GATED: dict[str, Placed] = {
    "squeeze-and-excite": (IMAGE, chain(conv(3, 2), squeeze_and_excite)),
    "layer-normalization-of-places": (IMAGE, layers.LayerNormalization(axis=(1, 2))),
    "group-normalization": (IMAGE, layers.GroupNormalization(1)),
}


def build(shape: tuple[int, ...], function: Step) -> keras.Model:
    """The model, with positive constant kernels."""
    image = keras.Input(shape)
    model = keras.Model(image, function(image))
    for weight in model.weights:
        if "kernel" in weight.name or "vector" in weight.name:
            weight.assign(ops.ones(weight.shape) / weight.shape[-2] if len(weight.shape) > 1 else weight)
    return model
