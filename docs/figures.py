"""Draws the pictures of the docs: python docs/figures.py writes docs/idea.jpg and docs/plots/*.jpg.

Needs Chromium on the path.
"""

import pathlib
import subprocess
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np
import skimage.data
from PIL import Image

import tf_learnprop as tlp
from tf_learnprop import objectives, zoo

HERE = pathlib.Path(__file__).parent
PLOTS = HERE / "plots"
PHOTOS = ("chelsea", "coffee", "rocket")
AREA = 0.2


def main():
    PLOTS.mkdir(exist_ok=True)
    model = zoo.efficientnet_lite0()
    wrapped = tlp.wrap_model(model, rule="efficientnet_lite0")
    photos = np.stack([zoo.load_image(getattr(skimage.data, name)()) for name in PHOTOS])
    images = zoo.preprocess(photos)
    idea(wrapped, photos, images)
    plots(wrapped, photos, images)
    methods(wrapped, photos[0], images[:1])
    questions(model, photos, images)


def idea(wrapped, photos, images):
    """What a map keeps and leaves of a photo."""
    images = keras.ops.convert_to_tensor(images)
    maps = wrapped.explain(images)
    masks = objectives.soft_mask(maps, np.full(len(maps), AREA, np.float32))
    blurred = tlp.fills.blur(images)
    kept = objectives.masked(images, masks, blurred)
    left = objectives.masked(blurred, masks, images)
    classes = wrapped.logits(images).argmax(1)

    figure = tlp.plotting.compare(photos, {"map": maps, f"keeps {AREA:.0%}": maps, "leaves": maps})
    columns = {0: images, 2: kept, 3: left}
    axes = np.reshape(figure.axes, (len(photos), 4))
    for column, inputs in columns.items():
        probabilities = keras.ops.softmax(wrapped.logits(inputs)).numpy()
        shown = np.clip((np.asarray(inputs) * 128 + 127) / 255, 0, 1)
        for row, axis in enumerate(axes[:, column]):
            axis.clear()
            axis.imshow(shown[row])
            axis.set(xticks=[], yticks=[])
            title = {0: zoo.class_names()[classes[row]], 2: "keeps", 3: "leaves"}[column]
            axis.set_title(f"{title}: {probabilities[row, classes[row]]:.0%}", fontsize=9)
    save(figure, HERE / "idea.jpg")


def plots(wrapped, photos, images):
    """One picture for each function of `tlp.plotting`."""
    names = zoo.class_names()
    maps = wrapped.explain(images)
    titles = [names[class_id] for class_id in wrapped.logits(images).argmax(1)]
    save(tlp.plotting.overlay(photos[0], maps[0], title=titles[0]).figure, PLOTS / "overlay.jpg")

    axes = tlp.plotting.contour(photos[0], maps[0], title=titles[0])
    axes.legend(fontsize=7)
    save(axes.figure, PLOTS / "contour.jpg")

    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(wrapped.logits(images)))
    best = np.argsort(-probabilities[1])[:2]
    shown = [
        tlp.plotting.ClassMap(
            wrapped.explain(images[1:2], class_id)[0], names[class_id], probabilities[1, class_id]
        )
        for class_id in best
    ]
    # At its own resolution, which its letters fit.
    explanation = tlp.plotting.Explanation(photos[1], shown).figure()
    explanation.savefig(PLOTS / "explanation.jpg", pil_kwargs={"quality": 85})
    gallery = tlp.plotting.gallery(photos, maps, class_names=titles, probabilities=probabilities.max(1))
    screenshot(gallery.html(), PLOTS / "gallery.jpg")

    axes = tlp.plotting.overlay(photos[0], maps[0], signed=True, title=titles[0])
    save(axes.figure, PLOTS / "overlay_signed.jpg")

    saliency = np.abs(tlp.wrap_model(wrapped.source, rule="gradient").input_signal(images)).max(-1)
    columns = {"plain gradient": saliency, "learned rules": maps}
    save(tlp.plotting.compare(photos, columns, titles=titles), PLOTS / "compare.jpg")

    save(tlp.metrics.report(wrapped, images, steps=7).figure(), PLOTS / "curves.jpg")
    save(tlp.plotting.rule_response(wrapped).figure, PLOTS / "rule_response.jpg")
    save(tlp.plotting.layer_contributions(wrapped, images[0]), PLOTS / "layer_contributions.jpg")


def methods(wrapped, photo, images):
    """All methods that a CNN can have, on one photo."""
    every = {name: tlp.methods.get(name) for name in tlp.methods.names()}
    possible = {name: method for name, method in every.items() if method.is_possible(wrapped.explained)}
    columns = 6
    rows = -(-len(possible) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2 * columns, 2.2 * rows), layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (name, method) in zip(axes.flat, possible.items(), strict=False):
        (shown,) = tlp.explain(wrapped, images, method=name)
        tlp.plotting.overlay(photo, shown, signed=method.signed, title=name, ax=ax)
        ax.set_title(name, fontsize=9)
    save(figure, PLOTS / "methods.jpg")


def questions(model, photos, images):
    """Where is the object, what tells the class from its rivals, and neither."""
    maps = {}
    for contrast in ("objects", "names", None):
        wrapped = tlp.wrap_model(model, readout=tlp.readouts.MultiLayerReadout(contrast=contrast))
        maps[f"contrast={contrast!r}"] = wrapped.explain(images)
    best = np.argsort(-wrapped.logits(images), 1)[:, :2]
    names = zoo.class_names()
    titles = [f"{names[first]},\nnot {names[second]}" for first, second in best]
    save(tlp.plotting.compare(photos, maps, titles=titles), PLOTS / "questions.jpg")


def screenshot(page, path):
    """Saves a page as a browser shows it."""
    with tempfile.TemporaryDirectory() as folder:
        file, picture = pathlib.Path(folder, "page.html"), pathlib.Path(folder, "page.png")
        file.write_text(page, encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=900,830"]
        subprocess.run(["chromium", *flags, f"--screenshot={picture}", file.as_uri()], check=True)
        with Image.open(picture) as pixels:
            pixels.convert("RGB").save(path, quality=85)


def save(figure, path):
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
