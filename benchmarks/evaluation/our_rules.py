"""Our side of the comparison: rules trained for each subject, from its train images alone."""

import pathlib
import time

import keras
import tensorflow as tf

import tf_learnprop as tlp

#: Steps and batch size of the training; `quick` divides the steps.
_SCHEDULES = {
    "digits": (400, 32),
    "mnist": (400, 32),
    "cifar": (500, 32),
    "animals": (300, 16),
    "imagenet": (600, 8),
}
_QUICK = 8
#: Rules that come with the library; they were trained on the same train images.
_SAVED_RULES = pathlib.Path(__file__).parents[2] / "saved_rules"
_SHIPPED = {"imagenet_lite0": "efficientnet_lite0.keras"}


def path(subject, cache, quick, seed):
    """The rule file of a subject: the one that comes with the library, else one trained here and kept."""
    if subject.name in _SHIPPED:
        return _SAVED_RULES / _SHIPPED[subject.name]
    file = cache / f"{subject.name}-{'quick' if quick else 'full'}-{seed}.rules.keras"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        train(subject.model, subject.train, *schedule(subject.name, quick), seed=seed).save_rules(file)
        file.with_suffix(".seconds").write_text(f"{time.perf_counter() - started:.1f}\n")
    return file


def schedule(name, quick):
    """Steps and batch size for a subject's name."""
    steps, batch_size = _SCHEDULES[name.split("_")[0]]
    return (steps // _QUICK if quick else steps), batch_size


def train(model, images, steps, batch_size, seed=0, callbacks=None):
    """A wrapped model whose rules were trained on `images`."""
    keras.utils.set_random_seed(seed)
    return fit(tlp.wrap_model(model), images, steps, batch_size, seed, callbacks)


def fit(wrapped, images, steps, batch_size, seed=0, callbacks=None):
    """The same model after a training of its rules on `images`, from the rules that it has."""
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    wrapped.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), tlp.objectives.AreaGuidance(seed=seed))
    wrapped.fit(
        batches(images, batch_size, seed), epochs=1, steps_per_epoch=steps, verbose=0, callbacks=callbacks
    )
    return wrapped


def batches(images, batch_size, seed=0):
    """Endless batches of images in random order, mirrored at random if they are photos."""
    data = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images), seed=seed).repeat()
    if images.shape[-1] == 3:
        data = data.map(lambda image: tf.image.random_flip_left_right(image, seed=seed))
    return data.batch(batch_size).prefetch(1)
