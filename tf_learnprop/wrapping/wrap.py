"""`wrap_model`: chooses the activations, puts rules behind them, and makes a `PropagationModel`."""

import os
import warnings
from collections.abc import Sequence
from typing import Any, overload

import keras

from tf_learnprop import readouts, rules, tracing
from tf_learnprop.graph import keras_internals
from tf_learnprop.graph.explained import Explained
from tf_learnprop.graph.model_graph import ModelGraph
from tf_learnprop.inputs import checks
from tf_learnprop.joint import JointModel, sharing_rules
from tf_learnprop.model import PropagationModel
from tf_learnprop.rule_files import saving
from tf_learnprop.wrapping import assembly, ends, policy

#: What stands for rules.
Rule = str | os.PathLike | rules.PropagationRule | dict[str, str | rules.PropagationRule]


@overload
def wrap_model(
    model: keras.Model,
    rule: Rule = ...,
    include: str | Sequence[str] | None = ...,
    exclude: str | Sequence[str] | None = ...,
    *,
    readout: str | readouts.Readout | None = ...,
    output: int | str = ...,
    explained_input: ends.SeveralInputs,
    inputs: Any = ...,
) -> JointModel: ...


@overload
def wrap_model(
    model: keras.Model,
    rule: Rule = ...,
    include: str | Sequence[str] | None = ...,
    exclude: str | Sequence[str] | None = ...,
    *,
    readout: str | readouts.Readout | None = ...,
    output: int | str = ...,
    explained_input: int | str = ...,
    inputs: Any = ...,
) -> PropagationModel: ...


def wrap_model(
    model: keras.Model,
    rule: Rule = "universal",
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    *,
    readout: str | readouts.Readout | None = None,
    output: int | str = 0,
    explained_input: int | str | ends.SeveralInputs = 0,
    inputs: Any = None,
) -> PropagationModel | JointModel:
    """Puts propagation rules behind the activations of a trained model.

    The model is left as it was, and its weights are shared, not copied.

    Args:
        model: Channels last: Functional, Sequential or subclassed. An output `[n, classes]`, logits or behind
            a softmax or sigmoid, or a single unit, is explained as classes; any other with a target, see
            `docs/guides/targets.md`. Layers and models that define their own `call` are opened, see
            `docs/guides/your_model.md`.
        rule: Name of a rule: "universal" (learned on other models; `fit` trains it further; the gradient
            on series), "learned" (the same rule, untrained: it starts as the plain gradient),
            "channel_mixing", "gradient", "deconvnet", "guided_backprop", "libra" (for transformers) or one of
            your own, see `tf_learnprop.rules.register`. Or a `PropagationRule`; the path of saved rules
            (".keras" or ".weights.h5"); "efficientnet_lite0", "…1" or "…2", the rules that come with the
            package for these models of the zoo; or a dict {layer-name pattern: name or rule}; of several
            patterns the first that matches counts, and what none matches is left alone.
        include: Pattern of layer names or a list of them (as in a shell: `*`, `?`, `[...]`),
            matched to the name, the whole path ("backbone/block1_conv1") or the path of a layer around it
            ("backbone"). Only these are swapped, gates too. None: all but gates and the output's own
            activation, and attention, normalisations and products where the rule leaves them their gradient.
        exclude: Pattern or list of them, not swapped.
        readout: "input", "multi_layer", "series", "tokens", "grad_cam", "saliency", the name of one of your
            own or a `Readout`. None: for learned rules and "libra", "tokens" if the model is one of tokens,
            such as a transformer, "series" on another model of series `[n, length, c]`, and "multi_layer" on
            one with pixels; else "input".
        output: Number or name of the output that is explained. Outputs in a dict have their numbers in the
            order of its sorted keys.
        explained_input: Number or name of the input that is explained; "all", or a list of several, explains
            them at once, on one scale.
        inputs: `keras.Input(shape, dtype=...)` in the structure of the model's inputs, for a subclassed
            model. None: the inputs that it was built for.

    Returns:
        `PropagationModel`; `JointModel` for "all" or a list of inputs.

    Raises:
        TypeError: If `model` is no Keras model, or a rule or readout has another type.
        ValueError: If the model is unbuilt, can't be opened, is channels first, has a layer whose name
            TensorFlow can't trace, or has nothing to swap; if `inputs` are given for a model that needs none;
            if a rule is unknown; if a pattern matches nothing, or asks for a rule where it does not suit; if
            the model can't meet the needs of the readout; if the output has another shape; or if a rule file
            is missing, damaged, or of another model.

    Examples:
        >>> image = keras.Input((8, 8, 1))
        >>> x = keras.layers.Conv2D(4, 3, activation="relu")(image)
        >>> x = keras.layers.GlobalAveragePooling2D()(x)
        >>> model = keras.Model(image, keras.layers.Dense(3)(x))
        >>> wrapped = wrap_model(model)
        >>> wrapped.coverage.summary()
        '1 of 1 activations swapped'
        >>> wrapped.explain(keras.ops.ones((2, 8, 8, 1))).shape
        (2, 8, 8)
    """
    graph = _read(model, inputs)
    checks.warn_of_preprocessor(model)
    position = ends.output_number(graph, output)
    numbers, is_joint = ends.input_numbers(graph, explained_input)
    grid = readout.needs.grid if isinstance(readout, readouts.Readout) else None
    path = saving.rule_file_of(rule)
    if path:
        _check_file_arguments(include=include, exclude=exclude, readout=readout)
        if is_joint:
            raise ValueError(
                "A rule file holds rules for one explained input. Load it for that one, as in "
                f"`joint[0].load_rules({path!r})`. Received: explained_input={explained_input!r}"
            )
    wrapped = []
    for number in numbers:
        explained = Explained(graph, position, number, grid)
        ends.check(explained, is_joint)
        if not explained.has_gradient:
            warnings.warn(
                f"No gradient of output '{explained.output_tensor.name}' reaches input "
                f"'{explained.input_tensor.name}', so its maps will be zero: the output does not depend on "
                "it, or an operation between them, such as rounding, a lookup or an integer cast, has no "
                "gradient.",
                stacklevel=2,
            )
        if path:
            rule_set = saving.load_rules_for(path, graph)
        else:
            choice = policy.choose_rules(explained, rule, include, exclude)
            if not choice and rule != "gradient":
                warnings.warn(policy.no_site(graph.activations), stacklevel=2)
            rule_set = assembly.make_rule_set(explained, choice, readout)
            others = [(part.explained, part.rule_set) for part in wrapped]
            rule_set = sharing_rules(rule_set, explained, others) if others else rule_set
        wrapped.append(PropagationModel(model, rule_set, explained))
    return JointModel(wrapped, explained_input == "all") if is_joint else wrapped[0]


