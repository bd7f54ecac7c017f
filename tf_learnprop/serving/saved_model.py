"""`export`: checks what is asked, and writes the SavedModel whole or not at all."""

import contextlib
import os
import pathlib
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf

from tf_learnprop.backward import readouts, rules
from tf_learnprop.backward.rule_set import RuleSet
from tf_learnprop.inputs import checks
from tf_learnprop.serving import warmup as warmup_file
from tf_learnprop.serving.options import Options
from tf_learnprop.serving.signatures import Signatures, input_specs


def export(
    model,
    path,
    *,
    preprocess=None,
    crop_to_aspect_ratio=False,
    target=None,
    top_k=None,
    map_size=None,
    map_dtype="float32",
    colormap="inferno",
    alpha=0.7,
    warmup=None,
):
    """Writes a SavedModel that answers with attribution maps, for TensorFlow Serving.

    It needs no Python of this library, nor Keras. Signatures, for any batch size n:

    - `serving_default`: images float32 `[n, h, w, c]` → attributions float32 `[n, h, w]`, class_ids int64
      `[n]`, scores float32 `[n]`. The class is the predicted one, unless `target` or `top_k` say otherwise.
      The attributions are those of `explain`. The score is the probability of the explained class: its own
      sigmoid if the output is a sigmoid of several units, else its softmax (of a single unit, sigmoid(z) for
      class 1 and 1 − sigmoid(z) for class 0).
    - `explain_class`: images and class_ids int64 `[n]` → the same, for these classes.
    - `explain_encoded` (if `preprocess` is given): encoded string `[n]`, JPEG or PNG → as
      `serving_default`, and overlays_bytes string `[n]`, PNGs of the map drawn over the photo at the
      model's size. Heat is the map's positive part, 1 from its 99th percentile on; colour and opacity
      follow it.

    A model of several inputs takes them by their own names in the place of images; a single input that is
    no image is called inputs. A request that is wrong (shape, NaN, class id, broken photo, no sample) gets
    an error and does no harm to the next.

    Args:
        model: `PropagationModel`.
        path: str or path-like, a new folder whose name is a version number: "served/my_model/1". It appears
            once all is written, so a server may be watching "served/my_model".
        preprocess: callable or Keras layer from photos float32 `[n, h, w, c]`, values in 0..255, to the
            model's input, as `zoo.preprocess`; `lambda x: x` for a model that does it itself. None leaves
            `explain_encoded` out.
        crop_to_aspect_ratio: bool, whether photos are cut to the model's aspect ratio around their centre,
            or stretched to it.
        target: int, the class that is explained in the place of the predicted one.
        top_k: int, explain the k best classes, best first: attributions `[n, k, h, w]`, class_ids, scores
            and overlays `[n, k]`. Costs k maps and one more forward pass.
        map_size: int or (height, width), size of the attributions; each pixel is the mean of the area it
            stands for. Overlays keep the model's size.
        map_dtype: "float32" or "float16", dtype of the attributions.
        colormap: str, matplotlib's colour map for overlays.
        alpha: float in 0..1, opacity of the overlays where the heat is 1.
        warmup: inputs as for `explain`, a few samples. Each becomes one request to each signature, in the
            file with which a server warms up. Needs the package tensorflow-serving-api.

    Returns:
        `pathlib.Path` of the SavedModel.

    Raises:
        ValueError: a path that doesn't end in a version number; options that are out of range or that the
            model can't fulfil.
        FileExistsError: `path` is there already.
        OSError: the folder can't be written; no part of a model is left there.
        ImportError: `warmup` without tensorflow-serving-api.
    """
    path = _new_version(path)
    options = Options(
        preprocess=preprocess,
        crop_to_aspect_ratio=crop_to_aspect_ratio,
        target=target,
        top_k=top_k,
        map_size=map_size if map_size is None or np.ndim(map_size) else (map_size, map_size),
        map_dtype=map_dtype,
        colormap=colormap,
        alpha=alpha,
    )
    specs = input_specs(model)
    options.check(specs, specs[model.input_index], model.class_count)
    endpoints = Signatures(model, options).endpoints()
    requests = []
    if warmup is not None:
        samples = keras.tree.flatten(checks.inputs(warmup, model.graph))
        requests = warmup_file.requests(samples, specs, endpoints, target or 0)
    if _untrained(model.rule_set):
        warnings.warn(
            "The rules of this model are untrained, and so will be the maps that it serves. Call `fit` or "
            "load saved rules before `export`.",
            stacklevel=3,  # where `PropagationModel.export` is called
        )
    archive = keras.export.ExportArchive()
    # It finds the weights itself, but not the tables; to track the whole model would save the weights twice.
    for _, layer in model.graph.operations:
        if hasattr(layer, "lookup_table"):
            archive.track(layer.lookup_table)
    for name, (function, arguments) in endpoints.items():
        archive.add_endpoint(name, function, arguments)
    # Nobody differentiates a served map; the gradients of its gradients would be saved too.
    save_options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with _appearing_whole(path) as folder:
        archive.write_out(folder, save_options, verbose=False)
        if requests:
            warmup_file.write(folder, path.parent.name, requests)
    return path


def _new_version(path):
    path = pathlib.Path(path).absolute()
    if not (path.name.isascii() and path.name.isdigit()):
        raise ValueError(
            "`path` must end in a version number, as 'served/my_model/1': servers take no other folder. "
            f"Received: path='{path}'"
        )
    if os.path.lexists(path):
        raise FileExistsError(f"`path` must be new; choose the next version number. Received: path='{path}'")
    return path


def _untrained(rule_set):
    """Whether there is something to train, and every weight is where training starts."""
    if not rule_set.trainable_variables:
        return False
    given = zip(rule_set.paths, rule_set.rules, rule_set.shapes, strict=True)
    entries = [(path, rules.get(rule), shape) for path, rule, shape in given]
    fresh = RuleSet(entries, readouts.get(rule_set.readout), rule_set.read, rule_set.structure)
    pairs = zip(rule_set.get_weights(), fresh.get_weights(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


@contextlib.contextmanager
def _appearing_whole(path):
    """Gives a folder to write to, which becomes `path` at the end, or nothing if the block fails.

    The folder is beside `path`, in one whose name is no number, which a watching server passes over.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent)
    except OSError as error:
        raise type(error)(
            error.errno, f"`path` must be in a folder that can be written. Received: path='{path}' ({error})"
        ) from error
    with temporary as parent:
        folder = pathlib.Path(parent) / path.name
        yield folder
        os.rename(folder, path)
