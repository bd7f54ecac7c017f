"""Explains a pretrained image classifier of KerasHub.

    pip install "tf-learnprop[keras-hub]"
    python examples/keras_hub_preset.py --preset vit_base_patch16_224_imagenet photo.jpg

The preset is downloaded once, from Kaggle or Hugging Face. Without a photo, a cat from scikit-image is
explained. --random takes a tiny vision transformer with random weights instead, to try the example offline.
"""

import argparse
import pathlib
import sys

import keras
import keras_hub
import numpy as np
import skimage.data
from PIL import Image

import tf_learnprop as tlp


def from_preset(name):
    """A pretrained classifier with its preprocessor; exits with one line if it can't be had."""
    try:
        return keras_hub.models.ImageClassifier.from_preset(name)
    except Exception as error:  # each hub has its own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        sys.exit(
            f"The preset '{name}' can't be loaded ({reason[0]:.200}). Presets are downloaded: check the "
            "network and the name, or pass the folder of a preset; --random needs neither."
        )


def random_classifier():
    """A tiny vision transformer for 64 × 64 pixels."""
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(64, 64, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    converter = keras_hub.layers.ViTImageConverter(image_size=(64, 64), scale=1 / 255.0)
    preprocessor = keras_hub.models.ViTImageClassifierPreprocessor(converter)
    return keras_hub.models.ViTImageClassifier(backbone, num_classes=5, preprocessor=preprocessor)


def load(files, size):
    """Photos `[n, height, width, 3]` from 0 to 255, resized to the model's input."""
    photos = [Image.open(file).convert("RGB") for file in files] or [Image.fromarray(skimage.data.chelsea())]
    return np.stack([np.asarray(photo.resize(size[::-1], Image.Resampling.BICUBIC)) for photo in photos])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", nargs="*", type=pathlib.Path)
    parser.add_argument("--preset", default="vit_base_patch16_224_imagenet", help="its name or folder")
    parser.add_argument("--random", action="store_true", help="a tiny model with random weights, no download")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/keras_hub_preset.png"))
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    classifier = random_classifier() if arguments.random else from_preset(arguments.preset)
    preprocess = classifier.preprocessor
    photos = load(arguments.photos, classifier.backbone.image_shape[:2])
    images = np.asarray(preprocess(photos.astype("float32")))

    classifier.preprocessor = None  # the wrapped model takes images that are preprocessed already
    wrapped = tlp.wrap_model(classifier)
    print(wrapped.coverage.reading())
    print(wrapped.coverage.summary())
    maps = wrapped.explain(images)
    titles = [f"class {k}" for k in wrapped.logits(images).argmax(-1)]

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tlp.plotting.compare(photos, {"universal rules": maps}, titles=titles).savefig(arguments.out)
    print(f"maps drawn to {arguments.out}")


if __name__ == "__main__":
    main()
