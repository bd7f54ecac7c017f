"""Several inputs explained at once: their maps, the one scale, and the shares."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import placed_models, toys

RNG = np.random.default_rng(5)
PHOTOS = RNG.uniform(size=(4, 12, 12, 3)).astype("float32")
SERIES = RNG.normal(size=(4, 20, 2)).astype("float32")
IDS = RNG.integers(0, 10, (4, 6)).astype("int32")
TABLE = RNG.normal(size=(4, 3)).astype("float32")
AGE = RNG.normal(size=(4, 1)).astype("float32")
DATA = {"photo": PHOTOS, "series": SERIES, "words": IDS, "table": TABLE, "age": AGE}


def everything() -> keras.Model:
    """A photo, a series, words, a table and a number, each with a branch of its own."""
    photo, series = keras.Input((12, 12, 3), name="photo"), keras.Input((20, 2), name="series")
    words = keras.Input((6,), dtype="int32", name="words")
    table, age = keras.Input((3,), name="table"), keras.Input((1,), name="age")
    branches = [
        layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(photo)),
        layers.GlobalAveragePooling1D()(layers.Conv1D(4, 3, activation="relu")(series)),
        layers.GlobalAveragePooling1D()(layers.Embedding(10, 4)(words)),
        layers.Dense(4, "relu")(table),
        age,
    ]
    x = layers.Dense(8, "relu")(layers.Concatenate()(branches))
    inputs = {"photo": photo, "series": series, "words": words, "table": table, "age": age}
    return keras.Model(inputs, layers.Dense(3, "softmax")(x))


def photo_and_table(side: int = 12, channels: int = 3, features: int = 3) -> keras.Model:
    """A photo and a table."""
    photo, table = keras.Input((side, side, channels), name="photo"), keras.Input((features,), name="table")
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(photo)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, strides=2, activation="relu")(x))
    x = layers.Concatenate()([x, layers.Dense(16, "relu")(table)])
    x = layers.Dense(16, "relu")(x)
    return keras.Model({"photo": photo, "table": table}, layers.Dense(2)(x))


PAIR = {"photo": PHOTOS, "table": TABLE}


def scaled(maps: np.ndarray) -> np.ndarray:
    """Maps whose absolute values sum to 1."""
    flat = np.abs(maps).reshape(len(maps), -1).sum(1)
    return maps / np.where(flat == 0, 1, flat).reshape(-1, *[1] * (maps.ndim - 1))


def linear(classes: int, **options) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """logits = x·a + y·b for two tables x and y, with a and b."""
    x, y = keras.Input((3,), name="x"), keras.Input((2,), name="y")
    head = layers.Dense(classes, use_bias=False, **options)
    model = keras.Model([x, y], head(layers.Concatenate()([x, y])))
    return model, *np.split(head.kernel.numpy(), [3])


class TestLinear:
    """A model whose contributions are known: w·x of each input."""

    X, Y = TABLE, RNG.normal(size=(4, 2)).astype("float32")

    def test_a_unit(self):
        model, a, b = linear(1)
        maps = tlp.wrap_model(model, "gradient", explained_input="all").explain([self.X, self.Y])
        of_x, of_y = np.abs(self.X @ a)[:, 0], np.abs(self.Y @ b)[:, 0]
        shares = tlp.shares(maps)
        np.testing.assert_allclose(shares[0], of_x / (of_x + of_y), rtol=1e-5)
        np.testing.assert_allclose(shares[1], of_y / (of_x + of_y), rtol=1e-5)
        np.testing.assert_allclose(
            np.abs(maps[0]), shares[0][:, None] * scaled(np.abs(self.X * a[:, 0])), rtol=1e-5
        )

    @pytest.mark.parametrize("activation", [None, "softmax"])
    def test_classes_less_their_rivals(self, activation):
        model, a, b = linear(3, activation=activation)
        maps = tlp.wrap_model(model, "gradient", explained_input="all").explain([self.X, self.Y], 1)
        logits = self.X @ a + self.Y @ b
        weights = np.exp(logits) * [1, 0, 1]
        weights = [0, 1, 0] - weights / weights.sum(1, keepdims=True)
        of_x, of_y = np.abs((self.X @ a * weights).sum(1)), np.abs((self.Y @ b * weights).sum(1))
        np.testing.assert_allclose(tlp.shares(maps)[0], of_x / (of_x + of_y), rtol=1e-4)

    def test_a_value(self):
        model, a, b = linear(1)
        joint = tlp.wrap_model(model, "gradient", explained_input=["y", "x"])
        maps = joint.explain([self.X, self.Y], tlp.targets.Value())
        of_x, of_y = np.abs(self.X @ a)[:, 0], np.abs(self.Y @ b)[:, 0]
        np.testing.assert_allclose(tlp.shares(maps)[1], of_x / (of_x + of_y), rtol=1e-5)

    def test_measured_from_a_centre(self):
        model, a, b = linear(1)
        joint = tlp.wrap_model(model, "gradient", explained_input="all")
        joint.centre([self.X, self.Y], batch_size=3)
        of_x = np.abs((self.X - self.X.mean(0)) @ a)[:, 0]
        of_y = np.abs((self.Y - self.Y.mean(0)) @ b)[:, 0]
        shares = tlp.shares(joint.explain([self.X, self.Y]))
        np.testing.assert_allclose(shares[0], of_x / (of_x + of_y), rtol=1e-4)

    def test_what_leaves_a_branch_twice_counts_once(self):
        """x joins y as it is and behind a layer of its own, which is linear for x > 0."""
        x, y = keras.Input((3,)), keras.Input((2,))
        h = layers.ReLU()(x)
        head = layers.Dense(1, use_bias=False)
        model = keras.Model([x, y], head(layers.Concatenate()([layers.Concatenate()([x, y]), h])))
        a, b, c = np.split(head.kernel.numpy()[:, 0], [3, 5])
        of_x, of_y = np.abs(np.abs(self.X) @ (a + c)), np.abs(self.Y @ b)
        shares = tlp.shares(tlp.wrap_model(model, explained_input="all").explain([np.abs(self.X), self.Y]))
        np.testing.assert_allclose(shares[0], of_x / (of_x + of_y), rtol=1e-5)

    def test_a_branch_at_rest(self):
        """With a centre it contributes without a signal: its map is zero, and the others share all."""
        x, y, z = (keras.Input((size,)) for size in (3, 2, 1))
        at_rest = layers.Dense(2, "relu", use_bias=False, kernel_initializer="ones")(y)
        head = layers.Dense(1, use_bias=False, kernel_initializer="ones")
        model = keras.Model([x, y, z], head(layers.Concatenate()([x, at_rest, z])))
        data = [self.X, -np.abs(self.Y), np.ones((len(self.X), 1), "float32")]
        joint = tlp.wrap_model(model, "gradient", explained_input="all")
        joint.centre([0 * self.X, np.abs(self.Y), 0 * data[2]])
        shares = tlp.shares(maps := joint.explain(data))
        expected = np.abs(self.X.sum(1)) / (np.abs(self.X.sum(1)) + 1)
        np.testing.assert_allclose(shares, [expected, 0 * expected, 1 - expected], rtol=1e-4)
        np.testing.assert_allclose(sum(np.abs(of_input).sum(1) for of_input in maps), 1, rtol=1e-5)


@pytest.mark.usefixtures("eagerly")
class TestEachMap:
    def test_of_photos_of_any_size(self):
        """The centre is that of each channel, from photos of another size."""
        photo, table = keras.Input((None, None, 3)), keras.Input((3,))
        x = photo * layers.Reshape((1, 1, 3))(table)
        model = keras.Model(
            [photo, table], layers.Dense(1, use_bias=False)(layers.GlobalAveragePooling2D()(x))
        )
        joint = tlp.wrap_model(model, "gradient", explained_input="all")
        joint.centre([PHOTOS[:, :5], 0 * TABLE])
        maps = joint.explain([PHOTOS, TABLE])
        weights = TABLE * model.layers[-1].kernel.numpy()[:, 0]
        of_photo = ((PHOTOS.mean((1, 2)) - PHOTOS[:, :5].mean((0, 1, 2))) * weights).sum(1)
        of_table = (PHOTOS.mean((1, 2)) * weights).sum(1)
        expected = np.abs(of_photo) / (np.abs(of_photo) + np.abs(of_table))
        np.testing.assert_allclose(tlp.shares(maps)[0], expected, rtol=1e-3)

    """Up to its scale, the map of an input is the one that it has alone."""

    @pytest.mark.parametrize("rule", ["universal", "guided_backprop"])
    def test_in_branches_of_their_own(self, rule):
        joint = tlp.wrap_model(everything(), rule, explained_input="all")
        for name in joint.names:
            toys.jolt(joint[name], seed=len(name))
        maps = joint.explain(DATA, batch_size=3)
        assert maps.keys() == DATA.keys()
        for name, of_input in maps.items():
            assert np.ptp(of_input) > 0
            np.testing.assert_allclose(
                scaled(of_input), scaled(joint[name].explain(DATA)), rtol=1e-3, atol=1e-5, err_msg=name
            )
        total = sum(np.abs(of_input).reshape(4, -1).sum(1) for of_input in maps.values())
        np.testing.assert_allclose(total, 1, rtol=1e-5)

    @pytest.mark.filterwarnings("ignore:No activation of model")
    @pytest.mark.parametrize(
        "build",
        [placed_models.siamese, placed_models.joined, placed_models.stacked],
        ids=lambda f: f.__name__,
    )
    def test_of_two_images(self, build):
        model, x = build(), [placed_models.images(), placed_models.without_spot()]
        joint = tlp.wrap_model(model, explained_input=["ct", "mr"])
        for name in joint.names:
            toys.jolt(joint[name], seed=ord(name[0]))
        for name, of_input in zip(joint.names, joint.explain(x, 1), strict=True):
            np.testing.assert_allclose(
                scaled(of_input), scaled(joint[name].explain(x, 1)), rtol=1e-3, atol=1e-5
            )

    def test_of_integer_pixels_in_mixed_precision(self):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            photo, table = keras.Input((12, 12, 3), dtype="uint8"), keras.Input((3,))
            x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(photo))
            x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.Dense(4, "relu")(table)])
            model = keras.Model([photo, table], layers.Dense(3, dtype="float32")(x))
        finally:
            keras.config.set_dtype_policy("float32")
        data = [(PHOTOS * 255).astype("uint8"), TABLE]
        joint = tlp.wrap_model(model, explained_input="all")
        for number, of_input in enumerate(joint.explain(data)):
            np.testing.assert_allclose(
                scaled(of_input), scaled(joint[number].explain(data)), rtol=2e-2, atol=1e-4
            )


class TestUse:
    @pytest.mark.filterwarnings("ignore:No gradient of output")
    def test_an_input_that_the_output_does_not_use(self):
        model = placed_models.apart()
        x = [placed_models.images(), placed_models.without_spot()]
        maps = tlp.wrap_model(model, explained_input="all").explain(x, 1)
        assert not maps[1].any() and [*tlp.shares(maps)] == [1, 0]

    @pytest.mark.parametrize("decides", ["photo", "table"])
    def test_the_input_that_decides_the_label(self, decides):
        """Trained on the spot: a bright square in a photo of noise, or the sign of a number."""
        data, labels = photos_and_tables(1024, decides)
        model = photo_and_table(10, 1, 6)
        model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(True))
        model.fit(data, labels, epochs=10, verbose=0, batch_size=64)
        joint = tlp.wrap_model(model, explained_input="all")
        joint.centre(data, batch_size=256)
        data, labels = photos_and_tables(128, decides, seed=1)
        assert (joint["photo"].logits(data).argmax(1) == labels).mean() > 0.95
        assert tlp.shares(joint.explain(data))[decides].mean() >= 0.9


def photos_and_tables(count: int, decides: str, seed: int = 0):
    rng = np.random.default_rng(seed)
    photos = rng.normal(scale=0.3, size=(count, 10, 10, 1)).astype("float32")
    tables = rng.normal(size=(count, 6)).astype("float32")
    labels = (tables[:, 1] > 0).astype(int)
    if decides == "photo":
        labels = rng.integers(0, 2, count)
        for photo, label, (row, column) in zip(photos, labels, rng.integers(0, 6, (count, 2)), strict=True):
            photo[row : row + 5, column : column + 5] += 1 if label else -1
    return {"photo": photos, "table": tables}, labels


@pytest.mark.usefixtures("eagerly")
class TestStructure:
    @staticmethod
    def packed(structure, x, y, z):
        return {"list": [x, y, z], "dict": {"c": x, "b": y, "a": z}, "nested": {"b": [x, y], "a": z}}[
            structure
        ]

    def model(self, structure):
        tensors = [keras.Input((k,), name=name) for k, name in ((2, "x"), (3, "y"), (4, "z"))]
        output = layers.Dense(2)(layers.Concatenate()(tensors))
        return keras.Model(self.packed(structure, *tensors), output)

    def data(self, structure):
        return self.packed(structure, *(np.ones((2, k), "float32") for k in (2, 3, 4)))

    @pytest.mark.parametrize("structure", ["list", "dict", "nested"])
    def test_of_all_is_that_of_the_inputs(self, structure):
        data = self.data(structure)
        maps = tlp.wrap_model(self.model(structure), "gradient", explained_input="all").explain(data)
        keras.tree.assert_same_structure(maps, data)
        assert [m.shape for m in keras.tree.flatten(maps)] == [x.shape for x in keras.tree.flatten(data)]

    def test_of_some(self):
        def shapes(structure, some):
            joint = tlp.wrap_model(self.model(structure), "gradient", explained_input=some)
            return keras.tree.map_structure(lambda maps: maps.shape[1], joint.explain(self.data(structure)))

        assert shapes("list", ("z", 0)) == [4, 2]
        assert shapes("dict", ["c", "a"]) == {"c": 2, "a": 4}
        assert shapes("dict", ["x"]) == {"c": 2}
        assert shapes("nested", ["y", "z"]) == [3, 4]

    def test_of_a_single_input_is_one_array(self):
        model = toys.small_cnn()
        maps = tlp.wrap_model(model, explained_input="all").explain(toys.images(2))
        assert maps.shape == (2, toys.SIDE, toys.SIDE)
        np.testing.assert_allclose(np.abs(maps).sum((1, 2)), 1, rtol=1e-5)

    def test_in_batches_with_bad_samples(self):
        joint = tlp.wrap_model(self.model("dict"), "gradient", explained_input="all")
        data = {**self.data("dict"), "b": np.array([[1, 1, 1], [1, np.nan, 1]], "float32")}
        (batch,) = joint.explain_batches(data, on_error="skip")
        assert list(batch.errors) == [1] and batch.class_ids[1] == -1
        assert all(np.isfinite(maps[0]).all() and np.isnan(maps[1]).all() for maps in batch.maps.values())
        assert np.isnan(tlp.shares(batch.maps)["a"][1])
        (batch,) = joint.explain_batches({**data, "a": np.full((2, 4), np.nan)}, on_error="skip")
        assert {key: maps.shape for key, maps in batch.maps.items()} == {
            "a": (2, 4),
            "b": (2, 3),
            "c": (2, 2),
        }

    def test_only_explained_inputs_must_be_finite(self):
        data = {**self.data("dict"), "b": np.full((2, 3), np.inf, "float32")}
        tlp.wrap_model(self.model("dict"), "gradient", explained_input=["a", "c"]).explain(data, 0)
        with pytest.raises(ValueError, match="input 'y' must be finite"):
            tlp.wrap_model(self.model("dict"), "gradient", explained_input=["a", "b"]).explain(data, 0)

    @pytest.mark.filterwarnings("ignore:Even though")
    def test_a_dataset_and_tensors_inside_a_function(self):
        data = self.data("dict")
        joint = tlp.wrap_model(self.model("dict"), "gradient", explained_input="all")
        expected = joint.explain(data, 1)
        stream = tf.data.Dataset.from_tensor_slices((data, [0, 1])).batch(1)
        inside = tf.function(lambda x: joint.attribute(x, 1).maps)(data)
        for key, maps in expected.items():
            np.testing.assert_allclose(joint.explain(stream, 1)[key], maps, rtol=1e-5)
            np.testing.assert_allclose(inside[key], maps, rtol=1e-5)


@pytest.mark.usefixtures("eagerly")
class TestParts:
    def test_training_one_changes_the_maps_of_all(self):
        joint = tlp.wrap_model(photo_and_table(), "learned", explained_input="all")
        before = joint.explain(PAIR, 0)
        joint["photo"].compile()
        joint["photo"].fit(PAIR, batch_size=4, verbose=0)
        after = joint.explain(PAIR, 0)
        assert np.abs(before["photo"] - after["photo"]).max() > 1e-6
        for name, maps in after.items():
            alone = joint[name].explain(PAIR, 0)
            np.testing.assert_allclose(scaled(maps), scaled(alone), rtol=1e-3, atol=1e-5)

    def test_rules_go_to_another_model_input_by_input(self, tmp_path):
        model = photo_and_table()
        joint = tlp.wrap_model(model, "learned", explained_input="all")
        again = tlp.wrap_model(model, "learned", explained_input="all")
        for name in joint:
            toys.jolt(joint[name], seed=len(name))
            joint[name].save_rules(tmp_path / f"{name}.keras")
            again[name].load_rules(tmp_path / f"{name}.keras")
        for name, maps in joint.explain(PAIR, 0).items():
            np.testing.assert_allclose(again.explain(PAIR, 0)[name], maps, rtol=1e-4, atol=1e-6)

    def test_a_changed_source_is_followed(self):
        model = photo_and_table()
        joint = tlp.wrap_model(model, "gradient", explained_input="all")
        before = joint.explain(PAIR, 0)
        model.get_layer("conv").activation = keras.activations.leaky_relu
        after = joint.explain(PAIR, 0)
        assert np.abs(before["photo"] - after["photo"]).max() > 1e-6
        fresh = tlp.wrap_model(model, "gradient", explained_input="all").explain(PAIR, 0)
        np.testing.assert_allclose(after["photo"], fresh["photo"], rtol=1e-4)

    def test_what_is_for_one_input_says_so(self, tmp_path):
        joint = tlp.wrap_model(everything(), explained_input=["photo", "table"])
        assert [*joint] == ["photo", "table"] and len(joint) == 2 and joint[-1] is joint["table"]
        for name in ("save_rules", "load_rules", "coverage", "rule_set", "explained"):
            with pytest.raises(AttributeError, match=rf"such as `joint\['photo'\].{name}`"):
                getattr(joint, name)
        with pytest.raises(AttributeError, match="'JointModel' has no attribute 'maps'"):
            joint.maps  # noqa: B018
        with pytest.raises(TypeError, match=r"such as .* `joint\[0\].rule_set`. Received: Joint"):
            tlp.save_rules(joint, tmp_path / "rules.keras")
        with pytest.raises(KeyError, match=r"inputs are \['photo', 'table'\]. Received: 'age'"):
            joint["age"]
        with pytest.raises(ValueError, match=r"A method explains one input.*\['photo', 'table'\]"):
            tlp.explain(joint, DATA, method="saliency")
        with pytest.raises(ValueError, match="A method explains one input"):
            tlp.explain(everything(), DATA, explained_input="all")


class TestBadInput:
    @pytest.mark.parametrize("which", ["sound", ["photo", "sound"], [7], [True]])
    def test_an_unknown_input(self, which):
        with pytest.raises(ValueError, match=r"must be a number in 0..4 or one of \['age', "):
            tlp.wrap_model(everything(), explained_input=which)

    def test_a_key_counts_more_than_the_name_of_another_input(self):
        first, second = keras.Input((3,), name="y"), keras.Input((4,), name="x")
        joined = keras.layers.Concatenate()([first, second])
        model = keras.Model({"x": first, "y": second}, keras.layers.Dense(2)(joined))
        joint = tlp.wrap_model(model, explained_input=["x"])
        assert joint.names == ["x"] and joint["x"].explained.input_shape == (None, 3)

    @pytest.mark.parametrize("which", [[], ("photo", "photo"), ["photo", 1]])
    def test_none_or_one_twice(self, which):
        with pytest.raises(ValueError, match="must name one input or more, each once. Received: "):
            tlp.wrap_model(everything(), explained_input=which)

    def test_a_rule_file(self, tmp_path):
        model, path = everything(), str(tmp_path / "rules.keras")
        tlp.wrap_model(model).save_rules(path)
        with pytest.raises(ValueError, match="A rule file holds rules for one explained input"):
            tlp.wrap_model(model, path, explained_input="all")

    @pytest.mark.parametrize("which", ["all", "extra"])
    @pytest.mark.parametrize(
        ("extra", "rule"),
        [
            (lambda: (keras.Input((), name="extra"), lambda x: x[:, None]), r"shape \(None,\)"),
            (
                lambda: (
                    keras.Input((1,), dtype="string", name="extra"),
                    layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot"),
                ),
                "dtype string",
            ),
            (
                lambda: (keras.Input((6,), dtype="int32", name="extra"), lambda x: ops.cast(x, "float32")),
                "dtype int32",
            ),
        ],
        ids=["without an axis of features", "strings", "a mask of integers"],
    )
    def test_an_input_that_has_no_map(self, which, extra, rule):
        (extra, read), table = extra(), keras.Input((3,), name="table")
        x = layers.Concatenate()([table, read(extra)])
        model = keras.Model([table, extra], layers.Dense(2)(x))
        with pytest.raises(ValueError, match=f"The explained input must .* input 'extra' of {rule}") as error:
            tlp.wrap_model(model, "gradient", explained_input=which)
        assert ("Name those to explain" in str(error.value)) == (which == "all")
        assert len(str(error.value).splitlines()) == 1

    def test_data_of_another_structure(self):
        joint = tlp.wrap_model(everything(), "gradient", explained_input="all")
        with pytest.raises(ValueError, match="The model has 5 inputs. Received: 1 arrays"):
            joint.explain(TABLE)

    def test_a_score_that_depends_on_nothing(self):
        joint = tlp.wrap_model(everything(), "gradient", explained_input="all")
        with pytest.raises(ValueError, match="score must depend on what the map is read from"):
            joint.explain(DATA, lambda outputs: tf.ones([4]))


def test_shares_of_any_maps():
    maps = {"a": np.array([[1.0, -3.0], [0.0, 0.0]]), "b": [np.array([[4.0], [0.0]])]}
    shares = tlp.shares(maps)
    np.testing.assert_array_equal(shares["a"], [0.5, 0.0])
    np.testing.assert_array_equal(shares["b"][0], [0.5, 0.0])


def test_one_pass_for_all():
    """Each convolution runs once, and so does its gradient."""
    joint = tlp.wrap_model(photo_and_table(), "gradient", explained_input="all")

    def counts(wrapped):
        graph = tf.function(lambda: wrapped.attribute(PAIR, 0).maps).get_concrete_function().graph
        kinds = [operation.type for operation in graph.get_operations()]
        return [kinds.count(kind) for kind in ("Conv2D", "Conv2DBackpropInput")]

    assert counts(joint) == [2, 2]
