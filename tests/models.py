"""Small models, one for each way in which an activation can be part of a Keras model.

A `Case` builds its model twice: with the activation of its head, and without (its logits), so that a
test has the explained score from Keras alone. Weights and statistics are random, none is at its default.
"""

import collections
import dataclasses
import enum
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

SIDE = 10
CLASSES = 3

#: A function of the head's activation ("softmax", "sigmoid" or None) that makes a model.
Build = Callable[[str | None], keras.Model]
Tensor: TypeAlias = keras.KerasTensor


class Kind(enum.Enum):
    """What is special about a case. The value is the heading on the page that lists the cases."""

    STRUCTURE = "How the model is built"
    ENDS = "Inputs and outputs"
    ACTIVATION = "Activations"
    LAYER = "Layers that hold activations"
    HEAD = "Heads"


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of model.

    Attributes:
        kind: What is special about it.
        text: The model in a few words, for the page that lists the cases.
        build: Makes it with a given activation of its head.
        swapped: Counter of the names of the activations that must be swapped.
        left: Counter of those that must be left alone and reported.
        ends: `output` and `explained_input` for `wrap_model`.
        position: Index of the explained output.
        head: Activation of the head.
    """

    kind: Kind
    text: str
    build: Build
    swapped: collections.Counter[str]
    left: collections.Counter[str]
    ends: dict[str, Any]
    position: int = 0
    head: str | None = "softmax"

    def models(self) -> tuple[keras.Model, keras.Model]:
        """The model, and the same with logits in the place of probabilities."""
        model, logits = self.build(self.head), self.build(None)
        randomise(model)
        logits.set_weights(model.get_weights())
        return model, logits


CASES: dict[str, Case] = {}


def case(
    kind: Kind, swapped: str, left: str = "softmax", position: int = 0, **ends: Any
) -> Callable[[Build], Build]:
    """Registers a function as a `Case`, its docstring as the text. Activations are given as "relu gelu"."""

    def register(build: Build) -> Build:
        assert build.__doc__
        counts, left_counts = (collections.Counter(names.split()) for names in (swapped, left))
        CASES[build.__name__] = Case(kind, build.__doc__, build, counts, left_counts, ends, position)
        return build

    return register


def randomise(model: keras.Model, seed: int = 0) -> None:
    """Gives every weight that starts at a constant (bias, scale, statistic, slope) a random value."""
    generator = np.random.default_rng(seed)
    ranges = {
        "gamma": (0.5, 1.5),
        "moving_variance": (0.5, 1.5),
        "alpha": (0.1, 0.6),
        "beta": (-0.3, 0.3),
        "bias": (-0.3, 0.3),
        "moving_mean": (-0.3, 0.3),
    }
    for weight in model.weights:
        if weight.name in ranges:
            weight.assign(generator.uniform(*ranges[weight.name], weight.shape))


def sample(model: keras.Model, count: int = 3, seed: int = 1) -> Any:
    """Random inputs of a model, NumPy arrays in the structure of its inputs."""
    generator = np.random.default_rng(seed)

    def draw(tensor: Tensor) -> np.ndarray:
        shape = [count, *(SIDE if size is None else size for size in tensor.shape[1:])]
        return generator.normal(size=shape).astype(tensor.dtype)

    inputs = model.inputs if isinstance(model, keras.Sequential) else model.input
    drawn = keras.tree.map_structure(draw, inputs)
    return drawn[0] if isinstance(model, keras.Sequential) else drawn


def walk(model: keras.Model) -> Iterator[Any]:
    """All layers and operations of a model, nested models opened."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    for operation in graph.operations:
        yield operation
        if isinstance(operation, keras.Model):
            yield from walk(operation)


def snapshot(model: keras.Model) -> dict[str, Any]:
    """All that wrapping must leave alone, in a form that can be compared."""
    return {
        "weights": [(w.path, w.numpy().tobytes()) for w in model.weights],
        "config": model.to_json(),
        "nodes": [(len(o._inbound_nodes), len(o._outbound_nodes)) for o in walk(model)],
        "activations": [id(getattr(o, "activation", None)) for o in walk(model)],
        "attributes": [sorted(vars(o)) for o in walk(model)],
        "trainable": [w.trainable for w in model.weights],
    }


