"""Compares methods on four photos, by eye and by insertion − deletion.

python examples/compare_methods.py writes results/compare_methods.png. With --model, a model of
keras.applications is downloaded with its ImageNet weights. Trained rules exist only for zoo models.
"""

import argparse
import pathlib

import numpy as np
import skimage.data

import tf_learnprop as tlp
from tf_learnprop import metrics

ROOT = pathlib.Path(__file__).resolve().parent.parent
METHODS = "saliency,guided_backprop,grad_cam,layer_cam,integrated_gradients,universal"
#: Fewer passes than by default, for four photos.
OPTIONS = {"integrated_gradients": {"steps": 10}, "rise": {"masks": 500}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--methods", default=METHODS, help=f"of {', '.join(tlp.methods.names())}")
    parser.add_argument("--step", type=int, default=5000, help="pixels between two points of a curve")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/compare_methods.png"))
    arguments = parser.parse_args()
    spec = tlp.zoo.load_model(arguments.model)
    model, side = spec.model, spec.model.input_shape[1]
    names = ("chelsea", "coffee", "rocket", "astronaut")
    photos = np.stack([tlp.zoo.load_image(getattr(skimage.data, name)(), side) for name in names])
    images = spec.preprocess(photos.astype(np.float32))

    rules = ROOT / "saved_rules" / f"{arguments.model}.keras"
    best = tlp.wrap_model(model, rule=rules if rules.exists() else "universal")
    classes = best.logits(images).argmax(1)
    maps = {
        name: tlp.explain(best, images, classes, method=name, **OPTIONS.get(name, {}))
        for name in arguments.methods.split(",")
    }
    if rules.exists():
        maps["trained rules"] = best.explain(images, classes)
    maps["refined"] = best.explain(images, classes, refine_steps=5)
    for name, found in maps.items():
        result = metrics.insertion_deletion(best, images, found, classes, step=arguments.step)
        print(f"{name:20} {result.scores.mean():.3f}")
    titles = [spec.class_names[k] for k in classes]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tlp.plotting.compare(photos, maps, titles=titles).savefig(arguments.out)
    print(f"maps drawn to {arguments.out}; four photos prove nothing, see docs/results.md")


if __name__ == "__main__":
    main()
