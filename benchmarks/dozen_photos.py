"""Draws maps of several methods side by side, for a dozen photos that come with Python packages.

The figure is written to RESULTS/dozen_photos.jpg.
"""

import matplotlib.cbook
import numpy as np
import skimage.data
import sklearn.datasets
from PIL import Image

import tf_learnprop as tlp
from benchmarks.evaluation import methods, options, results, subjects, universal_rule
from tf_learnprop import zoo

RULES = results.ROOT / "saved_rules" / "efficientnet_lite0.keras"
NAMES = "chelsea coffee rocket astronaut camera coins clock hubble_deep_field stereo_motorcycle".split()
PEERS = ("guided_backprop", "grad_cam", "grad_cam_pp", "rise")


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


def add_options(parser):
    parser.add_argument("--masks", type=options.at_least(1), default=2000, help="of RISE")
    parser.add_argument("--refine-steps", type=options.at_least(1), default=20)


def run(arguments):
    model = zoo.efficientnet_lite0()
    shown = photos()
    images = zoo.preprocess(shown)
    classes = subjects.logits(subjects.forward(model), images).argmax(1)
    maps = {}
    for method in methods.peers(model, arguments.masks, names=PEERS):
        *_, variant = method.variants
        maps[method.name] = variant.form(method.explain(images, classes), images)
        print(method.name, flush=True)
    hypernetwork = universal_rule.held_out("imagenet_lite0", arguments.results / "cache", 0)
    unseen = universal_rule.wrapped(model, hypernetwork)
    trained = tlp.wrap_model(model, RULES)
    maps["universal, unseen"] = unseen.explain(images, classes)
    maps["trained"] = trained.explain(images, classes)
    maps["trained, refined"] = trained.explain(images, classes, refine_steps=arguments.refine_steps)
    titles = [zoo.class_names()[number] for number in classes]
    path = arguments.results / "dozen_photos.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    tlp.plotting.compare(shown, maps, titles=titles).savefig(path, dpi=60)
    print(f"written to {path}")
