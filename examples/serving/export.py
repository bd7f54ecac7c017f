"""Exports EfficientNet-Lite0 with its trained rules for TensorFlow Serving.

    python examples/serving/export.py            writes served/efficientnet_lite0/1

For a model of your own, replace `zoo.efficientnet_lite0()` and `zoo.preprocess` by the model and its
preprocessing. `tf-learnprop export` does the same for a saved model or a model of keras.applications.
"""

import argparse
import pathlib

import numpy as np
import skimage.data

import tf_learnprop as tlp
from tf_learnprop import zoo

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "served" / "efficientnet_lite0" / "1")
    parser.add_argument("--rules", default="efficientnet_lite0")
    parser.add_argument("--no-warmup", action="store_true", help="needs no tensorflow-serving-api")
    arguments = parser.parse_args()

    wrapped = tlp.wrap_model(zoo.efficientnet_lite0(), rule=arguments.rules)
    photos = np.stack([zoo.load_image(photo) for photo in (skimage.data.chelsea(), skimage.data.coffee())])
    path = wrapped.export(
        arguments.out,
        preprocess=zoo.preprocess,
        crop_to_aspect_ratio=True,
        warmup=None if arguments.no_warmup else zoo.preprocess(photos),
    )
    print(f"written to {path}")


if __name__ == "__main__":
    main()
