"""Small models, one for each way in which an activation can be part of a Keras model.

A `Case` builds its model twice: with the activation of its head, and without (its logits), so that a
test has the explained score from Keras alone. Weights and statistics are random, none is at its default.
"""

import collections
import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

CASES = {}
SIDE = 10
CLASSES = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of model.

    Attributes:
        build: callable, takes the head's activation ("softmax", "sigmoid" or None).
        swapped: Counter of the names of the activations that must be swapped.
        left: Counter of those that must be left alone and reported.
        ends: dict, `output` and `explained_input` for `wrap_model`.
        position: int, index of the explained output.
        head: str, activation of the head.
    """

    build: Callable
    swapped: collections.Counter
    left: collections.Counter
    ends: dict
    position: int = 0
    head: str = "softmax"

    def models(self):
        """The model, and the same with logits in the place of probabilities."""
        model, logits = self.build(self.head), self.build(None)
        randomise(model)
        logits.set_weights(model.get_weights())
        return model, logits


def case(swapped, left="softmax", position=0, head="softmax", **ends):
    """Registers a function as a `Case`; activations are given as "relu relu gelu"."""

    def register(build):
        counters = (collections.Counter(names.split()) for names in (swapped, left))
        CASES[build.__name__] = Case(build, *counters, ends, position, head)
        return build

    return register


def randomise(model, seed=0):
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


def sample(model, count=3, seed=1):
    """Random inputs of a model, NumPy arrays in the structure of its inputs."""
    generator = np.random.default_rng(seed)

    def draw(tensor):
        shape = [count, *(SIDE if size is None else size for size in tensor.shape[1:])]
        return generator.normal(size=shape).astype(tensor.dtype)

    inputs = model.inputs if isinstance(model, keras.Sequential) else model.input
    drawn = keras.tree.map_structure(draw, inputs)
    return drawn[0] if isinstance(model, keras.Sequential) else drawn


def walk(model):
    """All layers and operations of a model, nested models opened."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    for operation in graph.operations:
        yield operation
        if isinstance(operation, keras.Model):
            yield from walk(operation)


def snapshot(model):
    """All that wrapping must leave alone, in a form that can be compared."""
    return {
        "weights": [(w.path, w.numpy().tobytes()) for w in model.weights],
        "config": model.to_json(),
        "nodes": [(len(o._inbound_nodes), len(o._outbound_nodes)) for o in walk(model)],
        "activations": [id(getattr(o, "activation", None)) for o in walk(model)],
        "attributes": [sorted(vars(o)) for o in walk(model)],
        "trainable": [w.trainable for w in model.weights],
    }


def reference_signal(logit_model, x, position=0, explained=0, scale=1.0):
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


def image():
    return keras.Input((SIDE, SIDE, 3))


def dense_head(x, activation, **kwargs):
    return layers.Dense(CLASSES, activation, **kwargs)(layers.GlobalAveragePooling2D()(x))


# -- where the activation is -------------------------------------------------------------------------


@case("relu silu relu")
def sequential(head):
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


@case("relu relu relu")
def residual(head):
    inputs = image()
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    y = layers.Dropout(0.5)(layers.ReLU()(y))
    x = layers.Activation("relu")(layers.add([x, y]))
    return keras.Model(inputs, dense_head(x, head))


@case("relu relu")
def unknown_size(head):
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.Conv2D(4, 3, activation="relu")(layers.MaxPooling2D()(x))
    return keras.Model(inputs, dense_head(x, head))


def backbone(name="backbone"):
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(4, 3, name="conv")(x)
    return keras.Model(inputs, layers.ReLU(6.0, name="relu6")(x), name=name)


