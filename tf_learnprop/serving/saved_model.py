"""`export`: writes the SavedModel of a wrapped model, whole or not at all."""

import os
import pathlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop import readouts, rules, tracing, writing
from tf_learnprop.argument_checks import ArgumentError
from tf_learnprop.inputs import checks
from tf_learnprop.rule_files.rule_set import RuleSet
from tf_learnprop.serving import warmup as warmup_file
from tf_learnprop.serving.export_options import ExportOptions
from tf_learnprop.serving.signatures import Signatures, input_specs
from tf_learnprop.targets.base import Target

if TYPE_CHECKING:  # `model` imports this module
    from tf_learnprop.methods import Method
    from tf_learnprop.model import PropagationModel
    from tf_learnprop.wrapped import WrappedModel


def export(
    model: "WrappedModel",
    path: str | os.PathLike[str],
    *,
    method: "str | Method | None" = None,
    preprocess: Callable[[tf.Tensor], tf.Tensor] | None = None,
    size: int | tuple[int, int] | None = None,
    crop_to_aspect_ratio: bool = False,
    target: int | Target | None = None,
    top_k: int | None = None,
    map_size: int | tuple[int, int] | None = None,
    map_dtype: str = "float32",
    colormap: str = "inferno",
    alpha: float = 0.7,
    warmup: Any = None,
) -> pathlib.Path:
    """Writes a SavedModel that returns attribution maps, for TensorFlow Serving.

    The SavedModel needs neither this library nor Keras. Its signatures accept any batch size n:

    - `serving_default` takes images, float32 `[n, h, w, c]`. It returns maps, float32 `[n, h, w]`, as
      `explain` does, class_ids, int64 `[n]`, and probabilities, float32 `[n]`. It explains the predicted
      class unless `target` or `top_k` is given. The probability is that of the explained class: the sigmoid
      of its unit if the model ends in a sigmoid of several units, the softmax otherwise. A single unit z has
      the probability sigmoid(z) for class 1 and 1 − sigmoid(z) for class 0.
    - `explain_class` takes images and class_ids, int64 `[n]`. It returns the same for these classes.
    - `explain_encoded` takes encoded, string `[n]`: JPEG, PNG, GIF or BMP files. It returns the same as
      `serving_default`, and overlays_bytes, string `[n]`: PNG files at the model's size with the map drawn
      over the photo. Heat is the positive part of the map and reaches 1 at its 99th percentile; it sets both
      colour and opacity. This signature and the next two require `preprocess`.
    - `explain_encoded_class` takes encoded and class_ids. It returns the same for these classes.
    - `classify_encoded` takes encoded. It returns probabilities, float32 `[n, classes]`, without a map.

    A model that is exported with a target of `tf_learnprop.targets` has others. `serving_default` takes the
    inputs and explains that target, and with `preprocess`, `explain_encoded` does so for encoded photos. One
    more is for the target's kind. It takes the inputs and what such a target says of each sample, with the
    target's other options:

    - `explain_region`: masks, float32 `[n, *places]` of the output's size, and class_ids.
    - `explain_pixel`: rows, columns and class_ids.
    - `explain_box`, of `Box` and `Detection`: boxes, float32 `[n, 4]`, and class_ids.
    - `explain_value`: references, float32 `[n]`.
    - `explain_similarity`: embeddings, float32 `[n, d]`.
    - `explain_token`: positions and tokens, int64 `[n]`.

    All also return scores, float32 `[n]`. For a score without classes, class_ids are −1 and probabilities
    are NaN. A `Contrast`, a function or a target of your own has no signature for its kind.

    A model with several inputs takes each under its own name instead of images. A single input that is not an
    image is called inputs. A `JointModel` has a map of each explained input under the name of that input,
    instead of maps, and its share of the attribution, float32 `[n]`, as in photo and photo_share. A bad
    request (wrong shape, NaN, class id out of range, broken photo, no samples) returns an error and does not
    affect later requests.

    Args:
        model: The wrapped model; with `method`, any Keras model.
        path: A new folder whose name is a version number, such as "served/my_model/1". It appears only when
            it is complete, so a server may watch "served/my_model".
        method: A method of `tf_learnprop.methods` whose maps are served instead of those of the rules. It
            must have one forward and one backward pass, such as "layer_cam": others run the model in a loop.
        preprocess: Function or Keras layer that maps photos, float32 `[n, h, w, c]` with values in 0..255, to
            the model's input, such as `zoo.preprocess`. Use `lambda x: x` for a model that preprocesses its
            own input. None omits `explain_encoded`.
        size: Height and width to which photos are resized, for a model whose input has no fixed size. An int
            stands for both.
        crop_to_aspect_ratio: Whether photos are cropped around their centre to the model's aspect ratio.
            Otherwise they are stretched to it.
        target: Class to explain instead of the predicted one; or a target of `tf_learnprop.targets` for all
            samples, see below.
        top_k: Number of classes to explain, best first. Maps are then `[n, k, h, w]`; class_ids,
            probabilities and overlays are `[n, k]`. This costs k maps and one more forward pass.
        map_size: Height and width of the maps, each pixel the mean of the area that it covers. An int
            stands for both. Overlays keep the model's size. Not for a `JointModel`.
        map_dtype: Dtype of the maps, "float32" or "float16", which holds values from 6e-8 to 65,504.
        colormap: Name of the matplotlib colormap for overlays.
        alpha: Opacity of overlays where the heat is 1, in 0..1.
        warmup: A few samples, arrays as for `explain`. Each becomes one request to each signature, except
            those that complete a target, in the file with which a server warms up. Requires the package
            tensorflow-serving-api.

    Returns:
        Absolute path of the SavedModel.

    Raises:
        ValueError: If `path` does not end in a version number, an option is out of range or does not fit
            the model, or `method` is unknown, runs a loop, or needs what the model does not have.
        FileExistsError: If `path` exists.
        OSError: If the folder cannot be written. No part of a model is left there.
        ImportError: If `warmup` is given and tensorflow-serving-api is not installed.
    """
    version = _new_version(path)
    if method is not None:
        model = _with_method(model, method)
    options = ExportOptions(
        preprocess=preprocess,
        size=size,
        crop_to_aspect_ratio=crop_to_aspect_ratio,
        target=target,
        top_k=top_k,
        map_size=map_size,
        map_dtype=map_dtype,
        colormap=colormap,
        alpha=alpha,
    )
    specs = input_specs(model)
    options.check(specs, model)
    endpoints = Signatures(model, options).endpoints()
    requests: list[warmup_file.Request] = []
    if warmup is not None:
        samples = keras.tree.flatten(checks.inputs(warmup, model.graph))
        signatures = [signature for signature in endpoints if not signature.of_target]
        class_id = target if isinstance(target, int) else 0
        requests = warmup_file.make_requests(samples, specs, signatures, class_id)
    if any(map(_untrained, model.rule_sets)):
        warnings.warn(
            "The rules of this model are untrained, so the served maps will be those of untrained rules. "
            "Call `fit` or load saved rules before `export`.",
            stacklevel=3,  # the line that calls `PropagationModel.export`
        )
    _check_names(model.source.weights)
    archive = keras.export.ExportArchive()
    # The archive finds weights but not lookup tables. Tracking the whole model would save the weights twice.
    for _, layer in model.graph.operations:
        if hasattr(layer, "lookup_table"):
            archive.track(layer.lookup_table)
    for signature, (function, arguments) in endpoints.items():
        archive.add_endpoint(signature.name, function, arguments)
    # Otherwise the gradients of the gradients would be saved too, and a served map is never differentiated.
    save_options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with writing.whole_folder(version) as folder:
        archive.write_out(folder, save_options, verbose=False)
        if requests:
            warmup_file.write(folder, version.parent.name, requests)
    return version


