"""Training of the universal rule's hypernetwork, on several models at once."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy.typing as npt
import tensorflow as tf

from tf_learnprop import argument_checks, objectives, universal, wrapping
from tf_learnprop.inputs import checks


def train_universal_rule(
    models_and_images: Iterable[tuple[keras.Model, npt.ArrayLike | tf.data.Dataset]],
    *,
    steps: int = 250,
    batch_size: int = 32,
    learning_rate: float = 5e-3,
    hypernetwork: universal.HyperNetwork | None = None,
    seed: int = 0,
    on_step: Callable[[int, list[float]], None] | None = None,
) -> universal.HyperNetwork:
    """Trains a universal rule on several models.

    Each step takes one batch of every model. The gradients of `AreaGuidance` with respect to the
    hypernetwork's weights are clipped to norm 1 for each model and then averaged, so that no model
    outweighs the others. The models are not changed.

    Args:
        models_and_images: Pairs of a model that `wrap_model` accepts and its preprocessed images: an array
            `[n, h, w, c]`, which is shuffled, or a `tf.data.Dataset` of batches, which is repeated. Labels
            are not needed.
        steps: Number of steps.
        batch_size: Number of images of each model in a step; for arrays only.
        learning_rate: Adam's learning rate at the start. It decays to 0 as a cosine.
        hypernetwork: Where training starts from; it is trained in place. Defaults to a new one, whose rules
            are the plain gradient.
        seed: Seed of a new hypernetwork, of the order of the images and of the objective's random draws.
        on_step: Called after each step with its number, starting from 1, and the loss of each model.

    Returns:
        The trained `HyperNetwork`. Save it with `hypernetwork.save("universal.keras")`.

    Raises:
        ValueError: If there is no model, `wrap_model` does not accept one, images have another shape, or a
            number is out of range.
        FloatingPointError: If a loss or a gradient is not finite. The hypernetwork keeps the weights of the
            step before.

    Examples:
        ```python
        hypernetwork = tlp.train_universal_rule([(first, photos), (second, digits)], steps=250)
        hypernetwork.save("universal.keras")
        ```
    """
    argument_checks.integer("steps", steps, 1)
    argument_checks.integer("batch_size", batch_size, 1)
    argument_checks.number("learning_rate", learning_rate, above=0)
    if hypernetwork is None:
        hypernetwork = universal.HyperNetwork(seed=seed)
    members = [Member(model, images, batch_size, hypernetwork, seed) for model, images in models_and_images]
    if not members:
        raise ValueError("`models_and_images` must hold at least one model. Received: none")
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    optimizer.build(hypernetwork.trainable_variables)
    for step in range(1, steps + 1):
        losses, gradients = zip(*(member.next_gradients() for member in members), strict=True)
        mean = [tf.add_n(parts) / len(parts) for parts in zip(*gradients, strict=True)]
        losses = [float(loss) for loss in losses]
        if not all(bool(tf.reduce_all(tf.math.is_finite(value))) for value in (losses, *mean)):
            raise FloatingPointError(
                f"Training stopped at step {step}: a loss or a gradient is not finite. The hypernetwork has "
                f"the weights of the step before. Check the images, or lower `learning_rate`. "
                f"Received: losses {losses}"
            )
        optimizer.apply(mean, hypernetwork.trainable_variables)
        if on_step is not None:
            on_step(step, losses)
    return hypernetwork


class Member:
    """One of the models that a hypernetwork is trained on.

    Args:
        model: Functional or built Sequential `keras.Model`.
        images: Array, or `tf.data.Dataset` of batches.
        batch_size: Number of images in a batch of an array.
        hypernetwork: Makes the weights of the rules.
        seed: Seed of the order of the images and of the objective's random draws.
    """

    def __init__(
        self,
        model: keras.Model,
        images: npt.ArrayLike | tf.data.Dataset,
        batch_size: int,
        hypernetwork: universal.HyperNetwork,
        seed: int,
    ):
        self.wrapped = wrapping.wrap_model(model, rule="universal")
        self.hypernetwork = hypernetwork
        self.objective = objectives.AreaGuidance(seed=seed, masks=2)
        if not isinstance(images, tf.data.Dataset):
            arrays = keras.tree.flatten(checks.inputs(images, self.wrapped.graph))
            if len(arrays) > 1:
                raise ValueError(
                    "Images for a model of several inputs must be a `tf.data.Dataset` of batches. "
                    f"Received: {len(arrays)} arrays"
                )
            images = tf.data.Dataset.from_tensor_slices(arrays[0])
            images = images.shuffle(len(images), seed=seed).repeat().batch(batch_size)
        self._read_shapes = self.wrapped.read_shapes
        self._batches = iter(images.repeat().prefetch(1))
        self._compiled = tf.function(self.gradients, autograph=False)

    def next_gradients(self) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """`gradients` of the next batch."""
        return self._compiled(next(self._batches))

    def gradients(self, batch: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The mean loss of a batch, and its gradients with respect to the hypernetwork's weights.

        Args:
            batch: Tensors in the structure of the model's inputs.

        Returns:
            Loss, float32 scalar; list of float32 gradients, of global norm 1 at most.
        """
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        inputs = checks.tensors(inputs, self.wrapped.graph)
        weights = [weight.value for weight in self.hypernetwork.trainable_variables]
        with tf.GradientTape() as outer:
            pairs = self.hypernetwork.weights_for(
                self.wrapped.rule_set, self._read_shapes, self.wrapped.class_count
            )
        for variable, value in pairs:
            variable.assign(value)
        variables = [variable.value for variable, _ in pairs]
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            for variable in variables:
                inner.watch(variable)
            losses = self.wrapped.attributor.guidance(inputs, self.objective, training=True)
            loss = tf.reduce_mean(losses["loss"])
        by_rules = inner.gradient(loss, variables, unconnected_gradients="zero")
        # The chain rule by hand: from the gradients of the rules' weights to those of what made the weights.
        gradients = outer.gradient([value for _, value in pairs], weights, by_rules, "zero")
        return loss, tf.clip_by_global_norm(gradients, 1.0)[0]
