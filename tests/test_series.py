"""Maps of series: they lie on planted evidence, whatever the length, and agree with mutagenesis."""

import keras
import numpy as np
import pytest
from keras import layers

import tf_learnprop as tlp
from benchmarks.evaluation import known_series, series_answers
from tf_learnprop import readouts

LENGTH = 300


def convolutional(length):
    """Two convolutions and the largest value of each feature."""
    x = letters = keras.Input((length, 4))
    x = layers.Conv1D(24, known_series.MOTIF, padding="same", activation="relu")(x)
    x = layers.Conv1D(24, 5, padding="same", activation="relu")(x)
    return keras.Model(letters, layers.Dense(known_series.CLASSES)(layers.GlobalMaxPooling1D()(x)))


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    model, shown = convolutional(LENGTH), known_series.dna(3000, LENGTH, seed=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss)
    model.fit(shown.series, shown.labels, epochs=3, verbose=0)
    return model


def resized(model, length):
    twin = convolutional(length)
    twin.set_weights(model.get_weights())
    return twin


def right(model, length, count=32):
    """Series of a pattern that the model gets right."""
    shown = known_series.dna(count, length, seed=2)
    is_right = (model.predict(shown.series, verbose=0).argmax(1) == shown.labels) & (shown.labels > 0)
    return known_series.KnownSeries(*(part[is_right] for part in shown))


def ranks(maps, masks):
    return np.mean([series_answers.ranks(*pair) for pair in zip(maps, masks, strict=True)])


class TestPlantedMotifs:
    @pytest.mark.parametrize("length", [LENGTH, 2000, None])
    def test_maps_lie_on_them_at_any_length(self, trained, length):
        model = resized(trained, length)
        shown = right(model, length or 700)
        assert len(shown.labels) > 12, len(shown.labels)
        assert ranks(tlp.wrap_model(model).explain(shown.series, shown.labels), shown.masks) >= 0.85

    def test_maps_agree_with_mutagenesis_as_well_as_gradient_times_input(self, trained):
        shown = right(trained, LENGTH)
        effects = [
            series_answers.mutagenesis(trained, one, label, np.arange(LENGTH))
            for one, label in zip(shown.series[:6], shown.labels[:6], strict=True)
        ]

        def agreement(rule):
            maps = tlp.wrap_model(trained, rule).explain(shown.series[:6], shown.labels[:6])
            return np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(maps, effects, strict=True)])

        assert agreement("universal") >= max(agreement("gradient"), 0.85)

    @pytest.mark.filterwarnings("error:The rules of this model are untrained")
    def test_an_exported_model_and_a_rule_file_give_the_same_maps(self, trained, tmp_path):
        shown = right(trained, LENGTH)
        wrapped = tlp.wrap_model(trained)
        maps = wrapped.explain(shown.series, shown.labels)
        wrapped.export(tmp_path / "1")
        served = tlp.serving.Explainer(tmp_path / "1", "explain_class")(shown.series, shown.labels)
        np.testing.assert_allclose(served.maps, maps, atol=1e-4)
        wrapped.save_rules(tmp_path / "rules.weights.h5")
        loaded = tlp.wrap_model(trained, tmp_path / "rules.weights.h5")
        assert isinstance(loaded.rule_set.readout, readouts.SeriesReadout)
        np.testing.assert_array_equal(loaded.explain(shown.series, shown.labels), maps)


class TestDefaults:
    def test_what_is_read(self, trained):
        wrapped = tlp.wrap_model(trained)
        assert isinstance(wrapped.rule_set.readout, readouts.SeriesReadout)
        assert wrapped.coverage.reading() == "The map is read from the input and 2 activations"
        assert "2 keeps its gradient: 'universal' does not suit series" in wrapped.coverage.summary()

    def test_gradient_times_input_is_not_blurred(self, trained):
        shown = right(trained, LENGTH)
        wrapped = tlp.wrap_model(trained, "gradient")
        expected = (shown.series * wrapped.input_signal(shown.series, shown.labels)).sum(-1)
        np.testing.assert_allclose(wrapped.explain(shown.series, shown.labels), expected, atol=1e-6)

    def test_a_rule_that_was_asked_for_stays(self, trained):
        wrapped = tlp.wrap_model(trained, "learned")
        assert all(rule.learned for rule in wrapped.rule_set.rules)
        assert isinstance(wrapped.rule_set.readout, readouts.SeriesReadout)

    def test_a_blur_that_was_asked_for_stays(self, trained):
        shown = right(trained, LENGTH)
        sharp, blurred = (
            tlp.wrap_model(trained, "gradient", readout=readouts.InputReadout(blur)).explain(
                shown.series, shown.labels
            )
            for blur in (None, 1 / 32)
        )
        assert np.abs(np.diff(blurred)).mean() < 0.2 * np.abs(np.diff(sharp)).mean()
