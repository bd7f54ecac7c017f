"""Draws maps of several methods side by side, for a dozen photos that come with Python packages.

python benchmarks/dozen_photos.py      # writes results/dozen_photos.jpg
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import matplotlib.cbook  # noqa: E402
import numpy as np  # noqa: E402
import skimage.data  # noqa: E402
import sklearn.datasets  # noqa: E402
from evaluation import methods, subjects, universal_rule  # noqa: E402
from PIL import Image  # noqa: E402

import tf_learnprop as tlp  # noqa: E402
from tf_learnprop import zoo  # noqa: E402

RULES = pathlib.Path(__file__).parents[1] / "saved_rules" / "efficientnet_lite0.keras"
NAMES = "chelsea coffee rocket astronaut camera coins clock hubble_deep_field stereo_motorcycle".split()
PEERS = ("Guided Backprop", "Grad-CAM", "Grad-CAM++", "RISE")


def photos():
    """A dozen photos, uint8 `[12, 224, 224, 3]`."""

    def read(name):
        found = getattr(skimage.data, name)()
        return found[0] if isinstance(found, tuple) else found  # the left one of two

    found = [read(name) for name in NAMES]
    found += sklearn.datasets.load_sample_images().images
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as portrait:
        found.append(np.asarray(portrait))
    grey = [np.repeat(photo[..., None], 3, -1) if photo.ndim == 2 else photo for photo in found]
    return np.stack([zoo.load_image(photo) for photo in grey])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--masks", type=int, default=2000, help="of RISE")
    parser.add_argument("--refine-steps", type=int, default=20)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("results/quality/cache"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/dozen_photos.jpg"))
    arguments = parser.parse_args()
    model = zoo.efficientnet_lite0()
    shown = photos()
    images = zoo.preprocess(shown)
    classes = subjects.logits(subjects.forward(model), images).argmax(1)
    maps = {}
    for method in methods.peers(model, float(np.ptp(images)), arguments.masks, 4, 0):
        if method.name in PEERS:
            *_, variant = method.variants
            found = variant.form(method.explain(images, classes), images)
            maps[method.name] = found - found.min((1, 2), keepdims=True)  # RISE's have no zero of their own
            print(method.name, flush=True)
    generator = universal_rule.held_out("imagenet_lite0", arguments.cache, 0)
    unseen = universal_rule.wrapped(model, generator)
    trained = tlp.wrap_model(model, str(RULES))
    maps["universal, unseen"] = unseen.explain(images, classes)
    maps["trained"] = trained.explain(images, classes)
    maps["trained, refined"] = trained.explain(images, classes, refine_steps=arguments.refine_steps)
    titles = [zoo.class_names()[number] for number in classes]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tlp.plotting.compare(shown, maps, titles=titles).savefig(arguments.out, dpi=60)


if __name__ == "__main__":
    main()
