"""Explains EfficientNet-Lite0 on photos of scikit-image, with rules trained for it.

python examples/demo.py writes results/demo.png.
"""

import argparse
import pathlib
import time

import keras
import numpy as np
import skimage.data

import tf_learnprop as tlp
from tf_learnprop import zoo

ROOT = pathlib.Path(__file__).resolve().parent.parent
#: Names of the photos, each with a class to explain, or None for the predicted one.
ROWS = (
    ("chelsea", None),
    ("coffee", None),
    ("rocket", None),
    ("astronaut", None),
    ("astronaut", "space shuttle"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "results" / "demo.png")
    parser.add_argument("--rules", default="efficientnet_lite0")
    arguments = parser.parse_args()

    steps = keras.utils.Progbar(6, verbose=1)
    print("EfficientNet-Lite0, ImageNet weights")
    model = zoo.efficientnet_lite0()
    steps.update(1)
    learned = tlp.wrap_model(model, rule=arguments.rules)
    steps.update(2)
    photos = np.stack([zoo.load_image(getattr(skimage.data, name)()) for name, _ in ROWS])
    images = zoo.preprocess(photos)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(learned.logits(images)))
    names = zoo.class_names()
    asked = [
        names.index(label) if label else row.argmax()
        for (_, label), row in zip(ROWS, probabilities, strict=True)
    ]
    columns = {}
    for name, rule in (("plain gradient", "gradient"), ("guided backprop", "guided_backprop")):
        columns[name] = tlp.wrap_model(model, rule, readout="saliency").explain(images, asked)
        steps.add(1)
    columns["Grad-CAM"] = tlp.wrap_model(model, "gradient", readout="grad_cam").explain(images, asked)
    steps.add(1)
    columns["learned rules"] = learned.explain(images, asked)
    steps.add(1)

    print(f"\ncoverage: {learned.coverage.summary()}")
    titles = [f"{names[k]} ({row[k]:.1%})" for k, row in zip(asked, probabilities, strict=True)]
    for (name, _), title in zip(ROWS, titles, strict=True):
        print(f"{name:10} {title}")
    learned.explain(images[:1])  # compiles for batches of one image
    times = []
    for image in images:
        start = time.perf_counter()
        learned.explain(image[None])
        times.append(time.perf_counter() - start)
    print(f"one map took {1e3 * np.median(times):.0f} ms (median of {len(times)})")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tlp.plotting.compare(photos, columns, titles=titles).savefig(arguments.out, dpi=100)
    print(f"figure written to {arguments.out}")


if __name__ == "__main__":
    main()
