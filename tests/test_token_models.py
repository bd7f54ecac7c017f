"""Tests of models of tokens: vision transformers, mixers, windows, signals, text."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import tf_learnprop as tlp
from tests import token_models

RNG = np.random.default_rng(3)


def made(name, *args, **kwargs):
    model = token_models.MODELS[name][0](*args, **kwargs)
    for weight in model.trainable_weights:
        weight.assign(RNG.normal(scale=0.4, size=weight.shape) + (weight.name == "gamma"))
    return model


def samples(model, count=4, length=7):
    shape = [size or length for size in model.inputs[0].shape[1:]]
    if model.inputs[0].dtype == "int32":
        return RNG.integers(1, 20, (count, *shape)).astype("int32")
    return RNG.normal(size=(count, *shape)).astype("float32")


@pytest.mark.parametrize("name", token_models.MODELS)
class TestEveryModel:
    def test_wraps_with_the_same_outputs_and_reads_where_evidence_enters(self, name):
        model = made(name)
        x = samples(model)
        before = model.get_config()
        wrapped = tlp.wrap_model(model)
        np.testing.assert_allclose(wrapped(x), model(x), atol=1e-5)
        assert wrapped.read_shapes == [token_models.MODELS[name][1]]
        source = "the input and " * (name != "text") + "the last feature map"
        source += " before attention" * (name != "mixer")
        assert wrapped.coverage.reading() == f"The map is read from {source}"
        maps = wrapped.explain(x, verbose=0)
        assert maps.shape == (x.shape if x.ndim == 2 else x.shape[:-1])
        assert np.isfinite(maps).all() and (maps.std(tuple(range(1, maps.ndim))) > 0).all()
        assert model.get_config() == before

    def test_relevance_at_the_input_is_added(self, name, eagerly):
        """Each part divided by its root mean square; integers have no gradient."""
        model = made(name)
        x = samples(model, 2)

        def maps(**options):
            return tlp.wrap_model(model, readout=tlp.readouts.TokenReadout(blur=0.0, **options)).explain(x)

        tokens = maps(with_input=False)
        if x.dtype == "int32":
            np.testing.assert_array_equal(maps(), tokens)
            return
        # As the contrast with the rivals that `TokenReadout` explains, by the weights of the classes.
        wrapped = tlp.wrap_model(model, readout=tlp.readouts.InputReadout(blur=0.0))
        logits = wrapped.logits(x)
        chosen = np.eye(3, dtype="float32")[logits.argmax(1)]
        rivals = np.exp(logits) * (1 - chosen)
        own = wrapped.explain(x, targets=chosen - rivals / rivals.sum(1, keepdims=True))
        axes = tuple(range(1, own.ndim))
        parts = [part / np.sqrt((part**2).mean(axes, keepdims=True)) for part in (tokens, own)]
        np.testing.assert_allclose(maps(), sum(parts), rtol=1e-3, atol=1e-4)

    def test_every_attention_has_a_rule(self, name):
        model = made(name)
        coverage = tlp.wrap_model(model).coverage
        expected = sum(isinstance(layer, layers.MultiHeadAttention) for layer in model.layers)
        found = [row for row in coverage if row.swapped and row.activation == "attention"]
        assert len(found) == (2 if name == "windows" else expected)

    def test_map_is_that_of_the_feature_map(self, name, eagerly):
        """Against the relevance of the tensor itself, by a model that starts there, under plain gradients."""
        model = made(name)
        x = samples(model, 2)
        wrapped = tlp.wrap_model(
            model, "gradient", readout=tlp.readouts.TokenReadout(blur=0.0, with_input=False)
        )
        number = wrapped.explained.feature_map
        values = []
        with tf.GradientTape(watch_accessed_variables=False) as tape:

            def watch(position, tensor):
                if position == tlp.readouts.FEATURE_MAP:
                    tape.watch(tensor)
                    values.append(tensor)

            logits = wrapped.attributor.runner(x, watch=watch).logits
            first = tf.one_hot(tf.argmax(logits, -1), 3)
            rivals = tf.nn.softmax(tf.where(first == 1, -1e9, tf.stop_gradient(logits)))
            score = tf.reduce_sum((first - rivals) * logits)
        (y,) = values
        assert y.shape.rank == len(wrapped.graph.tensors[number].shape)
        dy = tape.gradient(score, y).numpy()
        y = y.numpy()
        relevance = np.zeros(y.shape[:-1], "float32")
        for place in np.ndindex(*y.shape[1:-1]):
            at = (slice(None), *place)
            relevance[at] = np.sum((y[at] - y.mean(tuple(range(1, y.ndim - 1)))) * dy[at], -1)
        for axis in range(1, x.ndim - 1):
            relevance = along(relevance, axis, x.shape[axis])
        np.testing.assert_allclose(wrapped.explain(x, verbose=0), relevance, rtol=1e-3, atol=1e-5)


def along(maps, axis, length):
    """Linear interpolation of an axis of maps to pixels, from places that share out the side."""
    step = length / maps.shape[axis]
    centres = (step - 1) / 2 + step * np.arange(maps.shape[axis])
    return np.apply_along_axis(lambda values: np.interp(np.arange(length), centres, values), axis, maps)


@pytest.mark.parametrize("name", ["vit", "windows", "signal"])
def test_training_changes_the_rules_and_the_file_keeps_them(name, tmp_path):
    model = made(name)
    x = samples(model, 8)
    wrapped = tlp.wrap_model(model)
    before = wrapped.explain(x, verbose=0)
    wrapped.compile(run_eagerly=name != "vit")  # a trace takes longer than two steps
    wrapped.fit(x, batch_size=4, epochs=1, verbose=0)
    after = wrapped.explain(x, verbose=0)
    assert not np.allclose(before, after, rtol=1e-4)
    path = wrapped.save_rules(tmp_path / "rules.keras") or tmp_path / "rules.keras"
    again = tlp.wrap_model(model, rule=path)
    np.testing.assert_allclose(again.explain(x, verbose=0), after, rtol=1e-4, atol=1e-5 * np.abs(after).max())


def test_export_of_a_transformer_gives_the_same_maps(tmp_path):
    model = made("vit_with_class_token")
    x = samples(model)
    wrapped = tlp.wrap_model(model, rule="libra")
    path = wrapped.export(tmp_path / "served" / "1")
    served = tf.saved_model.load(str(path)).signatures["serving_default"](tf.constant(x))
    maps = wrapped.explain(x, verbose=0)
    np.testing.assert_allclose(served["maps"], maps, rtol=1e-4, atol=1e-5 * np.abs(maps).max())


@pytest.mark.usefixtures("eagerly")
class TestText:
    def test_a_value_a_token_that_moves_with_it(self):
        """Without positions, tokens in another order have their values in that order."""
        model = made("text")
        wrapped = tlp.wrap_model(model)
        ids = samples(model, 3, length=9)
        maps = wrapped.explain(ids, targets=1, verbose=0)
        order = RNG.permutation(9)
        np.testing.assert_allclose(
            wrapped.explain(ids[:, order], targets=1, verbose=0), maps[:, order], atol=1e-5
        )

    def test_a_bag_of_words_by_hand(self):
        """logit_k = mean over tokens of table[id]·w_k: a token's value is its part, less the mean part."""
        ids = keras.Input((None,), dtype="int32")
        x = layers.Embedding(20, 4, name="table")(ids)
        x = layers.Dense(4, "relu", name="dense")(layers.GlobalAveragePooling1D()(x))
        model = keras.Model(ids, layers.Dense(2, name="logits")(x))
        table = RNG.uniform(0.1, 1.0, (20, 4))
        w = RNG.normal(size=(4, 2))
        model.set_weights([table, np.eye(4), np.zeros(4), w, np.zeros(2)])
        tokens = np.array([[3, 7, 7, 1]])
        wrapped = tlp.wrap_model(model, rule="gradient")
        part = table[tokens[0]] @ (w[:, 0] - w[:, 1]) / 4
        np.testing.assert_allclose(
            wrapped.explain(tokens, targets=0, verbose=0)[0], part - part.mean(), rtol=1e-4, atol=1e-6
        )

    @pytest.mark.parametrize("mask_zero", [False, True])
    def test_padding(self, mask_zero):
        model = token_models.text(mask_zero)
        ids = np.array([[4, 5, 6, 0, 0]])
        wrapped = tlp.wrap_model(model)
        np.testing.assert_allclose(wrapped(ids), model(ids), atol=1e-6)
        maps = wrapped.explain(ids, verbose=0)
        assert maps.shape == (1, 5) and np.isfinite(maps).all()

    def test_subclassed(self):
        model = token_models.SubclassedText()
        ids = RNG.integers(0, 20, (2, 6)).astype("int32")
        model(ids)
        wrapped = tlp.wrap_model(model, inputs=keras.Input((6,), dtype="int32"))
        np.testing.assert_allclose(wrapped(ids), model(ids), atol=1e-6)
        assert wrapped.explain(ids, verbose=0).shape == (2, 6)

    @pytest.mark.parametrize("length", [8, None])
    def test_embeddings_that_do_not_meet_are_refused(self, length):
        ids = keras.Input((length,), dtype="int32", name="words")
        pooled = [layers.GlobalAveragePooling1D()(layers.Embedding(9, 4)(ids)) for _ in range(2)]
        model = keras.Model(ids, layers.Dense(3)(layers.Concatenate()(pooled)))
        with pytest.raises(ValueError, match="^Ids .* must become vectors .* Received: input 'words', whose"):
            tlp.wrap_model(model)

    def test_another_readout_is_refused(self):
        with pytest.raises(ValueError, match="`readout` must be 'tokens'.*Received: InputReadout"):
            tlp.wrap_model(made("text"), readout="input")

    def test_a_readout_says_how_it_adapts_to_integers(self):
        with pytest.raises(
            ValueError, match="`readout` must be 'tokens'.*Received: ReadsBoth, which needs the signal"
        ):
            tlp.wrap_model(made("text"), readout=ReadsBoth())
        model, ids = made("text"), RNG.integers(1, 20, (2, 6))
        wrapped = tlp.wrap_model(model, "gradient", readout=ReadsBothOrTheFeatureMap(factor=3.0))
        expected = tlp.wrap_model(model, "gradient", readout=ReadsTheFeatureMap(factor=3.0)).explain(ids)
        np.testing.assert_array_equal(wrapped.explain(ids), expected)
        assert not wrapped.rule_set.readout.needs.input_signal
        image_model = made("vit")
        readout = tlp.wrap_model(image_model, readout=ReadsBothOrTheFeatureMap()).rule_set.readout
        assert isinstance(readout, ReadsBothOrTheFeatureMap)


