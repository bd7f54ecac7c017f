"""Explains a text classifier word by word: python examples/text.py writes results/text.png.

The texts are docstrings of installed packages, and the classes are the packages that they come from. A
transformer block learns to tell them apart; each word of a docstring then gets a value. The deletion curve
shows what the model answers when the words with the highest values are hidden.
"""

import argparse
import ast
import importlib.util
import pathlib

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib.figure import Figure

import tf_learnprop as tlp

PACKAGES = ("keras", "matplotlib", "numpy", "scipy")
WORDS = 40
VOCABULARY = 4000
UNKNOWN = 1  # the id of words that the vocabulary does not have


def docstrings(package, limit):
    """Docstrings of the functions and classes of a package, read from its files; nothing is imported."""
    folder = pathlib.Path(importlib.util.find_spec(package).origin).parent
    found = []
    for file in sorted(folder.rglob("*.py")):
        if "tests" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                text = ast.get_docstring(node) or ""
                if len(text.split()) >= WORDS // 2:
                    found.append(text)
    order = np.random.default_rng(0).permutation(len(found))[:limit]
    return [found[k] for k in order]


def load_texts(limit):
    """Texts without the names of the packages, which would tell the class, and their labels."""
    texts, labels = [], []
    for label, package in enumerate(PACKAGES):
        found = docstrings(package, limit)
        texts += found
        labels += [label] * len(found)
    names = "|".join((*PACKAGES, "np", "plt", "mpl"))
    texts = tf.strings.regex_replace(tf.strings.lower(texts), rf"\b({names})\b", " ")
    order = np.random.default_rng(1).permutation(len(labels))
    return tf.gather(texts, order), np.array(labels)[order]


@keras.saving.register_keras_serializable("examples")
class TokenEmbedding(layers.Layer):
    """Vectors of tokens plus vectors of their positions."""

    def __init__(self, vocabulary, words, width, **kwargs):
        super().__init__(**kwargs)
        self.tokens = layers.Embedding(vocabulary, width)
        self.positions = layers.Embedding(words, width)
        self.words = words

    def call(self, ids):
        return self.tokens(ids) + self.positions(keras.ops.arange(self.words))


def build(width=32):
    """A classifier of ids `[n, WORDS]` with one transformer block."""
    ids = keras.Input((WORDS,), dtype="int32")
    x = TokenEmbedding(VOCABULARY, WORDS, width)(ids)
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, width // 2)(y, y)])
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.Dense(width)(layers.Dense(2 * width, activation="gelu")(y))
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([x, y]))
    return keras.Model(ids, layers.Dense(len(PACKAGES))(layers.GlobalAveragePooling1D()(x)))


def deletion_curves(model, ids, orders):
    """Curves (share of words hidden, mean probability, low, high) by name."""

    def logits(numbers):
        return model(tf.cast(tf.round(numbers), tf.int32))

    evaluation = tlp.metrics.Evaluation(logits, ids, fills=("mean",))
    curves = {}
    for name, values in orders.items():
        curve = tlp.metrics.deletion(evaluation, values, fill=float(UNKNOWN), step=2)
        intervals = [tlp.metrics.bootstrap_interval(point) for point in curve.curves.T]
        curves[name] = (curve.fractions, *np.array(intervals).T)
        print(f"{name:20} area under the deletion curve {curve.scores.mean():.3f}, lower is better")
    return curves


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--limit", type=int, default=500, help="largest number of docstrings of a package")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/text.png"))
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    texts, labels = load_texts(arguments.limit)
    vectorize = layers.TextVectorization(VOCABULARY, output_sequence_length=WORDS)
    vectorize.adapt(texts)
    ids = np.asarray(vectorize(texts), np.int32)
    is_test = np.arange(len(ids)) % 5 == 0

    model = build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(ids[~is_test], labels[~is_test], batch_size=32, epochs=arguments.epochs, verbose=0)
    print(f"accuracy on test texts: {model.evaluate(ids[is_test], labels[is_test], verbose=0)[1]:.1%}")

    shown = ids[is_test][:100]
    wrapped = tlp.wrap_model(model)
    values = wrapped.explain(shown)  # [texts, words]
    random = np.random.default_rng(0).random(values.shape)
    curves = deletion_curves(model, shown, {"highest values first": values, "random order": random})

    words = vectorize.get_vocabulary()
    figure = Figure(figsize=(8, 8), layout="constrained")
    text, curve = figure.subfigures(2)
    for axes, row in zip(text.subplots(3), range(3), strict=True):
        count = np.count_nonzero(shown[row])
        tokens = [words[k] for k in shown[row, :count]]
        tlp.plotting.tokens(tokens, values[row, :count], columns=70, ax=axes)
        axes.set_title(PACKAGES[wrapped.logits(shown[row : row + 1]).argmax()])
    tlp.plotting.curves({"probability": {"deletion": curves}}, xlabel="share of words hidden", fig=curve)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out)
    print(f"words and curves drawn to {arguments.out}")


if __name__ == "__main__":
    main()
