"""Rules trained for a subject, from its train images alone."""

import keras
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import results

#: Steps and batch size of the training.
_SCHEDULES = {
    "digits": (400, 32),
    "mnist": (400, 32),
    "cifar": (800, 32),
    "animals": (200, 16),
    "imagenet": (300, 8),
    "known": (300, 32),
}
#: A quick training has fewer steps, by this factor.
_QUICK = 8
#: Masks of each map in a step. With four, training goes on to gain for several times as many steps.
_MASKS = 4
#: Rules that come with the library, in files named after their model; trained on the same train images.
_SAVED_RULES = results.ROOT / "saved_rules"


def path(subject, cache, quick, seed):
    """The rule file of a subject: the one that comes with the library, or else one trained here and kept.

    Args:
        subject: `Subject`.
        cache: `pathlib.Path`, folder for rules that are trained here.
        quick: bool, a short training.
        seed: int.

    Returns:
        `pathlib.Path`.
    """
    shipped = _SAVED_RULES / f"{subject.model.name}.keras"
    if shipped.exists():
        return shipped
    steps, _ = schedule(subject.name, quick)
    return trained(subject, cache, steps, seed)


def trained(subject, cache, steps, seed, rule="learned"):
    """The file of rules that were trained for a subject; those that were kept are not trained again.

    Args:
        subject: `Subject`.
        cache: `pathlib.Path`, folder for the file.
        steps: int, steps of the training.
        seed: int.
        rule: str, the rule that is trained, from its start; "gradient" trains the readout alone.

    Returns:
        `pathlib.Path`.
    """
    _, batch_size = schedule(subject.name, quick=False)
    settings = {
        "subject": subject.digest,
        "rule": rule,
        "steps": steps,
        "batch_size": batch_size,
        "seed": seed,
    }
    code = (*results.RULES, *results.SUBJECTS)
    file = results.kept_file(cache, f"{subject.name}-{rule}-seed{seed}", ".keras", settings, code)
    if not file.exists():
        keras.utils.set_random_seed(seed)
        wrapped = untrained(subject.model, rule)
        fit(wrapped, subject.train, steps, batch_size, seed).save_rules(file)
    return file


def untrained(model, rule="learned"):
    """The model with rules before training, which are the gradient, and a readout that can be trained."""
    readout = "multi_layer" if rule == "gradient" else None
    return tlp.wrap_model(model, rule=rule, readout=readout)


def schedule(name, quick):
    """Steps and batch size for a subject's name."""
    steps, batch_size = _SCHEDULES[name.split("_")[0]]
    return (steps // _QUICK if quick else steps), batch_size


def fit(wrapped, images, steps, batch_size, seed=0, objective=None, callbacks=None):
    """Trains the rules of a wrapped model on `images`, and returns the wrapped model."""
    objective = objective or tlp.objectives.AreaGuidance(seed=seed, masks=_MASKS)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    wrapped.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), objective)
    wrapped.fit(
        batches(images, batch_size, seed), epochs=1, steps_per_epoch=steps, verbose=0, callbacks=callbacks
    )
    return wrapped


def batches(images, batch_size, seed=0):
    """Endless batches of images in random order; colour images are mirrored at random."""
    data = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images), seed=seed).repeat()
    if images.shape[-1] == 3:
        data = data.map(lambda image: tf.image.random_flip_left_right(image, seed=seed))
    return data.batch(batch_size).prefetch(1)
