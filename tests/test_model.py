import concurrent.futures
import inspect
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_learnprop as tlp
from tests import toys
from tests.closeness import assert_close
from tf_learnprop import objectives

IMAGES = toys.images(10)


@keras.saving.register_keras_serializable("test_model")
class TotalRelevance(objectives.Objective):
    """A user's own objective: the map should be flat; without a draw, so its step is plain to see."""

    reported = ("spread",)

    def call(self, image, maps, original, classify, training=False):
        spread = tf.math.reduce_variance(maps, [1, 2])
        return {"loss": spread, "spread": tf.sqrt(spread)}


class FailsAt(objectives.AreaGuidance):
    """Its loss is NaN in training step `step`."""

    def __init__(self, step, **kwargs):
        super().__init__(**kwargs)
        self.step = step
        self.count = tf.Variable(0)

    def call(self, *args, training=False, **kwargs):
        losses = super().call(*args, training=training, **kwargs)
        if training:
            failed = tf.equal(self.count.assign_add(1), self.step)
            losses["loss"] = tf.where(failed, float("nan"), losses["loss"])
        return losses


@pytest.fixture(scope="module")
def source():
    keras.utils.set_random_seed(1)
    model = toys.small_cnn()
    for variable in model.weights:
        variable.assign(variable + 0.1 * toys.rng(5).normal(size=variable.shape) ** 2)
    return model


def ready(source, optimizer=None, objective=None, rule="learned", readout=None, **kwargs):
    """A fresh wrapped and compiled model; it runs eagerly, as a trace takes longer than a few steps."""
    model = tlp.wrap_model(source, rule, readout=readout)
    model.compile(optimizer, objective, **{"run_eagerly": True, **kwargs})
    return model


@pytest.fixture
def wrapped(source):
    return ready(source)


@pytest.fixture(scope="module")
def traced(source):
    """A model whose steps are traced, with little to trace; for tests of what its data may be."""
    return ready(source, objective=TotalRelevance(), readout="input", run_eagerly=False)


@pytest.fixture(scope="module")
def learned(source):
    """A model with rules and a readout off their start; for tests that change nothing."""
    return toys.jolt(tlp.wrap_model(source, "channel_mixing"))


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def same(ones, others):
    return all(np.array_equal(a, b) for a, b in zip(ones, others, strict=True))


def fit(model, images=IMAGES, **kwargs):
    return model.fit(images, **{"batch_size": 5, "verbose": 0, "shuffle": False, **kwargs})


#: Start of the error for images of another shape, up to the shape.
WRONG = r"must have shape \(None, 16, 16, 3\) .*Received: shape="


def halves(images):
    """Function that makes a generator of two batches."""
    return lambda: iter([images[:5], images[5:]])