def test_attention_on_the_input_itself_reads_the_input():
    inputs = keras.Input((9, 4))
    x = layers.Add()([inputs, layers.MultiHeadAttention(2, 2)(inputs, inputs)])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    with pytest.warns(UserWarning, match="read from the input alone"):
        wrapped = tlp.wrap_model(model)
    assert wrapped.rule_set.read == [tlp.readouts.INPUT]
    assert wrapped.explain(RNG.normal(size=(2, 9, 4)), verbose=0).shape == (2, 9)


class ReadsTheFeatureMap(tlp.readouts.Readout):
    needs = tlp.readouts.Needs(feature_map=True)

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, signals):
        return self.factor * tf.reduce_sum(signals.activations[0] * signals.signals[0], -1)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class ReadsBoth(ReadsTheFeatureMap):
    needs = tlp.readouts.Needs(input_signal=True, feature_map=True)


class ReadsBothOrTheFeatureMap(ReadsBoth):
    def for_integers(self):
        return ReadsTheFeatureMap.from_config(self.get_config())


class CutByTensorFlow(layers.Layer):
    """Patches of 4 × 4 pixels, projected, behind some other tokens; no graph shows how."""

    def __init__(self, others=0, width=8, **kwargs):
        super().__init__(**kwargs)
        self.others, self.width = others, width

    def build(self, shape):
        self.kernel = self.add_weight(shape=(4, 4, shape[-1], self.width), name="kernel")
        self.other = self.add_weight(shape=(1, self.others, self.width), name="other")

    def call(self, images):
        patches = tf.nn.conv2d(images, tf.convert_to_tensor(self.kernel), 4, "VALID")
        size = tf.shape(images)[0]
        tokens = tf.reshape(patches, [size, -1, self.width])
        return tf.concat([tf.repeat(tf.convert_to_tensor(self.other), size, 0), tokens], 1)

    def compute_output_shape(self, shape):
        return shape[0], self.others + shape[1] // 4 * (shape[2] // 4), self.width


