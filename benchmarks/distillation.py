"""Do refined maps teach the rules of one pass? Rules trained further towards them, beside guidance alone.

Each train image's map is refined. The trained rules are then trained further with the loss
guidance + weight·(1 − r), where r is the correlation of their map with the refined one; weight 0 is the
control, guidance alone on the same images. Measured on test images, like in `quality`. Rows are kept in
RESULTS/distillation.jsonl.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

import tf_learnprop as tlp
from benchmarks.evaluation import learned_rules, measures, options, results, subjects, tables, universal_rule
from tf_learnprop.training import step


def correlation(maps, others):
    """Pearson's r of two maps over their pixels, float32 `[n]`."""

    def standard(values):
        flat = tf.reshape(values, [tf.shape(values)[0], -1])
        flat -= tf.reduce_mean(flat, 1, keepdims=True)
        return flat * tf.math.rsqrt(tf.reduce_mean(tf.square(flat), 1, keepdims=True) + 1e-16)

    return tf.reduce_mean(standard(maps) * standard(others), 1)


def distil(wrapped, images, teachers, weight, steps, batch_size, seed):
    """Trains the rules further; returns the last 20 steps' mean correlation with the refined maps."""
    objective = tlp.objectives.AreaGuidance(seed=seed)
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(2e-3, steps), global_clipnorm=1.0
    )
    optimizer.build(wrapped.trainable_variables)
    attributor = wrapped.attributor

    def losses(batch, wanted):
        maps, answer = attributor.maps_to_compare(batch)
        likeness = correlation(maps, wanted)
        found = attributor.loss_of_maps(batch, maps, answer, objective, training=True)
        return {"loss": found["loss"] + weight * (1.0 - likeness), "likeness": likeness}

    @tf.function
    def train(batch, wanted):
        return step.apply_if_finite(optimizer, wrapped.trainable_variables, lambda: losses(batch, wanted))

    data = tf.data.Dataset.from_tensor_slices((images, teachers)).shuffle(len(images), seed=seed).repeat()
    found = [train(*pair)["likeness"] for pair in data.batch(batch_size).take(steps)]
    return float(np.mean(found[-20:]))


def add_options(parser):
    options.add_subject(parser)
    parser.add_argument(
        "--teachers", type=options.at_least(1), default=300, help="train images whose maps are refined"
    )
    parser.add_argument("--refine-steps", type=options.at_least(1), default=20)
    parser.add_argument("--steps", type=options.at_least(1), default=150)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 1.0, 5.0])


def run(arguments):
    cache, seed = arguments.results / "cache", arguments.seed
    subject = subjects.load(arguments.subject, cache)
    context = measures.Context(subject, arguments.images, 14, 0, 0, seed)
    rules = learned_rules.path(
        subject,
        cache,
        False,
        seed,
        "universal, family unseen",
        lambda model: universal_rule.wrapped(model, universal_rule.held_out(subject.name, cache, seed)),
    )
    store = results.ResultStore(arguments.results / "distillation.jsonl")
    images = subject.train[: arguments.teachers]
    teacher = tlp.wrap_model(subject.model, rule=rules)
    _, batch_size = learned_rules.schedule(subject.name, quick=False)

    @functools.cache
    def refined():
        return teacher.explain(images, refine_steps=arguments.refine_steps)

    def measured(explain):
        return measures.fidelity(context, np.asarray(explain(context.images, context.labels)))

    def distilled(weight):
        wrapped, teachers = tlp.wrap_model(subject.model, rule=rules), refined()
        keras.utils.set_random_seed(seed)
        likeness = distil(wrapped, images, teachers, weight, arguments.steps, batch_size, seed)
        return {**measured(wrapped.explain), "likeness": likeness}

    refine = functools.partial(teacher.explain, refine_steps=arguments.refine_steps)
    ways = {
        "before": ({}, lambda: measured(teacher.explain)),
        "before, refined": ({"refine_steps": arguments.refine_steps}, lambda: measured(refine)),
    }
    for weight in arguments.weights:
        settings = {
            "refine_steps": arguments.refine_steps,
            "teachers": len(images),
            "training_steps": arguments.steps,
            "weight": weight,
        }
        ways[f"after, weight {weight:g}"] = (settings, functools.partial(distilled, weight))
    rows = []
    for name, (settings, compute) in ways.items():
        settings = {
            "subject": [subject.name, subject.digest],
            "rules": results.file_digest(rules),
            **context.settings,
            **settings,
        }
        code = (*results.RULES, *results.MEASURES, correlation, distil)
        result = store.get_or_compute(settings, code, compute)
        cells = [tables.interval(result[key]) for key in ("fidelity", "fidelity_unseen")]
        rows.append([name, *cells, f"{result['likeness']:.3f}" if "likeness" in result else ""])
    print(tables.table(["", "ins−del, 5 fills", "unseen fills", "r with refined maps, training"], rows))
