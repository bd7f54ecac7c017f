"""Training the rules of several inputs at once: masks act on all of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from scipy import special

import tf_learnprop as tlp
from tests import toys
from tests.joint_masks import slow_joint_mask
from tests.test_joint import DATA, PAIR, everything, linear, photo_and_table, photos_and_tables

RNG = np.random.default_rng(5)
X, Y = (RNG.normal(size=(6, size)).astype("float32") for size in (3, 2))


class TestLoss:
    def test_of_a_linear_model_by_hand(self):
        """Three classes, linear in two tables: the maps and the masked answers in NumPy."""
        model, a, b = linear(3)
        joint = tlp.wrap_model(model, "gradient", explained_input="all")
        maps = joint.explain([X, Y])
        objective = tlp.objectives.AreaGuidance(fills=("mean",))
        found = joint.attributor.guidance([X, Y], objective, training=False)
        probabilities = special.softmax(X @ a + Y @ b, -1)
        for index in range(6):
            area = 0.05 + 0.65 * ((0.5 + index / 1.6180339887) % 1.0)
            masks = slow_joint_mask([one[index] for one in maps], area, 0.15)
            kept = [m * x[index] + (1 - m) * x.mean(0) for m, x in zip(masks, (X, Y), strict=True)]
            left = [m * x.mean(0) + (1 - m) * x[index] for m, x in zip(masks, (X, Y), strict=True)]
            p = probabilities[index]
            preserve = -np.sum(p * special.log_softmax(kept[0] @ a + kept[1] @ b))
            destroy = -np.log(1 - special.softmax(left[0] @ a + left[1] @ b)[p.argmax()] + 1e-3)
            np.testing.assert_allclose(found["preserve"][index], preserve, rtol=2e-3)
            np.testing.assert_allclose(found["destroy"][index], destroy, rtol=2e-3)

    def test_inputs_that_are_not_explained_stay(self):
        """All inputs but a photo and words are as they are, and words are masked at their embedding."""
        joint = tlp.wrap_model(everything(), "gradient", explained_input=["photo", "words"])
        images, run = joint.attributor.masked(tf.nest.map_structure(tf.constant, DATA))
        assert [image.shape for image in images] == [(4, 12, 12, 3), (4, 6, 4)]
        embedding = next(layer for layer in joint.source.layers if isinstance(layer, layers.Embedding))
        np.testing.assert_array_equal(images[1], embedding(DATA["words"]))
        copies = [np.concatenate([image * 0.5, -image]) for image in images]
        found = run(list(map(tf.constant, copies)), 2).logits
        rest = {name: np.concatenate([values] * 2) for name, values in DATA.items()}
        head = keras.Model(
            {**joint.source.input, "words": embedding.output}, joint.source.output, name="behind_words"
        )
        inputs = {**rest, "photo": copies[0], "words": copies[1]}
        np.testing.assert_allclose(tf.nn.softmax(found), head(inputs), rtol=1e-4)

    def test_other_scores(self):
        """A value is compared by how close it stays."""
        model, *_ = linear(1)
        joint = tlp.wrap_model(model, "gradient", explained_input="all")
        joint.compile(targets=tlp.targets.Value())
        losses = joint.evaluate([X, Y], batch_size=6, return_dict=True, verbose=0)
        assert np.isfinite(list(losses.values())).all()


class TestFit:
    def test_lowers_the_loss_on_other_samples(self):
        data, labels = photos_and_tables(512, "photo")
        keras.utils.set_random_seed(0)
        model = photo_and_table(10, 1, 6)
        model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(True))
        model.fit(data, labels, epochs=10, verbose=0, batch_size=64)
        weights = model.get_weights()
        joint = tlp.wrap_model(model, "learned", explained_input="all")
        joint.compile()
        others, _ = photos_and_tables(128, "photo", seed=1)
        before = joint.evaluate(others, batch_size=64, return_dict=True, verbose=0)
        history = joint.fit(data, batch_size=64, epochs=8, verbose=0).history
        after = joint.evaluate(others, batch_size=64, return_dict=True, verbose=0)
        assert after["loss"] < before["loss"] - 0.1
        assert history["loss"][-1] < history["loss"][0]
        for old, new in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    @pytest.mark.usefixtures("eagerly")
    def test_trains_the_rules_of_all_inputs(self):
        joint = tlp.wrap_model(everything(), "learned", explained_input="all")
        names = [name for name in joint.names if joint[name].rule_set.trainable_variables]
        before = {name: joint[name].rule_set.get_weights() for name in names}
        joint.compile()
        joint.fit(DATA, batch_size=4, epochs=2, verbose=0)
        assert {"photo", "table", "words"} <= {*names}
        for name in names:
            now = joint[name].rule_set.get_weights()
            assert any(np.abs(new - old).max() > 1e-6 for new, old in zip(now, before[name], strict=True))
        # A rule that inputs share is trained once.
        ids = [id(variable) for variable in joint.trainable_variables]
        assert len(ids) == len({*ids}) and joint.predict(DATA, verbose=0).shape == (4, 3)

    @pytest.mark.usefixtures("eagerly")
    def test_a_centre_is_kept(self):
        joint = tlp.wrap_model(photo_and_table(), "learned", explained_input="all")
        joint.compile()
        joint.fit(PAIR, batch_size=4, verbose=0)
        joint.centre(PAIR)
        shares = tlp.shares(joint.explain(PAIR, 0))["photo"]
        joint.fit(PAIR, batch_size=4, verbose=0)
        after = tlp.shares(joint.explain(PAIR, 0))["photo"]
        np.testing.assert_allclose(after, shares, atol=0.05)
        assert np.abs(tlp.shares(joint.explain(PAIR, 1))["photo"] - shares).max() > 0  # not a constant

    @pytest.mark.usefixtures("eagerly")
    def test_photos_of_any_size(self):
        photo, table = keras.Input((None, None, 3), name="photo"), keras.Input((3,), name="table")
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(photo))
        x = layers.Concatenate()([x, layers.Dense(4, "relu")(table)])
        model = keras.Model({"photo": photo, "table": table}, layers.Dense(2)(x))
        joint = tlp.wrap_model(model, "learned", explained_input="all")
        joint.compile()
        for photos in (PAIR["photo"], PAIR["photo"][:, :9]):
            losses = joint.fit({**PAIR, "photo": photos}, batch_size=4, verbose=0).history
            assert np.isfinite(losses["loss"]).all() and 0.2 < losses["mask_area"][0] < 0.6

    @pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
    def test_inputs_of_other_lengths(self, method):
        joint = tlp.wrap_model(photo_and_table(), "learned", explained_input="all")
        joint.compile()
        with pytest.raises(ValueError, match=r"must have the same length. Received: \[3, 4\]"):
            getattr(joint, method)({**PAIR, "photo": PAIR["photo"][:3]})

    def test_what_has_no_rules(self):
        joint = tlp.wrap_model(linear(2)[0], "gradient", explained_input="all")
        joint.compile()
        with pytest.raises(RuntimeError, match="`fit` trains learned rules"):
            joint.fit([X, Y])
        with pytest.raises(ValueError, match="The model has 2 inputs. Received: 1 arrays"):
            joint.evaluate(X)


@pytest.mark.usefixtures("eagerly")
class TestFiles:
    def test_a_saved_model_goes_on(self, tmp_path):
        """Rules, the centre, what is shared and how it is compiled come back."""
        joint = tlp.wrap_model(photo_and_table(), "learned", include="*", explained_input="all")
        joint.compile(keras.optimizers.Adam(1e-2))
        joint.fit(PAIR, batch_size=4, verbose=0)
        joint.centre(PAIR)
        joint.save(tmp_path / "joint.keras")
        again = keras.models.load_model(tmp_path / "joint.keras")
        assert len(again.trainable_variables) == len(joint.trainable_variables)
        assert len(joint.trainable_variables) < sum(len(of.trainable_variables) for of in joint.rule_sets)
        for name, maps in joint.explain(PAIR).items():
            np.testing.assert_allclose(again.explain(PAIR)[name], maps, rtol=1e-5, atol=1e-7)
        for model in (joint, again):
            model.fit(PAIR, batch_size=4, verbose=0, shuffle=False)
        for one, other in zip(joint.trainable_variables, again.trainable_variables, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)

    def test_weights_of_some_of_the_inputs(self, tmp_path):
        model = everything()
        joint, again = (
            tlp.wrap_model(model, "learned", explained_input=["words", "photo"]) for _ in range(2)
        )
        toys.jolt(joint["photo"])
        again.centre(DATA)
        joint.save_weights(tmp_path / "joint.weights.h5")
        again.load_weights(tmp_path / "joint.weights.h5")
        for name, maps in joint.explain(DATA).items():
            np.testing.assert_allclose(again.explain(DATA)[name], maps, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("eagerly")
def test_scores_and_logits():
    model, a, b = linear(3)
    joint = tlp.wrap_model(model, "gradient", explained_input="all")
    np.testing.assert_allclose(joint.logits([X, Y]), X @ a + Y @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(joint.scores([X, Y], 1), (X @ a + Y @ b)[:, 1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(joint([X, Y]), X @ a + Y @ b, rtol=1e-5, atol=1e-5)