def hidden_grid(others):
    """A vision transformer of 3 × 4 patches, and its part behind the tokens."""
    image = keras.Input((12, 16, 3))
    tokens = CutByTensorFlow(others)(image)
    model = keras.Model(image, head_of(layers.LayerNormalization()(token_models.block(tokens))))
    for weight in model.trainable_weights:
        weight.assign(RNG.normal(scale=0.4, size=weight.shape) + (weight.name == "gamma"))
    return model, keras.Model(tokens, model.output)


def head_of(x):
    return layers.Dense(3, name="logits")(layers.Flatten()(x))


def relevance_of_grid(behind, tokens, grid):
    """Σ_c (y − ȳ)·dy at the last tokens, class 1 against its rivals, in the shape of the grid."""
    tokens = tf.convert_to_tensor(tokens)
    with tf.GradientTape() as tape:
        tape.watch(tokens)
        logits = behind(tokens, training=False)
        asked = tf.one_hot([1] * len(tokens), 3)
        rivals = tf.nn.softmax(tf.where(asked == 1, -1e9, tf.stop_gradient(logits)))
        score = tf.reduce_sum((asked - rivals) * logits)
    count = grid[0] * grid[1]
    y, dy = tokens.numpy()[:, -count:], tape.gradient(score, tokens).numpy()[:, -count:]
    return ((y - y.mean(1, keepdims=True)) * dy).sum(-1).reshape(-1, *grid)


