"""Draws the picture of `docs/idea.md`: python docs/figures.py writes docs/idea.jpg."""

import pathlib

import keras
import numpy as np
import skimage.data

import tf_learnprop as tlp
from tf_learnprop import zoo
from tf_learnprop.training import objectives

HERE = pathlib.Path(__file__).parent
PHOTOS = ("chelsea", "coffee", "rocket")
AREA = 0.2


def main():
    model = zoo.efficientnet_lite0()
    wrapped = tlp.wrap_model(model, rule=str(HERE.parent / "saved_rules" / "efficientnet_lite0.keras"))
    photos = np.stack([zoo.load_image(getattr(skimage.data, name)()) for name in PHOTOS])
    images = keras.ops.convert_to_tensor(zoo.preprocess(photos))
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
    figure.savefig(HERE / "idea.jpg", dpi=100, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main()