@case("relu relu relu")
def nested(head):
    inputs = image()
    x = backbone()(inputs, training=False)
    x = layers.Dropout(0.4)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(8, "relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(x))


@case("relu relu tanh")
def nested_twice_over(head):
    inputs = image()
    inner = keras.Sequential([image(), backbone(), layers.Conv2D(4, 1, activation="tanh")], name="body")
    outer_input = image()
    outer = keras.Model(outer_input, inner(outer_input), name="trunk")
    return keras.Model(inputs, dense_head(outer(inputs), head))


@case("relu relu")
def head_inside(head):
    inputs, inner = image(), image()
    classifier = keras.Model(inner, dense_head(backbone()(inner), head), name="classifier")
    return keras.Model(inputs, classifier(layers.Rescaling(0.5)(inputs)))


@case("relu relu")
def layer_used_twice(head):
    inputs = image()
    conv = layers.Conv2D(3, 3, padding="same", activation="relu")
    x = layers.Conv2D(3, 3, padding="same")(conv(inputs))
    # One object for every place, as in models that come from other libraries.
    relu = layers.ReLU()
    x = layers.Conv2D(6, 3)(relu(x))
    return keras.Model(inputs, dense_head(relu(conv(layers.Conv2D(3, 1)(x))), head))


@case("relu relu")
def layer_used_on_two_shapes(head):
    inputs = image()
    relu = layers.ReLU()
    x = relu(layers.Conv2D(4, 3)(inputs))
    x = relu(layers.Conv2D(6, 3)(x))
    x = relu(layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    x = layers.Dense(5, "relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(x))


@case("relu relu", explained_input=1)
def nested_used_twice(head):
    left, right = image(), image()
    shared = backbone()
    x = layers.concatenate([shared(left), shared(right)])
    return keras.Model([left, right], dense_head(x, head))


@case("relu relu relu", explained_input="photo")
def dict_inputs(head):
    inputs = {
        "photo": keras.Input((SIDE, SIDE, 3), name="photo"),
        "age": keras.Input((2,), name="age"),
    }
    x = layers.Conv2D(4, 3, activation="relu")(inputs["photo"])
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(x))
    x = layers.concatenate([x, layers.Dense(4, "relu")(inputs["age"])])
    return keras.Model(inputs, layers.Dense(CLASSES, head)(x))


def _two_ends(head, other, position):
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
    ends = [layers.Dense(5, other, name="other"), layers.Dense(CLASSES, head, name="ours")]
    return inputs, [end(x) for end in (ends if position else ends[::-1])]


@case("relu relu", "softmax sigmoid", output=0)
def first_of_two_outputs(head):
    return keras.Model(*_two_ends(head, "sigmoid", 0))


@case("relu relu", "softmax sigmoid", position=1, output="ours")
def second_of_two_outputs(head):
    return keras.Model(*_two_ends(head, "sigmoid", 1))


@case("relu relu", "softmax tanh", position=1, output="ours")
def dict_outputs(head):
    inputs, (other, ours) = _two_ends(head, "tanh", 1)
    return keras.Model(inputs, {"a": other, "b": ours})


@case("relu relu", "softmax")
def features_as_output(head):
    inputs = image()
    features = backbone()(inputs)
    return keras.Model(inputs, [dense_head(features, head), features])


def _head_used_twice(head):
    left, right = image(), image()
    conv, dense = layers.Conv2D(4, 3, activation="relu"), layers.Dense(CLASSES, head)
    outputs = [dense(layers.GlobalAveragePooling2D()(conv(x))) for x in (left, right)]
    return keras.Model([left, right], outputs)


@case("relu")
def head_used_first(head):
    return _head_used_twice(head)


@case("relu", position=1, output=1, explained_input=1)
def head_used_second(head):
    return _head_used_twice(head)


@case("relu relu")
def called_by_keyword(head):
    inputs = image()
    x = layers.ReLU()(inputs=layers.Conv2D(4, 3)(inputs=inputs))
    x = layers.Conv2D(4, 3, activation="relu")(inputs=x)
    x = layers.GlobalAveragePooling2D()(inputs=x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(inputs=x))


@case("relu")
def always_in_training(head):
    inputs = image()
    x = layers.Conv2D(4, 3)(inputs)
    x = layers.BatchNormalization()(x, training=True)
    x = layers.Dropout(0.5)(layers.ReLU()(x), training=True)
    return keras.Model(inputs, dense_head(x, head))


@case("relu relu")
def regularised(head):
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu", activity_regularizer="l2")(inputs)
    x = layers.Conv2D(4, 3, activity_regularizer="l1", kernel_regularizer="l2")(x)
    return keras.Model(inputs, dense_head(layers.ReLU()(x), head))


# -- which activation it is --------------------------------------------------------------------------


def _chain(head, *steps):
    """A convolution, then each step with a 1×1 convolution before it."""
    inputs = image()
    x = layers.Conv2D(4, 3)(inputs)
    for step in steps:
        x = step(layers.Conv2D(4, 1)(x))
    return keras.Model(inputs, dense_head(x, head))


@case("relu relu6 leaky_relu elu selu silu gelu hard_silu softplus tanh")
def bare_operations(head):
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


@case("relu gelu relu")
def activation_functions(head):
    return _chain(
        head,
        lambda x: keras.activations.relu(x, max_value=1.5, threshold=0.1),
        keras.activations.gelu,
        keras.activations.relu,
    )


@case("relu relu relu leaky_relu elu silu hard_silu mish relu6")
def activation_layers(head):
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


@case("prelu prelu prelu")
def prelu(head):
    return _chain(
        head,
        layers.PReLU(),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Conv2D(4, 3, activation=layers.PReLU(shared_axes=[1, 2])),
    )


@case("leaky_relu relu gelu")
def fused_layers(head):
    return _chain(
        head,
        layers.Conv2D(4, 3, activation=layers.LeakyReLU(0.25)),
        layers.Conv2D(4, 3, activation=layers.ReLU(1.0)),
        layers.Conv2D(4, 3, activation=layers.Activation("gelu")),
    )


@case("celu celu relu", "softmax squareplus softsign ?")
def activations_without_rule(head):
    return _chain(
        head,
        ops.celu,
        layers.Activation("celu"),
        layers.Conv2D(4, 3, activation="squareplus"),
        ops.softsign,
        layers.Conv2D(4, 3, activation=layers.Rescaling(2.0)),
        layers.ReLU(),
    )


@case("silu quick_gelu gelu gelu hard_silu mish leaky_relu")
def written_out(head):
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


@case("relu silu gelu tanh")
def one_dimension(head):
    inputs = keras.Input((16, 3))
    x = layers.Conv1D(4, 3, activation="relu")(inputs)
    x = layers.SeparableConv1D(4, 3, activation="silu")(x)
    x = layers.DepthwiseConv1D(3, activation="gelu")(x)
    x = layers.Conv1DTranspose(4, 3, activation="tanh")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(layers.GlobalAveragePooling1D()(x)))


@case("relu elu")
def three_dimensions(head):
    inputs = keras.Input((6, 6, 6, 2))
    x = layers.Conv3D(4, 3, activation="relu")(inputs)
    x = layers.Conv3DTranspose(3, 2, activation="elu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, head)(layers.GlobalAveragePooling3D()(x)))


@case("relu6 silu relu gelu selu")
def other_convolutions(head):
    return _chain(
        head,
        layers.SeparableConv2D(4, 3, activation="relu6"),
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="silu"),
        layers.Conv2DTranspose(4, 3, strides=2, activation="relu"),
        layers.EinsumDense("bhwc,cd->bhwd", (None, None, 5), bias_axes="d", activation="gelu"),
        layers.Dense(4, "selu"),
    )


@case("relu tanh")
def dense_alone(head):
    inputs = keras.Input((7,))
    x = layers.Dense(6, "tanh")(layers.Dense(8, "relu")(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES, head)(x))


@case("silu relu", "softmax sigmoid")
def squeeze_excite(head):
    inputs = image()
    x = layers.Conv2D(4, 3, activation="silu")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(2, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)
    return keras.Model(inputs, dense_head(layers.multiply([x, gate]), head))


@case("gelu")
def attention(head):
    inputs = keras.Input((9, 4))
    x = layers.LayerNormalization()(inputs)
    x = layers.add([inputs, layers.MultiHeadAttention(2, 3)(x, x)])
    x = layers.add([x, layers.Attention()([x, x])])
    x = layers.add([x, layers.Dense(4, "gelu")(layers.LayerNormalization()(x))])
    return keras.Model(inputs, layers.Dense(CLASSES, head)(layers.GlobalAveragePooling1D()(x)))


# -- how it ends -------------------------------------------------------------------------------------


def _body():
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    return inputs, layers.GlobalAveragePooling2D()(x)


def _separate(close):
    """A head in layers or operations of its own, `close`, after a linear layer."""

    def build(head):
        inputs, x = _body()
        x = layers.Dense(CLASSES)(x)
        return keras.Model(inputs, close(x) if head else x)

    return build


def _fused(units, dtype=None):
    def build(head):
        inputs, x = _body()
        x = layers.Dense(units, head)(x)
        return keras.Model(inputs, layers.Activation("linear", dtype=dtype)(x) if dtype else x)

    return build


def _reshaped(head):
    inputs = image()
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.Conv2D(CLASSES, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(inputs, layers.Flatten()(layers.Softmax()(x) if head else x))


@case("relu", "own_softmax")
def softmax_function(head):
    def own_softmax(x):
        exponentials = ops.exp(x - ops.max(x, -1, keepdims=True))
        return exponentials / ops.sum(exponentials, -1, keepdims=True)

    inputs, x = _body()
    return keras.Model(inputs, layers.Dense(CLASSES, own_softmax if head else None)(x))


@case("relu", "softmax")
def softmax_of_one_step(head):
    inputs = keras.Input((5, 4))
    x = layers.Dense(CLASSES, head)(layers.Conv1D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, x[:, 1])


HEADS = {
    "fused_softmax": ("softmax", _fused(CLASSES)),
    "sigmoid_unit": ("sigmoid", _fused(1)),
    "multi_label": ("sigmoid", _fused(4)),
    "logits": (None, _fused(CLASSES)),
    "linear_cast": ("softmax", _fused(CLASSES, "float32")),
    "softmax_activation": ("softmax", _separate(lambda x: layers.Activation("softmax")(x))),
    "softmax_layer": ("softmax", _separate(lambda x: layers.Softmax()(x))),
    "softmax_operation": ("softmax", _separate(ops.softmax)),
    "sigmoid_operation": ("sigmoid", _separate(ops.sigmoid)),
    "cast_operation": ("softmax", _separate(lambda x: ops.cast(ops.softmax(x), "float32"))),
    "reshaped": ("softmax", _reshaped),
}
for _name, (_head, _build) in HEADS.items():
    _left = collections.Counter([_head] if _head else [])
    CASES[_name] = Case(_build, collections.Counter(["relu"]), _left, {}, 0, _head)
