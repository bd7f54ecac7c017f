"""The rule files that come with the repository fit the zoo's models, and each has a card."""

import pathlib

import numpy as np
import pytest

import tf_learnprop as tlp
from tf_learnprop import zoo

FOLDER = pathlib.Path(__file__).parents[2] / "saved_rules"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_trained_maps_beat_those_before_training(name, data_dir):
    model = getattr(zoo, name)()
    side = model.input_shape[1]
    files = sorted((data_dir / "imagenet_sample").glob("???7_*.jpg"))[:12]  # held out from the training
    images = zoo.preprocess(np.stack([zoo.load_image(file, side) for file in files]))
    trained = tlp.wrap_model(model, rule=FOLDER / f"{name}.keras")
    classes = trained.logits(images).argmax(1)
    maps = trained.explain(images, classes)
    untrained = tlp.wrap_model(model, rule="learned").explain(images, classes)

    def score(found):
        return tlp.metrics.insertion_deletion(trained, images, found, classes, step=side * side // 8).scores

    assert maps.shape == (12, side, side)
    assert score(maps).mean() > score(untrained).mean()


def test_each_file_has_a_card():
    cards = (FOLDER / "README.md").read_text()
    files = sorted(FOLDER.glob("*.keras"))
    assert files
    for file in files:
        assert f"## `{file.name}`" in cards