def reference_signal(
    logit_model: keras.Model, x: Any, position: int = 0, explained: int = 0, scale: float = 1.0
) -> np.ndarray:
    """∂s/∂x by Keras and a tape alone, s the logit of the predicted class; NumPy.

    The backward pass computes with s times a scale, which float16 needs.
    """
    flat = [tf.convert_to_tensor(array) for array in keras.tree.flatten(x)]
    with tf.GradientTape() as tape:
        tape.watch(flat[explained])
        outputs = logit_model(keras.tree.pack_sequence_as(x, flat), training=False)
        logits = tf.cast(keras.tree.flatten(outputs)[position], tf.float32)
        # A single unit z stands for the classes no and yes, with the logits −z/2 and z/2.
        score = tf.reduce_max(logits, -1) if logits.shape[-1] > 1 else tf.abs(logits) / 2
        score = tf.reduce_sum(score) * scale
    return tape.gradient(score, flat[explained]).numpy() / scale


def image() -> Tensor:
    return keras.Input((SIDE, SIDE, 3))


def dense_head(x: Tensor, activation: str | None, **kwargs: Any) -> Tensor:
    return layers.Dense(CLASSES, activation, **kwargs)(layers.GlobalAveragePooling2D()(x))


# -- where the activation is -------------------------------------------------------------------------


@case(Kind.STRUCTURE, "relu silu relu")
def sequential(head: str | None) -> keras.Model:
    """A Sequential model."""
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Conv2D(4, 3, activation="swish"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(6, "relu"),
            layers.Dense(CLASSES, head),
        ]
    )


@case(Kind.STRUCTURE, "relu relu relu")
def residual(head: str | None) -> keras.Model:
    """A residual block: an addition, batch normalisation and dropout."""
    inputs = image()
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    y = layers.Dropout(0.5)(layers.ReLU()(y))
    x = layers.Activation("relu")(layers.add([x, y]))
    return keras.Model(inputs, dense_head(x, head))


@case(Kind.ENDS, "relu relu")
def unknown_size(head: str | None) -> keras.Model:
    """Images of any size."""
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.Conv2D(4, 3, activation="relu")(layers.MaxPooling2D()(x))
    return keras.Model(inputs, dense_head(x, head))


def backbone(name: str = "backbone") -> keras.Model:
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(4, 3, name="conv")(x)
    return keras.Model(inputs, layers.ReLU(6.0, name="relu6")(x), name=name)


