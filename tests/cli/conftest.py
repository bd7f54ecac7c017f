import keras
import numpy as np
import pytest
import toys
from PIL import Image

SIDE = 16


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder with a saved model, class names, and photos in two folders."""
    folder = tmp_path_factory.mktemp("work")
    keras.utils.set_random_seed(5)
    toys.small_cnn().save(folder / "model.keras")
    toys.small_cnn(shape=(None, None, 3)).save(folder / "any_size.keras")
    table = [keras.Input((8,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(4)]
    keras.Sequential(table).save(folder / "table.keras")
    (folder / "names.txt").write_text("red fox\narctic fox\ncat\ndog\n")
    (folder / "broken.keras").write_text("no model")
    generator = toys.rng(6)
    for number in range(6):
        place = folder / "photos" / ("a" if number % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        name = "photo.png" if number > 3 else f"{number}.png"
        Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC).save(place / name)
    return folder


@pytest.fixture
def model(work):
    """The arguments that name the model."""
    return ["--model", str(work / "model.keras"), "--preprocess", "tf"]