def _with_method(model: keras.Model, method: "str | Method") -> "PropagationModel":
    """The model with a method of one pass, which is a wrapped model of its own."""
    from tf_learnprop import methods
    from tf_learnprop.model import PropagationModel

    explainer = methods.make(model, method)
    if not isinstance(explainer, PropagationModel):
        name = methods.get(method).name
        raise ArgumentError(
            "method", "be one of one forward and one backward pass", name, f"{name!r}, which runs a loop"
        )
    return explainer


def _new_version(path: str | os.PathLike[str]) -> pathlib.Path:
    path = pathlib.Path(path).absolute()
    if not (path.name.isascii() and path.name.isdigit()):
        raise ValueError(
            "`path` must end in a version number, such as 'served/my_model/1': servers ignore other folders. "
            f"Received: path='{path}'"
        )
    if os.path.lexists(path):
        raise FileExistsError(f"`path` must be new: use the next version number. Received: path='{path}'")
    return path


def _check_names(weights: list[keras.Variable]) -> None:
    for weight in weights:
        if weight.path.startswith("_") or not tracing.NAME.fullmatch(weight.path):
            raise ValueError(
                "A SavedModel holds no weights whose path begins with an underscore, or has other characters "
                f"than {tracing.CHARACTERS}, also in Keras' own `export`. Give the layer another name, save "
                f"the model and load it. Received: a weight at '{weight.path}'"
            )


def _replaces_universal(rule: rules.PropagationRule) -> bool:
    """Whether a rule is the gradient in place of the universal rule, which needs no training either."""
    return isinstance(rule, rules.GradientRule) and rule.instead_of == "universal"


def _untrained(rule_set: RuleSet) -> bool:
    """Whether the rules have weights to train, and all of them are at their initial values."""
    if not rule_set.trainable_variables or any(map(_replaces_universal, rule_set.rules)):
        return False
    rows = zip(rule_set.paths, rule_set.rules, rule_set.shapes, strict=True)
    entries = [(path, rules.get(rule), shape) for path, rule, shape in rows]
    fresh = RuleSet(entries, readouts.get(rule_set.readout), rule_set.read, rule_set.structure)
    pairs = zip(rule_set.get_weights(), fresh.get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)
