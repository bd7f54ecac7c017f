"""What learned rules bring over learned layer weights alone: both trained alike, on several models and seeds.

Layer weights alone are the weights of the multi-layer readout, over the plain gradient. Each difference is
paired by image: the mean over the seeds, with a 95 % bootstrap interval over the images. Results are kept in
RESULTS/rule_gain.jsonl, trained rules in RESULTS/cache.
"""

import functools

import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import learned_rules, measures, options, results, tables

#: Points of an insertion or deletion curve, without the first.
CURVE_STEPS = 14
#: What is trained, by the rule that starts it.
KINDS = {"learned": "rules", "gradient": "layer weights alone"}
MEASURES = {"ins−del, 5 fills": "fidelity", "unseen fills": "fidelity_unseen"}


def measured(context, rules):
    """Insertion and deletion of the maps of a rule file."""
    maps = tlp.wrap_model(context.subject.model, rule=rules).explain(context.images, context.labels)
    return measures.fidelity(context, maps)


def add_options(parser):
    options.add_subjects(parser, ["digits_swish", "mnist_inception", "cifar_resnet20"])
    parser.add_argument("--seeds", type=options.at_least(1), default=3, help="trainings of each")
    parser.add_argument("--steps", type=options.at_least(1), help="of training; default: as in quality")
    parser.add_argument("--images", type=options.at_least(1), default=60, help="test images at most")


def run(arguments):
    store = results.ResultStore(arguments.results / "rule_gain.jsonl")
    rows = []
    for subject in options.chosen_subjects(arguments):
        rows.append([subject.name, *_row(subject, store, arguments)])
        print(rows[-1], flush=True)
    titles = ["", "steps", *(f"{kind}, {title}" for title in MEASURES for kind in (*KINDS.values(), "gain"))]
    print(tables.table(titles, rows))


def _row(subject, store, arguments):
    steps = arguments.steps or learned_rules.schedule(subject.name, quick=False)[0]
    context = measures.Context(subject, arguments.images, CURVE_STEPS, 0, 0, 0)
    found = {}
    for rule in KINDS:
        found[rule] = []
        for seed in range(arguments.seeds):
            path = learned_rules.trained(subject, arguments.results / "cache", steps, seed, rule)
            settings = {
                "subject": [subject.name, subject.digest],
                "rules": results.file_digest(path),
                **context.settings,
            }
            code = (*results.RULES, *results.MEASURES, measured)
            compute = functools.partial(measured, context, path)
            found[rule].append(store.get_or_compute(settings, code, compute))
    cells = [steps]
    for measure in MEASURES.values():
        each = [np.mean([one[measure] for one in found[rule]], 0) for rule in KINDS]
        cells += [f"{values.mean():.3f}" for values in each]
        cells.append(tables.interval(list(each[0] - each[1])))
    return cells
