"""The computation behind a map: forward pass, backward pass under the rules, readout, guidance.

All functions here work on tensors and are meant to run inside a `tf.function`.
"""

import keras
import tensorflow as tf

from tf_learnprop import graph, readouts
from tf_learnprop.layers import RuleActivation


class Engine:
    """A source model with its rules in place.

    Args:
        source: Functional or built Sequential `keras.Model`.
        rule_set: `RuleSet`.
        output: int, the output that is explained.
        explained_input: int, the input that is explained.

    Attributes:
        several_labels: bool, whether each unit of the explained output is a yes-or-no question of its own.
    """

    def __init__(self, source, rule_set, output=0, explained_input=0):
        self.rule_set = rule_set
        self.input_index = explained_input
        rules = dict(zip(rule_set.paths, rule_set.rules, strict=True))
        self.runner = graph.GraphRunner(source, swaps(source, rules), output)
        units = graph.graph_of(source).outputs[output].shape[-1]
        self.several_labels = self.runner.head.activation == "sigmoid" and units > 1

    def outputs(self, inputs):
        """The model's outputs; a tape around this call gets the rules' backward pass."""
        return self.runner(inputs).outputs

    def logits(self, inputs):
        """The explained output before its final softmax or sigmoid, float32 `[n, units]`."""
        return self.runner(inputs, swap=False).logits

    def maps(self, inputs, class_weights=None):
        """Attribution maps.

        Args:
            inputs: tensors in the structure of the model's inputs.
            class_weights: float32 `[n, classes]`, or None for the predicted class.

        Returns:
            float32 `[n, *spatial]`.
        """
        return self.maps_and_logits(inputs, class_weights)[0]

    def maps_and_logits(self, inputs, class_weights=None, ask=None):
        """As `maps`, with the logits of the same forward pass, float32 `[n, units]`.

        `ask`, if given, is a function from these logits to others, which are returned in their place and say
        which class is explained.
        """
        readout, read = self.rule_set.readout, self.rule_set.read
        image, image_signal, activations, signals, logits = self._backward(
            inputs, class_weights, readout.reads_input, frozenset(read), ask
        )
        return readout(image, image_signal, activations, signals), logits

    def input_signal(self, inputs, class_weights=None):
        """∂s/∂x under the rules, s the explained logit; float32, the shape of the explained input."""
        return self._backward(inputs, class_weights, True, frozenset())[1]

    def guidance(self, inputs, objective, training):
        """The objective's losses for a batch, dict of float32 `[n]`."""
        image, with_image = self._explained(inputs)
        # Another image beside inputs that belong to this one would be no sample of the data.
        if training and len(keras.tree.flatten(inputs)) == 1:
            inputs = with_image(objective.augment(image))
        maps, logits = self.maps_and_logits(inputs, ask=objective.ask if training else None)
        return self.judge(inputs, maps, logits, objective, training)

    def judge(self, inputs, maps, logits, objective, training):
        """The objective's losses for given maps of a batch; the class explained has the largest logit."""
        logits = tf.stop_gradient(logits)
        image, with_image = self._explained(inputs)
        label = tf.argmax(logits, -1)

        def log_probability(logits, repeats=1):
            if self.several_labels:  # the one predicted is judged alone
                logits = tf.gather(logits, tf.tile(label, [repeats])[:, None], batch_dims=1)
            return tf.nn.log_softmax(class_logits(logits))

        def classify(images):
            repeats = tf.shape(images)[0] // tf.shape(image)[0]
            return log_probability(self.logits(with_image(images, repeats)), repeats)

        return objective(image, maps, log_probability(logits), classify=classify, training=training)

    def _backward(self, inputs, class_weights, reads_input, read, ask=None):
        image, with_image = self._explained(inputs)
        activations = [image] if readouts.INPUT in read else []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            if reads_input or activations:
                tape.watch(image)

            def watch(position, tensor):
                if position in read:
                    tape.watch(tensor)
                    activations.append(tensor)

            logits = self.runner(with_image(image), watch=watch).logits
            classes = class_logits(logits)
            logits = ask(logits) if ask else logits
            if class_weights is None:
                asked = tf.argmax(class_logits(logits), -1)
                class_weights = tf.one_hot(asked, tf.shape(classes)[-1])
            score = tf.reduce_sum(class_weights * classes)
        sources = [image] * reads_input + activations
        signals = tape.gradient(score, sources, unconnected_gradients="zero")
        signals = [tf.cast(signal, tf.float32) for signal in signals]
        image_signal = signals.pop(0) if reads_input else None
        activations = [tf.cast(tensor, tf.float32) for tensor in activations]
        return image, image_signal, activations, signals, logits

    def _explained(self, inputs):
        """The explained input in float32, and a function that gives all inputs with another in its place."""
        flat = [tf.convert_to_tensor(tensor) for tensor in keras.tree.flatten(inputs)]

        def with_image(images, repeats=1):
            # Masked copies come one batch behind the other, and so do the other inputs.
            tiled = [
                images if index == self.input_index else _tile(tensor, repeats)
                for index, tensor in enumerate(flat)
            ]
            return keras.tree.pack_sequence_as(inputs, tiled)

        return tf.cast(flat[self.input_index], tf.float32), with_image


def _tile(tensor, repeats):
    return tf.tile(tensor, [repeats] + [1] * (tensor.shape.rank - 1))


def class_logits(logits):
    """Logits of the classes; a single unit z is the classes no and yes, with logits −z/2 and z/2."""
    return logits if logits.shape[-1] != 1 else tf.concat([-logits, logits], -1) / 2.0


def swaps(source, rules):
    """The `RuleActivation`s of a model: dict from `id(operation)` to (path, layer), for `GraphRunner`.

    Args:
        source: `keras.Model`.
        rules: dict from layer path to `PropagationRule`.
    """
    swaps = {}
    for site in graph.survey(source):
        if site.path in rules:
            activation = site.operation.activation if site.fused else site.operation
            swaps[id(site.operation)] = (site.path, RuleActivation(activation, rules[site.path]))
    return swaps
