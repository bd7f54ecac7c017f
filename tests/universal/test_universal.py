import math

import numpy as np
import pytest

import tf_learnprop as tlp
from tests import token_models, toys
from tf_learnprop import readouts, rules, universal

IMAGES = toys.images(3)

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def hypernetwork():
    """A hypernetwork none of whose weights is zero."""
    made = universal.HyperNetwork()
    draws = toys.rng(4)
    for variable in made.variables:
        variable.assign(draws.normal(size=variable.shape) / 4)
    return made


def test_places_by_hand():
    shapes = [(None, 64, 64, 3), (None, 32, 32, 16), (None, 8, 8, 24), (None, 8, 8, 32)]
    expected = [
        [0.25, 0.0625, math.exp(-1.5), 1.0, 0, 1, math.log(4) / 3],
        [0.5, 0.25, math.exp(-1.0), 2 / 3, 0, 0, math.log(4) / 3],
        [0.75, 0.5625, math.exp(-0.5), 0.0, 1, 0, math.log(4) / 3],
        [1.0, 1.0, 1.0, 0.0, 1, 0, math.log(4) / 3],
    ]
    found = universal.position_features(shapes, [True, False, False, False])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_places_of_other_ranks_and_unknown_sizes():
    found = universal.position_features([(None, 16, 4), (None, 8, 4), (None, 4)], [False] * 3)
    np.testing.assert_allclose(found[:, 3], [4 / 3, 1, 0], rtol=1e-6)
    assert np.isfinite(
        universal.position_features([(None, None, None, 3), (None, 8, 8, 3)], [True, False])
    ).all()


def test_an_untrained_hypernetwork_is_the_untrained_rule():
    model = toys.small_cnn()
    wrapped, plain = tlp.wrap_model(model, rule="universal"), tlp.wrap_model(model, rule="learned")
    universal.initialise(wrapped.rule_set, wrapped.read_shapes, wrapped.class_count, universal.HyperNetwork())
    np.testing.assert_allclose(wrapped.explain(IMAGES), plain.explain(IMAGES), atol=1e-5)


