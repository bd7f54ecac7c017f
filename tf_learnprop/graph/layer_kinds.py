"""The catalogue of Keras' layers and operations: what each is to this library."""

from typing import Any

import keras

from tf_learnprop.graph import keras_internals


def _existing(names: str) -> tuple[type, ...]:
    """The layer classes of these names that the installed Keras has."""
    return tuple(getattr(keras.layers, name) for name in names.split() if hasattr(keras.layers, name))


# -- activations, by the names of `keras.activations` ------------------------------------------------

#: Activations that a rule can stand behind.
SWAPPABLE = (
    "relu",
    "relu6",
    "leaky_relu",
    "prelu",
    "elu",
    "selu",
    "celu",
    "silu",
    "gelu",
    "quick_gelu",
    "hard_silu",
    "mish",
    "softplus",
    "tanh",
)
#: Activations that close a classifier. The score that is explained is taken before them.
HEADS = ("softmax", "log_softmax", "sigmoid")
#: Activations that say how much of something else counts.
GATES = ("sigmoid", "hard_sigmoid")
#: Activations that may give probabilities.
PROBABILITIES = (*HEADS, "hard_sigmoid", "sparse_sigmoid", "sparsemax")
#: Names of all activations by the class of their layer or operation, in lower case.
ACTIVATION_OF_CLASS = {
    name.replace("_", ""): name for name in {*SWAPPABLE, *HEADS, *GATES, *dir(keras.activations)}
}

# -- layers with a role of their own -----------------------------------------------------------------

#: Layers that may have an activation fused into them.
FUSED_LAYERS = _existing(
    "Dense EinsumDense Conv1D Conv2D Conv3D Conv1DTranspose Conv2DTranspose Conv3DTranspose "
    "SeparableConv1D SeparableConv2D DepthwiseConv1D DepthwiseConv2D"
)
#: Layers that open up into the operations of attention.
ATTENTION_LAYERS = _existing("MultiHeadAttention GroupQueryAttention Attention AdditiveAttention")
#: Recurrent layers, those of both directions apart.
RECURRENT = _existing("RNN")
BIDIRECTIONAL = _existing("Bidirectional")
#: Layers that run another for each place.
WRAPPERS = _existing("TimeDistributed")
NORMALIZATIONS = _existing("LayerNormalization RMSNormalization GroupNormalization UnitNormalization")
#: Normalisations that don't subtract the mean.
NOT_CENTRED = _existing("RMSNormalization UnitNormalization")
#: Attributes in which a normalisation may hold its weight.
NORMALIZATION_WEIGHTS = ("gamma", "scale")

#: What a recurrent layer runs at each step, by the names of classes.
RECURRENT_CELLS = ("ConvLSTMCell", "GRUCell", "LSTMCell", "SimpleRNNCell")
STACKED_CELLS = ("StackedRNNCells",)

# -- operations, by the names of their classes -------------------------------------------------------

#: Attention as one operation.
ATTENTION = ("DotProductAttention",)
#: Operations that multiply the attention weights with the values.
WEIGHTED_SUMS = ("Dot", "Einsum", "Matmul")
PRODUCTS = ("Multiply",)
#: Operations that put tensors side by side.
JOINING = ("Concatenate",)
#: Operations that run a Python function.
CONTROL_FLOW = ("AssociativeScan", "Cond", "ForiLoop", "Map", "Scan", "Switch", "VectorizedMap", "WhileLoop")
#: What passes on the values of its input, in another shape or dtype at most.
TRANSPARENT = (
    "ActivityRegularization AlphaDropout Cast Dropout Flatten GaussianDropout GaussianNoise Identity Reshape "
    "SpatialDropout1D SpatialDropout2D SpatialDropout3D Squeeze"
).split()
#: What passes on some of the values of its input, each as it is, maybe in other places.
SELECTING = (
    "Cropping1D Cropping2D Cropping3D ExpandDims Flip GetItem Moveaxis Permute Ravel Roll Slice Swapaxes "
    "Take Transpose"
).split()
#: What changes values only outside a range.
CLIPPING = ("Clip",)
#: What computes each value from one value of each of its inputs.
ELEMENT_WISE = (
    "Abs Absolute Activation Add Cast Celu Clip Divide Elu Equal Erf Exp Expm1 Gelu Greater GreaterEqual "
    "HardSigmoid HardSilu HardTanh LeakyReLU LeakyRelu Less LessEqual Log Log1p LogSigmoid LogicalAnd "
    "LogicalNot LogicalOr Logaddexp Maximum Minimum Multiply NanToNum Negative Power ReLU Reciprocal Relu "
    "Relu6 Rescaling Rsqrt Selu Sigmoid Sign Silu Softplus Softsign Sqrt Square Subtract Tanh "
    "TrueDivide Where"
).split()
#: What joins several values into one.
REDUCTIONS = (
    "Amax Average GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D "
    "Logsumexp Max Mean Min Moments Std Sum Var"
).split()
#: The last step of a normalisation's scale.
ROOTS = ("Rsqrt", "Sqrt")
STACKING = (*JOINING, "Stack")
SOFTMAXES = ("LogSoftmax", "Softmax")


def is_one_of(operation: Any, names: Any) -> bool:
    """Whether an operation is of one of Keras' own classes of these names."""
    return type(operation).__name__ in names and keras_internals.is_keras_class(type(operation))


def is_valueless(operation: Any) -> bool:
    """Whether what an operation gives does not depend on the values that it takes."""
    return type(operation).__name__ in ("Constants", "EmptyLike", "OnesLike", "Size", "ZerosLike")