class TestFit:
    def test_trains_the_rules_and_nothing_else(self, wrapped, source):
        before, rules = values(source.weights), values(wrapped.rule_set.weights)
        history = fit(wrapped, epochs=2).history
        assert same(values(source.weights), before)
        moved = [
            not np.array_equal(a, b) for a, b in zip(rules, values(wrapped.rule_set.weights), strict=True)
        ]
        assert all(moved)
        assert history.keys() == {"loss", "preserve", "destroy", "mask_area"}
        assert np.isfinite(list(history.values())).all()

    def test_source_statistics_stay_even_if_it_is_set_to_train(self, source):
        before = values(source.weights)
        wrapped = ready(source)
        source.trainable = True
        fit(wrapped)
        assert len(wrapped.trainable_variables) == len(wrapped.rule_set.weights)
        assert same(values(source.weights), before)

    def test_descends(self, wrapped):
        wrapped.compile(keras.optimizers.Adam(1e-2), TotalRelevance())  # traced
        losses = fit(wrapped, epochs=6).history["loss"]
        assert losses[-1] < 0.9 * losses[0]
        np.testing.assert_allclose(
            wrapped.evaluate(IMAGES, verbose=0, return_dict=True)["loss"],
            wrapped.explain(IMAGES).var((1, 2)).mean(),
            rtol=1e-4,
        )

    @pytest.mark.parametrize("scaled", [False, True])
    def test_one_step_is_the_optimizer_on_the_gradient_of_the_mean_loss(self, source, scaled):
        optimizer = keras.optimizers.SGD(1e-2)
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        wrapped = ready(source, optimizer, TotalRelevance(), "channel_mixing")
        before = values(wrapped.trainable_variables)
        with tf.GradientTape() as tape:
            maps = wrapped.attributor.maps(tf.constant(IMAGES))
            loss = tf.reduce_mean(tf.math.reduce_variance(maps, [1, 2]))
        gradients = tape.gradient(
            loss, [v.value for v in wrapped.trainable_variables], unconnected_gradients="zero"
        )
        fit(wrapped, batch_size=10)
        for variable, value, gradient in zip(wrapped.trainable_variables, before, gradients, strict=True):
            np.testing.assert_allclose(variable, value - 1e-2 * gradient, rtol=1e-4, atol=1e-6)
        assert any(np.abs(gradient).max() > 1e-3 for gradient in gradients)

    def test_labels_are_ignored(self, source):
        expected = fit(ready(source, objective=TotalRelevance())).history["loss"]
        for labels in (np.full(10, np.nan), np.array(["cat"] * 10)):
            dataset = tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(5)
            losses = ready(source, objective=TotalRelevance()).fit(dataset, verbose=0).history["loss"]
            np.testing.assert_allclose(losses, expected, rtol=1e-5)
        losses = fit(ready(source, objective=TotalRelevance()), y=np.full(10, np.nan)).history["loss"]
        np.testing.assert_allclose(losses, expected, rtol=1e-5)

    def test_every_kind_of_data(self, source):
        class Sequence(keras.utils.PyDataset):
            def __len__(self):
                return 2

            def __getitem__(self, index):
                return IMAGES[5 * index : 5 * index + 5], np.zeros(5)

        def generator(*labels):
            yield IMAGES[:5], *labels
            yield IMAGES[5:], *labels

        dataset = tf.data.Dataset.from_tensor_slices(IMAGES).batch(5)
        losses = []
        for data in (
            IMAGES,
            [IMAGES],
            tf.constant(IMAGES),
            dataset,
            Sequence(),
            generator(),
            generator(np.zeros(5)),
        ):
            wrapped = ready(source, objective=TotalRelevance())
            arrays = {"batch_size": 5} if isinstance(data, (np.ndarray, list, tf.Tensor)) else {}
            losses.append(wrapped.fit(data, shuffle=False, verbose=0, **arrays).history["loss"][0])
        np.testing.assert_allclose(losses, losses[0], rtol=1e-5)

    def test_is_the_same_each_time(self, source):
        runs = []
        for _ in range(2):
            wrapped = ready(source, objective=objectives.AreaGuidance(seed=4))
            fit(wrapped)
            runs.append(values(wrapped.rule_set.weights))
        for one, other in zip(*runs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)

    def test_eager_and_traced_agree(self, source):
        losses = []
        for arguments in ({}, {"run_eagerly": False, "steps_per_execution": 2}):
            wrapped = ready(source, **arguments)
            losses.append(fit(wrapped).history["loss"][0])
        np.testing.assert_allclose(losses, losses[0], rtol=1e-4)

    def test_an_optimizer_that_asks_for_shapes(self, source):
        """Traced, as with all others. Muon turns a gradient that is taller than wide."""
        changes = []
        for eager in (False, True):
            wrapped = toys.jolt(ready(source))
            wrapped.compile(keras.optimizers.Muon(1e-2), run_eagerly=eager)
            before = wrapped.rule_set.get_weights()
            fit(wrapped)
            after = wrapped.rule_set.get_weights()
            changes.append(np.concatenate([np.ravel(b - a) for a, b in zip(before, after, strict=True)]))
        assert_close(*changes, tolerance=1e-2)

    def test_validation(self, wrapped):
        history = fit(wrapped, epochs=2, validation_data=IMAGES[:4], validation_freq=1).history
        for name in ("val_loss", "val_preserve", "val_destroy", "val_mask_area"):
            assert len(history[name]) == 2
        report = wrapped.evaluate(IMAGES[:4], verbose=0, return_dict=True)
        np.testing.assert_allclose(report["loss"], history["val_loss"][-1], rtol=1e-5)
        np.testing.assert_allclose(report["loss"], report["preserve"] + report["destroy"], rtol=1e-5)
        assert "val_loss" in fit(wrapped, validation_split=0.4).history
        with_labels = (IMAGES[:4], np.zeros(4))
        assert "val_loss" in fit(wrapped, validation_data=with_labels).history

    def test_evaluate_changes_nothing(self, wrapped):
        before = values(wrapped.variables)
        first = wrapped.evaluate(IMAGES, verbose=0)
        assert wrapped.evaluate(IMAGES, verbose=0) == first
        assert same(values(wrapped.variables), before)

    def test_predict_and_call_are_the_source(self, learned, source):
        expected = source(IMAGES, training=False)
        np.testing.assert_allclose(learned(IMAGES), expected, atol=1e-6)
        np.testing.assert_allclose(learned(IMAGES, training=True), expected, atol=1e-6)
        np.testing.assert_allclose(learned.predict(IMAGES, verbose=0), expected, atol=1e-6)

    @pytest.mark.parametrize("shape", [(10, 16, 16, 1), (10, 20, 16, 3), (10, 16, 16)])
    def test_images_of_another_shape(self, wrapped, shape):
        for run in (wrapped.fit, wrapped.evaluate):
            with pytest.raises(ValueError, match=r"must have shape \(None, 16, 16, 3\)"):
                run(np.zeros(shape, "float32"), verbose=0)

    @pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
    def test_images_of_another_shape_after_a_dataset_of_unknown_shapes(self, traced, method):
        """The function that was traced for unknown shapes takes all shapes."""
        run = getattr(traced, method)
        signature = tf.TensorSpec((None, None, None, 3))
        run(tf.data.Dataset.from_generator(halves(IMAGES), output_signature=signature), verbose=0)
        with pytest.raises(ValueError, match=WRONG + r"\(10, 20, 16, 3\)"):
            run(toys.images(10, (20, 16, 3)), verbose=0)

    @pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
    def test_a_batch_of_another_shape_in_a_stream(self, traced, method):
        def mixed():
            yield IMAGES[:5]
            yield toys.images(5, (20, 16, 3))

        dataset = tf.data.Dataset.from_generator(mixed, output_signature=tf.TensorSpec(None))
        with pytest.raises(ValueError, match=WRONG + r"\(5, 20, 16, 3\)"):
            getattr(traced, method)(dataset, verbose=0)

    def test_a_dataset_of_unknown_rank(self, traced):
        dataset = tf.data.Dataset.from_generator(halves(IMAGES), output_signature=tf.TensorSpec(None))
        loss = traced.evaluate(IMAGES, batch_size=5, verbose=0)
        np.testing.assert_allclose(traced.evaluate(dataset, verbose=0), loss, rtol=1e-5)
        np.testing.assert_allclose(traced.fit(dataset, verbose=0).history["loss"], loss[:1], rtol=0.1)

    @pytest.mark.parametrize("shape", [(16, 16, 3), None])
    def test_a_dataset_without_batches(self, traced, shape):
        dataset = tf.data.Dataset.from_generator(lambda: iter(IMAGES), output_signature=tf.TensorSpec(shape))
        for run in (traced.fit, traced.evaluate, traced.predict, traced.explain):
            with pytest.raises(ValueError, match=WRONG + r"\(16, 16, 3\), which has no batch axis: .*batch"):
                run(dataset, verbose=0)

    @pytest.mark.parametrize(
        "read",
        [
            lambda model: model.explain(IMAGES),
            lambda model: model.explain(IMAGES[:2], refine_steps=1),
            lambda model: model.input_signal(IMAGES),
            lambda model: model.logits(IMAGES),
            lambda model: model.predict(IMAGES, verbose=0),
            lambda model: model.evaluate(IMAGES, verbose=0),
        ],
        ids=["explain", "refine", "input_signal", "logits", "predict", "evaluate"],
    )
    def test_follows_a_source_that_is_restructured(self, read):
        model = toys.small_cnn()

        def fresh():
            return ready(model, objective=TotalRelevance(), rule="gradient", run_eagerly=False)

        wrapped = fresh()
        before = read(wrapped)
        layer = next(layer for layer in model.layers if getattr(layer, "activation", None) is not None)
        layer.activation = keras.activations.tanh
        expected = read(fresh())
        np.testing.assert_allclose(read(wrapped), expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
        assert np.abs(np.subtract(before, expected)).max() > 1e-3 * np.abs(expected).max()

    def test_before_compile(self, source):
        with pytest.raises(RuntimeError, match=r"Call `compile\(\)` before `fit\(\)`"):
            tlp.wrap_model(source, rule="learned").fit(IMAGES)
        with pytest.raises((RuntimeError, ValueError), match="compile"):
            tlp.wrap_model(source, rule="learned").evaluate(IMAGES, verbose=0)

    def test_nothing_to_train(self, source):
        wrapped = ready(source, rule="gradient")
        with pytest.raises(RuntimeError, match="this model has none: wrap it with"):
            wrapped.fit(IMAGES)
        assert np.isfinite(wrapped.evaluate(IMAGES, verbose=0)).all()

    def test_a_hand_crafted_rule_with_a_learned_readout(self, source):
        wrapped = ready(source, rule="gradient", readout="multi_layer")
        fit(wrapped)
        assert [variable.name for variable in wrapped.trainable_variables] == ["raw_weights", "raw_focus"]
        assert all(np.abs(variable).max() > 1e-4 for variable in wrapped.trainable_variables)


class TestKerasSignatures:
    @pytest.mark.parametrize("method", ["fit", "evaluate", "predict", "export"])
    def test_is_that_of_keras(self, method):
        ours, theirs = (
            [
                (parameter.name, parameter.default, parameter.kind)
                for parameter in inspect.signature(getattr(cls, method)).parameters.values()
                if parameter.kind is not parameter.VAR_KEYWORD
            ]
            for cls in (tlp.PropagationModel, keras.Model)
        )
        assert ours == theirs

    def test_positional_arguments(self, source):
        def losses(*args, **kwargs):
            wrapped = ready(source, objective=TotalRelevance())
            return wrapped.fit(*args, shuffle=False, **kwargs).history["loss"]

        expected = losses(IMAGES, batch_size=2, epochs=2, verbose=0)
        assert len(expected) == 2
        np.testing.assert_allclose(losses(IMAGES, None, 2, 2, 0), expected, rtol=1e-5)
        wrapped = ready(source, objective=TotalRelevance())
        loss = wrapped.evaluate(IMAGES, verbose=0)[0]
        assert wrapped.evaluate(IMAGES, None, 3, 0)[0] == pytest.approx(loss, rel=1e-5)
        np.testing.assert_allclose(wrapped.predict(IMAGES, 3, 0), source(IMAGES), atol=1e-6)

    def test_the_first_step_and_the_steps_per_epoch(self, source):
        wrapped = ready(source, objective=TotalRelevance())
        seen = []
        callback = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: seen.append(epoch),
            on_train_batch_end=lambda batch, logs: seen.append("step"),
        )
        fit(wrapped, batch_size=2, epochs=3, initial_epoch=1, steps_per_epoch=2, callbacks=[callback])
        assert seen == [1, "step", "step", 2, "step", "step"]

    def test_export(self, learned, tmp_path, capsys):
        path = tmp_path / "model" / "1"
        assert learned.export(path, "tf_saved_model", True, target=1) == path
        assert str(path) in capsys.readouterr().out
        served = tf.saved_model.load(path).signatures["serving_default"](images=tf.constant(IMAGES))
        np.testing.assert_allclose(served["maps"], learned.explain(IMAGES, 1), atol=1e-5)
        np.testing.assert_array_equal(served["class_ids"], [1] * 10)
        learned.export(tmp_path / "model" / "2")
        assert not capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"format": "onnx"}, "`format` must be 'tf_saved_model'.*Received: format='onnx'"),
            (
                {"input_signature": [tf.TensorSpec([None, 16, 16, 3])]},
                "`input_signature` must be None.*Received: input_signature=",
            ),
        ],
    )
    def test_exports_that_are_not_there(self, learned, tmp_path, arguments, match):
        with pytest.raises(ValueError, match=match):
            learned.export(tmp_path / "model" / "1", **arguments)
        assert not list(tmp_path.iterdir())


