"""`wrap_model` on small models of every kind: what it promises, what it reports, what it refuses."""

import collections
import os
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tf_learnprop as tlp
from tests import models, recurrent_models
from tests.closeness import assert_close, assert_same_outputs
from tests.models import CASES


class Wrapped:
    """A case's model, its logits, inputs, and the state it was in before it was wrapped."""

    def __init__(self, case):
        self.case = case
        self.model, self.logits = case.models()
        self.x = models.sample(self.model)
        self.model(self.x, training=False)  # some layers are built by their first call
        self.before = models.snapshot(self.model)
        self.wrapped = self.wrap("gradient")
        self.explained = self.wrapped.explained.input

    def wrap(self, rule, readout="input", **kwargs):
        return tlp.wrap_model(self.model, rule, readout=readout, **self.case.ends, **kwargs)

    def signal(self, wrapped, inputs=None):
        return wrapped.attributor.input_signal(self.x if inputs is None else inputs).numpy()


@pytest.fixture(scope="module", params=list(CASES))
def subject(request):
    keras.utils.set_random_seed(0)
    return Wrapped(CASES[request.param])


class TestEveryKindOfModel:
    def test_forward(self, subject):
        expected = subject.model(subject.x, training=False)
        assert_same_outputs(subject.wrapped(subject.x), expected)

    def test_forward_in_a_function(self, subject):
        expected = subject.model(subject.x, training=False)
        assert_same_outputs(tf.function(subject.wrapped)(subject.x), expected)

    def test_logits(self, subject):
        expected = subject.logits(subject.x, training=False)
        expected = keras.tree.flatten(expected)[subject.case.position]
        assert_close(subject.wrapped.attributor.logits(subject.x), expected)

    def test_gradient_rule_is_the_gradient(self, subject):
        expected = models.reference_signal(
            subject.logits, subject.x, subject.case.position, subject.explained
        )
        assert_close(subject.signal(subject.wrapped), expected)

    def test_untrained_learned_rules_are_the_gradient(self, subject):
        """The two learned rules in turn, layer by layer."""
        names = ("learned", "channel_mixing")
        paths = [row.path for row in subject.wrapped.coverage if row.swapped]
        learned = subject.wrap({path: names[index % 2] for index, path in enumerate(paths)})
        assert_close(subject.signal(learned), subject.signal(subject.wrapped))
        found = [row.rule for row in learned.coverage if row.swapped]
        for index, name in enumerate(found):
            # What no path joins to the explained input has nothing to learn.
            assert name in (("learned", "channel_mixing")[index % 2], "gradient")
        assert found[0] == "learned"

    @pytest.mark.slow
    @pytest.mark.parametrize("rule", ["learned", "channel_mixing"])
    def test_untrained_learned_rule_is_the_gradient(self, subject, rule):
        if rule == "channel_mixing" and subject.case.build.__name__ == "layer_used_on_two_shapes":
            pytest.skip("weights for each channel fit one number of channels")
        learned = subject.wrap(rule)
        assert_close(subject.signal(learned), subject.signal(subject.wrapped))

    def test_coverage(self, subject):
        names = {True: collections.Counter(), False: collections.Counter()}
        for row in subject.wrapped.coverage:
            if row.activation in ("attention", "normalization", "product"):
                assert not row.swapped and row.reason == "keeps its gradient"
                continue
            names[row.swapped][row.activation] += 1
            assert bool(row.reason) != row.swapped
            assert row.rule == ("gradient" if row.swapped else "")
        assert names[True] == subject.case.swapped
        assert names[False] == subject.case.left

    def test_source_is_untouched(self, subject):
        # The last of the class: by now the model has been wrapped, called and explained.
        subject.wrapped.attributor.maps(subject.x)
        assert models.snapshot(subject.model) == subject.before
        for layer in subject.model.layers:
            if isinstance(layer, keras.Model):
                continue  # its `output` is that of its own inputs
            part = keras.Model(subject.model.inputs, subject.model.get_layer(layer.name).output)
            part(keras.tree.flatten(subject.x))
        before = {id(w) for w in subject.model.weights}
        assert before <= {id(w) for w in subject.wrapped.weights}


