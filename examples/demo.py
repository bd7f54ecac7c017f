"""EfficientNet-Lite0 explains photos of scikit-image with rules that were trained for it.

python examples/demo.py writes results/demo.png.
"""

import argparse
import pathlib
import time

import keras
import matplotlib
import numpy as np
import skimage.data

import tf_learnprop as tlp
from tf_learnprop import zoo

ROOT = pathlib.Path(__file__).resolve().parent.parent
PHOTOS = ("chelsea", "coffee", "rocket", "astronaut")


def saliency(signal):
    """Max over the channels of |G|, the usual picture of a gradient (Simonyan et al. 2013)."""
    return np.abs(signal).max(-1)


def draw(photos, titles, columns, path):
    """A row a photo: the photo, then each method's map over it, from the 1st to the 99th percentile."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(photos), len(columns) + 1, figsize=(3 * len(columns) + 3, 3.1 * len(photos)), squeeze=False
    )
    for row, (photo, title) in enumerate(zip(photos, titles, strict=True)):
        axes[row, 0].imshow(photo)
        axes[row, 0].set_title(title)
        for axis, (name, maps) in zip(axes[row, 1:], columns.items(), strict=True):
            low, high = np.percentile(maps[row], (1, 99))
            heat = np.clip((maps[row] - low) / (high - low), 0, 1)
            axis.imshow(photo.mean(-1), cmap="gray", vmin=0, vmax=255)
            axis.imshow(heat, cmap="inferno", alpha=0.3 + 0.6 * heat)
            axis.set_title(name)
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "results" / "demo.png")
    parser.add_argument("--rules", default=str(ROOT / "saved_rules" / "efficientnet_lite0.keras"))
    arguments = parser.parse_args()

    steps = keras.utils.Progbar(5, verbose=1)
    print("EfficientNet-Lite0, ImageNet weights")
    model = zoo.efficientnet_lite0()
    steps.update(1)
    learned = tlp.wrap_model(model, rule=arguments.rules)
    steps.update(2)
    photos = np.stack([zoo.load_image(getattr(skimage.data, name)()) for name in PHOTOS])
    images = zoo.preprocess(photos)
    columns = {}
    for name, rule in (("plain gradient", "gradient"), ("guided backprop", "guided_backprop")):
        columns[name] = saliency(tlp.wrap_model(model, rule=rule).input_signal(images))
        steps.add(1)
    columns["learned rules"] = learned.explain(images)
    steps.add(1)

    print(f"\ncoverage: {learned.coverage.summary()}")
    titles = []
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(learned.logits(images)))
    for name, ((_, label, probability), *_) in zip(PHOTOS, zoo.decode(probabilities), strict=True):
        titles.append(f"{label} ({probability:.0%})")
        print(f"{name:10} {titles[-1]}")
    learned.explain(images[:1])  # compiles the graph for one image
    times = []
    for image in images:
        start = time.perf_counter()
        learned.explain(image[None])
        times.append(time.perf_counter() - start)
    print(f"one map took {1e3 * np.median(times):.0f} ms (median of {len(times)})")
    draw(photos, titles, columns, arguments.out)
    print(f"figure written to {arguments.out}")


if __name__ == "__main__":
    main()