class TestQuadrant:
    """A model that looks at one quadrant: training draws the map into it."""

    @pytest.mark.parametrize(
        ("rule", "readout", "gain"),
        [
            ("channel_mixing", tlp.readouts.MultiLayerReadout(focus=4.0, rivals=0), 0.1),
            ("channel_mixing", None, 0.05),  # with competing classes the untrained map is nearer already
            pytest.param("learned", "input", 0.05, marks=pytest.mark.slow),
        ],
    )
    def test_the_map_moves_into_the_quadrant(self, stripes, rule, readout, gain):
        images, _ = toys.stripes(100, seed=1)
        wrapped = tlp.wrap_model(stripes, rule, readout=readout)
        wrapped.compile(keras.optimizers.Adam(2e-2), objectives.AreaGuidance(fills=("mean", "noise")))
        untrained = toys.inside(wrapped.explain(images))
        loss = wrapped.evaluate(images, verbose=0)[0]
        wrapped.fit(toys.stripes(512, seed=2)[0], epochs=6, verbose=0)
        trained = toys.inside(wrapped.explain(images))
        assert trained > untrained + gain, (untrained, trained)
        assert trained > 0.6
        assert wrapped.evaluate(images, verbose=0)[0] < loss - 0.05


@pytest.fixture(scope="module")
def stripes():
    return toys.stripe_classifier()