class TestSource:
    def test_untouched_by_explain_and_fit(self):
        subject = Wrapped(CASES["nested"])
        wrapped = subject.wrap("channel_mixing", None)
        wrapped.compile(optimizer=keras.optimizers.Adam(0.1))
        rules_before = [w.numpy() for w in wrapped.trainable_weights]
        wrapped.fit(subject.x, epochs=2, verbose=0)
        wrapped.explain(subject.x)
        wrapped.evaluate(subject.x, verbose=0)
        assert models.snapshot(subject.model) == subject.before
        assert any(
            (w.numpy() != old).any() for w, old in zip(wrapped.trainable_weights, rules_before, strict=True)
        )
        assert {id(w) for w in wrapped.trainable_weights}.isdisjoint(id(w) for w in subject.model.weights)

    def test_losses(self):
        """An activity regularizer leaves no tensor of our graphs in the source model's losses."""
        subject = Wrapped(CASES["regularised"])
        subject.model(subject.x)
        before = [float(loss) for loss in subject.model.losses]
        assert len(before) == 3 and min(before) > 0
        subject.wrapped.explain(subject.x)
        assert all(float(loss) > 0 for loss in subject.model.losses)
        subject.model(subject.x)
        assert [float(loss) for loss in subject.model.losses] == before

    def test_weights_are_shared(self):
        subject = Wrapped(CASES["nested"])
        explained = subject.wrapped.input_signal(subject.x)
        function = tf.function(subject.wrapped)
        before = function(subject.x).numpy()
        kernel = subject.model.get_layer("backbone").get_layer("conv").kernel
        kernel.assign(kernel * -2.0)
        subject.logits.set_weights(subject.model.get_weights())
        after = function(subject.x).numpy()
        assert abs(after - before).max() > 1e-3
        np.testing.assert_allclose(after, subject.model(subject.x), rtol=1e-5)
        assert abs(subject.wrapped.input_signal(subject.x) - explained).max() > 1e-3
        assert_close(
            subject.wrapped.input_signal(subject.x),
            models.reference_signal(subject.logits, subject.x),
        )
        own = [w for w in subject.wrapped.weights if w.path not in {v.path for v in subject.model.weights}]
        assert own == []  # the rule "gradient" with the input readout has none

    def test_threads(self):
        """Source and wrapped model run at once; a swapped layer that was altered would show."""
        subject = Wrapped(CASES["fused_softmax"])
        x = np.repeat(subject.x, 20, 0)
        expected = subject.model(x).numpy()
        signal = subject.signal(subject.wrapped, x)
        wrong = []

        def repeat(function, result):
            for _ in range(40):
                if abs(np.asarray(function(x)) - result).max() > 1e-5 * abs(result).max():
                    wrong.append(function)

        jobs = [
            (subject.model, expected),
            (subject.wrapped, expected),
            (lambda x: subject.signal(subject.wrapped, x), signal),
        ]
        threads = [threading.Thread(target=repeat, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_wrapped_again_with_another_rule(self):
        """Two wrapped models of one source do not see each other."""
        subject = Wrapped(CASES["sequential"])
        gradient = subject.signal(subject.wrapped)
        guided = subject.signal(subject.wrap("guided_backprop"))
        assert abs(guided - gradient).max() > 1e-3
        assert_close(subject.signal(subject.wrapped), gradient)

    @pytest.mark.slow
    def test_wrapping_takes_no_memory(self):
        """VGG16 at 224 pixels: peak resident memory (VmHWM) of a process that builds and runs the
        model, before and after the same process wraps and runs it."""
        code = """
import re, keras, numpy as np
import tf_learnprop as tlp
# Not `ru_maxrss`: on Linux a new process starts with its parent's.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
model = keras.applications.VGG16(weights=None)
x = np.zeros((1, 224, 224, 3), "float32")
model(x)
alone = peak()
wrapped = tlp.wrap_model(model)
wrapped(x)
print(alone, peak())
"""
        # Room that was freed would hide a copy.
        environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "0"}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        alone, with_wrapped = map(int, result.stdout.split())
        assert alone > 400_000  # kilobytes: the weights alone take 553 MB
        assert with_wrapped < 1.05 * alone


class TestTape:
    def test_users_tape_follows_the_rules(self):
        subject = Wrapped(CASES["logits"])
        x = tf.convert_to_tensor(subject.x)
        wrapped = subject.wrap("guided_backprop")

        def gradient(model):
            with tf.GradientTape() as tape:
                tape.watch(x)
                score = tf.reduce_sum(tf.reduce_max(model(x), -1))
            return tape.gradient(score, x).numpy()

        assert_close(gradient(wrapped), subject.signal(wrapped))
        assert abs(gradient(wrapped) - gradient(subject.model)).max() > 1e-4

    def test_in_a_function(self):
        subject = Wrapped(CASES["nested"])
        wrapped = subject.wrap("guided_backprop")
        assert_close(wrapped.input_signal(subject.x), subject.signal(wrapped))

    @pytest.mark.parametrize(
        "name",
        ["sequential", "unknown_size", "dict_inputs", "nested_used_twice", "one_dimension", "dense_alone"],
    )
    def test_explain_is_input_times_signal(self, name):
        subject = Wrapped(CASES[name])
        wrapped = subject.wrap("guided_backprop", tlp.readouts.InputReadout(blur=0.0))
        x = keras.tree.flatten(subject.x)[subject.explained]
        expected = x * subject.signal(wrapped)
        assert_close(wrapped.explain(subject.x), expected.sum(-1) if expected.ndim > 2 else expected)

    def test_maps_of_the_multi_layer_readout(self):
        """Untrained learned rules give the maps of the gradient, here read at many layers."""
        subject = Wrapped(CASES["nested"])
        learned, gradient = (subject.wrap(rule, "multi_layer") for rule in ("learned", "gradient"))
        maps = learned.explain(subject.x)
        assert maps.shape == subject.x.shape[:3]
        assert_close(maps, gradient.explain(subject.x))

    def test_the_input_is_read_first(self):
        """With all weight on the first that is read: input times gradient, for less half against."""
        subject = Wrapped(CASES["nested"])
        wrapped = subject.wrap("gradient", tlp.readouts.MultiLayerReadout(blur=0, focus=0))
        raw = np.zeros(wrapped.rule_set.readout.raw_weights.shape)
        raw[0, 1:] = -20
        wrapped.rule_set.readout.raw_weights.assign(raw)
        products = subject.x * subject.signal(wrapped)
        speaks_for, against = (np.maximum(sign * products, 0).sum(-1) for sign in (1, -1))
        rms = np.sqrt(np.mean((speaks_for + against) ** 2, (1, 2), keepdims=True))
        assert_close(wrapped.explain(subject.x), (speaks_for - against / 2) / rms)

    def test_rules_of_layers_below_the_readout(self):
        """The map needs no signal below the first layer that is read; weights there could not train."""
        subject = Wrapped(CASES["nested"])
        rows = {}
        for max_size in (subject.x.shape[1], subject.x.shape[1] - 1):
            learned = subject.wrap("learned", tlp.readouts.MultiLayerReadout(max_size=max_size))
            rows[max_size] = [row.rule for row in learned.coverage if row.swapped]
        reads_input, does_not = rows.values()
        assert reads_input == ["learned"] * 3
        assert does_not == ["gradient", "learned", "learned"]
        guided = subject.wrap("guided_backprop", "multi_layer")
        assert_close(subject.signal(guided), subject.signal(subject.wrap("guided_backprop")))


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


class Probe(tlp.rules.PropagationRule):
    """The gradient, noting the dtypes that a rule meets."""

    seen = []

    def propagate(self, x, y, dy, vjp):
        true = vjp(dy)
        Probe.seen.append({tensor.dtype.name for tensor in (x, y, dy, true)})
        return true


class TestMixedPrecision:
    @pytest.mark.parametrize("policy, name", models.MIXED_PRECISION, indirect=["policy"])
    def test_promises(self, policy, name):
        subject = Wrapped(CASES[name])
        half = policy.removeprefix("mixed_")
        assert half in {getattr(layer, "compute_dtype", "") for layer in models.walk(subject.model)}
        assert_same_outputs(subject.wrapped(subject.x), subject.model(subject.x))
        assert_same_outputs(tf.function(subject.wrapped)(subject.x), tf.function(subject.model)(subject.x))
        Probe.seen.clear()
        signal = subject.signal(subject.wrap(Probe()))
        assert Probe.seen and all(dtypes == {"float32"} for dtypes in Probe.seen)
        scale = {"float16": 32.0, "bfloat16": 1.0}[half]
        expected = models.reference_signal(subject.logits, subject.x, scale=scale)
        # The sums are in half precision, and the logits of a fused head are not rounded.
        assert_close(signal, expected, {"float16": 5e-3, "bfloat16": 5e-2}[half])
        assert_close(subject.signal(subject.wrapped), expected, {"float16": 5e-3, "bfloat16": 5e-2}[half])
        assert models.snapshot(subject.model) == subject.before

    @pytest.mark.parametrize(
        "policy",
        ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)],
        indirect=True,
    )
    def test_learned_rule(self, policy):
        subject = Wrapped(CASES["nested"])
        wrapped = subject.wrap("channel_mixing", None)
        assert {w.dtype for w in wrapped.trainable_weights} == {"float32"}
        maps = wrapped.explain(subject.x)
        assert maps.dtype == np.float32 and np.isfinite(maps).all() and abs(maps).max() > 1e-3
        gradient = subject.wrap("gradient", "multi_layer").explain(subject.x)
        assert_close(maps, gradient, 5e-2)
        wrapped.compile()
        assert np.isfinite(wrapped.fit(subject.x, verbose=0).history["loss"]).all()


