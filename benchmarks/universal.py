"""Trains the universal rule that comes with the package.

It is trained on the models of `evaluation/universal_rule.py` and written to
`tf_learnprop/universal/universal.weights.h5`, or to --out. How well it does on models that it never saw is
measured by `quality`, with rules that were trained on models of other families alone.
"""

import pathlib

from benchmarks.evaluation import options, results, universal_rule

PACKAGED = results.ROOT / "tf_learnprop" / "universal" / "universal.weights.h5"


def add_options(parser):
    parser.add_argument("--steps", type=options.at_least(1), default=universal_rule.STEPS)
    options.add_seed(parser)
    parser.add_argument("--out", type=pathlib.Path, default=PACKAGED, help="ends in .weights.h5")


def run(arguments):
    hypernetwork = universal_rule.train(
        universal_rule.TRAINED_ON, arguments.results / "cache", arguments.seed, arguments.steps
    )
    hypernetwork.save_weights(arguments.out)