@case(Kind.STRUCTURE, "relu relu relu")
def nested(head: str | None) -> keras.Model:
    """A model with a nested backbone, as after transfer learning."""
    inputs = image()
    x = backbone()(inputs, training=False)
    x = layers.Dropout(0.4)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(8, "relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(x))


@case(Kind.STRUCTURE, "relu relu tanh")
def nested_twice_over(head: str | None) -> keras.Model:
    """Models nested in models, Functional and Sequential."""
    inputs = image()
    inner = keras.Sequential([image(), backbone(), layers.Conv2D(4, 1, activation="tanh")], name="body")
    outer_input = image()
    outer = keras.Model(outer_input, inner(outer_input), name="trunk")
    return keras.Model(inputs, dense_head(outer(inputs), head))


@case(Kind.STRUCTURE, "relu relu")
def head_inside(head: str | None) -> keras.Model:
    """A nested classifier behind preprocessing."""
    inputs, inner = image(), image()
    classifier = keras.Model(inner, dense_head(backbone()(inner), head), name="classifier")
    return keras.Model(inputs, classifier(layers.Rescaling(0.5)(inputs)))


@case(Kind.STRUCTURE, "relu relu")
def layer_used_twice(head: str | None) -> keras.Model:
    """A layer that is used twice: both uses share one rule."""
    inputs = image()
    conv = layers.Conv2D(3, 3, padding="same", activation="relu")
    x = layers.Conv2D(3, 3, padding="same")(conv(inputs))
    # One object for every place, as in models that come from other libraries.
    relu = layers.ReLU()
    x = layers.Conv2D(6, 3)(relu(x))
    return keras.Model(inputs, dense_head(relu(conv(layers.Conv2D(3, 1)(x))), head))


@case(Kind.STRUCTURE, "relu relu")
def layer_used_on_two_shapes(head: str | None) -> keras.Model:
    """A `ReLU` layer that is used on images and on vectors."""
    inputs = image()
    relu = layers.ReLU()
    x = relu(layers.Conv2D(4, 3)(inputs))
    x = relu(layers.Conv2D(6, 3)(x))
    x = relu(layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    x = layers.Dense(5, "relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(x))


@case(Kind.STRUCTURE, "relu relu", explained_input=1)
def nested_used_twice(head: str | None) -> keras.Model:
    """Two images that go through one backbone; the second is explained."""
    left, right = image(), image()
    shared = backbone()
    x = layers.concatenate([shared(left), shared(right)])
    return keras.Model([left, right], dense_head(x, head))


@case(Kind.ENDS, "relu relu relu", explained_input="photo")
def dict_inputs(head: str | None) -> keras.Model:
    """A dict of inputs, a photo and numbers; the photo is explained."""
    inputs = {
        "photo": keras.Input((SIDE, SIDE, 3), name="photo"),
        "age": keras.Input((2,), name="age"),
    }
    x = layers.Conv2D(4, 3, activation="relu")(inputs["photo"])
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(x))
    x = layers.concatenate([x, layers.Dense(4, "relu")(inputs["age"])])
    return keras.Model(inputs, layers.Dense(CLASSES, head)(x))


def _two_ends(head: str | None, other: str, position: int) -> tuple[Tensor, list[Tensor]]:
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
    ends = [layers.Dense(5, other, name="other"), layers.Dense(CLASSES, head, name="ours")]
    return inputs, [end(x) for end in (ends if position else ends[::-1])]


@case(Kind.ENDS, "relu relu", "softmax sigmoid", output=0)
def first_of_two_outputs(head: str | None) -> keras.Model:
    """Two outputs, of which the first is explained."""
    return keras.Model(*_two_ends(head, "sigmoid", 0))


@case(Kind.ENDS, "relu relu", "softmax sigmoid", position=1, output="ours")
def second_of_two_outputs(head: str | None) -> keras.Model:
    """Two outputs, of which the second is explained by its name."""
    return keras.Model(*_two_ends(head, "sigmoid", 1))


@case(Kind.ENDS, "relu relu", "softmax tanh", position=1, output="ours")
def dict_outputs(head: str | None) -> keras.Model:
    """A dict of outputs."""
    inputs, (other, ours) = _two_ends(head, "tanh", 1)
    return keras.Model(inputs, {"a": other, "b": ours})


@case(Kind.ENDS, "relu relu", "softmax")
def features_as_output(head: str | None) -> keras.Model:
    """Features as a second output beside the classes."""
    inputs = image()
    features = backbone()(inputs)
    return keras.Model(inputs, [dense_head(features, head), features])


def _head_used_twice(head: str | None) -> keras.Model:
    left, right = image(), image()
    conv, dense = layers.Conv2D(4, 3, activation="relu"), layers.Dense(CLASSES, head)
    outputs = [dense(layers.GlobalAveragePooling2D()(conv(x))) for x in (left, right)]
    return keras.Model([left, right], outputs)


@case(Kind.ENDS, "relu")
def head_used_first(head: str | None) -> keras.Model:
    """A head that is used for two inputs; the first is explained."""
    return _head_used_twice(head)


@case(Kind.ENDS, "relu", position=1, output=1, explained_input=1)
def head_used_second(head: str | None) -> keras.Model:
    """A head that is used for two inputs; the second is explained."""
    return _head_used_twice(head)


@case(Kind.STRUCTURE, "relu relu")
def called_by_keyword(head: str | None) -> keras.Model:
    """Layers that are called by keyword, as in `layer(inputs=x)`."""
    inputs = image()
    x = layers.ReLU()(inputs=layers.Conv2D(4, 3)(inputs=inputs))
    x = layers.Conv2D(4, 3, activation="relu")(inputs=x)
    x = layers.GlobalAveragePooling2D()(inputs=x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(inputs=x))


@case(Kind.STRUCTURE, "relu")
def always_in_training(head: str | None) -> keras.Model:
    """Layers that were called with `training=True`: they run in inference mode here."""
    inputs = image()
    x = layers.Conv2D(4, 3)(inputs)
    x = layers.BatchNormalization()(x, training=True)
    x = layers.Dropout(0.5)(layers.ReLU()(x), training=True)
    return keras.Model(inputs, dense_head(x, head))


@case(Kind.STRUCTURE, "relu relu")
def regularised(head: str | None) -> keras.Model:
    """Layers with regularisers of weights and activities."""
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu", activity_regularizer="l2")(inputs)
    x = layers.Conv2D(4, 3, activity_regularizer="l1", kernel_regularizer="l2")(x)
    return keras.Model(inputs, dense_head(layers.ReLU()(x), head))


# -- which activation it is --------------------------------------------------------------------------


def _chain(head: str | None, *steps: Callable[[Tensor], Tensor]) -> keras.Model:
    """A convolution, then each step with a 1×1 convolution before it."""
    inputs = image()
    x = layers.Conv2D(4, 3)(inputs)
    for step in steps:
        x = step(layers.Conv2D(4, 1)(x))
    return keras.Model(inputs, dense_head(x, head))


@case(Kind.ACTIVATION, "relu relu6 leaky_relu elu selu silu gelu hard_silu softplus tanh")
def bare_operations(head: str | None) -> keras.Model:
    """Operations of `keras.ops`, such as `keras.ops.relu(x)`."""
    return _chain(
        head,
        ops.relu,
        ops.relu6,
        lambda x: ops.leaky_relu(x, 0.3),
        lambda x: ops.elu(x, 0.7),
        ops.selu,
        ops.silu,
        lambda x: ops.gelu(x, approximate=False),
        ops.hard_silu,
        ops.softplus,
        ops.tanh,
    )


@case(Kind.ACTIVATION, "relu gelu relu")
def activation_functions(head: str | None) -> keras.Model:
    """Functions of `keras.activations`, also with arguments."""
    return _chain(
        head,
        lambda x: keras.activations.relu(x, max_value=1.5, threshold=0.1),
        keras.activations.gelu,
        keras.activations.relu,
    )


@case(Kind.ACTIVATION, "relu relu relu leaky_relu elu silu hard_silu mish relu6")
def activation_layers(head: str | None) -> keras.Model:
    """Layers: `ReLU`, `LeakyReLU`, `ELU` and `Activation`."""
    return _chain(
        head,
        layers.ReLU(negative_slope=0.2),
        layers.ReLU(max_value=1.0, threshold=0.1),
        layers.ReLU(),
        layers.LeakyReLU(0.15),
        layers.ELU(0.8),
        layers.Activation("swish"),
        layers.Activation("hard_silu"),
        layers.Activation("mish"),
        layers.Activation("relu6"),
    )


@case(Kind.ACTIVATION, "prelu prelu prelu")
def prelu(head: str | None) -> keras.Model:
    """`PReLU`, with slopes that are learned, shared or not."""
    return _chain(
        head,
        layers.PReLU(),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Conv2D(4, 3, activation=layers.PReLU(shared_axes=[1, 2])),
    )


@case(Kind.ACTIVATION, "leaky_relu relu gelu")
def fused_layers(head: str | None) -> keras.Model:
    """A layer as the `activation` of another, as in `Conv2D(activation=LeakyReLU())`."""
    return _chain(
        head,
        layers.Conv2D(4, 3, activation=layers.LeakyReLU(0.25)),
        layers.Conv2D(4, 3, activation=layers.ReLU(1.0)),
        layers.Conv2D(4, 3, activation=layers.Activation("gelu")),
    )


@case(Kind.ACTIVATION, "celu celu relu", "softmax squareplus softsign ?")
def activations_without_rule(head: str | None) -> keras.Model:
    """Known activations beside others that are not known."""
    return _chain(
        head,
        ops.celu,
        layers.Activation("celu"),
        layers.Conv2D(4, 3, activation="squareplus"),
        ops.softsign,
        layers.Conv2D(4, 3, activation=layers.Rescaling(2.0)),
        layers.ReLU(),
    )


@case(Kind.ACTIVATION, "silu quick_gelu gelu gelu hard_silu mish leaky_relu")
def written_out(head: str | None) -> keras.Model:
    """Activations that are written out, such as `x * keras.ops.sigmoid(x)`."""
    return _chain(
        head,
        lambda x: x * ops.sigmoid(x),
        lambda x: x * ops.sigmoid(1.702 * x),
        lambda x: 0.5 * x * (1 + ops.tanh(ops.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        lambda x: x * 0.5 * (1.0 + ops.erf(x / np.sqrt(2.0))),
        lambda x: x * ops.relu6(x + 3) / 6,
        lambda x: x * ops.tanh(ops.softplus(x)),
        lambda x: ops.maximum(x, 0.2 * x),
    )


# -- which layer it is in ----------------------------------------------------------------------------


@case(Kind.LAYER, "relu silu gelu tanh")
def one_dimension(head: str | None) -> keras.Model:
    """1D convolutions, on series."""
    inputs = keras.Input((16, 3))
    x = layers.Conv1D(4, 3, activation="relu")(inputs)
    x = layers.SeparableConv1D(4, 3, activation="silu")(x)
    x = layers.DepthwiseConv1D(3, activation="gelu")(x)
    x = layers.Conv1DTranspose(4, 3, activation="tanh")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(layers.GlobalAveragePooling1D()(x)))


@case(Kind.LAYER, "relu elu")
def three_dimensions(head: str | None) -> keras.Model:
    """3D convolutions, on volumes."""
    inputs = keras.Input((6, 6, 6, 2))
    x = layers.Conv3D(4, 3, activation="relu")(inputs)
    x = layers.Conv3DTranspose(3, 2, activation="elu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(layers.GlobalAveragePooling3D()(x)))


@case(Kind.LAYER, "relu6 silu relu gelu selu")
def other_convolutions(head: str | None) -> keras.Model:
    """Separable, depthwise and transposed convolutions, `EinsumDense` and `Dense`."""
    return _chain(
        head,
        layers.SeparableConv2D(4, 3, activation="relu6"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="silu"),
        layers.Conv2DTranspose(4, 3, strides=2, activation="relu"),
        layers.EinsumDense("bhwc,cd->bhwd", (None, None, 5), bias_axes="d", activation="gelu"),
        layers.Dense(4, "selu"),
    )


@case(Kind.LAYER, "relu tanh")
def dense_alone(head: str | None) -> keras.Model:
    """Dense layers alone, on tables of numbers."""
    inputs = keras.Input((7,))
    x = layers.Dense(6, "tanh")(layers.Dense(8, "relu")(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES, head)(x))


@case(Kind.LAYER, "silu relu", "softmax sigmoid")
def squeeze_excite(head: str | None) -> keras.Model:
    """Squeeze and excitation: a gate is multiplied with the feature map."""
    inputs = image()
    x = layers.Conv2D(4, 3, activation="silu")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(2, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)
    return keras.Model(inputs, dense_head(layers.multiply([x, gate]), head))


@case(Kind.LAYER, "gelu")
def attention(head: str | None) -> keras.Model:
    """Attention and layer normalisation."""
    inputs = keras.Input((9, 4))
    x = layers.LayerNormalization()(inputs)
    x = layers.add([inputs, layers.MultiHeadAttention(2, 3)(x, x)])
    x = layers.add([x, layers.Attention()([x, x])])
    x = layers.add([x, layers.Dense(4, "gelu")(layers.LayerNormalization()(x))])
    return keras.Model(inputs, layers.Dense(CLASSES, head)(layers.GlobalAveragePooling1D()(x)))


# -- how it ends -------------------------------------------------------------------------------------


def _body() -> tuple[Tensor, Tensor]:
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    return inputs, layers.GlobalAveragePooling2D()(x)


def _separate(close: Callable[[Tensor], Tensor]) -> Build:
    """A head in layers or operations of its own, `close`, after a linear layer."""

    def build(head: str | None) -> keras.Model:
        inputs, x = _body()
        x = layers.Dense(CLASSES)(x)
        return keras.Model(inputs, close(x) if head else x)

    return build


def _fused(units: int, dtype: str | None = None) -> Build:
    def build(head: str | None) -> keras.Model:
        inputs, x = _body()
        x = layers.Dense(units, head)(x)
        return keras.Model(inputs, layers.Activation("linear", dtype=dtype)(x) if dtype else x)

    return build


def _reshaped(head: str | None) -> keras.Model:
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.Conv2D(CLASSES, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(inputs, layers.Flatten()(layers.Softmax()(x) if head else x))


@case(Kind.HEAD, "relu", "own_softmax")
def softmax_function(head: str | None) -> keras.Model:
    """A softmax written as a function of your own."""

    def own_softmax(x: Tensor) -> Tensor:
        exponentials = ops.exp(x - ops.max(x, -1, keepdims=True))
        return exponentials / ops.sum(exponentials, -1, keepdims=True)

    inputs, x = _body()
    return keras.Model(inputs, layers.Dense(CLASSES, own_softmax if head else None)(x))


@case(Kind.HEAD, "relu", "softmax")
def softmax_of_one_step(head: str | None) -> keras.Model:
    """One step of a series, cut out behind the softmax."""
    inputs = keras.Input((5, 4))
    x = layers.Dense(CLASSES, head)(layers.Conv1D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, x[:, 1])


#: {name: (text, activation, function that makes the model)}
HEADS: dict[str, tuple[str, str | None, Build]] = {
    "fused_softmax": ('A softmax in the last layer, `Dense(3, "softmax")`.', "softmax", _fused(CLASSES)),
    "sigmoid_unit": ("A single unit with a sigmoid: two classes, no and yes.", "sigmoid", _fused(1)),
    "multi_label": ("Several labels, each with a sigmoid.", "sigmoid", _fused(4)),
    "logits": ("Logits, without a softmax.", None, _fused(CLASSES)),
    "linear_cast": (
        "A linear layer in float32 behind the softmax, as in mixed precision.",
        "softmax",
        _fused(CLASSES, "float32"),
    ),
    "softmax_activation": (
        'A softmax as a layer, `Activation("softmax")`.',
        "softmax",
        _separate(lambda x: layers.Activation("softmax")(x)),
    ),
    "softmax_layer": ("A `Softmax` layer.", "softmax", _separate(lambda x: layers.Softmax()(x))),
    "softmax_operation": ("`keras.ops.softmax`.", "softmax", _separate(ops.softmax)),
    "sigmoid_operation": ("`keras.ops.sigmoid`.", "sigmoid", _separate(ops.sigmoid)),
    "cast_operation": (
        "A cast behind the softmax.",
        "softmax",
        _separate(lambda x: ops.cast(ops.softmax(x), "float32")),
    ),
    "reshaped": ("A 1×1 convolution, a softmax and `Flatten`.", "softmax", _reshaped),
}
for _name, (_text, _head, _build) in HEADS.items():
    _left = collections.Counter([_head] if _head else [])
    CASES[_name] = Case(Kind.HEAD, _text, _build, collections.Counter(["relu"]), _left, {}, 0, _head)

#: Pairs of a policy of half precision and a case.
MIXED_PRECISION = [
    ("mixed_float16", "nested"),
    ("mixed_float16", "prelu"),
    ("mixed_float16", "bare_operations"),
    ("mixed_float16", "linear_cast"),
    ("mixed_bfloat16", "nested"),
    ("mixed_bfloat16", "squeeze_excite"),
]