class TestNaN:
    @pytest.mark.parametrize("steps_per_execution", [1, 4])
    def test_stops_and_keeps_the_rules_of_the_step_before(self, source, steps_per_execution):
        wrapped = ready(
            source,
            objective=FailsAt(3),
            steps_per_execution=steps_per_execution,
            run_eagerly=steps_per_execution == 1,
        )
        where = "at step 3:" if steps_per_execution == 1 else "at one of steps 1 to 4:"
        with pytest.raises(FloatingPointError, match=f"{where} the loss or a gradient is not finite"):
            fit(wrapped, batch_size=2)
        other = ready(source)
        fit(other, IMAGES[:4], batch_size=2)
        for one, expected in zip(wrapped.rule_set.weights, other.rule_set.weights, strict=True):
            np.testing.assert_allclose(one, expected, atol=2e-5)

    def test_counts_steps_over_epochs(self, source):
        wrapped = ready(source, objective=FailsAt(7))
        with pytest.raises(FloatingPointError, match="at step 7:"):
            fit(wrapped, batch_size=2, epochs=3)

    def test_gradients_that_are_not_finite(self, source):
        class Cusp(objectives.Objective):
            def call(self, image, maps, original, classify, training=False):
                return {"loss": tf.sqrt(tf.reduce_sum(0.0 * maps, [1, 2]))}

        wrapped = ready(source, objective=Cusp())
        before = values(wrapped.rule_set.weights)
        with pytest.raises(FloatingPointError, match="at step 1:"):
            fit(wrapped)
        assert same(values(wrapped.rule_set.weights), before)

    @pytest.mark.parametrize("value", [np.nan, 1e38])
    def test_bad_images(self, wrapped, value):
        images = IMAGES.copy()
        images[7] = value
        before = values(wrapped.optimizer.variables)
        with pytest.raises(FloatingPointError, match="at step 2:.*Check the images"):
            fit(wrapped, images)
        # One good step was made.
        assert int(wrapped.optimizer.iterations) == 1
        assert not same(values(wrapped.optimizer.variables), before)
        assert all(np.isfinite(value).all() for value in values(wrapped.rule_set.weights))

    def test_terminate_on_nan_stops_without_an_error(self, source):
        wrapped = ready(source, objective=FailsAt(2))
        fit(wrapped, batch_size=2, epochs=4, callbacks=[keras.callbacks.TerminateOnNaN()])
        assert int(wrapped.optimizer.iterations) == 1
        assert all(np.isfinite(value).all() for value in values(wrapped.rule_set.weights))

    def test_a_constant_map_is_no_reason_to_stop(self, source):
        wrapped = ready(source, readout="input")
        fit(wrapped, np.zeros_like(IMAGES))  # a black image times its signal is zero
        assert int(wrapped.optimizer.iterations) == 2


class Interrupt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


class TestCallbacks:
    def test_backup_and_restore_go_on_as_if_nothing_had_happened(self, source, tmp_path):
        def run(callbacks=()):
            wrapped = ready(source, objective=objectives.AreaGuidance(seed=3))
            fit(wrapped, epochs=4, batch_size=10, callbacks=list(callbacks))
            return wrapped

        whole = run()
        backup = [keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))]
        with pytest.raises(KeyboardInterrupt):
            run([*backup, Interrupt(1)])
        again = run(backup)
        for one, other in zip(whole.rule_set.weights, again.rule_set.weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7, err_msg=one.path)
        state, expected = again.objective.seed_generator.state, whole.objective.seed_generator.state
        np.testing.assert_array_equal(state, expected)

    @pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
    def test_model_checkpoint(self, wrapped, source, tmp_path, suffix):
        path = str(tmp_path / f"best{suffix}")
        checkpoint = keras.callbacks.ModelCheckpoint(
            path, monitor="loss", save_best_only=True, save_weights_only=suffix == ".weights.h5"
        )
        fit(wrapped, callbacks=[checkpoint])
        if suffix == ".keras":
            again = keras.models.load_model(path)
        else:
            again = ready(source)
            again.load_weights(path)
        np.testing.assert_allclose(again.explain(IMAGES), wrapped.explain(IMAGES), atol=1e-6)

    def test_early_stopping(self, wrapped, source):
        before = values(source.weights)
        wrapped.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        stop = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
        history = fit(wrapped, epochs=9, validation_data=IMAGES, callbacks=stop).history
        assert len(history["loss"]) == 2
        assert same(values(source.weights), before)

    def test_a_csv(self, wrapped, tmp_path):
        fit(wrapped, epochs=2, callbacks=keras.callbacks.CSVLogger(str(tmp_path / "log.csv")))
        rows = (tmp_path / "log.csv").read_text().split()
        assert rows[0].startswith("epoch,destroy,loss,mask_area,preserve") and len(rows) == 3

    def test_tensor_board(self, wrapped, tmp_path):
        pytest.importorskip("tensorboard", reason="TensorFlow's summaries need tensorboard")
        board = keras.callbacks.TensorBoard(str(tmp_path / "logs"), histogram_freq=1)
        fit(wrapped, epochs=2, callbacks=[board])
        assert list((tmp_path / "logs" / "train").glob("events*"))

    def test_a_callback_list(self, source):
        seen = []
        callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
        wrapped = ready(source, objective=FailsAt(2))
        callbacks = keras.callbacks.CallbackList([callback], model=wrapped, epochs=1)
        with pytest.raises(FloatingPointError, match="at step 2:"):
            fit(wrapped, callbacks=callbacks)
        assert seen == [0, 1]
        assert fit(wrapped, callbacks=callbacks).history["loss"]

    def test_a_schedule(self, wrapped):
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 10.0 ** -(epoch + 2))
        fit(wrapped, epochs=2, callbacks=[schedule])
        assert float(wrapped.optimizer.learning_rate) == pytest.approx(1e-3)


