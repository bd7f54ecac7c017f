"""Which rule of geometry holds for which layer or operation of Keras."""

from collections.abc import Callable
from typing import Any

import keras

from tf_learnprop.graph import keras_internals, steps
from tf_learnprop.graph.geometry import concatenation, cutting, joining, mixing, resizing, shapes, windows
from tf_learnprop.graph.geometry.layout import Layout
from tf_learnprop.graph.geometry.visit import Visit

Rule = Callable[[Visit], Layout | list[Layout]]

_LAYERS: dict[Rule, str] = {
    joining.elementwise: (
        "Activation ActivityRegularization Add AlphaDropout AugMix AutoContrast Average "
        "BatchNormalization ContrastLimitedAdaptiveHistogramEqualization CustomScaleLayer CutMix "
        "Dropout ELU Equalization GaussianDropout GaussianNoise Identity LayerScale LeakyReLU Masking "
        "Maximum Minimum MixUp Multiply Normalization PReLU RandAugment RandomBrightness "
        "RandomColorDegeneration RandomColorJitter RandomContrast RandomElasticTransform "
        "RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert "
        "RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness "
        "RandomShear RandomTranslation RandomZoom ReLU Rescaling Solarization SpatialDropout1D "
        "SpatialDropout2D SpatialDropout3D StochasticDepth Subtract"
    ),
    mixing.normalized: "LayerNormalization RMSNormalization UnitNormalization Softmax",
    mixing.normalized_groups: "GroupNormalization",
    mixing.dense: "Dense",
    mixing.einsum: "EinsumDense",
    mixing.token_embedding: "ReversibleEmbedding",
    mixing.attention: (
        "AdditiveAttention Attention Dot GroupedQueryAttention GroupQueryAttention MultiHeadAttention"
    ),
    mixing.recurrence: "Bidirectional GRU LSTM RNN SimpleRNN",
    shapes.embedded: "Embedding",
    shapes.numbered: "Discretization Hashing IntegerLookup StringLookup",
    shapes.permuted: "Permute",
    shapes.repeated_vector: "RepeatVector",
    shapes.reshaped: "Flatten Reshape",
    windows.convolution: "Conv1D Conv2D Conv3D SeparableConv1D SeparableConv2D",
    windows.depthwise_convolution: "DepthwiseConv1D DepthwiseConv2D",
    windows.transposed_convolution: "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
    windows.convolutional_recurrence: "ConvLSTM1D ConvLSTM2D ConvLSTM3D",
    windows.pooling: (
        "AveragePooling1D AveragePooling2D AveragePooling3D MaxPooling1D MaxPooling2D MaxPooling3D"
    ),
    windows.global_pooling: (
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
        "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D"
    ),
    windows.adaptive_pooling: (
        "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D "
        "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D"
    ),
    resizing.upsampling: "UpSampling1D UpSampling2D UpSampling3D",
    resizing.image_resize: "Resizing",
    resizing.centre_crop: "CenterCrop",
    cutting.cropping: "Cropping1D Cropping2D Cropping3D",
    cutting.zero_padding: "ZeroPadding1D ZeroPadding2D ZeroPadding3D",
    concatenation.concatenated: "Concatenate",
}

