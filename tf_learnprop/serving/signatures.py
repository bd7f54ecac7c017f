"""What the signatures of an exported model compute, as functions of tensors.

Each function contains its own gradient tape, because a SavedModel stores operations and not the custom
gradients of layers.
"""

import functools
import keyword
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import tensorflow as tf

from tf_learnprop import attribution
from tf_learnprop.serving import contract, photo_codec
from tf_learnprop.serving.export_options import ExportOptions
from tf_learnprop.serving.target_signatures import requested
from tf_learnprop.targets import choosing, per_sample
from tf_learnprop.targets.base import Target
from tf_learnprop.targets.classes import Classes

if TYPE_CHECKING:  # `model` imports this package
    from tf_learnprop.wrapped import WrappedModel

#: Maps, class ids and probabilities. Maps of several inputs are in a structure.
_Maps: TypeAlias = tuple[Any, tf.Tensor, tf.Tensor]

_CLASS_IDS = tf.TensorSpec([None], tf.int64, contract.CLASS_IDS)
_ENCODED = tf.TensorSpec([None], tf.string, contract.ENCODED)


class Signatures:
    """The signatures of one model.

    Args:
        model: The wrapped model.
        options: The options of `export`.

    Attributes:
        specs: Specifications of the model's inputs, with the names that requests use.
    """

    def __init__(self, model: "WrappedModel", options: ExportOptions):
        self.options = options
        self.specs = input_specs(model)
        self._names: list[str] | None = None
        if model.explains_several:
            self._names = _map_names([self.specs[number].name for number in model.explained_inputs])
        self._in_order = model.in_order
        self._preprocess: Any = options.preprocess
        self._attributor = model.attributor
        self._explained = model.attributor.explained
        self._class_count = model.class_count
        self._structure = model.graph.input
        self._colours = photo_codec.colour_table(options.colormap)

    def endpoints(self) -> dict[contract.Signature, tuple[Callable, list[tf.TensorSpec]]]:
        """Function of each signature and the specifications of its arguments."""
        if isinstance(self.options.target, Target):
            return self._endpoints_of_target(self.options.target)
        functions: dict[contract.Signature, Callable] = {
            contract.SERVING_DEFAULT: self.serving_default,
            contract.EXPLAIN_CLASS: self.explain_class,
        }
        if self._preprocess is not None:
            functions[contract.EXPLAIN_ENCODED] = self.explain_encoded
            functions[contract.EXPLAIN_ENCODED_CLASS] = self.explain_encoded_class
            functions[contract.CLASSIFY_ENCODED] = self.classify_encoded
        own = {spec.name: spec for spec in self.specs}
        return {
            signature: (function, list(signature.inputs(own, _ENCODED, _CLASS_IDS).values()))
            for signature, function in functions.items()
        }

    def _endpoints_of_target(
        self, target: Target
    ) -> dict[contract.Signature, tuple[Callable, list[tf.TensorSpec]]]:
        """As `endpoints`, of a model that is exported with a target."""

        def explain_default(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._explain_target(target, _checked(inputs, self.specs))

        endpoints = {contract.SERVING_DEFAULT: (explain_default, self.specs)}
        if self._preprocess is not None:

            def explain_encoded(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
                photos, images = self._decoded(*_checked([encoded], [_ENCODED]))
                return self._explain_target(target, [images], photos)

            endpoints[contract.EXPLAIN_ENCODED] = (explain_encoded, [_ENCODED])
        request = requested(target, self._explained)
        if request is not None:
            specs = [*self.specs, *request.specs]

            def explain_requested(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
                inputs = _checked(tensors, specs)
                count = len(self.specs)
                return self._explain_target(request.make(*inputs[count:]), inputs[:count])

            endpoints[request.signature] = (explain_requested, specs)
        return endpoints

    def _explain_target(
        self, target: Target, inputs: Sequence[tf.Tensor], photos: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Maps of a target, with its classes, their probabilities and the scores; and drawn over photos."""
        checked = choosing.tensors(target, self._explained, tf.shape(inputs[0])[0])
        maps, asked = self._attributor.maps_and_asked(self._packed(inputs), checked)
        found = maps, asked.class_ids(), tf.cast(asked.probabilities(), tf.float32)
        answer = self._answer(*found) if photos is None else self._with_overlays(photos, *found)
        return answer | {contract.SCORES: asked.scores()}

    def serving_default(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps of the predicted class, of a fixed target, or of the k best classes."""
        return self._answer(*self._explain_default(_checked(inputs, self.specs)))

    def explain_class(self, *inputs_and_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Maps of the classes in the request."""
        *inputs, class_ids = _checked(inputs_and_ids, [*self.specs, _CLASS_IDS])
        return self._answer(*self._explain_classes(self._in_range(class_ids), *inputs))

    def explain_encoded(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Like `serving_default`, for encoded photos, with the heat map drawn over each."""
        (encoded,) = _checked([encoded], [_ENCODED])
        photos, images = self._decoded(encoded)
        maps, class_ids, probabilities = self._explain_default([images])
        photos = tf.repeat(photos, self.options.top_k or 1, 0)
        return self._with_overlays(photos, maps, class_ids, probabilities)

    def explain_encoded_class(self, encoded: tf.Tensor, class_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Like `explain_encoded`, for the classes in the request."""
        encoded, class_ids = _checked([encoded, class_ids], [_ENCODED, _CLASS_IDS])
        photos, images = self._decoded(encoded)
        return self._with_overlays(photos, *self._explain_classes(self._in_range(class_ids), images))

    def classify_encoded(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Probabilities of all classes, for encoded photos; a forward pass without a map."""
        (encoded,) = _checked([encoded], [_ENCODED])
        _, images = self._decoded(encoded)
        logits = self._attributor.logits(self._packed([images]))
        probabilities = self._attributor.head.probabilities(logits)
        return {contract.PROBABILITIES: tf.cast(probabilities, tf.float32)}

    def _in_range(self, class_ids: tf.Tensor) -> tf.Tensor:
        rule = f"`class_ids` must be in 0..{self._class_count - 1}"
        return per_sample.ids_in_range(class_ids, self._class_count, rule)

    def _explain_default(self, inputs: Sequence[tf.Tensor]) -> _Maps:
        """Maps `[n·k, h, w]`, class ids and probabilities `[n]` or `[n, k]`, of the default classes."""
        count, target, k = tf.shape(inputs[0])[:1], self.options.target, self.options.top_k
        if target is not None:
            return self._explain_classes(tf.fill(count, tf.constant(target, tf.int64)), *inputs)
        if k is None:
            return self._explain_predicted(*inputs)
        classes = self._attributor.head.class_logits(self._attributor.logits(self._packed(inputs)))
        class_ids = tf.cast(tf.math.top_k(classes, k).indices, tf.int64)
        inputs = [tf.repeat(tensor, k, 0) for tensor in inputs]
        maps, _, probabilities = self._explain_classes(tf.reshape(class_ids, [-1]), *inputs)
        return maps, class_ids, tf.reshape(probabilities, [-1, k])

    # Each of these three is traced and stored once, even if several signatures call it.

    @functools.cached_property
    def _decoded(self) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        """Function from files to photos as they are drawn over, and as the model takes them."""
        shape = self.options.photo_shape(self.specs[0])

        def decoded(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            photos = photo_codec.decode(encoded, shape, self.options.crop_to_aspect_ratio)
            return photos, tf.cast(self._preprocess(photos), tf.float32)

        return tf.function(decoded, [_ENCODED], autograph=False).get_concrete_function()

    @functools.cached_property
    def _explain_predicted(self) -> Callable[..., _Maps]:
        def explain_predicted(*inputs: tf.Tensor) -> _Maps:
            return self._explain(inputs)

        return tf.function(explain_predicted, self.specs, autograph=False).get_concrete_function()

    @functools.cached_property
    def _explain_classes(self) -> Callable[..., _Maps]:
        def explain_classes(class_ids: tf.Tensor, *inputs: tf.Tensor) -> _Maps:
            return self._explain(inputs, class_ids)

        specs = [_CLASS_IDS, *self.specs]
        return tf.function(explain_classes, specs, autograph=False).get_concrete_function()

    def _explain(self, inputs: Sequence[tf.Tensor], class_ids: tf.Tensor | None = None) -> _Maps:
        """Maps, class ids and probabilities of the given classes `[n]`, or of the predicted ones for None."""
        weights = None if class_ids is None else tf.one_hot(class_ids, self._class_count)
        return attribution.attribute(self._attributor, self._packed(inputs), Classes(weights))

    def _packed(self, inputs: Sequence[tf.Tensor]) -> Any:
        """The tensors in the structure and dtypes of the model's inputs."""
        packed = keras.tree.pack_sequence_as(self._structure, list(inputs))
        return keras.tree.map_structure(lambda x, spec: tf.cast(x, spec.dtype), packed, self._structure)

    def _answer(self, maps: Any, class_ids: tf.Tensor, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        of_class = {contract.CLASS_IDS: class_ids, contract.PROBABILITIES: probabilities}
        if self._names is None:
            return {contract.MAPS: self._served(maps, class_ids), **of_class}
        of_inputs = dict(zip(self._names, self._in_order(maps), strict=True))
        sizes = {name: _size(one) for name, one in of_inputs.items()}
        total = tf.add_n(list(sizes.values()))
        shares = {
            contract.share_of(name): tf.reshape(tf.math.divide_no_nan(size, total), tf.shape(class_ids))
            for name, size in sizes.items()
        }
        served = {name: self._served(one, class_ids) for name, one in of_inputs.items()}
        return served | shares | of_class

    def _served(self, maps: tf.Tensor, class_ids: tf.Tensor) -> tf.Tensor:
        """The maps of an input in the size, the dtype and the form that were asked for."""
        if self.options.map_shape:
            # Each pixel of the result is the mean of the area that it covers.
            maps = tf.image.resize(maps[..., None], self.options.map_shape, "area")[..., 0]
        if self.options.top_k and class_ids.shape.rank == 2:
            sizes = [length or tf.shape(maps)[axis] for axis, length in enumerate(maps.shape) if axis]
            maps = tf.reshape(maps, [-1, self.options.top_k, *sizes])
        return tf.cast(maps, self.options.map_dtype)

    def _with_overlays(
        self, photos: tf.Tensor, maps: tf.Tensor, class_ids: tf.Tensor, probabilities: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        pngs = photo_codec.overlays(photos, maps, self._colours, self.options.alpha)
        overlays = {contract.OVERLAYS: tf.reshape(pngs, tf.shape(class_ids))}
        return self._answer(maps, class_ids, probabilities) | overlays


def input_specs(model: "WrappedModel") -> list[tf.TensorSpec]:
    """Specifications of the model's inputs, with the names that requests use.

    A single input is called "images", or "inputs" if it is not an image. Several inputs keep their own names,
    see `_argument`. Explained inputs are float32, whatever the model's precision, unless they are integers.
    """
    tensors = model.graph.inputs
    names = [_argument(tensor.name) for tensor in tensors]
    if len(set(names)) < len(names):
        raise ValueError(
            "The names of inputs must differ in their ASCII letters and digits. "
            f"Received: inputs {[tensor.name for tensor in tensors]}"
        )
    if len(tensors) == 1:
        names = [contract.IMAGES if len(tensors[0].shape) == 4 else contract.INPUTS]
    dtypes = [tensor.dtype for tensor in tensors]
    for number in model.explained_inputs:
        if not keras.backend.is_int_dtype(dtypes[number]):
            dtypes[number] = "float32"
    return [
        tf.TensorSpec([None, *tensor.shape[1:]], dtype, name)
        for tensor, dtype, name in zip(tensors, dtypes, names, strict=True)
    ]


def _argument(name: str) -> str:
    """The name of an input as an argument's, for requests: "my photo" is "my_photo", "2nd" is "arg_2nd"."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return name if name[0].isalpha() and not keyword.iskeyword(name) else f"arg_{name}"


def _map_names(inputs: list[str]) -> list[str]:
    """The outputs with the maps of several inputs, which have the names of the inputs."""
    others = {contract.MAPS, contract.CLASS_IDS, contract.PROBABILITIES, contract.SCORES}
    others |= {contract.share_of(name) for name in inputs}
    if taken := others.intersection(inputs):
        raise ValueError(
            "An explained input must not have the name of another output of an exported model, since its map "
            f"has that name: use `keras.Input(..., name='photo')`. Received: inputs {sorted(taken)}"
        )
    return inputs


def _size(maps: tf.Tensor) -> tf.Tensor:
    """Σ|A| of each map A, float32 `[n]`."""
    return tf.reduce_sum(tf.abs(maps), list(range(1, maps.shape.rank)))


def _checked(inputs: Sequence[tf.Tensor], specs: Sequence[tf.TensorSpec]) -> list[tf.Tensor]:
    """The inputs of a request, with operations that raise an error unless they match the specifications."""
    # A server does not check shapes against the signature, and a wrong rank can crash a kernel.
    shaped = [
        tf.ensure_shape(tensor, spec.shape, name=spec.name)
        for tensor, spec in zip(inputs, specs, strict=True)
    ]
    length = tf.shape(shaped[0])[0]
    rules = [tf.debugging.assert_positive(length, f"`{specs[0].name}` must hold at least one sample")]
    for tensor, spec in zip(shaped[1:], specs[1:], strict=True):
        as_long = f"`{spec.name}` must be as long as the batch"
        rules.append(tf.debugging.assert_equal(tf.shape(tensor)[0], length, as_long))
    with tf.control_dependencies(rules):
        return [
            tf.debugging.check_numerics(tensor, f"`{spec.name}` must be finite")
            if spec.dtype.is_floating
            else tf.identity(tensor)
            for tensor, spec in zip(shaped, specs, strict=True)
        ]