@pytest.mark.usefixtures("eagerly")
class TestNamedGrid:
    """`TokenReadout(grid=...)`."""

    @pytest.mark.parametrize(
        "name, grid", [("vit", (3, 3)), ("vit_with_class_token", (3, 4)), ("signal", (8,))]
    )
    def test_the_grid_that_is_found_gives_the_same_map(self, name, grid):
        model = made(name)
        x = samples(model)
        named = tlp.wrap_model(model, readout=tlp.readouts.TokenReadout(grid=grid))
        found = tlp.wrap_model(model)
        assert named.read_shapes == found.read_shapes
        np.testing.assert_array_equal(named.explain(x), found.explain(x))

    @pytest.mark.parametrize("others", [0, 1, 5])
    def test_a_grid_that_is_not_found_by_hand(self, others):
        model, behind = hidden_grid(others)
        x = samples(model)
        with pytest.warns(UserWarning, match=r"name their grid: `readout=tlp.readouts.TokenReadout\(grid="):
            tlp.wrap_model(model)
        readout = tlp.readouts.TokenReadout(blur=0.0, grid=[3, 4], with_input=False)
        wrapped = tlp.wrap_model(model, "gradient", readout=readout)
        reading = "The map is read from the tokens of the grid 3 × 4 before attention"
        assert wrapped.coverage.reading() == reading
        relevance = relevance_of_grid(behind, model.layers[1](x), (3, 4))
        expected = tf.image.resize(relevance[..., None], (12, 16))[..., 0]
        np.testing.assert_allclose(wrapped.explain(x, targets=1), expected, rtol=1e-3, atol=1e-5)

    def test_patches_cut_by_reshaping(self):
        """Read at the patches themselves, of 4 × 4 pixels row by row."""
        image = keras.Input((12, 16, 3))
        x = ops.transpose(ops.reshape(image, (-1, 3, 4, 4, 4, 3)), (0, 1, 3, 2, 4, 5))
        patches = ops.reshape(x, (-1, 12, 48))
        tokens = layers.Dense(8)(patches)
        model = keras.Model(image, head_of(token_models.block(tokens)))
        x = samples(model)
        readout = tlp.readouts.TokenReadout(blur=0.0, grid=(3, 4), with_input=False)
        wrapped = tlp.wrap_model(model, "gradient", readout=readout)
        cut = tf.image.extract_patches(x, [1, 4, 4, 1], [1, 4, 4, 1], [1, 1, 1, 1], "VALID")
        relevance = relevance_of_grid(
            keras.Model(patches, model.output), tf.reshape(cut, (-1, 12, 48)), (3, 4)
        )
        expected = tf.image.resize(relevance[..., None], (12, 16))[..., 0]
        np.testing.assert_allclose(wrapped.explain(x, targets=1), expected, rtol=1e-3, atol=1e-5)

    def test_it_trains_and_is_saved_with_the_rules_and_exported(self, tmp_path):
        model, _ = hidden_grid(1)
        x = samples(model)
        wrapped = tlp.wrap_model(model, readout=tlp.readouts.TokenReadout(grid=(3, 4)))
        assert any(row.learned for row in wrapped.coverage)
        wrapped.compile()
        wrapped.fit(x, verbose=0)
        maps = wrapped.explain(x)
        wrapped.save_rules(tmp_path / "rules.keras")
        again = tlp.wrap_model(model, tmp_path / "rules.keras")
        assert again.rule_set.readout.needs.grid == (3, 4)
        np.testing.assert_array_equal(again.explain(x), maps)
        served = tf.saved_model.load(str(wrapped.export(tmp_path / "1"))).signatures["serving_default"]
        close = {"rtol": 1e-4, "atol": 1e-5 * np.abs(maps).max()}
        np.testing.assert_allclose(served(tf.constant(x))["maps"], maps, **close)

    @pytest.mark.parametrize("grid", [(4, 4), (1, 3), (6, 6)])
    def test_another_number_of_tokens(self, grid):
        model, _ = hidden_grid(1)
        with pytest.raises(ValueError, match=r"`grid` must multiply to .*numbers of tokens \[13\]"):
            tlp.wrap_model(model, readout=tlp.readouts.TokenReadout(grid=grid))

    @pytest.mark.parametrize("name, grid", [("vit", (9,)), ("signal", (2, 4)), ("text", (7,))])
    def test_a_grid_of_another_rank_than_the_input(self, name, grid):
        with pytest.raises(ValueError, match="`grid` must have one size for each side of an input"):
            tlp.wrap_model(made(name), readout=tlp.readouts.TokenReadout(grid=grid))

    @pytest.mark.parametrize("grid", [3, (), (3, 0), (3, 4.0), (True, 3), "34", (2**20, 2)])
    def test_what_is_no_grid(self, grid):
        with pytest.raises(ValueError, match="`grid` must be None or a tuple of ints"):
            tlp.readouts.TokenReadout(grid=grid)


