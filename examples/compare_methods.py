"""Compares methods on four photos: by eye, and by measures beside a blob at the centre and a random map.

python examples/compare_methods.py prints the table, and writes results/compare_methods.png and .html. With
--model, a model of keras.applications is downloaded with its ImageNet weights. Trained rules exist only for
zoo models.
"""

import argparse
import pathlib

import numpy as np
import skimage.data

import tf_learnprop as tlp

ROOT = pathlib.Path(__file__).resolve().parent.parent
METHODS = "saliency,guided_backprop,grad_cam,layer_cam,integrated_gradients,universal"
#: Fewer passes than by default, for four photos.
OPTIONS = {"integrated_gradients": {"steps": 10}, "rise": {"masks": 500}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--methods", default=METHODS, help=f"of {', '.join(tlp.methods.names())}")
    parser.add_argument("--steps", type=int, default=5, help="steps of the curves")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/compare_methods.png"))
    arguments = parser.parse_args()
    spec = tlp.zoo.load_model(arguments.model)
    side = spec.model.input_shape[1]
    names = ("chelsea", "coffee", "rocket", "astronaut")
    photos = np.stack([tlp.zoo.load_image(getattr(skimage.data, name)(), side) for name in names])
    images = spec.preprocess(photos.astype(np.float32))

    rules = ROOT / "saved_rules" / f"{arguments.model}.keras"
    wrapped = tlp.wrap_model(spec.model, rule=rules if rules.exists() else "universal")
    methods = {name: tlp.methods.get(name, **OPTIONS.get(name, {})) for name in arguments.methods.split(",")}
    if rules.exists():
        methods["trained rules"] = wrapped
    comparison = tlp.metrics.compare(wrapped, images, methods, steps=arguments.steps)
    print(comparison)

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    page = comparison.save(arguments.out.with_suffix(".html"))
    classes = wrapped.logits(images).argmax(1)
    maps = comparison.maps | {"refined": wrapped.explain(images, classes, refine_steps=5)}
    titles = [spec.class_names[k] for k in classes]
    tlp.plotting.compare(photos, maps, titles=titles).savefig(arguments.out)
    print(
        f"maps drawn to {arguments.out}, the table to {page}; four photos prove nothing, see docs/results.md"
    )


if __name__ == "__main__":
    main()
