"""Quality over the steps and seconds of training, from the plain start and from the universal rule.

The universal rule is one that never saw a model of this family. Measured is insertion − deletion over five
fills on test images; the clock stands still meanwhile. Kept in RESULTS/training_time.jsonl, drawn to
RESULTS/training_time/SUBJECT.png.
"""

import time

import keras
import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import learned_rules, measures, options, results, subjects, universal_rule
from tf_learnprop import metrics

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
    """Draws the figure: a line for each start, with its 95 % bootstrap band."""

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


def measured(context, wrap, steps):
    """The rows of `Checkpoints` of a training that starts from what `wrap` makes of the model."""
    subject, seed = context.subject, context.seed
    _, batch_size = learned_rules.schedule(subject.name, quick=False)
    wrapped = wrap(subject.model)
    keras.utils.set_random_seed(seed)
    watch = Checkpoints(context, STEPS)
    learned_rules.fit(wrapped, subject.train, steps, batch_size, seed, callbacks=[watch])
    return watch.rows


def add_options(parser):
    options.add_subject(parser)
    parser.add_argument("--steps", type=options.at_least(1), default=500)


def run(arguments):
    cache = arguments.results / "cache"
    subject = subjects.load(arguments.subject, cache)
    context = measures.Context(subject, arguments.images, 14, 0, 0, arguments.seed)
    store = results.ResultStore(arguments.results / "training_time.jsonl")

    def universal(model):
        hypernetwork = universal_rule.held_out(subject.name, cache, arguments.seed)
        return universal_rule.wrapped(model, hypernetwork)

    runs = {}
    for name, wrap in {"plain start": tlp.wrap_model, "from the universal rule": universal}.items():
        print(name, flush=True)
        runs[name] = store.get_or_compute(
            {
                "subject": [subject.name, subject.digest],
                "start": name,
                "training_steps": arguments.steps,
                **context.settings,
            },
            (*results.RULES, *results.MEASURES, Checkpoints, measured),
            lambda wrap=wrap: measured(context, wrap, arguments.steps),
        )
    path = arguments.results / "training_time" / f"{subject.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(runs, path)
    print(f"written to {path}")
