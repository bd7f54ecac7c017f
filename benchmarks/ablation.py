"""What each ingredient brings: rule forms, readouts, objectives and starts, each trained alike.

    python benchmarks/ablation.py --subject cifar_resnet20

A row is trained on the subject's train images and measured on its test images, like `benchmarks/quality.py`.
Rows are kept as JSON, one a file, so that a run that was cut off goes on; the table is printed at the end.
"""

import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from evaluation import measures, our_rules, subjects, tables, universal_rule  # noqa: E402

import tf_learnprop as tlp  # noqa: E402
from tf_learnprop import metrics  # noqa: E402

#: Images whose maps are compared with those of the model with its last layer randomised.
RANDOMISED = 16


def rows(subject, generator, seed):
    """Dict from a row's name to (function that wraps a model, objective or None for no training).

    Args:
        subject: `Subject`.
        generator: `universal.HyperNetwork` that saw no model of the subject's family.
        seed: int.
    """

    def wrap(rule, readout):
        return lambda model: tlp.wrap_model(model, rule=rule, readout=readout)

    def guidance(**options):
        return tlp.objectives.AreaGuidance(seed=seed, **options)

    default = wrap("relevance", "multi_layer")
    unfocused = tlp.readouts.MultiLayerReadout(focus=0)
    return {
        "untrained, input readout": (wrap("gradient", "input"), None),
        "untrained, multi-layer readout without focus": (wrap("gradient", unfocused), None),
        "untrained, multi-layer readout": (wrap("gradient", "multi_layer"), None),
        "**default**: relevance rules, multi-layer readout": (default, guidance()),
        "… from the universal rule": (
            lambda model: universal_rule.wrapped(model, generator),
            guidance(),
        ),
        "… channel mixing": (wrap("channel_mixing", "multi_layer"), guidance()),
        "… gradient: layer weights alone": (wrap("gradient", "multi_layer"), guidance()),
        "… no focus": (wrap("relevance", unfocused), guidance()),
        "… input readout (the paper's form)": (wrap("relevance", "input"), guidance()),
        "… input readout, channel mixing": (wrap("channel_mixing", "input"), guidance()),
        "… first choice alone": (default, guidance(runner_up=0.0)),
        "… no cutmix": (default, guidance(cutmix=0.0)),
        "… first choice alone, no cutmix": (default, guidance(runner_up=0.0, cutmix=0.0)),
        "… fill: blur alone": (default, guidance(fills=("blur",))),
        "… masked output guidance (the paper's, plainly read)": (
            default,
            tlp.objectives.MaskedOutputGuidance(seed=seed),
        ),
    }


def measured(subject, context, wrap, objective, steps, seed, folder):
    """One row: dict from measures to lists of a value an image, and `seconds` of training."""
    keras.utils.set_random_seed(seed)
    wrapped = wrap(subject.model)
    started = time.perf_counter()
    if objective is not None:
        _, batch_size = our_rules.schedule(subject.name, quick=False)
        our_rules.fit(wrapped, subject.train, steps, batch_size, seed, objective)
    seconds = time.perf_counter() - started
    maps = wrapped.explain(context.images, context.labels)
    least_likely = subjects.logits(subject.forward, context.images).argmin(1)
    values = {
        **measures.fidelity(context, maps),
        **measures.class_sensitivity(context, maps, wrapped.explain, least_likely),
    }
    rules = folder / "rules.keras"
    wrapped.save_rules(rules)
    images, labels = context.images[:RANDOMISED], context.labels[:RANDOMISED]

    def kept(model, images):
        # The readout is the file's; a rule without weights is in it as well.
        return tlp.wrap_model(model, rule=str(rules)).explain(images, labels)

    found = metrics.randomisation(subject.model, images, kept, mode="cascading", layers=1, seed=seed)
    rules.unlink()
    values["randomised"] = found.rank_correlation[0]
    return {"seconds": seconds, **{name: np.asarray(value).tolist() for name, value in values.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--subject", default="cifar_resnet20", choices=subjects.NAMES)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--steps", type=int, default=200, help="of training, each row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("results/quality/cache"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/ablation"))
    arguments = parser.parse_args()
    subject = subjects.load(arguments.subject, arguments.cache)
    context = measures.Context(subject, arguments.images, 14, 0, 0, arguments.seed)
    generator = universal_rule.held_out(subject.name, arguments.cache, arguments.seed)
    folder = arguments.out / f"{subject.name}-{arguments.images}-{arguments.steps}-{arguments.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    table = []
    for number, (name, (wrap, objective)) in enumerate(rows(subject, generator, arguments.seed).items()):
        path = folder / f"{number:02}.json"
        if not path.exists():
            result = measured(subject, context, wrap, objective, arguments.steps, arguments.seed, folder)
            path.write_text(json.dumps({"name": name, **result}))
        result = json.loads(path.read_text())
        columns = ("fidelity", "fidelity_unseen", "class_sensitivity", "randomised")
        cells = [tables.interval(result[column]) for column in columns]
        table.append([name, *cells, f"{result['seconds']:.0f}"])
        print(table[-1], flush=True)
    titles = ["", "ins−del, 5 fills", "unseen fills", "class corr.", "last layer randomised", "s of training"]
    print(tables.table(titles, table))


if __name__ == "__main__":
    main()
