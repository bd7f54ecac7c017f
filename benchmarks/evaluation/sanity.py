"""Sanity checks of our maps: does a random model change them, does the signal depend on the later layers?"""

import functools

import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import learned_rules
from tf_learnprop import metrics

#: Images whose maps are compared.
COUNT = 16
#: Random heads of which the figure of the last layer is the mean. One alone may resemble the trained head.
HEADS = 8


def randomisation(subject, rules, layers, schedule, seed):
    """Similarity to the maps of the trained model after its layers are randomised one by one.

    Args:
        subject: `Subject`.
        rules: path of its rule file.
        layers: int, number of steps from the top layer to all layers.
        schedule: (steps, batch size) of a training, or None to skip "rules retrained".
        seed: int.

    Returns:
        dict from the name of a test to a list of (layer, mean rank correlation, mean SSIM). The first layer,
        the last of the model, is randomised `HEADS` times. "rules retrained" trains rules on the randomised
        model, of one head. Grad-CAM is there to show what "near 0" means.
    """
    images, labels = subject.test[:COUNT], subject.labels[:COUNT]
    wrapped = {}

    def kept(model, images):
        if id(model) not in wrapped:
            wrapped[id(model)] = tlp.wrap_model(model, rule=str(rules))
        return wrapped[id(model)].explain(images, labels)

    def retrained(model, images):
        trained = learned_rules.fit(learned_rules.untrained(model), subject.train, *schedule, seed=seed)
        return trained.explain(images, labels)

    def grad_cam(model, images):
        return tlp.explain(model, images, labels, method="grad_cam")

    tests = {
        "cascading, rules kept": (kept, "cascading"),
        "independent, rules kept": (kept, "independent"),
        "cascading, rules retrained": (retrained, "cascading"),
        "cascading, Grad-CAM": (grad_cam, "cascading"),
    }
    if schedule is None:
        del tests["cascading, rules retrained"]
    if not tlp.methods.get("grad_cam").is_possible(tlp.wrap_model(subject.model, "gradient").explained):
        del tests["cascading, Grad-CAM"]
    measure = functools.partial(metrics.randomisation, subject.model, images)

    @functools.cache
    def other_heads(explain):
        """Means of more random heads, which are the same in both modes."""
        heads = [measure(explain, layers=1, seed=seed + k) for k in range(1, HEADS)]
        return [(head.rank_correlation.mean(), head.ssim.mean()) for head in heads]

    results = {}
    for name, (explain, mode) in tests.items():
        found = measure(explain, mode=mode, layers=layers, seed=seed)
        values = np.stack([found.rank_correlation.mean(1), found.ssim.mean(1)], -1)
        if explain is not retrained:
            values[0] = np.mean([values[0], *other_heads(explain)], 0)
        results[name] = [
            (layer, *row) for layer, row in zip(found.layers, values.astype(float).tolist(), strict=True)
        ]
    return results


def convergence(subject, rules, seed):
    """Mean cosine between input signals that start from random directions at the output; 1 is a failure.

    Args:
        subject: `Subject`.
        rules: path of its rule file.
        seed: int.

    Returns:
        dict from the name of a rule to a float.
    """
    images = subject.test[:COUNT]
    results = {}
    handmade = {name.replace("_", " "): name for name in tlp.rules.handmade()}
    for name, rule in {"learned": str(rules), **handmade}.items():
        wrapped = tlp.wrap_model(subject.model, rule=rule)
        cosines = metrics.cosine_similarity_convergence(
            lambda images, directions, wrapped=wrapped: {"input": wrapped.input_signal(images, directions)},
            images,
            outputs=subject.model.output_shape[-1],
            seed=seed,
        )
        results[name] = float(cosines["input"].mean())
    return results
