"""What each ingredient brings: rule forms, readouts, objectives and starts, each trained alike.

A row is trained on the subject's train images and measured on its test images, like in `quality`. Rows are
kept in RESULTS/ablation.jsonl: an interrupted run goes on, and a row whose settings or code have changed is
computed anew. The table is printed at the end.
"""

import pathlib
import tempfile
import time
from typing import NamedTuple

import keras

import tf_learnprop as tlp
from benchmarks.evaluation import learned_rules, measures, options, results, subjects, tables, universal_rule
from tf_learnprop import metrics, readouts

#: Images whose maps are compared with those of the model with its last layer randomised.
RANDOMISED = 16
#: Points of an insertion or deletion curve, without the first.
CURVE_STEPS = 14
UNFOCUSED = tlp.readouts.MultiLayerReadout(focus=0)


class Row(NamedTuple):
    """What is trained and measured.

    Attributes:
        rule: Name of a rule; "universal" is one that saw no model of the subject's family.
        readout: `Readout` or its name.
        objective: `Objective`, or None for no training.
    """

    rule: str = "learned"
    readout: str | tlp.readouts.Readout = "multi_layer"
    objective: tlp.objectives.Objective | None = None

    @property
    def settings(self):
        """The row as JSON values."""
        objective = self.objective and _described(self.objective)
        return {"rule": self.rule, "readout": _described(readouts.get(self.readout)), "objective": objective}


def _described(part):
    config = {name: value for name, value in part.get_config().items() if name != "name"}  # names are counted
    return {"class": type(part).__name__, **config}


def rows(seed):
    """Dict from names to `Row`s."""

    def guidance(**settings):
        return tlp.objectives.AreaGuidance(seed=seed, **settings)

    return {
        "untrained, input readout": Row("gradient", "input"),
        "untrained, multi-layer readout without focus": Row("gradient", UNFOCUSED),
        "untrained, multi-layer readout": Row("gradient"),
        "**default**: relevance rules, multi-layer readout": Row(objective=guidance()),
        "… from the universal rule": Row("universal", objective=guidance()),
        "… channel mixing": Row("channel_mixing", objective=guidance()),
        "… gradient: layer weights alone": Row("gradient", objective=guidance()),
        "… four masks a map": Row(objective=guidance(masks=4)),
        "… no competition for regions": Row(
            readout=tlp.readouts.MultiLayerReadout(region=0), objective=guidance()
        ),
        "… no focus": Row(readout=UNFOCUSED, objective=guidance()),
        "… input readout (the paper's form)": Row(readout="input", objective=guidance()),
        "… input readout, channel mixing": Row("channel_mixing", "input", guidance()),
        "… first choice alone": Row(objective=guidance(runner_up=0.0)),
        "… no cutmix": Row(objective=guidance(cutmix=0.0)),
        "… first choice alone, no cutmix": Row(objective=guidance(runner_up=0.0, cutmix=0.0)),
        "… fill: blur alone": Row(objective=guidance(fills=("blur",))),
        "… masked output guidance (the paper's, plainly read)": Row(
            objective=tlp.objectives.MaskedOutputGuidance(seed=seed)
        ),
    }


def measured(context, row, wrap, steps):
    """Trains and measures a row.

    Args:
        context: `measures.Context`.
        row: `Row`.
        wrap: Function from a model to the wrapped model before training.
        steps: int, steps of training.

    Returns:
        Dict from measures to one value for each image, and `seconds` of training.
    """
    subject, seed = context.subject, context.seed
    keras.utils.set_random_seed(seed)
    wrapped = wrap(subject.model)
    started = time.perf_counter()
    if row.objective is not None:
        _, batch_size = learned_rules.schedule(subject.name, quick=False)
        learned_rules.fit(wrapped, subject.train, steps, batch_size, seed, row.objective)
    seconds = time.perf_counter() - started
    maps = wrapped.explain(context.images, context.labels)
    least_likely = subjects.logits(subject.forward, context.images).argmin(1)
    return {
        "seconds": seconds,
        **measures.fidelity(context, maps),
        **measures.class_sensitivity(context, maps, wrapped.explain, least_likely),
        "randomised": _randomised(context, wrapped),
    }


def _randomised(context, wrapped):
    """Rank correlation with the maps of the model whose last layer is randomised, one for each image."""
    images, labels = context.images[:RANDOMISED], context.labels[:RANDOMISED]
    with tempfile.TemporaryDirectory() as folder:
        # The file also holds the readout, and rules without weights.
        rules = pathlib.Path(folder) / "rules.keras"
        wrapped.save_rules(rules)

        def explain(model, images):
            return tlp.wrap_model(model, rule=rules).explain(images, labels)

        found = metrics.randomisation(
            context.subject.model, images, explain, mode="cascading", layers=1, seed=context.seed
        )
    return found.rank_correlation[0]


def add_options(parser):
    options.add_subject(parser)
    parser.add_argument("--steps", type=options.at_least(1), default=200, help="of training, for each row")


def run(arguments):
    cache = arguments.results / "cache"
    subject = subjects.load(arguments.subject, cache)
    context = measures.Context(subject, arguments.images, CURVE_STEPS, 0, 0, arguments.seed)
    store = results.ResultStore(arguments.results / "ablation.jsonl")

    def wrap(row):
        if row.rule != "universal":
            return lambda model: tlp.wrap_model(model, rule=row.rule, readout=row.readout)
        return lambda model: universal_rule.wrapped(
            model, universal_rule.held_out(subject.name, cache, arguments.seed), row.readout
        )

    table = []
    for name, row in rows(arguments.seed).items():
        result = store.get_or_compute(
            {
                "subject": [subject.name, subject.digest],
                "row": row.settings,
                "training_steps": arguments.steps,
                **context.settings,
            },
            (*results.RULES, *results.MEASURES, measured, _randomised),
            lambda row=row: measured(context, row, wrap(row), arguments.steps),
        )
        columns = ("fidelity", "fidelity_unseen", "class_sensitivity", "randomised")
        cells = [tables.interval(result[column]) for column in columns]
        table.append([name, *cells, f"{result['seconds']:.0f}"])
        print(table[-1], flush=True)
    titles = ["", "ins−del, 5 fills", "unseen fills", "class corr.", "last layer randomised", "s of training"]
    print(tables.table(titles, table))
