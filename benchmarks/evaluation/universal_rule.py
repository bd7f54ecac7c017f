"""The universal rule: trained on several models, and for each of them on the others alone."""

import time

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from evaluation import our_rules, subjects
from tf_learnprop.backward import universal

STEPS = 250
#: The models that it is trained on.
TRAINED_ON = ("digits_swish", "mnist_inception", "cifar_resnet20", "cifar_resnet44", "imagenet_lite0")
#: Subjects that are left out together, lest a rule be judged on the images or the backbone of its training.
_FAMILIES = (("digits", "mnist"), ("cifar",), ("imagenet", "animals"))


def held_out(name, cache, seed, family=True):
    """A wrapped model's `HyperNetwork` that was not trained on the subject, kept in `cache`.

    Args:
        name: str, the subject's.
        cache: `pathlib.Path`.
        seed: int.
        family: bool, whether all models of the subject's family are left out, or its own model alone.

    Returns:
        `HyperNetwork`.
    """
    left_out = next(names for names in _FAMILIES if name.startswith(names)) if family else (name,)
    names = [other for other in TRAINED_ON if not other.startswith(left_out)]
    if len(names) == len(TRAINED_ON):
        return universal.load()  # the rule that comes with the package saw no such model
    path = cache / f"universal-of-{'-'.join(names)}-{seed}.weights.h5"
    if path.exists():
        generator = universal.HyperNetwork(seed=seed)
        generator.load_weights(path)
    else:
        generator = train(names, cache, seed)
        generator.save_weights(path)
    return generator


def wrapped(model, generator, readout="multi_layer"):
    """A model with the rules that a generator gives it."""
    model = tlp.wrap_model(model, readout=readout)
    universal.initialise(model.rule_set, model.read_shapes, generator)
    return model


class Member:
    """A model on which the generator is trained.

    Args:
        subject: `Subject`.
        generator: `universal.HyperNetwork`.
        seed: int.
    """

    def __init__(self, subject, generator, seed):
        self.name, self.generator = subject.name, generator
        # Without a focus, though it is used with one: training with it is no better (docs/results.md).
        self.wrapped = tlp.wrap_model(subject.model, readout=tlp.readouts.MultiLayerReadout(focus=0))
        self.read_shapes = self.wrapped.read_shapes
        self.objective = tlp.objectives.AreaGuidance(seed=seed)
        _, batch_size = our_rules.schedule(subject.name, quick=False)
        self.batches = iter(our_rules.batches(subject.train, batch_size, seed))
        self._gradients = tf.function(self._trace, autograph=False)

    def gradients(self):
        """The loss of the next batch, and its gradients by the generator's weights, of norm 1 at most."""
        return self._gradients(next(self.batches))

    def _trace(self, batch):
        weights = [weight.value for weight in self.generator.trainable_variables]
        with tf.GradientTape() as outer:
            pairs = self.generator.weights_for(self.wrapped.rule_set, self.read_shapes)
        for variable, value in pairs:
            variable.assign(value)
        variables = [variable.value for variable, _ in pairs]
        with tf.GradientTape(watch_accessed_variables=False) as inner:
            for variable in variables:
                inner.watch(variable)
            loss = tf.reduce_mean(self.wrapped.attributor.guidance(batch, self.objective, True)["loss"])
        by_rules = inner.gradient(loss, variables, unconnected_gradients="zero")
        # The chain rule by hand: the rules' gradients go on into what made their weights.
        gradients = outer.gradient([value for _, value in pairs], weights, by_rules, "zero")
        return loss, tf.clip_by_global_norm(gradients, 1.0)[0]


def train(names, cache, seed, steps=STEPS):
    """A `HyperNetwork` trained on the models of these names.

    A step takes one batch of each model; their gradients, each of norm 1 at most, are averaged.
    """
    keras.utils.set_random_seed(seed)
    generator = universal.HyperNetwork(seed=seed)
    members = [Member(subjects.load(name, cache), generator, seed) for name in names]
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(generator.trainable_variables)
    started, losses = time.perf_counter(), []
    for step in range(1, steps + 1):
        found = [member.gradients() for member in members]
        losses.append([float(loss) for loss, _ in found])
        means = [tf.add_n(parts) / len(parts) for parts in zip(*(each for _, each in found), strict=True)]
        optimizer.apply(means, generator.trainable_variables)
        if step % 25 == 0:
            recent = zip(names, np.mean(losses[-25:], 0), strict=True)
            print(
                f"{time.perf_counter() - started:6.0f} s  step {step}  "
                + "  ".join(f"{name} {loss:.3f}" for name, loss in recent),
                flush=True,
            )
    return generator
