import pathlib
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import hostile_files, toys
from tf_learnprop.rule_files import container, saving

IMAGES = toys.images(3)
SUFFIXES = [".keras", ".weights.h5"]


@keras.saving.register_keras_serializable("test_saving")
class ScaledRule(tlp.rules.PropagationRule):
    """A rule of a user's own: the gradient times a learned factor."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def weight_specs(self, shape):
        return {"scale": ((shape[-1],), "ones")}

    def propagate(self, x, y, dy, vjp):
        return vjp(dy) * self.scale * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("test_saving")
class SquaredReadout(tlp.readouts.Readout):
    """A readout of a user's own: a learned multiple of the squared signal at the input."""

    needs = tlp.readouts.Needs(input_signal=True)

    def weight_specs(self, count):
        return {"gain": ((), "ones")}

    def call(self, signals):
        return self.gain * tf.reduce_sum(signals.input_signal**2, -1)


class Unregistered(tlp.rules.GradientRule):
    pass


def maps(wrapped):
    """The maps of the images, without the time to trace `explain`."""
    return wrapped.attributor.maps(tf.constant(IMAGES)).numpy()


@pytest.fixture(scope="module")
def model():
    return toys.small_cnn()


@pytest.fixture(scope="module")
def wrapped(model):
    return toys.jolt(tlp.wrap_model(model, "channel_mixing"))


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path, wrapped):
    """A rule file of either format."""
    path = tmp_path / f"rules{request.param}"
    wrapped.save_rules(path)
    return path


@pytest.fixture
def h5_path(tmp_path, wrapped):
    path = tmp_path / "rules.weights.h5"
    wrapped.save_rules(path)
    return path