class TestChoice:
    @pytest.fixture
    def model(self):
        return CASES["nested"].build("softmax")

    @pytest.mark.parametrize(
        "kwargs, swapped",
        [
            ({}, ["backbone/stem", "backbone/relu6", "dense"]),
            ({"include": "stem"}, ["backbone/stem"]),
            ({"include": "backbone/*"}, ["backbone/stem", "backbone/relu6"]),
            ({"include": ["stem", "dense*"]}, ["backbone/stem", "dense"]),
            ({"exclude": "relu?"}, ["backbone/stem", "dense"]),
            ({"include": "backbone/*", "exclude": ["s*"]}, ["backbone/relu6"]),
            ({"rule": {"stem": "gradient"}}, ["backbone/stem"]),
            ({"include": "*"}, ["backbone/stem", "backbone/relu6", "dense"]),
        ],
    )
    def test_patterns(self, kwargs, swapped):
        keras.utils.clear_session()  # names are counted up
        wrapped = tlp.wrap_model(CASES["nested"].build("softmax"), **kwargs)
        assert wrapped.coverage.swapped == swapped
        head = wrapped.coverage[len(wrapped.coverage) - 1]
        assert head.reason == "the output's own activation"
        left = [row.reason for row in wrapped.coverage if not row.swapped]
        assert left == ["not selected"] * (3 - len(swapped)) + [head.reason]

    def test_rule_by_layer(self, model):
        rule = {
            "stem": "deconvnet",
            "backbone/*": tlp.rules.ChannelMixingRule(hidden=3),
            "*": "guided_backprop",
        }
        wrapped = tlp.wrap_model(model, rule, readout="input")
        rows = [row.rule for row in wrapped.coverage if row.swapped]
        assert rows == ["deconvnet", "channel_mixing", "guided_backprop"]
        assert wrapped.rule_set.rules[1].hidden == 3

    def test_layers_left_out_have_their_gradient(self):
        subject = Wrapped(CASES["nested"])
        some = subject.signal(subject.wrap("guided_backprop", include="stem"))
        gradient = subject.signal(subject.wrapped)
        every = subject.signal(subject.wrap("guided_backprop"))
        assert abs(some - gradient).max() > 1e-4 and abs(some - every).max() > 1e-4
        rest = subject.wrap({"stem": "guided_backprop", "*": "gradient"})
        assert_close(subject.signal(rest), some)

    def test_rule_object_is_copied_for_each_layer(self, model):
        rule = tlp.rules.RelevanceRule(hidden=5)
        wrapped = tlp.wrap_model(model, rule, readout="input")
        rules = wrapped.rule_set.rules
        assert len({id(r) for r in [rule, *rules]}) == 4 and not rule.built
        assert all(r.hidden == 5 for r in rules)
        rules[0].gate_bias.assign([1.0])
        assert rules[1].gate_bias.numpy() == 0.0

    def test_gate_is_swapped_when_named(self):
        subject = Wrapped(CASES["squeeze_excite"])
        gate = next(row for row in subject.wrapped.coverage if row.path == "excite")
        assert (gate.activation, gate.swapped, gate.reason) == ("sigmoid", False, "a gate")
        named = subject.wrap("guided_backprop", include="excite")
        assert named.coverage.swapped == ["excite"]
        assert_same_outputs(named(subject.x), subject.model(subject.x))
        assert abs(subject.signal(named) - subject.signal(subject.wrapped)).max() > 1e-5
        assert_close(subject.signal(subject.wrap("gradient", include="*")), subject.signal(subject.wrapped))

    def test_one_layer_in_two_nested_models(self):
        """A layer has one rule, wherever it is used."""
        inputs, inner = models.image(), models.image()
        conv = layers.Conv2D(3, 3, padding="same", activation="relu", name="shared")
        first = keras.Model(inner, conv(inner), name="first")
        second = keras.Sequential([models.image(), conv], name="second")
        model = keras.Model(inputs, models.dense_head(second(first(inputs)), None))
        wrapped = tlp.wrap_model(model, "guided_backprop")
        assert wrapped.coverage.swapped == ["first/shared"]
        x = models.sample(model)
        assert_same_outputs(wrapped(x), model(x))
        trace = wrapped.attributor.runner(x)
        assert [path for path, _ in trace.activations] == ["first/shared"] * 2

    def test_channel_mixing_needs_one_number_of_channels(self):
        """One rule stands behind a layer wherever it is used, and this one has weights by channel."""
        model = CASES["layer_used_on_two_shapes"].build(None)
        with pytest.raises(ValueError, match="Layer 're_lu.*' is used on different numbers of channels"):
            tlp.wrap_model(model, "channel_mixing")
        assert len(tlp.wrap_model(model, "channel_mixing", exclude="re_lu*").coverage.swapped) == 1


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2, "relu")

    def call(self, x):
        return self.dense(x)