class TestCompile:
    def test_defaults(self, source):
        wrapped = tlp.wrap_model(source, rule="learned")
        wrapped.compile()
        assert isinstance(wrapped.objective, objectives.AreaGuidance)
        assert isinstance(wrapped.optimizer, keras.optimizers.Adam)
        assert float(wrapped.optimizer.learning_rate) == pytest.approx(5e-3)
        assert wrapped.optimizer.global_clipnorm == 1.0
        assert wrapped.jit_compile is False
        assert [metric.name for metric in wrapped.metrics] == ["loss", "preserve", "destroy", "mask_area"]

    def test_names(self, wrapped):
        wrapped.compile("sgd", objectives.MaskedOutputGuidance(), run_eagerly=True)
        assert isinstance(wrapped.optimizer, keras.optimizers.SGD)
        assert fit(wrapped).history.keys() == {"loss", "preserve", "mask_area"}

    @pytest.mark.parametrize("objective", ["area", keras.losses.MeanSquaredError(), objectives.AreaGuidance])
    def test_not_an_objective(self, wrapped, objective):
        with pytest.raises(TypeError, match="`objective` must be a `tf_learnprop.objectives.Objective`"):
            wrapped.compile(objective=objective)

    @pytest.mark.parametrize("name", ["loss", "metrics", "learning_rate"])
    def test_arguments_that_would_be_ignored(self, wrapped, name):
        with pytest.raises(TypeError, match=f"has no argument '{name}'"):
            wrapped.compile(**{name: "mse"})

    def test_an_objective_that_does_not_report(self, wrapped):
        class Silent(objectives.Objective):
            reported = ("noise",)

            def call(self, image, maps, original, classify, training=False):
                return {"loss": tf.reduce_mean(maps, [1, 2])}

        wrapped.compile(objective=Silent(), run_eagerly=True)
        with pytest.raises(ValueError, match=r"`Silent.call` must return 'loss'.*no 'noise'"):
            fit(wrapped)