_OPERATIONS: dict[Rule, str] = {
    joining.elementwise: (
        "Absolute Add Angle Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Array BatchNorm "
        "BitwiseAnd BitwiseInvert BitwiseNot BitwiseOr BitwiseXor BroadcastTo Cast Cbrt Ceil Celu "
        "Clip Conjugate ConvertToTensor Copy Cos Cosh Deg2rad Divide DivideNoNan Elu Equal Erf Erfc "
        "Erfinv Exp Exp2 Expm1 Fabs Floor FloorDivide Fmax Fmin Fmod Gelu Greater GreaterEqual "
        "HSVToRGB HardShrink HardSigmoid HardSilu HardTanh Heaviside Hypot I0 Identity Imag Isclose "
        "Isfinite Isinf Isnan Isneginf Isposinf Isreal Ldexp LeakyRelu Less LessEqual Log Log10 Log1p "
        "Log2 LogSigmoid Logaddexp Logaddexp2 LogicalAnd LogicalNot LogicalOr LogicalXor Maximum "
        "Minimum Mish Mod Multiply NanToNum Negative Nextafter NotEqual Power RGBToHSV Rad2deg ReLU Real "
        "Reciprocal Relu Relu6 Round Rsqrt SaturateCast Selu Sigmoid Sign Signbit Silu Sin Sinc Sinh "
        "SoftShrink Softplus Softsign SparsePlus SparseSigmoid Sqrt Square Squareplus StopGradient "
        "Subtract Tan Tanh TanhShrink Threshold TrueDivide Trunc View Where WithMask"
    ),
    mixing.normalized: "LayerNorm LogSoftmax Normalize RMSNorm Softmax Sparsemax",
    mixing.dense: "RGBToGrayscale",
    mixing.moments: "Moments",
    mixing.gated: "Glu",
    mixing.running: "Cumprod Cumsum",
    mixing.reduction: (
        "All Amax Amin Any Argmax Argmin Average CountNonzero Logsumexp Max Mean Median Min Nanmax "
        "Nanmean Nanmedian Nanmin Nanprod Nanstd Nansum Nanvar Norm Prod Ptp Std Sum Var"
    ),
    mixing.einsum: "Einsum",
    mixing.matmul: "Matmul",
    mixing.dot: "Dot Tensordot",
    mixing.attention: "DotProductAttention",
    mixing.frequencies: "FFT FFT2 IFFT2 IRFFT RFFT",
    shapes.embedded: "OneHot",
    shapes.reshaped: "Ravel Reshape",
    shapes.transposed: "Transpose",
    shapes.moved_axis: "Moveaxis",
    shapes.swapped_axes: "Swapaxes",
    shapes.expanded: "ExpandDims",
    shapes.squeezed: "Squeeze",
    shapes.tiled: "Tile",
    shapes.first_axes: "MaskOf",
    windows.convolution: "Conv SeparableConv",
    windows.depthwise_convolution: "DepthwiseConv",
    windows.transposed_convolution: "ConvTranspose",
    windows.pooling: "AveragePool MaxPool",
    windows.adaptive_pooling: "AdaptiveAveragePool AdaptiveMaxPool",
    windows.patches: "ExtractPatches",
    windows.blurred: "GaussianBlur",
    resizing.repeated: "Repeat",
    resizing.image_resize: "Resize",
    resizing.space_to_depth: "SpaceToDepth",
    resizing.depth_to_space: "DepthToSpace",
    cutting.pad: "Pad",
    cutting.crop_images: "CropImages",
    cutting.pad_images: "PadImages",
    cutting.index: "GetItem",
    cutting.take: "Take",
    cutting.slice_from: "Slice",
    cutting.split: "Split",
    cutting.unstack: "Unstack",
    cutting.flipped: "Flip",
    cutting.rolled: "Roll",
    concatenation.concatenated: "Concatenate",
    joining.stacked: "Stack",
}

#: Rules for operations of which several tensors may depend on the explained input, or another than the first.
OF_SEVERAL = (
    concatenation.concatenated,
    joining.elementwise,
    joining.stacked,
    mixing.attention,
    mixing.dot,
    mixing.einsum,
    mixing.matmul,
    mixing.recurrence,
    cutting.take,
)


def _by_name(table: dict[Rule, str]) -> dict[str, Rule]:
    return {name: rule for rule, names in table.items() for name in names.split()}


_RULES = {True: _by_name(_LAYERS), False: _by_name(_OPERATIONS)}


def rule_of(operation: Any) -> Rule | None:
    """The rule of a layer or operation; None if there is none for it."""
    is_layer = isinstance(operation, keras.layers.Layer)
    if is_layer and not keras_internals.has_keras_call(operation):
        return None
    owners = (
        cls for cls in type(operation).__mro__ if keras_internals.is_keras_class(cls) or cls in steps.HELPERS
    )
    return next((_RULES[is_layer][cls.__name__] for cls in owners if cls.__name__ in _RULES[is_layer]), None)
