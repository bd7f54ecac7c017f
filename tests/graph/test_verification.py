"""A graph proves itself: what an opened layer runs is compared with the layer."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src import backend  # `call` has no public way to attach a mask

import tf_learnprop as tlp
from tf_learnprop.graph.model_graph import ModelGraph

RNG = np.random.default_rng(7)
IDS = np.array([[4, 5, 6, 0, 0], [1, 0, 2, 3, 0], [1, 2, 3, 4, 5]], "int32")


class Fickle(layers.Layer):
    """Runs something else on KerasTensors than on numbers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(4, "relu", name="dense")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        y = self.dense(x)
        return y if isinstance(x, keras.KerasTensor) else 2.0 * y


class Around(layers.Layer):
    """A fickle layer behind an activation of its own."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return ops.tanh(self.inner(ops.silu(x)))


class Noisy(layers.Layer):
    """Drops values at all times."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dropout = layers.Dropout(0.5)

    def call(self, x):
        return ops.relu(self.dropout(x, training=True))


class FickleModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, "relu")
        self.head = layers.Dense(3)

    def call(self, x):
        y = self.head(self.dense(x))
        return y if isinstance(x, keras.KerasTensor) else 2.0 * y


def around(*parts):
    inputs = keras.Input((4,))
    x = layers.Dense(4, "relu", name="before")(inputs)
    for part in parts:
        x = part(x)
    return keras.Model(inputs, layers.Dense(3)(x))


def reasons(wrapped):
    return {row.path: row.reason for row in wrapped.coverage if "give something else" in row.reason}


@pytest.mark.parametrize(
    "build, closed",
    [
        (lambda: around(Fickle(name="fickle")), {"fickle"}),
        (lambda: around(Around(Fickle(name="fickle"), name="outer")), {"outer"}),
        (lambda: around(Around(layers.Dense(4), name="good"), Fickle(name="fickle")), {"fickle"}),
    ],
    ids=["layer", "inside another", "beside another"],
)
def test_a_layer_that_runs_something_else_stays_closed(build, closed):
    model = build()
    wrapped = tlp.wrap_model(model)
    assert {path.split("/")[0] for path in reasons(wrapped)} == closed
    x = RNG.normal(size=(5, 4)).astype("float32")
    np.testing.assert_allclose(wrapped(x), model(x), rtol=1e-6)


def test_a_model_whose_own_call_runs_something_else_is_an_error():
    model = FickleModel()
    model(np.ones((1, 4), "float32"))
    with pytest.raises(ValueError, match="must be the same if its layers are run one by one.*50.0% of the"):
        tlp.wrap_model(model)


def test_a_random_layer_stays_open():
    wrapped = tlp.wrap_model(around(Noisy(name="noisy")))
    assert wrapped.coverage.swapped == ["before", "noisy/relu"]


def test_reading_runs_no_model_without_opened_layers(monkeypatch):
    model = around(layers.Dense(4, "relu"))
    monkeypatch.setattr(type(model), "__call__", lambda *_: pytest.fail("the model ran"))
    assert len(ModelGraph(model).calls) == 3


class TestMasks:
    BODIES = {
        "pooling": lambda x: x,
        "LSTM": lambda x: layers.LSTM(4, return_sequences=True)(x),
        "attention": lambda x: layers.MultiHeadAttention(2, 4)(x, x),
    }

    @pytest.mark.parametrize("length", [5, None])
    @pytest.mark.parametrize("body", BODIES)
    @pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a layer"])
    def test_a_mask_attached_in_call_is_followed(self, body, length, inside):
        embedding = layers.ReversibleEmbedding(20, 8, mask_zero=True)
        ids = keras.Input((length,), dtype="int32")
        x = self.BODIES[body](Positions(embedding)(ids) if inside else embedding(ids))
        x = layers.Dense(4, "relu")(layers.GlobalAveragePooling1D()(x))
        model = keras.Model(ids, layers.Dense(3)(x))
        for weight in model.trainable_weights:
            weight.assign(RNG.normal(size=weight.shape))
        wrapped = tlp.wrap_model(model)
        assert not any("can't be opened" in row.reason for row in wrapped.coverage)
        np.testing.assert_allclose(wrapped(IDS), model(IDS), rtol=1e-5, atol=1e-6)


class Positions(layers.Layer):
    """Hands on the mask of the embedding inside it by hand, as KerasHub's embeddings do."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding
        self.supports_masking = True

    def build(self, shape):
        self.embedding.build(shape)
        self.positions = self.add_weight(shape=(8,), initializer="normal")

    def compute_output_shape(self, shape):
        return (*shape, 8)

    def call(self, ids):
        embedded = self.embedding(ids)
        outputs = embedded + self.positions
        backend.set_keras_mask(outputs, backend.get_keras_mask(embedded))
        return outputs