class TestRoundTrip:
    def test_maps_are_identical(self, path, model, wrapped):
        for given in (path, str(path)):
            again = tlp.wrap_model(model, given)
            np.testing.assert_array_equal(maps(again), maps(wrapped))
        fresh = tlp.wrap_model(model, "channel_mixing")
        assert np.abs(maps(fresh) - maps(wrapped)).max() > 1e-3

    @pytest.mark.parametrize("rule", ["gradient", "guided_backprop", "learned"])
    def test_every_kind_of_rule(self, rule, model, tmp_path):
        wrapped = toys.jolt(tlp.wrap_model(model, rule))
        wrapped.save_rules(tmp_path / "a.keras")
        again = tlp.wrap_model(model, tmp_path / "a.keras")
        assert [type(rule) for rule in again.rule_set.rules] == [
            type(rule) for rule in wrapped.rule_set.rules
        ]
        np.testing.assert_array_equal(maps(again), maps(wrapped))

    def test_without_a_model(self, path, wrapped):
        rule_set = tlp.load_rules(path)
        assert rule_set.get_config() == wrapped.rule_set.get_config()
        for one, other in zip(rule_set.weights, wrapped.rule_set.weights, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_classes_of_a_user(self, model, tmp_path):
        rule, readout = ScaledRule(factor=2.0), SquaredReadout(blur=0.0)
        wrapped = tlp.wrap_model(model, rule, readout=readout)
        before = wrapped.rule_set.get_weights()
        wrapped.compile(run_eagerly=True)
        wrapped.fit(IMAGES, verbose=0)
        trained = wrapped.rule_set.get_weights()
        assert max(np.abs(a - b).max() for a, b in zip(before, trained, strict=True)) > 1e-4
        wrapped.save_rules(tmp_path / "a.weights.h5")
        again = tlp.wrap_model(model, tmp_path / "a.weights.h5")
        assert {type(rule) for rule in again.rule_set.rules} == {ScaledRule}
        assert isinstance(again.rule_set.readout, SquaredReadout)
        assert again.rule_set.rules[0].factor == 2.0
        np.testing.assert_array_equal(maps(again), maps(wrapped))

    def test_an_activation_that_runs_twice(self, tmp_path):
        """The readout reads runs, not activations: here three runs of two."""
        image = keras.Input((16, 16, 3))
        relu = keras.layers.ReLU()
        x = relu(keras.layers.Conv2D(4, 3, padding="same")(image))
        x = relu(keras.layers.Conv2D(4, 3, padding="same")(x))
        x = keras.layers.Conv2D(4, 3, activation="relu")(x)
        model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
        wrapped = toys.jolt(tlp.wrap_model(model, rule="learned"))
        assert wrapped.rule_set.read == ["input", 0, 1, 2] and len(wrapped.rule_set.rules) == 2
        wrapped.save_rules(tmp_path / "a.weights.h5")
        np.testing.assert_array_equal(maps(tlp.wrap_model(model, tmp_path / "a.weights.h5")), maps(wrapped))
        hostile_files.edit_config(
            tmp_path / "a.weights.h5", lambda config: config.update(read=["input", 0, 1, 3])
        )
        with pytest.raises(ValueError, match="must hold positions below 3, the number of activation runs"):
            tlp.wrap_model(model, tmp_path / "a.weights.h5")

    def test_an_activation_of_a_nested_model_that_runs_twice(self, tmp_path):
        part = keras.Input((16, 16, 3))
        nested = keras.Model(part, keras.layers.Conv2D(3, 3, padding="same", activation="relu")(part))
        image = keras.Input((16, 16, 3))
        x = keras.layers.GlobalAveragePooling2D()(nested(nested(image)))
        model = keras.Model(image, keras.layers.Dense(2)(x))
        wrapped = toys.jolt(tlp.wrap_model(model, rule="learned"))
        assert wrapped.rule_set.read == ["input", 0, 1]
        wrapped.save_rules(tmp_path / "a.keras")
        np.testing.assert_array_equal(maps(tlp.wrap_model(model, tmp_path / "a.keras")), maps(wrapped))

    def test_a_class_that_is_not_registered_can_not_be_saved(self, model, tmp_path):
        wrapped = tlp.wrap_model(model, Unregistered())
        with pytest.raises(ValueError, match="`Unregistered` can't be saved before it is registered"):
            wrapped.save_rules(tmp_path / "a.keras")
        assert not list(tmp_path.iterdir())

    def test_the_same_architecture_with_other_names(self, path, model, wrapped):
        twin = toys.small_cnn()
        assert [layer.name for layer in twin.layers] != [layer.name for layer in model.layers]
        twin.set_weights(model.get_weights())
        again = tlp.wrap_model(twin, path)
        assert again.coverage.swapped != wrapped.coverage.swapped
        np.testing.assert_array_equal(maps(again), maps(wrapped))

    def test_a_larger_input(self, path, wrapped):
        larger = toys.small_cnn(shape=(24, 20, 3))
        result = tlp.wrap_model(larger, path).explain(toys.images(2, (24, 20, 3)))
        assert result.shape == (2, 24, 20)
        assert np.isfinite(result).all()

    def test_the_file_is_small(self, path, wrapped):
        weights = sum(value.nbytes for value in wrapped.rule_set.get_weights())
        assert path.stat().st_size < 40_000 + 2 * weights


class TestOtherModels:
    def test_the_error_names_the_layers_that_differ(self, path):
        other = toys.small_cnn(classes=7)
        with pytest.raises(ValueError, match="another structure. 1 layers differ") as error:
            tlp.wrap_model(other, path)
        assert f"{other.layers[-1].name} Dense[[8, 7], [7]] softmax in the model" in str(error.value)
        assert "Dense[[8, 4], [4]] softmax in the file" in str(error.value)

    def test_another_activation(self, path, model):
        def clone(layer):
            config = layer.get_config()
            if isinstance(layer, keras.layers.Conv2D) and config["activation"] == "relu":
                config["activation"] = "gelu"
            return type(layer).from_config(config)

        other = keras.models.clone_model(model, clone_function=clone)
        with pytest.raises(ValueError, match="relu in the file.*gelu in the model"):
            tlp.wrap_model(other, path)

    def test_more_layers(self, path, model):
        longer = keras.Model(model.input, keras.layers.Dense(2, name="extra")(model.output))
        with pytest.raises(ValueError, match=r"extra Dense\[\[4, 2\], \[2\]\] in the model alone"):
            tlp.wrap_model(longer, path)


class TestDamage:
    @pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
    def test_truncated(self, path, model, fraction):
        content = path.read_bytes()
        path.write_bytes(content[: int(fraction * len(content))])
        with pytest.raises(ValueError, match=f"'{path}'"):
            tlp.wrap_model(model, path)

    def test_random_bytes(self, path, model):
        path.write_bytes(toys.rng().bytes(5000))
        with pytest.raises(ValueError, match="not a whole file of saved rules"):
            tlp.wrap_model(model, path)

    def test_flipped_bytes_give_an_error_or_the_same_rules(self, path, model, wrapped):
        content = bytearray(path.read_bytes())
        for position in range(40, len(content), max(1, len(content) // 15)):
            broken = bytearray(content)
            broken[position] ^= 0xFF
            path.write_bytes(broken)
            try:
                loaded = tlp.load_rules(path, model)
            except ValueError:
                continue
            for one, other in zip(loaded.get_weights(), wrapped.rule_set.get_weights(), strict=True):
                np.testing.assert_array_equal(one, other)

    def test_a_zip_of_something_else(self, tmp_path, model):
        path = tmp_path / "a.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
        with pytest.raises(ValueError, match="not a whole file of saved rules"):
            tlp.wrap_model(model, path)

    def test_a_saved_keras_model(self, tmp_path, model):
        model.save(tmp_path / "model.keras")
        model.save_weights(tmp_path / "model.weights.h5")
        for name in ("model.keras", "model.weights.h5"):
            with pytest.raises(ValueError, match="not a whole file of saved rules"):
                tlp.wrap_model(model, tmp_path / name)

    def test_a_missing_file(self, tmp_path, model):
        with pytest.raises(ValueError, match="must be a file of saved rules"):
            tlp.wrap_model(model, tmp_path / "none.keras")
        with pytest.raises(ValueError, match="must be a file of saved rules"):
            tlp.wrap_model(model, f"{tmp_path}/none/none.weights.h5")

    def test_without_a_checksum(self, h5_path, model):
        hostile_files.edit_config(h5_path, lambda config: config.pop("checksum"))
        with pytest.raises(ValueError, match="checksum does not match"):
            tlp.wrap_model(model, h5_path)

    def test_another_ending(self, path, model):
        other = path.with_name("rules.txt")
        shutil.copy(path, other)
        with pytest.raises(ValueError, match="must end in '.keras' or '.weights.h5'"):
            tlp.load_rules(other)

    @pytest.mark.parametrize("version", [2, None, "1"])
    def test_another_format(self, h5_path, model, version):
        hostile_files.edit_config(h5_path, lambda config: config.update(format=version, version="9.9"))
        with pytest.raises(ValueError, match=f"has rule format {version!r}, written by tf_learnprop '9.9'"):
            tlp.wrap_model(model, h5_path)

    @pytest.mark.parametrize("key", ["rules", "readout", "structure", "read", "name"])
    def test_missing_parts(self, h5_path, model, key):
        hostile_files.edit_config(h5_path, lambda config: config.pop(key))
        with pytest.raises(ValueError, match=f"'{h5_path}'.*{key}"):
            tlp.wrap_model(model, h5_path)

    def test_rules_for_unknown_layers(self, h5_path, model):
        hostile_files.edit_config(h5_path, lambda config: config["rules"][0].update(path="nowhere"))
        with pytest.raises(ValueError, match="nowhere"):
            tlp.wrap_model(model, h5_path)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_weights_that_are_not_finite(self, model, tmp_path, value):
        wrapped = tlp.wrap_model(model, rule="learned")
        wrapped.rule_set.weights[0].assign(tf.fill(wrapped.rule_set.weights[0].shape, value))
        wrapped.save_rules(tmp_path / "a.keras")
        with pytest.raises(ValueError, match="weights that are not finite"):
            tlp.wrap_model(model, tmp_path / "a.keras")

    def test_weights_of_another_shape(self, h5_path, model):
        def drop(name, item):
            if isinstance(item, h5py.Dataset) and item.dtype == np.float32 and item.ndim == 2:
                found.append(name)

        found = []
        with h5py.File(h5_path, "r+") as file:
            file.visititems(drop)
            del file[found[0]]
            file[found[0]] = np.zeros((1, 1), np.float32)
        hostile_files.edit_config(h5_path, lambda config: None)  # else the checksum shows it
        with pytest.raises(ValueError, match="can't be read"):
            tlp.wrap_model(model, h5_path)


class TestMalice:
    """A rule file names classes and settings; none of it may run anything that is not a rule."""

    @pytest.fixture
    def canary(self, monkeypatch):
        """Fails the test if any of the ways to code is taken."""
        taken = []
        for name in ("eval", "exec"):
            monkeypatch.setattr(f"builtins.{name}", lambda *a, name=name, **k: taken.append(name))
        monkeypatch.setattr("os.system", lambda *a: taken.append("system"))
        yield taken
        assert not taken

    @pytest.mark.parametrize(
        "name",
        [
            "builtins>eval",
            "eval",
            "os>system",
            "keras>Lambda",
            "Lambda",
            "tf_learnprop>RuleSet",
            "tf_learnprop>AreaGuidance",
            None,
            ["a"],
        ],
    )
    def test_other_classes(self, h5_path, model, name, canary):
        for change in (
            lambda config: config["rules"][0].update({"class": name}),
            lambda config: config["readout"].update({"class": name}),
        ):
            hostile_files.edit_config(h5_path, change)
            with pytest.raises(ValueError, match="can't be read"):
                tlp.wrap_model(model, h5_path)

    @pytest.mark.parametrize(
        "value",
        [
            {"class_name": "Lambda", "module": "keras.layers", "config": {"function": "x"}},
            {"module": "os", "class_name": "system", "config": {}, "registered_name": "system"},
            [{"deep": {"class_name": "__lambda__", "config": {"value": "4wEA"}}}],
        ],
    )
    @pytest.mark.parametrize("setting", ["dtype", "hidden", "name"])
    def test_objects_in_settings(self, h5_path, model, value, setting, canary):
        hostile_files.edit_config(
            h5_path, lambda config: config["rules"][-1]["config"].update({setting: value})
        )
        with pytest.raises(ValueError, match="must hold plain values alone"):
            tlp.wrap_model(model, h5_path)

    def test_unknown_settings(self, h5_path, model, canary):
        hostile_files.edit_config(h5_path, lambda config: config["rules"][0]["config"].update(surprise=1))
        with pytest.raises(ValueError, match="can't be read"):
            tlp.wrap_model(model, h5_path)

    def test_config_of_the_keras_archive_is_not_used(self, tmp_path, model, wrapped, canary):
        wrapped.save_rules(tmp_path / "a.keras")
        with (
            zipfile.ZipFile(tmp_path / "a.keras") as old,
            zipfile.ZipFile(tmp_path / "b.keras", "w") as new,
        ):
            for name in old.namelist():
                evil = '{"module": "os", "class_name": "system", "config": {"command": "true"}}'
                new.writestr(name, evil if name == "config.json" else old.read(name))
        again = tlp.wrap_model(model, tmp_path / "b.keras")
        np.testing.assert_array_equal(maps(again), maps(wrapped))


class TestSave:
    def test_replaces_a_file(self, path, model):
        other = toys.jolt(tlp.wrap_model(model, "learned"), seed=5)
        other.save_rules(path)
        again = tlp.wrap_model(model, path)
        np.testing.assert_array_equal(maps(again), maps(other))
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("name", ["rules", "rules.h5", "rules.txt", "rules.keras.zip"])
    def test_another_ending(self, wrapped, tmp_path, name):
        with pytest.raises(ValueError, match="must end in '.keras' or '.weights.h5'"):
            wrapped.save_rules(tmp_path / name)

    def test_no_folder(self, wrapped, tmp_path):
        with pytest.raises(ValueError, match="must be in an existing folder"):
            wrapped.save_rules(tmp_path / "none" / "rules.keras")

    def test_a_crash_leaves_the_old_file(self, path, model, monkeypatch):
        def crash(self, target, *args, **kwargs):
            pathlib.Path(target).write_bytes(b"half a file")
            raise OSError("no space left on device")

        content = path.read_bytes()
        monkeypatch.setattr(saving.RuleSet, "save", crash)
        monkeypatch.setattr(saving.RuleSet, "save_weights", crash)
        with pytest.raises(OSError, match="no space left"):
            tlp.wrap_model(model, rule="learned").save_rules(path)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]

    def test_what_could_not_be_read_is_not_written(self, path, wrapped, monkeypatch):
        content = path.read_bytes()
        monkeypatch.setattr(container, "_MAX_FILE", 1000)
        with pytest.raises(ValueError, match="A rule file must have at most"):
            wrapped.save_rules(path)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]

    def test_a_relative_path(self, wrapped, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        wrapped.save_rules("rules.keras")
        assert [p.name for p in tmp_path.iterdir()] == ["rules.keras"]


class TestLoadRules:
    """`PropagationModel.load_rules` takes the weights of a file, all or none."""

    def test_takes_the_weights(self, path, model, wrapped):
        other = tlp.wrap_model(model, "channel_mixing")
        other.explain(IMAGES)  # what is traced already must see the new weights
        other.load_rules(path)
        np.testing.assert_allclose(other.explain(IMAGES), maps(wrapped), atol=1e-5)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"rule": "learned"},
            {"rule": tlp.rules.ChannelMixingRule(4)},
            {"rule": "channel_mixing", "readout": "input"},
            {"rule": "channel_mixing", "readout": tlp.readouts.MultiLayerReadout(blur=0.2)},
        ],
    )
    def test_refuses_other_rules(self, path, model, arguments):
        other = tlp.wrap_model(model, **arguments)
        before = other.rule_set.get_weights()
        with pytest.raises(ValueError, match="holds other rules than this model"):
            other.load_rules(path)
        for one, value in zip(other.rule_set.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, value)

    @pytest.mark.parametrize("fraction", [0.5, 0.95])
    def test_a_damaged_file_changes_nothing(self, path, model, fraction):
        other = toys.jolt(tlp.wrap_model(model, "channel_mixing"), seed=3)
        before = other.rule_set.get_weights()
        content = path.read_bytes()
        path.write_bytes(content[: int(fraction * len(content))])
        with pytest.raises(ValueError, match=f"'{path}'"):
            other.load_rules(path)
        for one, value in zip(other.rule_set.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, value)

    def test_lost_weights_change_nothing(self, h5_path, model):
        other = toys.jolt(tlp.wrap_model(model, "channel_mixing"), seed=3)
        before = other.rule_set.get_weights()
        with h5py.File(h5_path, "r+") as file:
            del file["layers/multi_layer_readout/vars/0"]
        hostile_files.edit_config(h5_path, lambda config: None)  # else the checksum shows it
        with pytest.raises(ValueError, match="can't be read"):
            other.load_rules(h5_path)
        for one, value in zip(other.rule_set.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, value)


def test_rules_at_operations_inside_opened_layers(tmp_path):
    """Attention runs inside its layer, and its operation has no weights of its own."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Reshape((16, 8))(keras.layers.Conv2D(8, 2, 2)(image))
    x = keras.layers.Add()([x, keras.layers.MultiHeadAttention(2, 4)(x, x)])
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(x))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    wrapped = tlp.wrap_model(model)
    assert any("attention" in path for path in wrapped.rule_set.paths)
    wrapped.save_rules(tmp_path / "rules.keras")
    again = tlp.wrap_model(model, rule=tmp_path / "rules.keras")
    np.testing.assert_allclose(again.explain(images), wrapped.explain(images), atol=1e-6)