def test_a_class_token_of_a_signal_is_no_step_of_it():
    """What is read is the tensor before the token joins."""
    inputs = keras.Input((24, 2))
    x = token_models.ClassToken()(layers.Conv1D(8, 3, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(token_models.block(x)[:, 0]))
    assert tlp.wrap_model(model).read_shapes == [(None, 8, 8)]


@pytest.mark.usefixtures("eagerly")
class TestMixedPrecision:
    """A vision transformer in float16, and the same weights in float32."""

    @pytest.fixture(scope="class")
    @staticmethod
    def models():
        single = token_models.vit_with_class_token()
        for weight in single.trainable_weights:
            weight.assign(RNG.normal(scale=0.3, size=weight.shape) + (weight.name == "gamma"))
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            half = token_models.vit_with_class_token()
        finally:
            keras.config.set_dtype_policy(before)
        half.set_weights(single.get_weights())
        return single, half, RNG.normal(size=(4, *single.input_shape[1:])).astype("float32")

    @pytest.mark.parametrize("rule", ["universal", "libra", "gradient"])
    def test_outputs_are_equal_and_maps_close(self, models, rule):
        single, half, x = models
        wrapped = tlp.wrap_model(half, rule)
        assert wrapped(x).dtype == half(x).dtype == "float16"
        np.testing.assert_array_equal(wrapped(x), half(x))
        maps = wrapped.explain(x, targets=1)
        expected = tlp.wrap_model(single, rule).explain(x, targets=1)
        assert maps.dtype == "float32" and np.isfinite(maps).all()
        np.testing.assert_allclose(maps, expected, atol=0.02 * abs(expected).max())

    def test_trains_saves_loads_and_exports(self, models, tmp_path):
        _, half, x = models
        wrapped = tlp.wrap_model(half)
        untrained = wrapped.explain(x)
        wrapped.compile()
        wrapped.fit(x, epochs=8, verbose=0)  # Keras' loss scaling skips the first steps
        maps = wrapped.explain(x)
        assert not np.array_equal(maps, untrained)
        wrapped.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded.explain(x), maps, atol=1e-3 * abs(maps).max())
        served = tf.saved_model.load(str(wrapped.export(tmp_path / "1"))).signatures["serving_default"]
        # TensorFlow optimises the served graph, and float16 has steps of 1e-3.
        np.testing.assert_allclose(served(tf.constant(x))["maps"], maps, atol=3e-3 * abs(maps).max())


@pytest.mark.parametrize("are_an_output", [False, True], ids=["unused", "output"])
def test_attention_that_returns_its_scores(are_an_output):
    """The rules are those of the layer without its scores."""
    series = keras.Input((6, 8))
    dense, attention = layers.Dense(8, "gelu"), layers.MultiHeadAttention(2, 4, name="attention")
    head = layers.Dense(3)

    def logits(x):
        return head(layers.GlobalAveragePooling1D()(x))

    x = dense(series)
    attended, scores = attention(x, x, return_attention_scores=True)
    outputs = [logits(x + attended), *[scores] * are_an_output]
    plain = keras.Model(series, logits(x + attention(x, x)))
    values = RNG.normal(size=(2, 6, 8)).astype("float32")
    wrapped = tlp.wrap_model(keras.Model(series, outputs), "libra")
    assert [row.rule for row in wrapped.coverage if row.activation == "attention"] == ["libra"]
    expected = tlp.wrap_model(plain, "libra")
    np.testing.assert_allclose(wrapped.input_signal(values), expected.input_signal(values), atol=1e-6)
    np.testing.assert_allclose(wrapped.explain(values), expected.explain(values), atol=1e-5)
    gradient = tlp.wrap_model(plain, "gradient").input_signal(values)
    assert abs(gradient - expected.input_signal(values)).max() > 1e-2 * abs(gradient).max()