class TestPrecision:
    @pytest.fixture(params=["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
    def mixed(self, request):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(request.param)
        keras.utils.set_random_seed(1)
        yield toys.small_cnn()
        keras.config.set_dtype_policy(before)

    def test_fit_and_explain(self, mixed):
        wrapped = tlp.wrap_model(mixed, rule="learned")
        scaled = mixed.dtype_policy.name == "mixed_float16"
        wrapped.compile(keras.optimizers.Adam(1e-2), TotalRelevance())
        assert isinstance(wrapped.optimizer, keras.optimizers.LossScaleOptimizer) is scaled
        losses = fit(wrapped, epochs=10).history["loss"]
        assert losses[-1] < 0.95 * losses[0]
        assert {str(v.dtype) for v in wrapped.trainable_variables} == {"float32"}
        maps = wrapped.explain(IMAGES)
        assert maps.dtype == np.float32 and np.isfinite(maps).all()

    @pytest.mark.slow
    def test_refinement(self, mixed):
        wrapped = tlp.wrap_model(mixed, rule="learned")
        refined = wrapped.explain(IMAGES[:1], refine_steps=2)
        assert np.isfinite(refined).all()
        assert np.abs(refined - wrapped.explain(IMAGES[:1])).max() > 1e-4

    def test_inputs_are_not_rounded(self, mixed):
        images = 1000.0 + IMAGES  # half precision would lose their digits
        shifted = keras.Model(
            mixed.input, mixed(keras.layers.Rescaling(1.0, -1000.0, dtype="float32")(mixed.input))
        )
        wrapped = tlp.wrap_model(shifted, rule="learned")
        np.testing.assert_allclose(wrapped(images), shifted(images), atol=1e-3)

    def test_bad_images(self, mixed):
        with pytest.raises(FloatingPointError, match="at step 1:"):
            fit(ready(mixed), np.full_like(IMAGES, 3e38))


class TestWithContrast:
    def test_is_a_copy(self, learned):
        before, maps = values(learned.weights), learned.explain(IMAGES, 2)
        names = learned.with_contrast("names")
        toys.jolt(names, seed=1)
        assert names.source is learned.source
        assert same(values(learned.weights), before)
        np.testing.assert_array_equal(learned.explain(IMAGES, 2), maps)

    def test_there_and_back(self, learned):
        again = learned.with_contrast("names").with_contrast("objects").explain(IMAGES, 2)
        expected = learned.explain(IMAGES, 2)
        np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())

    @pytest.mark.parametrize("contrast", ["objects", "names", None])
    def test_of_loaded_rules(self, source, learned, contrast, tmp_path):
        learned.save_rules(tmp_path / "rules.keras")
        loaded = tlp.wrap_model(source, rule=tmp_path / "rules.keras").with_contrast(contrast)
        expected = tlp.wrap_model(
            source, "channel_mixing", readout=tlp.readouts.MultiLayerReadout(contrast=contrast)
        )
        pairs = zip(expected.rule_set.weights, learned.rule_set.weights, strict=contrast is not None)
        for mine, its in pairs:  # the last one, of the focus, is not there without competition
            mine.assign(its)
        maps = expected.explain(IMAGES, 2)
        found = loaded.explain(IMAGES, 2)
        np.testing.assert_allclose(found, maps, rtol=1e-5, atol=1e-6 * np.abs(maps).max())

    def test_keeps_the_other_options(self, source):
        readout = tlp.readouts.MultiLayerReadout(region=1.0, rivals=3, signed=False, guided=True, max_size=9)
        names = tlp.wrap_model(source, readout=readout).with_contrast("names").rule_set.readout
        assert names.get_config() == {**readout.get_config(), "contrast": "names"}

    def test_refused(self, source, learned):
        with pytest.raises(TypeError, match="readout InputReadout"):
            tlp.wrap_model(source, readout="input").with_contrast("names")
        with pytest.raises(ValueError, match="`contrast` must be 'objects', 'names' or None"):
            learned.with_contrast("classes")


class TestSaving:
    @pytest.mark.parametrize("compiled", [True, False])
    def test_round_trip(self, source, tmp_path, compiled):
        wrapped = tlp.wrap_model(source, "channel_mixing")
        if compiled:
            objective = objectives.AreaGuidance(0.1, 0.5, fills=("mean", "noise"), seed=9)
            wrapped.compile(keras.optimizers.Adam(1e-2), objective, run_eagerly=True)
            fit(wrapped, epochs=2)
        wrapped.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert isinstance(again, tlp.PropagationModel)
        np.testing.assert_array_equal(again.explain(IMAGES), wrapped.explain(IMAGES))
        np.testing.assert_allclose(again(IMAGES), source(IMAGES), atol=1e-6)
        if not compiled:
            assert again.objective is None
            return
        assert again.objective.get_config() == wrapped.objective.get_config()
        assert again.optimizer.get_config() == wrapped.optimizer.get_config()
        for one, other in zip(again.optimizer.variables, wrapped.optimizer.variables, strict=True):
            np.testing.assert_array_equal(one, other)
        again.run_eagerly = True
        fit(wrapped), fit(again)
        np.testing.assert_allclose(again.explain(IMAGES), wrapped.explain(IMAGES), atol=1e-5)

    def test_a_nested_backbone_and_users_classes(self, tmp_path, source):
        image = keras.Input((16, 16, 3))
        features = keras.Model(source.input, source.layers[-2].output, name="backbone")
        nested = keras.Model(image, keras.layers.Dense(3)(features(2.0 * image)))
        wrapped = tlp.wrap_model(nested, rule="learned")
        wrapped.compile(objective=TotalRelevance(), run_eagerly=True)
        fit(wrapped)
        wrapped.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again.explain(IMAGES), wrapped.explain(IMAGES))
        assert isinstance(again.objective, TotalRelevance)

    def test_from_config(self, learned):
        again = tlp.PropagationModel.from_config(learned.get_config())
        again.set_weights(learned.get_weights())
        assert again.name == learned.name
        np.testing.assert_allclose(again.explain(IMAGES), learned.explain(IMAGES), atol=1e-6)

    def test_weights_of_an_uncompiled_model_fit_a_compiled_one(self, learned, wrapped, source, tmp_path):
        plain = tlp.wrap_model(source, rule="learned")
        plain.save_weights(tmp_path / "a.weights.h5")
        wrapped.load_weights(tmp_path / "a.weights.h5")
        np.testing.assert_array_equal(wrapped.explain(IMAGES), plain.explain(IMAGES))

    def test_weights_and_summary(self, wrapped, source):
        trained = sum(int(np.prod(v.shape)) for v in wrapped.rule_set.weights)
        assert len(wrapped.trainable_variables) == len(wrapped.rule_set.weights)
        assert {id(v) for v in source.weights} <= {id(v) for v in wrapped.non_trainable_weights}
        assert sum(int(np.prod(v.shape)) for v in wrapped.trainable_weights) == trained
        lines = []
        wrapped.summary(print_fn=lambda line, **_: lines.append(line))
        text = "\n".join(lines)
        assert f"Trainable params: {trained} " in text
        assert f"Non-trainable params: {source.count_params()} " in text


@pytest.fixture(scope="module")
def linear():
    return tlp.wrap_model(toys.linear(TestExplainByHand.WEIGHTS), "gradient")