class TensorFlowModel(keras.Model):
    """A model whose `call` does not run on KerasTensors."""

    def call(self, x):
        return tf.nn.relu(x)


def _with(layer, inputs=None):
    """A model with one layer that only its own code can walk, and a relu beside it."""
    inputs = models.image() if inputs is None else inputs
    x = layer(layers.Dense(3, "relu")(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def _channels_first():
    inputs = keras.Input((3, 8, 8))
    x = layers.Conv2D(2, 3, activation="relu", data_format="channels_first", name="turned")(inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def _outputs(*shapes):
    inputs = keras.Input((8, 8, 3), name="photo")
    x = layers.Conv2D(3, 3, activation="relu")(inputs)
    ends = {
        "classes": layers.Dense(2, name="classes")(layers.Flatten()(x)),
        "pixels": layers.Conv2D(2, 1, name="pixels")(x),
    }
    return keras.Model(inputs, [ends[name] for name in shapes])


ERRORS = {
    "not a model": (lambda: "model.keras", {}, TypeError, "must be a `keras.Model`. Received: str"),
    "a layer": (lambda: layers.Dense(2), {}, TypeError, "must be a `keras.Model`. Received: Dense"),
    "wrapped": (
        lambda: tlp.wrap_model(_outputs("classes"), rule="learned"),
        {},
        TypeError,
        "is wrapped already; give its `source`",
    ),
    "subclassed": (
        Subclassed,
        {},
        ValueError,
        r"\(Subclassed\) defines its own `call` and is not built.*`wrap_model\(model, inputs=keras.Input",
    ),
    "subclassed in TensorFlow": (
        TensorFlowModel,
        {"inputs": keras.Input((4,))},
        ValueError,
        r"\(TensorFlowModel\).*does not run on symbolic tensors \(it calls TensorFlow.*`keras.ops`",
    ),
    "inputs of a Functional model": (
        lambda: _outputs("classes"),
        {"inputs": keras.Input((8, 8, 3))},
        ValueError,
        "`inputs` is for subclassed models.*Received: inputs=<KerasTensor",
    ),
    "unbuilt": (
        lambda: keras.Sequential([layers.Dense(2, "relu")], name="s"),
        {},
        ValueError,
        "Sequential model 's' is not built.*`keras.Input",
    ),
    "all excluded": (
        lambda: _outputs("classes"),
        {"exclude": "conv*"},
        ValueError,
        r"no activation to swap. Found: conv2d\w* \(relu: excluded\)",
    ),
    "unknown rule": (
        lambda: _outputs("classes"),
        {"rule": "guided"},
        ValueError,
        "'gradient', 'deconvnet', 'guided_backprop', 'libra', 'learned'.*Received: rule='guided'",
    ),
    "unknown rule in a dict": (
        lambda: _outputs("classes"),
        {"rule": {"*": "guided"}},
        ValueError,
        "Received: rule='guided'",
    ),
    "a rule's class": (
        lambda: _outputs("classes"),
        {"rule": tlp.rules.GradientRule},
        TypeError,
        "`rule` must be the name of a rule.*Received: rule=<class",
    ),
    "a number for a rule": (lambda: _outputs("classes"), {"rule": 3}, TypeError, "Received: rule=3"),
    "include": (
        lambda: _outputs("classes"),
        {"include": ["conv*", "block9_*"]},
        ValueError,
        "`include` pattern 'block9_\\*' matches none of the model's activations: conv2d",
    ),
    "exclude": (
        lambda: _outputs("classes"),
        {"exclude": "classes"},
        ValueError,
        "`exclude` pattern 'classes' matches none",
    ),
    "rule pattern": (
        lambda: _outputs("classes"),
        {"rule": {"conv": "gradient"}},
        ValueError,
        "`rule` pattern 'conv' matches none",
    ),
    "pattern of another type": (
        lambda: _outputs("classes"),
        {"include": [3]},
        TypeError,
        "`include` must hold patterns of layer names. Received: 3",
    ),
    "channels first": (
        _channels_first,
        {},
        ValueError,
        "must be channels last. Layer 'turned' is channels_first",
    ),
    "output number": (
        lambda: _outputs("classes", "pixels"),
        {"output": 2},
        ValueError,
        r"`output` must be a number in 0..1 or one of \['classes', 'pixels'\]. Received: output=2",
    ),
    "output name": (
        lambda: _outputs("classes"),
        {"output": "logits"},
        ValueError,
        r"one of \['classes'\]. Received: output='logits'",
    ),
    "input number": (
        lambda: _outputs("classes"),
        {"explained_input": -1},
        ValueError,
        r"`explained_input` must be a number in 0..0 or one of \['photo'\]. Received: explained_input=-1",
    ),
    "input of ints": (
        lambda: keras.Sequential(
            [
                keras.Input((4,), dtype="int32"),
                layers.Rescaling(0.1),
                layers.Dense(2, "relu"),
                layers.Dense(2),
            ]
        ),
        {},
        ValueError,
        r"pixels of an integer dtype, or ids \[n, tokens\] that are embedded. Received: input .* int32",
    ),
    "input of a scalar": (
        lambda: keras.Sequential(
            [keras.Input(()), layers.Reshape((1,)), layers.Dense(2, "relu"), layers.Dense(2)]
        ),
        {},
        ValueError,
        r"must have shape \[n, ..., channels\] or \[n, features\]",
    ),
    "readout": (
        lambda: _outputs("classes"),
        {"readout": "gradcam"},
        ValueError,
        "must be one of .*'multi_layer'",
    ),
    "nothing to read": (
        lambda: keras.Sequential([keras.Input((4,)), layers.Dense(2, "relu"), layers.Dense(2)]),
        {"readout": "multi_layer"},
        ValueError,
        "MultiLayerReadout needs activations, and this model has none.*Use readout='input'",
    ),
    "no places for tokens": (  # the map had one value for a sample
        lambda: keras.Sequential([keras.Input((4,)), layers.Dense(2, "relu"), layers.Dense(2)]),
        {"readout": "tokens"},
        ValueError,
        "TokenReadout needs .*the last feature map, and this model has none.*Use readout='input'",
    ),
    "images are no series": (
        lambda: _outputs("classes"),
        {"readout": "series"},
        ValueError,
        r"SeriesReadout needs an input with 1 side. Received: an input \(None, 8, 8, 3\)",
    ),
    "rule file": (lambda: _outputs("classes"), {"rule": "no/such.keras"}, ValueError, "no/such.keras"),
}


class TestErrors:
    @pytest.mark.parametrize("build, kwargs, error, message", ERRORS.values(), ids=ERRORS)
    def test_states_the_rule_and_what_came(self, build, kwargs, error, message):
        with pytest.raises(error, match=f"(?s){message}"):
            tlp.wrap_model(build(), **kwargs)


def _recurrent():
    return _with(layers.RNN(recurrent_models.Gated(), name="mine"), keras.Input((5, 2)))


@pytest.mark.parametrize(
    "kwargs", [{}, {"exclude": "mine"}, {"include": "dense*"}, {"rule": {"dense*": "gradient"}}]
)
def test_what_is_out_of_reach_is_left_alone(kwargs):
    model = _recurrent()
    wrapped = tlp.wrap_model(model, **{"rule": "gradient", "readout": "input", **kwargs})
    assert len(wrapped.coverage.swapped) == 1
    row = next(row for row in wrapped.coverage if row.path == "mine")
    assert not row.swapped and row.reason == "keeps its gradient: its cell is not one of Keras' own"
    x = models.sample(model)
    assert_same_outputs(wrapped(x), model(x))
    assert_close(wrapped.attributor.input_signal(x), models.reference_signal(model, x))
