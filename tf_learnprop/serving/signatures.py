"""What the signatures compute, as functions of tensors.

Each holds the gradient tape itself: a SavedModel keeps operations, not the custom gradients of layers.
"""

import functools

import keras
import tensorflow as tf

from tf_learnprop.serving import pictures

_CLASS_IDS = tf.TensorSpec([None], tf.int64, "class_ids")
_ENCODED = tf.TensorSpec([None], tf.string, "encoded")


class Signatures:
    """The signatures of one model.

    Args:
        model: `PropagationModel`.
        options: `Options`.

    Attributes:
        specs: list of `tf.TensorSpec`, the model's inputs as a request names them.
    """

    def __init__(self, model, options):
        self.options = options
        self.specs = input_specs(model)
        self._attributor = model.attributor
        self._class_count = model.class_count
        self._structure = model.graph.input
        self._colours = pictures.colour_table(options.colormap)

    def endpoints(self):
        """Dict from the name of a signature to its function and the `tf.TensorSpec`s of its arguments."""
        endpoints = {
            "serving_default": (self.serving_default, self.specs),
            "explain_class": (self.explain_class, [*self.specs, _CLASS_IDS]),
        }
        if self.options.preprocess:
            endpoints["explain_encoded"] = (self.explain_encoded, [_ENCODED])
        return endpoints

    def serving_default(self, *inputs):
        """Maps of the predicted class, of the fixed target or of the k best classes."""
        return self._answer(*self._explain_default(_checked(inputs, self.specs)))

    def explain_class(self, *inputs_and_ids):
        """Maps of the classes that the request names."""
        *inputs, class_ids = _checked(inputs_and_ids, [*self.specs, _CLASS_IDS])
        in_range = f"`class_ids` must be in 0..{self._class_count - 1}"
        rules = [
            tf.debugging.assert_non_negative(class_ids, in_range),
            tf.debugging.assert_less(class_ids, tf.constant(self._class_count, tf.int64), in_range),
        ]
        with tf.control_dependencies(rules):
            class_ids = tf.identity(class_ids)
        return self._answer(*self._explain_classes(class_ids, *inputs))

    def explain_encoded(self, encoded):
        """As `serving_default` for encoded photos, with the heat map drawn over each."""
        shape = tuple(self.specs[0].shape[1:])
        (encoded,) = _checked([encoded], [_ENCODED])
        photos = pictures.decode(encoded, shape, self.options.crop_to_aspect_ratio)
        images = tf.cast(self.options.preprocess(photos), tf.float32)
        maps, class_ids, scores = self._explain_default([images])
        photos = tf.repeat(photos, self.options.top_k or 1, 0)
        pngs = pictures.overlays(photos, maps, self._colours, self.options.alpha)
        # A server writes bytes into JSON as base64 if the output's name ends so, else as they are, and then
        # nobody can read the answer.
        overlays = {"overlays_bytes": tf.reshape(pngs, tf.shape(class_ids))}
        return self._answer(maps, class_ids, scores) | overlays

    def _explain_default(self, inputs):
        """Maps `[n·k, h, w]`, class ids and scores `[n]` or `[n, k]`, of what is asked by default."""
        count, target, k = tf.shape(inputs[0])[:1], self.options.target, self.options.top_k
        if target is not None:
            return self._explain_classes(tf.fill(count, tf.constant(target, tf.int64)), *inputs)
        if k is None:
            return self._explain_predicted(*inputs)
        classes = self._attributor.head.class_logits(self._attributor.logits(self._packed(inputs)))
        class_ids = tf.cast(tf.math.top_k(classes, k).indices, tf.int64)
        inputs = [tf.repeat(tensor, k, 0) for tensor in inputs]
        maps, _, scores = self._explain_classes(tf.reshape(class_ids, [-1]), *inputs)
        return maps, class_ids, tf.reshape(scores, [-1, k])

    # Each of these two is traced once and stored once, whatever number of signatures calls it.

    @functools.cached_property
    def _explain_predicted(self):
        def explain_predicted(*inputs):
            return self._explain(inputs)

        return tf.function(explain_predicted, self.specs, autograph=False).get_concrete_function()

    @functools.cached_property
    def _explain_classes(self):
        def explain_classes(class_ids, *inputs):
            return self._explain(inputs, class_ids)

        specs = [_CLASS_IDS, *self.specs]
        return tf.function(explain_classes, specs, autograph=False).get_concrete_function()

    def _explain(self, inputs, class_ids=None):
        """Maps, class ids and scores of the given classes `[n]`, None for the predicted ones."""
        weights = None if class_ids is None else tf.one_hot(class_ids, self._class_count)
        maps, logits = self._attributor.maps_and_logits(self._packed(inputs), weights)
        head = self._attributor.head
        if class_ids is None:
            class_ids = head.predicted(logits)
        probabilities = head.probabilities(logits)
        return maps, class_ids, tf.gather(probabilities, class_ids, batch_dims=1)

    def _packed(self, inputs):
        """Tensors in the structure and dtypes of the model's inputs."""
        packed = keras.tree.pack_sequence_as(self._structure, list(inputs))
        return keras.tree.map_structure(lambda x, of: tf.cast(x, of.dtype), packed, self._structure)

    def _answer(self, maps, class_ids, scores):
        if self.options.map_size:
            # Each pixel of the result is the mean of the area it stands for.
            maps = tf.image.resize(maps[..., None], self.options.map_size, "area")[..., 0]
        if self.options.top_k and class_ids.shape.rank == 2:
            sizes = [length or tf.shape(maps)[axis] for axis, length in enumerate(maps.shape) if axis]
            maps = tf.reshape(maps, [-1, self.options.top_k, *sizes])
        maps = tf.cast(maps, self.options.map_dtype)
        return {"attributions": maps, "class_ids": class_ids, "scores": scores}


def input_specs(model):
    """The inputs of a request: one alone is "images", or "inputs" if it is none; several keep their names."""
    tensors = model.graph.inputs
    names = [tensor.name for tensor in tensors]
    if len(tensors) == 1:
        names = ["images" if len(tensors[0].shape) == 4 else "inputs"]
    dtypes = [tensor.dtype for tensor in tensors]
    dtypes[model.input_index] = "float32"
    return [
        tf.TensorSpec([None, *tensor.shape[1:]], dtype, name)
        for tensor, dtype, name in zip(tensors, dtypes, names, strict=True)
    ]


def _checked(inputs, specs):
    """The inputs of a request; one that is not as the specification says gets an error."""
    # Servers don't compare shapes with the signature's, and a wrong rank can make a kernel end the process.
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
