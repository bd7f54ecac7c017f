"""Do refined maps teach the rules of one pass? Rules trained on towards them, beside guidance alone.

    python benchmarks/distillation.py --subject cifar_resnet20

Refinement adapts each train image's map; the rules, trained already, then go on with the loss
guidance + weight·(1 − r), r the correlation of their map with the refined one, and, as a control, with the
guidance alone on the same images. Measured on test images, like `benchmarks/quality.py`.
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from evaluation import measures, our_rules, subjects, tables, universal_rule  # noqa: E402

import tf_learnprop as tlp  # noqa: E402
from tf_learnprop.training import step  # noqa: E402


def correlation(maps, others):
    """Pearson's r of two maps over their pixels, float32 `[n]`."""

    def standard(values):
        flat = tf.reshape(values, [tf.shape(values)[0], -1])
        flat -= tf.reduce_mean(flat, 1, keepdims=True)
        return flat * tf.math.rsqrt(tf.reduce_mean(tf.square(flat), 1, keepdims=True) + 1e-16)

    return tf.reduce_mean(standard(maps) * standard(others), 1)


def distil(wrapped, images, teachers, weight, steps, batch_size, seed):
    """Trains the rules on; returns the last 20 steps' mean correlation with the refined maps."""
    objective = tlp.objectives.AreaGuidance(seed=seed)
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(2e-3, steps), global_clipnorm=1.0
    )
    optimizer.build(wrapped.trainable_variables)
    attributor = wrapped.attributor

    def losses(batch, wanted):
        maps, logits = attributor.maps_and_logits(batch)
        likeness = correlation(maps, wanted)
        found = attributor.loss_of_maps(batch, maps, logits, objective, training=True)
        return {"loss": found["loss"] + weight * (1.0 - likeness), "likeness": likeness}

    @tf.function
    def train(batch, wanted):
        return step.apply_if_finite(optimizer, wrapped.trainable_variables, lambda: losses(batch, wanted))

    data = tf.data.Dataset.from_tensor_slices((images, teachers)).shuffle(len(images), seed=seed).repeat()
    found = [train(*pair)["likeness"] for pair in data.batch(batch_size).take(steps)]
    return float(np.mean(found[-20:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--subject", default="cifar_resnet20", choices=subjects.NAMES)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--teachers", type=int, default=300, help="train images whose maps are refined")
    parser.add_argument("--refine-steps", type=int, default=20)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 1.0, 5.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("results/quality/cache"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/distillation"))
    arguments = parser.parse_args()
    subject = subjects.load(arguments.subject, arguments.cache)
    context = measures.Context(subject, arguments.images, 14, 0, 0, arguments.seed)
    generator = universal_rule.held_out(subject.name, arguments.cache, arguments.seed)
    rules = our_rules.path(
        subject,
        arguments.cache,
        False,
        arguments.seed,
        lambda model: universal_rule.wrapped(model, generator),
    )
    keras.utils.set_random_seed(arguments.seed)
    images = subject.train[: arguments.teachers]
    teacher = tlp.wrap_model(subject.model, rule=str(rules))
    refined = teacher.explain(images, refine_steps=arguments.refine_steps)
    ways = {
        "before": teacher.explain,
        "before, refined": lambda x, y: teacher.explain(x, y, refine_steps=arguments.refine_steps),
    }
    _, batch_size = our_rules.schedule(subject.name, quick=False)
    likeness = {}
    for weight in arguments.weights:
        wrapped = tlp.wrap_model(subject.model, rule=str(rules))
        name = f"after, weight {weight:g}"
        likeness[name] = distil(wrapped, images, refined, weight, arguments.steps, batch_size, arguments.seed)
        ways[name] = wrapped.explain
    results, rows = {}, []
    for name, explain in ways.items():
        found = measures.fidelity(context, np.asarray(explain(context.images, context.labels)))
        results[name] = {key: np.asarray(value).tolist() for key, value in found.items()}
        cells = [tables.interval(results[name][key]) for key in ("fidelity", "fidelity_unseen")]
        rows.append([name, *cells, f"{likeness[name]:.3f}" if name in likeness else ""])
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{subject.name}.json").write_text(json.dumps(results))
    print(tables.table(["", "ins−del, 5 fills", "unseen fills", "r with refined maps, training"], rows))


if __name__ == "__main__":
    main()
