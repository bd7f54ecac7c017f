"""The universal rule: trained on several models, and for each of them on the others alone."""

import time

import keras
import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import learned_rules, results, subjects
from tf_learnprop import universal

STEPS = 300
#: The models that it is trained on.
TRAINED_ON = ("digits_swish", "mnist_inception", "cifar_resnet20", "cifar_hub_resnet", "animals_vgg")
#: Subjects that are left out together, so that no rule is judged on the images or backbone of its training.
_FAMILIES = (("digits", "mnist"), ("cifar",), ("imagenet",), ("animals",), ("known",))


def held_out(name, cache, seed, family=True):
    """A `HyperNetwork` that was not trained on the subject; it is kept in `cache`.

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
    settings = {"names": names, "steps": STEPS, "seed": seed}
    code = (*results.RULES, *results.SUBJECTS)
    path = results.kept_file(cache, f"universal-of-{'-'.join(names)}", ".keras", settings, code)
    if path.exists():
        return keras.models.load_model(path)
    hypernetwork = train(names, cache, seed)
    hypernetwork.save(path)
    return hypernetwork


def wrapped(model, hypernetwork, readout=None):
    """A model with the rules that a hypernetwork gives it; by default with the readout that suits it."""
    model = tlp.wrap_model(model, rule="universal", readout=readout)
    universal.initialise(model.rule_set, model.read_shapes, model.class_count, hypernetwork)
    return model


def train(names, cache, seed, steps=STEPS):
    """A `HyperNetwork` trained on the subjects of these names."""
    keras.utils.set_random_seed(seed)
    members = [subjects.load(name, cache) for name in names]
    batches = []
    for member in members:
        _, batch_size = learned_rules.schedule(member.name, quick=False)
        batches.append((member.model, learned_rules.batches(member.train, batch_size, seed)))
    started, losses = time.perf_counter(), []

    def report(step, found):
        losses.append(found)
        if step % 25 == 0:
            recent = zip(names, np.mean(losses[-25:], 0), strict=True)
            means = "  ".join(f"{name} {loss:.3f}" for name, loss in recent)
            print(f"{time.perf_counter() - started:6.0f} s  step {step}  {means}", flush=True)

    return tlp.train_universal_rule(batches, steps=steps, seed=seed, on_step=report)
