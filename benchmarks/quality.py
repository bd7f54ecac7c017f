"""Compares the learned maps with other methods' on eighteen models and six data sets.

All takes hours on two cores; --quick, two models and few images, 14 CPU minutes. Each (model, method) is kept
in RESULTS/quality.jsonl with one value an image for every measure: an interrupted run goes on, and results
whose settings or code have changed are measured anew. The tables are written to RESULTS/quality/full.md or
quick.md. The split of images is that of `evaluation/images.py`; data sets that the folder
TF_LEARNPROP_DATA does not have are left out, and the tables say so.
"""

import argparse
import time

import keras
import numpy as np

from benchmarks.evaluation import comparison, images, options, results, subjects, tables

QUICK = ("digits_swish", "cifar_resnet20")
SUMMARIES = {"fidelity": "five fills", "fidelity_unseen": "fills unseen in training"}


def chosen_subjects(text):
    """An argparse type: dict from subjects to numbers of images, None where none is given."""
    counts = {}
    for one in text.split(","):
        name, colon, count = one.partition(":")
        if name not in subjects.NAMES or (colon and not (count.isdecimal() and int(count))):
            raise argparse.ArgumentTypeError(
                f"must be of {', '.join(subjects.NAMES)}, or such a name, a colon and a number of images "
                f"above 0. Received: {one}"
            )
        counts[name] = int(count) if colon else None
    return counts


def add_options(parser):
    parser.add_argument("--quick", action="store_true", help="few images, two models")
    parser.add_argument(
        "--subjects",
        type=chosen_subjects,
        metavar="NAME[:IMAGES],...",
        help=f"subjects, with their own number of images after a colon; of {', '.join(subjects.NAMES)}",
    )
    parser.add_argument("--methods", help="names of methods, separated by commas; ours are always measured")
    parser.add_argument(
        "--keep-rules", action="store_true", help="train no rules on randomised models, which takes long"
    )
    parser.add_argument("--images", type=options.at_least(1), help="test images of each subject at most")
    options.add_seed(parser)


def run(arguments):
    counts = arguments.subjects or dict.fromkeys(QUICK if arguments.quick else subjects.NAMES)
    cache = arguments.results / "cache"
    store = results.ResultStore(arguments.results / "quality.jsonl")
    path = arguments.results / "quality" / ("quick.md" if arguments.quick else "full.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    chapters, every, started = [], {}, time.perf_counter()
    for name, count in counts.items():
        try:
            subject = subjects.load(name, cache)
        except images.MissingData as reason:
            chapters.append(f"## {name}\n\nLeft out: {reason}.")
            continue
        compared = comparison.Comparison(
            subject, store, cache, count or arguments.images, arguments.quick, arguments.seed
        )
        found = every[name] = {}
        methods = compared.methods()
        asked = arguments.methods.split(",") if arguments.methods else [method.name for method in methods]
        if missing := set(asked) - {method.name for method in methods}:
            print(f"{name} has no methods {sorted(missing)}, but {[method.name for method in methods]}")
        for method in methods:
            if method.name not in (comparison.OURS, *asked):
                continue
            found[method.name] = compared.result(method)
            fidelity = np.mean(found[method.name]["measures"]["fidelity"])
            seconds = time.perf_counter() - started
            print(f"{seconds:6.0f} s  {name}  {method.name}  {fidelity:.3f}", flush=True)
        sanity = compared.sanity(retrain=not arguments.keep_rules)
        chapters.append(tables.markdown(name, compared.heading, found, comparison.OURS, sanity))
        keras.backend.clear_session()
        path.write_text(_page(every, chapters), encoding="utf-8")
    print(_page(every, chapters))


def _page(every, chapters):
    summaries = [
        f"Insertion − deletion, {title}.\n\n{tables.summary(every, measure)}"
        for measure, title in SUMMARIES.items()
        if every
    ]
    return "\n\n".join([*summaries, *chapters]) + "\n"
