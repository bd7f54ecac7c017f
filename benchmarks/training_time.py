"""Quality over the steps and seconds of training, from the plain start and from the universal rule.

    python benchmarks/training_time.py --subject cifar_resnet20

The universal rule is one that never saw a model of this family. Measured is insertion − deletion over five
fills on test images, the clock standing still for it. Writes JSON and a figure.
"""

import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from evaluation import measures, our_rules, subjects, universal_rule  # noqa: E402

import tf_learnprop as tlp  # noqa: E402
from tf_learnprop import metrics  # noqa: E402

STEPS = (0, 10, 25, 50, 100, 200, 300, 400, 500)


class Checkpoints(keras.callbacks.Callback):
    """Measures the maps after some of the steps.

    Args:
        context: `measures.Context`.
        steps: ints, in increasing order.
    """

    def __init__(self, context, steps):
        super().__init__()
        self.context, self.steps, self.rows = context, steps, []
        self.seconds = 0.0

    def on_train_begin(self, logs=None):
        self.rows, self.seconds = [], 0.0
        self._measure(0)

    def on_train_batch_begin(self, batch, logs=None):
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds += time.perf_counter() - self._started
        if batch + 1 in self.steps:
            self._measure(batch + 1)

    def _measure(self, step):
        maps = self.model.explain(self.context.images, self.context.labels)
        found = measures.fidelity(self.context, maps)
        row = {
            "step": step,
            "seconds": self.seconds,
            "fidelity": metrics.bootstrap_interval(found["fidelity"]),
            "unseen": metrics.bootstrap_interval(found["fidelity_unseen"]),
        }
        self.rows.append(row)
        print(f"step {step}  {self.seconds:.0f} s  {row['fidelity'].mean:.3f}", flush=True)


def draw(runs, path):
    """The figure: a line a start, with its 95 % bootstrap band."""

    def line(rows, measure):
        return [np.array([row["seconds"] for row in rows]), *np.array([row[measure] for row in rows]).T]

    titles = {"fidelity": "five fills", "unseen": "fills unseen in training"}
    panels = {
        "insertion − deletion": {
            title: {start: line(rows, measure) for start, rows in runs.items()}
            for measure, title in titles.items()
        }
    }
    figure = tlp.plotting.curves(panels, xlabel="seconds of training")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--subject", default="cifar_resnet20", choices=subjects.NAMES)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("results/quality/cache"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/training_time"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    subject = subjects.load(arguments.subject, arguments.cache)
    context = measures.Context(subject, arguments.images, 14, 0, 0, arguments.seed)
    generator = universal_rule.held_out(subject.name, arguments.cache, arguments.seed)
    starts = {
        "plain start": tlp.wrap_model(subject.model),
        "from the universal rule": universal_rule.wrapped(subject.model, generator),
    }
    _, batch_size = our_rules.schedule(subject.name, quick=False)
    runs = {}
    for name, wrapped in starts.items():
        print(name)
        keras.utils.set_random_seed(arguments.seed)
        watch = Checkpoints(context, STEPS)
        our_rules.fit(wrapped, subject.train, arguments.steps, batch_size, arguments.seed, callbacks=[watch])
        runs[name] = watch.rows
    path = arguments.out / f"{subject.name}.json"
    path.write_text(json.dumps(runs, indent=1))
    draw(runs, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
