"""Insertion − deletion under natural content: another photo, and the photo's own blocks in another order.

Under constant fills, maps can win by the shape of their masks. These two fills show what photos show. No
default was chosen by them, and the rules that come with the package never saw them. Rules that are trained
anew see `blocks`, unless `AreaGuidance(fills=...)` leaves it out. Each row is also compared with our first
row, photo by photo.
"""

import functools

import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import learned_rules, options, tables
from tf_learnprop import metrics

FILLS = ("image", "blocks")
#: Points of a curve, without the first.
STEPS = 14


def rows_of(subject, cache, names, masks):
    """The methods: titles, and functions from preprocessed images and class ids to maps."""
    yield "universal rule", tlp.wrap_model(subject.model).explain
    for title, option in {
        "… not guided": {"guided": False},
        "… names compete": {"contrast": "names"},
    }.items():
        readout = tlp.readouts.MultiLayerReadout(**option)
        yield title, tlp.wrap_model(subject.model, readout=readout).explain
    rules = learned_rules.path(subject, cache, quick=False, seed=0)
    yield "trained rules", tlp.wrap_model(subject.model, rule=rules).explain
    wrapped = tlp.wrap_model(subject.model, "gradient")
    for name in names:
        chosen = {"masks": masks} if name == "rise" else {}
        yield name, functools.partial(tlp.methods.make(wrapped, name, **chosen).explain, batch_size=64)


def add_options(parser):
    options.add_subjects(parser, ["imagenet_lite0"])
    parser.add_argument(
        "--methods", nargs="*", default=["grad_cam", "layer_cam"], help="names of `tlp.methods`"
    )
    parser.add_argument("--masks", type=options.at_least(1), default=1000, help="masks of RISE")
    parser.add_argument("--images", type=options.at_least(2), default=30, help="test images at most")


def run(arguments):
    for subject in options.chosen_subjects(arguments):
        images, labels = subject.test[: arguments.images], subject.labels[: arguments.images]
        evaluation = metrics.Evaluation(subject.forward, images, labels, fills=FILLS, batch_size=64)
        step = -(-images[0, ..., 0].size // STEPS)
        rows, first = [], None
        for title, explain in rows_of(
            subject, arguments.results / "cache", arguments.methods, arguments.masks
        ):
            curves = metrics.insertion_deletion(evaluation, np.asarray(explain(images, labels)), step=step)
            parts = {name: curves.insertion[name].scores - curves.deletion[name].scores for name in FILLS}
            both = curves.scores
            first = both if first is None else first
            cells = [tables.interval(list(values)) for values in (both, *parts.values(), first - both)]
            rows.append([title, *cells])
            print(subject.name, rows[-1], flush=True)
        print(
            tables.table([f"{subject.name}, {len(images)} images", "both", *FILLS, "behind the first"], rows)
        )
