"""Planted evidence: maps lie where it is, whatever moves the places between the input and the layers."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import placed_models as models

#: Ways to explain that read layers.
WAYS = [
    {"rule": "universal"},
    {"rule": "guided_backprop", "readout": "multi_layer"},
    {"rule": "gradient", "readout": "grad_cam"},
]


def explain(model, x, way, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No activation of model")
        return tlp.wrap_model(model, **way, **options).explain(x, 1)[0]


def share_on(maps, spot):
    """Share of the |spot| top pixels of a map that lie on the spot."""
    on_spot = np.zeros(maps.shape, bool)
    on_spot[spot] = True
    size = (spot[0].stop - spot[0].start) * (spot[1].stop - spot[1].start)
    top = np.argsort(-maps.ravel(), kind="stable")[:size]
    return on_spot.ravel()[top].mean()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.get("readout", "default"))
@pytest.mark.parametrize("name", models.FRONTS)
def test_behind_layers_that_move_places(name, way, eagerly):
    maps = explain(models.model(models.FRONTS[name]), models.images(), way)
    assert share_on(maps, models.SPOT) >= 0.8


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.get("readout", "default"))
@pytest.mark.parametrize("name", models.BODIES)
def test_convolutions_that_shift_places(name, way, eagerly):
    maps = explain(models.model(body=models.BODIES[name]), models.images(), way)
    assert share_on(maps, models.SPOT) >= 0.8


def test_a_feature_map_with_its_channels_in_front(eagerly):
    front = models.chain(
        models.brightness(5, 2), layers.Permute((3, 2, 1)), layers.ReLU(), layers.Permute((3, 2, 1))
    )
    for way in WAYS:
        maps = explain(models.model(body=front), models.images(), way)
        assert share_on(maps, models.SPOT) >= 0.8


@pytest.mark.usefixtures("eagerly")
class TestTwoInputs:
    """The spot is in the CT."""

    @pytest.mark.parametrize("way", WAYS, ids=lambda way: way.get("readout", "default"))
    @pytest.mark.parametrize("build", models.PAIRS)
    def test_the_map_of_one_holds_nothing_of_the_other(self, build, way):
        model, x = build(), [models.images(), models.without_spot()]
        assert share_on(explain(model, x, way, explained_input="ct"), models.SPOT) >= 0.8
        assert share_on(explain(model, x, way, explained_input="mr"), models.SPOT) <= 0.1

    @pytest.mark.parametrize("way", WAYS, ids=lambda way: way.get("readout", "default"))
    def test_an_input_that_the_output_does_not_use(self, way):
        model, x = models.apart(), [models.images(), models.without_spot()]
        with pytest.warns(UserWarning, match="No gradient of output .* reaches input 'mr'"):
            wrapped = tlp.wrap_model(model, **way, explained_input="mr", output=0)
        with pytest.warns(UserWarning, match="one value everywhere"):
            assert np.ptp(wrapped.explain(x, 1)) == 0

    def test_layers_that_see_both_are_not_read(self):
        coverage = tlp.wrap_model(models.joined(), explained_input="ct").coverage
        first, second, third = (
            [row for row in coverage if row.layer == "Conv2D" and "two inputs meet" in row.reason],
            [row for row in coverage if "does not depend on the explained input" in row.reason],
            coverage.read,
        )
        assert (len(first), len(second), len(third)) == (1, 1, 1)

    @pytest.mark.parametrize(("name", "number"), [("ct", 0), ("mr", 1)])
    def test_coverage_says_which_run_of_a_shared_layer_is_read(self, name, number):
        row = tlp.wrap_model(models.siamese(), explained_input=name).coverage[-1]
        runs = ["not read: it does not depend on the explained input"] * 2
        runs[number] = "24 × 24 places, 4 px apart"
        assert row.read and row.places == f"{runs[0]} (run 1 of 2); {runs[1]} (run 2 of 2)"

    @pytest.mark.parametrize("rule", ["universal", "learned", "channel_mixing"])
    def test_a_learned_rule_keeps_the_gradient_where_inputs_meet(self, rule):
        wrapped = tlp.wrap_model(models.joined(), rule, explained_input="mr")
        joined = wrapped.coverage[-1]
        assert joined.rule == "gradient" and "what is in another input" in joined.reason
        assert share_on(wrapped.explain([models.images(), models.without_spot()], 1)[0], models.SPOT) <= 0.1

    def test_include_puts_one_there(self):
        model = models.joined()
        path = tlp.wrap_model(model, explained_input="mr").coverage[-1].path
        (row,) = tlp.wrap_model(model, explained_input="mr", include=path).coverage[-1:]
        assert row.rule == "universal"

    @pytest.mark.parametrize("build", [models.stacked, models.added_early])
    def test_inputs_that_meet_early_are_read_at_the_input(self, build):
        """Evidence at the right input is found; where the map may follow the other one, a warning says so."""
        model, x = build(), [models.images(), models.without_spot()]
        for name, spot in [("ct", x), ("mr", x[::-1])]:
            with pytest.warns(UserWarning, match="read from the input alone.*also follows what is in them"):
                wrapped = tlp.wrap_model(model, explained_input=name)
            assert wrapped.coverage.reading() == "The map is read from the input alone"
            assert share_on(wrapped.explain(spot, 1)[0], models.SPOT) >= 0.8

    def test_nothing_to_read_falls_back_to_the_input_or_is_refused(self):
        model = models.stacked()
        with pytest.warns(UserWarning, match="No activation of model .* can be read as a map"):
            tlp.wrap_model(model, explained_input="mr")
        with pytest.raises(ValueError, match="has places in the input"):
            tlp.wrap_model(model, readout="grad_cam", explained_input="mr")


@pytest.mark.usefixtures("eagerly")
class TestTokens:
    def test_patches_cut_by_reshape_are_found(self):
        model = models.spots_of_tokens(models.patches_by_reshape)
        wrapped = tlp.wrap_model(model)
        assert (
            wrapped.coverage.reading()
            == "The map is read from the input and the last feature map before attention"
        )
        assert "The feature map has 16 × 16 places, 6 px apart" in str(wrapped.coverage)
        maps = wrapped.explain(models.images(), 1)
        assert share_on(maps[0], models.SPOT) >= 0.8
        named = tlp.wrap_model(model, readout=tlp.readouts.TokenReadout(grid=(16, 16)))
        np.testing.assert_array_equal(named.explain(models.images(), 1), maps)


STRETCH = slice(300, 340)


@pytest.mark.parametrize("length", [500, 5000])
@pytest.mark.parametrize(
    "before",
    [None, layers.Cropping1D((230, 0)), lambda x: x[:, ::-1], layers.ZeroPadding1D((333, 0))],
    ids=["plain", "cropped", "backwards", "padded"],
)
def test_series(length, before, eagerly):
    readout = tlp.readouts.MultiLayerReadout(blur=4 / length, max_size=None)
    model = models.series(length, before)
    maps = tlp.wrap_model(model, "gradient", readout=readout).explain(models.a_series(length, STRETCH), 1)[0]
    top = np.argsort(-maps)[: STRETCH.stop - STRETCH.start]
    assert ((top >= STRETCH.start) & (top < STRETCH.stop)).mean() >= 0.8


class TestAxesInAnotherOrder:
    """What is zero has no value, and evidence keeps its place."""

    def test_variables_by_time_behind_permute(self):
        """LSTM-FCN: a recurrent branch over variables, and a convolutional one over time."""
        series = keras.Input((8, 64))
        x = layers.Conv1D(6, 5, padding="same", activation="relu")(layers.Permute((2, 1))(series))
        branches = [layers.LSTM(4)(series), layers.GlobalAveragePooling1D()(x)]
        model = keras.Model(series, layers.Dense(3)(layers.Concatenate()(branches)))
        values = np.zeros((2, 8, 64), "float32")
        values[:, 3] = np.random.default_rng(0).normal(size=(2, 64))
        wrapped = tlp.wrap_model(model)
        assert "The map is read from the input alone" in str(wrapped.coverage)
        maps = wrapped.explain(values)
        assert (np.abs(maps).argmax(1) == 3).all() and (np.delete(maps, 3, 1) == 0).all()

    def test_channels_in_front_behind_permute(self):
        image = keras.Input((3, 24, 24))
        x = layers.Conv2D(4, 3, 2, activation="relu")(layers.Permute((2, 3, 1))(image))
        model = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
        values = np.zeros((2, 3, 24, 24), "float32")
        values[:, 1, 10:14, 10:14] = 1.0
        with pytest.warns(UserWarning, match="read from the input alone"):
            maps = np.abs(tlp.wrap_model(model).explain(values))
        assert maps[:, [0, 2]].max() < 1e-6 * maps[:, 1].max()

    def test_both_strands_of_dna(self):
        """The shared layers run on letters and on their reverse complement, of which one has the motif."""
        letters = keras.Input((200, 4))
        motif = np.random.default_rng(0).integers(0, 4, 12)
        kernel = np.eye(4)[motif][:, :, None] - 0.25
        found = layers.Conv1D(1, 12, activation="relu", name="found", bias_initializer=_constant(-5.0))
        strands = [found(letters), found(letters[:, ::-1, ::-1])]
        x = layers.Maximum()([layers.GlobalMaxPooling1D()(strand) for strand in strands])
        model = keras.Model(letters, layers.Dense(2, kernel_initializer=_constant([[0.0, 9.0]]))(x))
        found.kernel.assign(kernel)
        sequence = np.random.default_rng(1).integers(0, 4, 200)
        sequence[40:52] = 3 - motif[::-1]
        wrapped = tlp.wrap_model(model)
        assert "positions backwards" in wrapped.coverage[0].places
        top = np.argsort(-wrapped.explain(np.eye(4, dtype="float32")[sequence][None], 1)[0])[:12]
        assert ((top >= 40) & (top < 52)).mean() >= 0.8


def _constant(values):
    return lambda shape, dtype=None: keras.ops.broadcast_to(keras.ops.cast(values, dtype), shape)


class TestSizesKnownLater:
    """A model for images of any size."""

    def test_the_places_are_those_of_the_image(self):
        x = image = keras.Input((None, None, 1))
        x = layers.Resizing(48, 48, crop_to_aspect_ratio=True)(x)
        model = keras.Model(image, models.head(models.backbone(x)))
        for way in WAYS:
            wide = np.concatenate([models.images(), models.without_spot() - 0.1], 2)
            maps = explain(model, np.roll(wide, 48, 2), way)
            spot = models.SPOT[0], slice(models.SPOT[1].start + 48, models.SPOT[1].stop + 48)
            assert share_on(maps, spot) >= 0.8


class TestUnknownSizes:
    """A map of an input of unknown size is placed when the input is there."""

    def test_exported_maps_are_placed(self, tmp_path):
        x = image = keras.Input((None, None, 1))
        x = layers.Cropping2D(((40, 0), (0, 9)))(x)
        wrapped = tlp.wrap_model(
            keras.Model(image, models.head(models.backbone(x))), "gradient", readout="grad_cam"
        )
        wrapped.export(tmp_path / "1")
        served = tf.saved_model.load(str(tmp_path / "1"))
        maps = served.signatures["explain_class"](images=models.images(), class_ids=[1])["maps"][0]
        assert share_on(maps.numpy(), models.SPOT) >= 0.8
