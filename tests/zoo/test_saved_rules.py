"""The rule files that come with the repository fit the zoo's models, and each has a card."""

import pathlib

import numpy as np
import pytest

import tf_learnprop as tlp
from tests import toys
from tf_learnprop import zoo
from tf_learnprop.rule_files import saving

FOLDER = pathlib.Path(__file__).parents[2] / "saved_rules"


def test_are_found_by_name():
    assert saving.shipped_rules() == {path.stem: path for path in FOLDER.glob("*.keras")}
    model = zoo.efficientnet_lite0(input_shape=(64, 64, 3))
    image = toys.images(1, (64, 64, 3))
    named = tlp.wrap_model(model, rule="efficientnet_lite0").explain(image)
    given = tlp.wrap_model(model, rule=FOLDER / "efficientnet_lite0.keras").explain(image)
    np.testing.assert_array_equal(named, given)
    assert np.abs(named - tlp.wrap_model(model, rule="learned").explain(image)).max() > 1e-3


def test_of_another_model_are_refused():
    with pytest.raises(ValueError, match="don't fit the model"):
        tlp.wrap_model(toys.small_cnn(), rule="efficientnet_lite0")


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
