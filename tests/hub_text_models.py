"""The text backbones of KerasHub, tiny and with random weights, each with a small pooled head."""

import keras
import keras_hub
import numpy as np

LENGTH = 6
VOCABULARY = 50

_SIZES = {"vocabulary_size": VOCABULARY, "num_layers": 2, "hidden_dim": 8, "intermediate_dim": 16}
_HEADS = {**_SIZES, "num_heads": 2}
_GROUPED = {**_SIZES, "num_query_heads": 2, "num_key_value_heads": 1}

#: Settings by family.
FAMILIES: dict[str, dict[str, int]] = {
    "Bert": _HEADS,
    "FNet": _SIZES,
    "GPT2": _HEADS,
    "Gemma": {**_GROUPED, "head_dim": 4},
    "Llama": _GROUPED,
    "Mistral": _GROUPED,
    "Qwen3": {**_GROUPED, "head_dim": 4},
}


def classifier(family: str, length: int | None = None) -> keras.Model:
    """A classifier of three classes; with a length, the backbone is a nested model that is called on it."""
    backbone = getattr(keras_hub.models, f"{family}Backbone")(**FAMILIES[family])
    inputs, x = backbone.input, backbone.output
    if length:
        inputs = {key: keras.Input((length,), dtype="int32", name=key) for key in inputs}
        x = backbone(inputs)
    x = x["sequence_output"] if isinstance(x, dict) else x
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(x)))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(scale=1 / weight.shape[-1] ** 0.5, size=weight.shape))
    return model


def embedding(model: keras.Model) -> keras.Variable:
    """The weights of the tokens' embedding, a variable."""
    weights = [weight for weight in model.weights if weight.shape == (VOCABULARY, 8)]
    return weights[0]


def sample(model: keras.Model, length: int = LENGTH) -> dict[str, np.ndarray]:
    """Two texts of different tokens, the first of them padded."""
    ids = np.random.default_rng(1).permutation(np.arange(1, VOCABULARY))[: 2 * length].reshape(2, length)
    mask = np.ones((2, length), "int32")
    mask[0, -2:] = 0
    values = {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros((2, length), "int32")}
    return {key: values[key].astype("int32") for key in model.input}