class TestExplainByHand:
    WEIGHTS = toys.rng(3).normal(size=(6, 3)).astype("float32")

    X = np.abs(toys.rng(4).normal(size=(8, 6))).astype("float32")

    def test_targets(self, linear):
        predicted = (self.X @ self.WEIGHTS).argmax(1)
        assert len(set(predicted)) > 1
        ids = np.arange(8) % 3
        mix = toys.rng(5).normal(size=(8, 3))
        cases = [
            (None, self.WEIGHTS.T[predicted]),
            (1, self.WEIGHTS.T[[1] * 8]),
            (np.int64(2), self.WEIGHTS.T[[2] * 8]),
            (ids, self.WEIGHTS.T[ids]),
            (list(ids), self.WEIGHTS.T[ids]),
            (tf.constant(ids), self.WEIGHTS.T[ids]),
            (np.eye(3)[ids], self.WEIGHTS.T[ids]),
            (mix, mix @ self.WEIGHTS.T),
        ]
        for targets, gradient in cases:
            result = linear.explain(self.X, targets)
            assert result.dtype == np.float32
            np.testing.assert_allclose(result, self.X * gradient, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(linear.input_signal(self.X, targets), gradient, rtol=1e-4, atol=1e-5)

    def test_logits(self, linear):
        np.testing.assert_allclose(linear.logits(self.X), self.X @ self.WEIGHTS, rtol=1e-4)

    def test_images_without_blur(self):
        image = keras.Input((4, 5, 2))
        weights = toys.rng(1).normal(size=(40, 2)).astype("float32")
        head = keras.layers.Dense(2, use_bias=False)
        model = keras.Model(image, head(keras.layers.Flatten()(keras.layers.ReLU()(image))))
        head.set_weights([weights])
        wrapped = tlp.wrap_model(model, "gradient", readout=tlp.readouts.InputReadout(blur=0))
        x = toys.rng(2).normal(size=(3, 4, 5, 2)).astype("float32")
        expected = (np.maximum(x, 0) * weights[:, 1].reshape(4, 5, 2)).sum(-1)
        np.testing.assert_allclose(wrapped.explain(x, 1), expected, rtol=1e-4, atol=1e-5)

    def test_the_input_readout_is_additive_in_the_weights(self, source):
        wrapped = tlp.wrap_model(source, "gradient")
        one, two = toys.rng(1).normal(size=(2, 10, 4))
        both = wrapped.explain(IMAGES, one + two)
        parts = wrapped.explain(IMAGES, one) + wrapped.explain(IMAGES, two)
        np.testing.assert_allclose(both, parts, atol=1e-5)

    @pytest.mark.parametrize("activation", ["sigmoid", None])
    def test_one_unit_is_two_classes(self, activation):
        image = keras.Input((6,))
        head = keras.layers.Dense(1, activation=activation)
        model = keras.Model(image, head(keras.layers.ReLU()(image)))
        wrapped = tlp.wrap_model(model, "gradient")
        assert wrapped.class_count == 2
        weights = head.kernel.numpy()[:, 0]
        no, yes = wrapped.explain(self.X, 0), wrapped.explain(self.X, 1)
        np.testing.assert_allclose(no, -yes, atol=1e-6)
        np.testing.assert_allclose(yes, self.X * weights / 2, rtol=1e-4, atol=1e-6)
        positive = wrapped.logits(self.X)[:, 0] > 0
        np.testing.assert_allclose(wrapped.explain(self.X), np.where(positive[:, None], yes, no), atol=1e-6)

    def test_class_count(self, learned):
        assert learned.class_count == 4


class TestExplain:
    @pytest.mark.parametrize("targets", [None, 2, np.arange(10) % 4])
    @pytest.mark.parametrize("batch_size", [1, 3, 10])
    def test_a_map_does_not_depend_on_its_batch(self, learned, targets, batch_size):
        whole = learned.explain(IMAGES, targets)
        assert whole.shape == (10, 16, 16) and whole.dtype == np.float32
        np.testing.assert_allclose(
            learned.explain(IMAGES, targets, batch_size=batch_size), whole, atol=1e-5 * np.abs(whole).max()
        )

    def test_every_kind_of_data(self, learned):
        class Sequence(keras.utils.PyDataset):
            def __len__(self):
                return 3

            def __getitem__(self, index):
                return IMAGES[4 * index : 4 * index + 4], np.zeros(4)

        slices = tf.data.Dataset.from_tensor_slices
        expected = learned.explain(IMAGES)
        for data in (
            tf.constant(IMAGES),
            list(IMAGES),
            slices(IMAGES).batch(4),
            slices((IMAGES, np.zeros(10))).batch(4),
            Sequence(),
            (batch for batch in (IMAGES[:3], IMAGES[3:])),
            ((batch, 0) for batch in (IMAGES[:3], IMAGES[3:])),
        ):
            np.testing.assert_allclose(learned.explain(data), expected, atol=1e-4)

    def test_pixels_as_bytes(self, learned):
        pixels = toys.rng().integers(0, 255, (2, 16, 16, 3)).astype("uint8")
        np.testing.assert_array_equal(learned.explain(pixels), learned.explain(pixels.astype("float32")))

    def test_progress(self, learned, capsys):
        learned.explain(IMAGES, batch_size=4)
        assert not capsys.readouterr().out
        learned.explain(IMAGES, batch_size=4, verbose=1)
        assert "3/3" in capsys.readouterr().out
        learned.explain(iter([IMAGES]), verbose=1)
        assert "1/Unknown" in capsys.readouterr().out

    def test_traces_once_for_all_lengths(self, source):
        wrapped = tlp.wrap_model(source, rule="learned")
        for length in (7, 1, 10, 3):
            wrapped.explain(IMAGES[:length])
            wrapped.explain(tf.constant(IMAGES), batch_size=length)
        assert toys.traces(wrapped._maps) == 1
        for targets in (1, [0, 1, 2, 3], np.eye(4)):
            wrapped.explain(IMAGES[:4], targets)
            wrapped.input_signal(IMAGES[:3], 1)
            wrapped.logits(IMAGES[:3])
        assert toys.traces(wrapped._maps) == 2
        assert toys.traces(wrapped._signal) == 1
        assert wrapped._logits.traced.experimental_get_tracing_count() == 1

    def test_threads_get_the_same_maps_as_one(self, learned):
        """The threads also trace the functions at the same time, as none has run before."""
        fresh = tlp.PropagationModel(learned.source, learned.rule_set)
        barrier = threading.Barrier(6)
        calls = [lambda m, k=k: m.explain(IMAGES, k, batch_size=4) for k in (None, 2)]
        calls.append(lambda model: model.input_signal(IMAGES))

        def run(call):
            barrier.wait(60)
            return call(fresh)

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            results = list(pool.map(run, 2 * calls))
        for call, result in zip(2 * calls, results, strict=True):
            expected = call(learned)
            np.testing.assert_allclose(result, expected, atol=1e-6 * np.abs(expected).max())

    def test_sees_changes_of_the_weights(self, wrapped):
        before = wrapped.explain(IMAGES)
        wrapped.rule_set.readout.raw_weights.assign_add(wrapped.rule_set.readout.raw_weights + 0.1)
        assert np.abs(wrapped.explain(IMAGES) - before).max() > 1e-3

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"images": IMAGES[0]}, ValueError, r"must have shape \(None, 16, 16, 3\)"),
            ({"images": IMAGES[:, :8]}, ValueError, "must have shape"),
            ({"images": IMAGES[..., :1]}, ValueError, "must have shape"),
            ({"images": IMAGES.astype(str)}, TypeError, "must hold numbers"),
            ({"images": IMAGES.astype(complex)}, TypeError, "must hold numbers"),
            ({"images": IMAGES > 0}, TypeError, "must hold numbers"),
            ({"images": None}, TypeError, "`images` must be arrays"),
            ({"images": IMAGES[:0]}, ValueError, "at least one sample"),
            (
                {"images": np.where(np.arange(10)[:, None, None, None] == 6, np.nan, IMAGES)},
                ValueError,
                r"samples \[6\]",
            ),
            ({"images": {"a": IMAGES, "b": IMAGES}}, ValueError, "must have the keys .* Received: the keys"),
            ({"targets": 4}, ValueError, r"class ids in 0\.\.3"),
            ({"targets": -1}, ValueError, r"class ids in 0\.\.3"),
            ({"targets": [0, 1]}, ValueError, "of length 10"),
            ({"targets": np.zeros(10)}, TypeError, "`targets` must be None, an int"),
            ({"targets": np.zeros((10, 5))}, ValueError, r"weights \[n, 4\]"),
            ({"batch_size": 0}, ValueError, "`batch_size` must be an int >= 1"),
            ({"refine_steps": -1}, ValueError, "`refine_steps` must be an int >= 0"),
        ],
    )
    def test_bad_arguments(self, learned, arguments, error, match):
        with pytest.raises(error, match=match):
            learned.explain(**{"images": IMAGES, **arguments})

    def test_sizes_that_are_free(self):
        wrapped = tlp.wrap_model(toys.small_cnn(shape=(None, None, 3)), "channel_mixing")
        fixed = tlp.wrap_model(toys.small_cnn(shape=(12, 20, 3)), "channel_mixing")
        fixed.source.set_weights(wrapped.source.get_weights())
        small = toys.images(2, (12, 20, 3))
        assert wrapped.explain(IMAGES).shape == (10, 16, 16)
        np.testing.assert_allclose(wrapped.explain(small), fixed.explain(small), atol=1e-4)

    def test_a_stream_of_mixed_sizes(self):
        wrapped = tlp.wrap_model(toys.small_cnn(shape=(None, None, 3)), "gradient")
        given = []

        def stream():
            for side in (16, 16, 20, 16):
                given.append(side)
                yield toys.images(2, (side, 16, 3))

        with pytest.raises(ValueError, match=r"batch 3 gives \(20, 16\), and the ones before it \(16, 16\)"):
            wrapped.explain(stream())
        assert given == [16, 16, 20]  # not only at the end
        with pytest.raises(ValueError, match=r"batch 3 gives \(20, 16, 3\), .* \(16, 16, 3\)"):
            wrapped.input_signal(stream())
        assert wrapped.logits(stream()).shape == (8, 4)  # these don't depend on the size

    def test_several_inputs(self):
        image, scale = keras.Input((8, 8, 2), name="image"), keras.Input((1,), name="scale")
        x = keras.layers.Conv2D(3, 3, activation="relu")(image)
        x = keras.layers.GlobalAveragePooling2D()(x)
        model = keras.Model({"image": image, "scale": scale}, keras.layers.Dense(2)(x * scale))
        wrapped = tlp.wrap_model(model, "gradient")
        images = toys.images(5, (8, 8, 2))
        inputs = {"image": images, "scale": np.full((5, 1), 3.0)}
        ones = {"image": images, "scale": np.ones((5, 1))}
        np.testing.assert_allclose(
            wrapped.explain(inputs, 1, batch_size=2), 3 * wrapped.explain(ones, 1), atol=1e-4
        )
        with pytest.raises(ValueError, match="has 2 inputs. Received: 1"):
            wrapped.explain(images)
        learned = ready(model)
        assert np.isfinite(learned.fit(inputs, batch_size=2, verbose=0).history["loss"]).all()

    def test_a_list_of_inputs_by_name(self):
        """Keras takes a dict for a list of inputs; it must not be read in the order of the names."""
        right, left = keras.Input((6, 6, 2), name="right"), keras.Input((6, 6, 2), name="left")
        x = [keras.layers.Conv2D(3, 3, activation="relu")(image) for image in (right, left)]
        x = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(tensor) for tensor in x])
        wrapped = tlp.wrap_model(keras.Model([right, left], keras.layers.Dense(2)(x)), "gradient")
        images = toys.images(3, (6, 6, 2)), toys.images(3, (6, 6, 2), seed=1)
        named = {"left": images[1], "right": images[0]}
        expected = wrapped.explain(list(images), 1)
        results = [
            wrapped.explain(named, 1),
            wrapped.attribute(named, 1).maps,
            wrapped.attribute(images, 1).maps,
        ]
        results += [part.maps for part in wrapped.explain_batches(named, 1, on_error="skip")]
        for maps in results:
            assert_close(maps, expected)

    @pytest.mark.parametrize("shape", [(9, 2), (4, 5, 6, 2), (7,)])
    def test_signals_volumes_and_features(self, shape):
        image = keras.Input(shape)
        rank = len(shape) - 1
        x = image if rank == 0 else getattr(keras.layers, f"Conv{rank}D")(3, 3, padding="same")(image)
        x = keras.layers.Flatten()(keras.layers.ReLU()(x))
        wrapped = ready(keras.Model(image, keras.layers.Dense(3)(x)))
        x = toys.images(4, shape)
        assert np.isfinite(wrapped.fit(x, verbose=0).history["loss"]).all()
        maps = wrapped.explain(x)
        assert maps.shape == (4, *shape[: max(rank, 1)])
        assert np.isfinite(maps).all()
