"""Explains a classifier of table rows: python examples/tabular.py writes results/tabular.png.

A small network learns scikit-learn's breast cancer data. The value of a feature in a row is its share in the
decision, and the deletion curve shows what the network answers when the features with the highest values are
replaced by their mean.
"""

import argparse
import pathlib

import keras
import numpy as np
import sklearn.datasets

import tf_learnprop as tlp


def load_rows():
    """Standardised rows and their labels, for training and for tests, and the data set itself."""
    table = sklearn.datasets.load_breast_cancer()
    is_test = np.arange(len(table.data)) % 4 == 0
    train = table.data[~is_test]
    rows = ((table.data - train.mean(0)) / train.std(0)).astype("float32")
    return (rows[~is_test], table.target[~is_test]), (rows[is_test], table.target[is_test]), table


def build(features):
    row = keras.Input((features,))
    x = keras.layers.Dense(32, activation="relu")(row)
    x = keras.layers.Dense(32, activation="relu")(x)
    return keras.Model(row, keras.layers.Dense(2)(x))


def deletion_curves(model, rows, orders):
    """Curves (share of features deleted, mean probability, low, high) by name."""
    evaluation = tlp.metrics.Evaluation(model, rows, fills=("mean",))
    curves = {}
    for name, values in orders.items():
        curve = tlp.metrics.deletion(evaluation, values, fill=0.0)  # the mean of the standardised features
        intervals = [tlp.metrics.bootstrap_interval(point) for point in curve.curves.T]
        curves[name] = (curve.fractions, *np.array(intervals).T)
        print(f"{name:20} area under the deletion curve {curve.scores.mean():.3f}, lower is better")
    return curves


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/tabular.png"))
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    (rows, labels), (test_rows, test_labels), table = load_rows()
    model = build(rows.shape[1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(rows, labels, batch_size=32, epochs=20, verbose=0)
    print(f"accuracy on test rows: {model.evaluate(test_rows, test_labels, verbose=0)[1]:.1%}")

    wrapped = tlp.wrap_model(model, rule="gradient", readout="input")
    values = wrapped.explain(test_rows)  # [rows, features]
    predicted = wrapped.logits(test_rows).argmax(1)
    row = int(np.flatnonzero(predicted == 0)[0])
    print(f"test row {row} is {table.target_names[predicted[row]]}, because of:")
    for feature in np.argsort(-values[row])[:5]:
        print(f"  {table.feature_names[feature]:24} {values[row, feature]:+.2f}")

    random = np.random.default_rng(0).random(values.shape)
    curves = deletion_curves(model, test_rows, {"highest values first": values, "random order": random})
    figure = tlp.plotting.curves({"probability": {"deletion": curves}}, xlabel="share of features deleted")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out)
    print(f"curves drawn to {arguments.out}")


if __name__ == "__main__":
    main()