def _read(model: Any, inputs: Any) -> ModelGraph:
    """The `ModelGraph` of a model that has one."""
    if not isinstance(model, keras.Model):
        if any(cls.__module__.split(".")[0] == "tf_keras" for cls in type(model).__mro__):
            raise TypeError(
                "`model` must be a model of Keras 3. Received: a model of Keras 2, of class "
                f"{type(model).__name__} in `tf_keras`. Build the same layers with `keras`, and copy the "
                "weights: `new.set_weights(old.get_weights())`."
            )
        raise TypeError(f"`model` must be a `keras.Model`. Received: {type(model).__name__}")
    if isinstance(model, PropagationModel):
        raise TypeError("`model` is wrapped already; give its `source` to wrap it anew.")
    functional = keras_internals.functional_of(model)
    if isinstance(model, keras.Sequential) and not functional:
        raise ValueError(
            f"Sequential model '{model.name}' is not built, so its graph is not known. Start it with "
            "`keras.Input(shape)`, or call `model.build(input_shape)`."
        )
    if functional and inputs is not None:
        raise ValueError(
            f"`inputs` is for subclassed models, and model '{model.name}' has its inputs already. "
            f"Received: inputs={inputs!r:.200}"
        )
    graph = ModelGraph(model, inputs)
    for path, operation in graph.operations:
        if getattr(operation, "data_format", None) == "channels_first":
            raise ValueError(f"Models must be channels last. Layer '{path}' is channels_first.")
    for call in graph.calls:
        if isinstance(call.operation, keras.layers.Layer) and not call.enters:
            for layer in keras_internals.sublayers(call.operation):
                _check_name(layer.name)
    return graph


def _check_name(layer: str) -> None:
    if not tracing.NAME.fullmatch(layer):
        raise ValueError(
            f"Names of layers must be made of {tracing.CHARACTERS}: TensorFlow traces no others, also in "
            "Keras' own `predict`. Set `layer.name`, save the model and load it. "
            f"Received: a layer named '{layer}'"
        )


def _check_file_arguments(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"A rule file brings its own layers and readout, so `{name}` must be None. "
                f"Received: {name}={value!r}"
            )
