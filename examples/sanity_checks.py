"""Checks on four photos that maps depend on the model and on the class (Adebayo et al. 2018).

python examples/sanity_checks.py explains EfficientNet-Lite0. With --model, a model of keras.applications is
downloaded with its ImageNet weights.
"""

import argparse

import numpy as np
import skimage.data

import tf_learnprop as tlp
from tf_learnprop import metrics


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument(
        "--layers", type=int, default=3, help="number of steps from the top layer to all layers"
    )
    arguments = parser.parse_args()
    spec = tlp.zoo.load_model(arguments.model)
    model, side = spec.model, spec.model.input_shape[1]
    names = ("chelsea", "coffee", "rocket", "astronaut")
    photos = np.stack([tlp.zoo.load_image(getattr(skimage.data, name)(), side) for name in names])
    images = spec.preprocess(photos.astype(np.float32))
    wrapped = tlp.wrap_model(model, rule="universal")
    logits = wrapped.logits(images)
    classes = logits.argmax(1)

    likely, unlikely = (wrapped.explain(images, ids) for ids in (classes, logits.argmin(1)))
    alike = metrics.similarity(likely, unlikely).rank_correlation.mean()
    print(f"maps of the most and the least likely class: rank correlation {alike:.2f}; 1 ignores the class")

    for rule in ("universal", "guided_backprop"):

        def explain(changed, batch, rule=rule):
            return np.abs(tlp.wrap_model(changed, rule, readout="multi_layer").explain(batch, classes))

        found = metrics.randomisation(model, images, explain, layers=arguments.layers)
        print(f"{rule}: rank correlation with the maps before layers were randomised, from the top down")
        for layer, values in zip(found.layers, found.rank_correlation, strict=True):
            print(f"  {layer:28} {np.mean(values):.2f}")


if __name__ == "__main__":
    main()
