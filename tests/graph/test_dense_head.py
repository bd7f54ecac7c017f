"""Evidence of all classes by one product a layer, against a backward pass for each class."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph

RNG = np.random.default_rng(2)


def model_with(*head, shape=(8, 8, 3)):
    image = keras.Input(shape)
    convolution = {2: layers.Conv1D, 3: layers.Conv2D}[len(shape)]
    x = features = convolution(4, 3, activation="relu", name="features")(image)
    for layer in head:
        x = layer(x)
    return keras.Model(image, x), keras.Model(image, features), keras.Model(features, x)


LINEAR = {
    "pooled": lambda: (layers.GlobalAveragePooling2D(), layers.Dense(5)),
    "pooled, softmax": lambda: (
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.3),
        layers.Dense(5, "softmax"),
    ),
    "flattened": lambda: (layers.Flatten(), layers.Dense(5)),
    "pooled with axes": lambda: (
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Flatten(),
        layers.Dense(5),
    ),
    "pooled, noise, softmax of its own": lambda: (
        layers.GlobalAveragePooling2D(),
        layers.GaussianNoise(0.3),
        layers.Dense(5),
        layers.Softmax(),
    ),
    "nested": lambda: (
        layers.GlobalAveragePooling2D(),
        keras.Sequential([keras.Input([4]), layers.Dense(5)]),
    ),
    "no activation": lambda: (layers.Flatten(), layers.Dense(6), layers.Dense(5)),
    "normalised": lambda: (layers.GlobalAveragePooling2D(), normalization(), layers.Dense(5, "softmax")),
    "normalised behind": lambda: (
        layers.GlobalAveragePooling2D(),
        layers.Dense(4),
        normalization(),
        layers.Dense(5),
    ),
}
NOT_LINEAR = {
    "largest value": lambda: (layers.GlobalMaxPooling2D(), layers.Dense(5)),
    "largest value, hidden": lambda: (
        layers.GlobalMaxPooling2D(),
        layers.Dense(6, "relu"),
        layers.Dense(5),
    ),
    "pooled, hidden": lambda: (layers.GlobalAveragePooling2D(), layers.Dense(6, "gelu"), layers.Dense(5)),
    "flattened, two": lambda: (
        layers.Flatten(),
        layers.Dense(7, "relu"),
        layers.Dropout(0.5),
        layers.Dense(6, use_bias=False),
        layers.PReLU("uniform"),
        layers.Dense(5, "softmax"),
    ),
    "pooled, activation": lambda: (
        layers.GlobalAveragePooling2D(),
        normalization(),
        layers.ReLU(),
        layers.Dense(5),
    ),
}
OTHERS = {
    "two softmaxes": lambda: (layers.GlobalAveragePooling2D(), layers.Dense(5, "softmax"), layers.Softmax()),
    "softmax within": lambda: (layers.Flatten(), layers.Dense(4, "softmax"), layers.Dense(5)),
    "normalised": lambda: (layers.GlobalAveragePooling2D(), layers.LayerNormalization(), layers.Dense(5)),
    "largest of means": lambda: (
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.GlobalMaxPooling2D(),
        layers.Dense(5),
    ),
    "activation at the output": lambda: (layers.GlobalAveragePooling2D(), layers.Dense(5, "tanh")),
    "axes kept": lambda: (
        layers.GlobalAveragePooling2D(keepdims=True),
        layers.Dense(6),
        layers.PReLU("uniform"),
        layers.Flatten(),
        layers.Dense(5),
    ),
    "dense over channels": lambda: (layers.Dense(5), layers.GlobalAveragePooling2D()),
}


def normalization(**kwargs):
    """With statistics of its own, as after training."""
    return layers.BatchNormalization(
        **kwargs,
        moving_mean_initializer=keras.initializers.RandomNormal(seed=1),
        moving_variance_initializer=keras.initializers.RandomUniform(0.5, 2, seed=2),
        gamma_initializer=keras.initializers.RandomNormal(1, seed=3),
    )


def own_activation(operation):
    return operation.activation if isinstance(operation, layers.Dense) else operation


@pytest.mark.parametrize("name", [*LINEAR, *NOT_LINEAR])
def test_evidence_is_that_of_backward_passes(name):
    model, features, head = model_with(*{**LINEAR, **NOT_LINEAR}[name]())
    explained = Explained(ModelGraph(model))
    maps = features(RNG.normal(size=(3, 8, 8, 3)))
    maps = tf.constant(tf.minimum(maps, np.quantile(maps, 0.9)))  # several places are equally large
    weights = tf.constant(RNG.normal(size=(3, 5)), tf.float32)
    rivals = tf.constant([[0, 3], [1, 4], [2, 0]])
    assert explained.dense_head.is_linear == (name in LINEAR)
    evidence = explained.dense_head.evidence(maps, weights, rivals, own_activation)
    head = without_softmax(head)
    for k, class_weights in enumerate([weights, *tf.unstack(tf.one_hot(rivals, 5), axis=1)]):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            score = tf.reduce_sum(head(maps) * class_weights)
        expected = tf.reduce_sum(maps * tape.gradient(score, maps), -1)
        np.testing.assert_allclose(evidence[..., k], expected, atol=1e-5)


def without_softmax(head):
    last = head.layers[-1]
    if isinstance(last, layers.Softmax):
        return keras.Sequential(head.layers[1:-1])
    last = last.layers[-1] if isinstance(last, keras.Sequential) else last
    last.activation = keras.activations.linear
    return head


@pytest.mark.parametrize("softmax", ["fused", "of its own"])
def test_classes_in_another_order(softmax, monkeypatch):
    """The columns of the last kernel are in the order of the units before they are turned round."""
    head = [layers.Dense(5, "softmax")] if softmax == "fused" else [layers.Dense(5), layers.Softmax()]
    model, *_ = model_with(layers.GlobalAveragePooling2D(), *head)
    turned = keras.Model(model.input, model.output[:, ::-1])
    images = RNG.normal(size=(3, 8, 8, 3)).astype("float32")
    expected = tlp.wrap_model(model).explain(images, [1, 2, 4])
    maps = tlp.wrap_model(turned).explain(images, [3, 2, 0])
    np.testing.assert_allclose(maps, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("rule", ["universal", "guided_backprop"])
@pytest.mark.parametrize("name", NOT_LINEAR)
def test_maps_are_those_of_a_pass_for_each_rival(name, rule, monkeypatch):
    """Rules at activations of the head work on the signals of the rivals too."""
    model, *_ = model_with(*NOT_LINEAR[name]())
    images = RNG.normal(size=(3, 8, 8, 3)).astype("float32")
    maps = [tlp.wrap_model(model, rule, readout="multi_layer").explain(images)]
    monkeypatch.setattr(Explained, "dense_head", None)
    maps.append(tlp.wrap_model(model, rule, readout="multi_layer").explain(images))
    np.testing.assert_allclose(*maps, atol=1e-5 * np.abs(maps[1]).max())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_evidence_of_an_output_behind_an_activation(activation, monkeypatch):
    """The score is what the activation gives, not what enters it."""
    model, *_ = model_with(
        layers.GlobalAveragePooling2D(), layers.Dense(6, "relu"), layers.Dense(5, activation)
    )
    images = RNG.normal(size=(3, 8, 8, 3)).astype("float32")
    maps = [tlp.wrap_model(model).explain(images)]
    monkeypatch.setattr(Explained, "dense_head", None)
    maps.append(tlp.wrap_model(model).explain(images))
    np.testing.assert_allclose(*maps, atol=1e-5 * np.abs(maps[1]).max())


def test_dense_layers_on_a_pooled_map_with_all_axes():
    """A layer with weights for each axis runs on the rank that it was built for."""
    model, *_ = model_with(*OTHERS["axes kept"]())
    flat, *_ = model_with(
        layers.GlobalAveragePooling2D(), layers.Dense(6), layers.PReLU("uniform"), layers.Dense(5)
    )
    for weight, value in zip(flat.weights, model.get_weights(), strict=True):
        weight.assign(np.reshape(value, weight.shape))
    images = RNG.normal(size=(3, 8, 8, 3)).astype("float32")
    maps, expected = (tlp.wrap_model(of).explain(images) for of in (model, flat))
    np.testing.assert_allclose(maps, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", OTHERS)
def test_other_heads_are_none(name):
    model, _, _ = model_with(*OTHERS[name]())
    assert Explained(ModelGraph(model)).dense_head is None


class InTraining(layers.Layer):
    """Normalises by the statistics of the batch at all times."""

    def __init__(self):
        super().__init__()
        self.normalization = normalization()

    def call(self, x):
        return self.normalization(x, training=True)


ODD = {
    "normalised, flattened": lambda: (layers.Flatten(), normalization(), layers.Dense(5)),
    "activation, flattened": lambda: (layers.Flatten(), layers.PReLU("uniform"), layers.Dense(5)),
    "float64": lambda: (layers.GlobalAveragePooling2D(), normalization(dtype="float64"), layers.Dense(5)),
    "softmax of negative logits": lambda: (
        layers.GlobalAveragePooling2D(),
        layers.Dense(5),
        layers.Activation(lambda x: keras.ops.softmax(-x)),
    ),
    "normalised in training mode": lambda: (
        layers.GlobalAveragePooling2D(),
        InTraining(),
        layers.ReLU(),
        layers.Dense(5),
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_maps_of_odd_heads_are_those_of_a_pass_for_each_rival(name, monkeypatch):
    model, *_ = model_with(*ODD[name]())
    images = RNG.normal(size=(3, 8, 8, 3)).astype("float32")
    maps = [tlp.wrap_model(model).explain(images)]
    monkeypatch.setattr(Explained, "dense_head", None)
    maps.append(tlp.wrap_model(model).explain(images))
    np.testing.assert_allclose(*maps, atol=1e-5 * np.abs(maps[1]).max())
