"""Rules side by side on four photos, with what insertion − deletion says of each.

python examples/compare_methods.py      # writes results/compare_methods.png
"""

import argparse
import pathlib

import numpy as np
import skimage.data

import tf_learnprop as tlp
from tf_learnprop import metrics, zoo

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--step", type=int, default=5000, help="pixels from point to point of a curve")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/compare_methods.png"))
    arguments = parser.parse_args()
    model = zoo.efficientnet_lite0()
    names = ("chelsea", "coffee", "rocket", "astronaut")
    photos = np.stack([zoo.load_image(getattr(skimage.data, name)()) for name in names])
    images = zoo.preprocess(photos)

    def saliency(rule):
        return np.abs(tlp.wrap_model(model, rule).input_signal(images)).max(-1)

    trained = tlp.wrap_model(model, rule=ROOT / "saved_rules" / "efficientnet_lite0.keras")
    maps = {
        "gradient": saliency("gradient"),
        "guided backprop": saliency("guided_backprop"),
        "universal rule": tlp.wrap_model(model, "universal").explain(images),
        "trained rules": trained.explain(images),
        "refined": trained.explain(images, refine_steps=5),
    }
    classes = trained.logits(images).argmax(1)
    for name, found in maps.items():
        result = metrics.insertion_deletion(trained, images, found, classes, step=arguments.step)
        print(f"{name:16} {result.scores.mean():.3f}")
    titles = [zoo.class_names()[k] for k in classes]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tlp.plotting.compare(photos, maps, titles=titles).savefig(arguments.out)
    print(f"maps drawn to {arguments.out}; four photos prove nothing, see docs/results.md")


if __name__ == "__main__":
    main()
