"""Trains the universal rule that comes with the package, on all models of `evaluation/universal_rule.py`.

    python benchmarks/universal.py

writes `tf_learnprop/backward/universal.weights.h5`. How it does on models that it never saw is measured by
`quality.py`, with rules trained on models of other families alone.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from evaluation import universal_rule  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=universal_rule.STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("results/quality/cache"))
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("tf_learnprop/backward/universal.weights.h5")
    )
    arguments = parser.parse_args()
    generator = universal_rule.train(
        universal_rule.TRAINED_ON, arguments.cache, arguments.seed, arguments.steps
    )
    generator.save_weights(arguments.out)


if __name__ == "__main__":
    main()