def test_weights_are_a_network_of_the_place(hypernetwork):
    """Each rule's and the readout's weights, by a slow loop over the layers."""
    wrapped = tlp.wrap_model(toys.small_cnn(), rule="universal")
    universal.initialise(wrapped.rule_set, wrapped.read_shapes, wrapped.class_count, hypernetwork)
    feature_kernel, gate_kernel, place_kernel, place_bias, place_output = hypernetwork.get_weights()[:5]

    def of_place(row):
        return np.tanh(row @ place_kernel + place_bias) @ place_output

    # Two activations of 16 and 8 pixels, and the input of 16 before them in what is read.
    size = math.log(2) / 3
    rows = [
        [0.5, 0.25, math.exp(-0.5), 1 / 3, 0, 0, size],
        [1.0, 1.0, 1.0, 0.0, 1, 0, size],
    ]
    for rule, row in zip(wrapped.rule_set.rules, rows, strict=True):
        output = of_place(np.array(row))
        np.testing.assert_allclose(rule.feature_kernel, feature_kernel, rtol=1e-6)
        np.testing.assert_allclose(rule.feature_bias, output[3:], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(rule.gate_kernel, gate_kernel, rtol=1e-6)
        np.testing.assert_allclose(rule.gate_bias, output[2:3], rtol=1e-4, atol=1e-6)
    size = math.log(3) / 3
    read = [
        [1 / 3, 1 / 9, math.exp(-1), 1 / 3, 0, 1, size],
        [2 / 3, 4 / 9, math.exp(-0.5), 1 / 3, 0, 0, size],
        [1.0, 1.0, 1.0, 0.0, 1, 0, size],
    ]
    expected = np.stack([of_place(np.array(row))[:2] for row in read], 1) / 2
    np.testing.assert_allclose(wrapped.rule_set.readout.raw_weights, expected, rtol=1e-4, atol=1e-6)
    size = [1, math.log2(16) / 50, math.log2(wrapped.class_count) / 50]
    np.testing.assert_allclose(
        wrapped.rule_set.readout.raw_focus, size @ hypernetwork.focus_kernel.numpy(), rtol=1e-4
    )


def test_rules_at_operations_have_weights_of_their_own(hypernetwork):
    wrapped = tlp.wrap_model(token_models.vit(), rule="universal")
    universal.initialise(wrapped.rule_set, wrapped.read_shapes, wrapped.class_count, hypernetwork)
    split_kernel, split_gate_kernel, split_output, _ = hypernetwork.get_weights()[5:]
    place_kernel, place_bias = hypernetwork.get_weights()[2:4]
    found = [rule for rule in wrapped.rule_set.rules if isinstance(rule, rules.SplitRule)]
    count, size = len(found), math.log(len(found)) / 3
    kinds = set()
    for number, rule in enumerate(found, 1):
        above = math.exp(-(count - number) / 2)
        row = np.array([number / count, (number / count) ** 2, above, 0, 1, 0, size])
        output = np.tanh(row @ place_kernel + place_bias) @ split_output
        kinds.add(type(rule))
        if isinstance(rule, rules.BlendedRule):
            np.testing.assert_allclose(rule.raw_share, output[0], rtol=1e-4, atol=1e-6)
            continue
        np.testing.assert_allclose(rule.feature_kernel, split_kernel, rtol=1e-6)
        np.testing.assert_allclose(rule.gate_kernel, split_gate_kernel, rtol=1e-6)
        np.testing.assert_allclose(rule.gate_bias, output[1:2], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(rule.feature_bias, output[2:], rtol=1e-4, atol=1e-6)
    assert kinds == {rules.BlendedRule, rules.LearnedSplitRule}


def test_only_universal_rules_get_the_weights():
    model = toys.small_cnn()
    untrained, trained = tlp.wrap_model(model, "gradient").rule_set.paths
    mixed = tlp.wrap_model(model, {untrained: "learned", trained: "universal"}).rule_set
    gates = {path: rule.gate_kernel.numpy() for path, rule in zip(mixed.paths, mixed.rules, strict=True)}
    assert np.abs(gates[trained]).max() > 0
    np.testing.assert_array_equal(gates[untrained], 0)


class TestByName:
    """`rule="universal"`, with the weights that come with the package."""

    def test_outputs_are_the_models_and_maps_are_others_than_untrained_ones(self):
        model = toys.small_cnn()
        wrapped = tlp.wrap_model(model, "universal")
        np.testing.assert_allclose(wrapped(IMAGES), model(IMAGES), atol=1e-6)
        maps = wrapped.explain(IMAGES)
        assert np.isfinite(maps).all()
        assert np.abs(maps - tlp.wrap_model(model, rule="learned").explain(IMAGES)).max() > 1e-2

    def test_is_the_default(self):
        model = toys.small_cnn()
        default, named = tlp.wrap_model(model), tlp.wrap_model(model, "universal")
        assert [row.rule for row in default.coverage if row.swapped] == ["universal"] * 2
        np.testing.assert_array_equal(default.explain(IMAGES), named.explain(IMAGES))

    def test_is_what_the_loaded_hypernetwork_gives(self):
        model = toys.small_cnn()
        named, given = (tlp.wrap_model(model, "universal") for _ in range(2))
        universal.initialise(given.rule_set, given.read_shapes, given.class_count, universal.HyperNetwork())
        assert np.abs(named.explain(IMAGES) - given.explain(IMAGES)).max() > 1e-3
        universal.initialise(given.rule_set, given.read_shapes, given.class_count, universal.load())
        np.testing.assert_array_equal(named.explain(IMAGES), given.explain(IMAGES))

    def test_the_packages_weights_have_been_trained(self):
        """All but those for operations: no transformer was among the models."""
        weights = universal.load().variables
        assert len(weights) == 9
        for weight in weights:
            assert np.isfinite(weight.numpy()).all()
            if weight.name in ("split_gate_kernel", "split_output"):
                assert not weight.numpy().any()
            else:
                assert np.abs(weight.numpy()).max() > 1e-2, weight.name

    def test_can_be_trained_on_saved_and_loaded(self, tmp_path):
        model = toys.small_cnn()
        wrapped = tlp.wrap_model(model, "universal")
        wrapped.compile(run_eagerly=True)
        before = wrapped.explain(IMAGES)
        wrapped.fit(toys.images(8, seed=2), batch_size=4, verbose=0)
        maps = wrapped.explain(IMAGES)
        assert np.abs(maps - before).max() > 1e-3
        wrapped.save_rules(tmp_path / "rules.keras")
        again = tlp.wrap_model(model, rule=tmp_path / "rules.keras")
        np.testing.assert_allclose(again.explain(IMAGES), maps, atol=1e-5)

    def test_for_some_layers_only(self):
        model = toys.small_cnn()
        first, last = tlp.wrap_model(model, rule="learned").rule_set.paths
        wrapped = tlp.wrap_model(model, {first: "guided_backprop", last: "universal"})
        assert [rules.name_of(rule) for rule in wrapped.rule_set.rules] == ["guided_backprop", "universal"]
        assert np.abs(wrapped.rule_set.readout.raw_weights).max() > 1e-3

    def test_with_the_input_readout(self):
        wrapped = tlp.wrap_model(toys.small_cnn(), "universal", readout="input")
        assert isinstance(wrapped.rule_set.readout, readouts.InputReadout)
        assert np.isfinite(wrapped.explain(IMAGES)).all()

    def test_no_pixels(self):
        model = toys.linear(toys.rng().normal(size=(6, 3)).astype(np.float32))
        assert np.isfinite(tlp.wrap_model(model, "universal").explain(np.ones((2, 6), np.float32))).all()
