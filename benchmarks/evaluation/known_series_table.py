"""A table of `known_answer` for a series: our maps and others, judged by known evidence."""

import functools

import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import known_series, known_series_models, results, series_answers, subjects, tables

#: Series that are tested, of which those of a pattern that the model gets right are explained.
_TESTED = 64
_COLUMNS = {"correlation": "correlation", "ranks": "ranks", "AUC": "area"}


def _ours(rule, readout=None):
    """Function from a model and its `KnownSeries` to maps."""

    def explain(model, shown):
        return tlp.wrap_model(model, rule, readout=readout).explain(shown.series, shown.labels)

    return explain


def _with_rule_of_images(model, shown):
    """Maps by the universal rule as it is on images, with the readout of series."""
    wrapped = tlp.wrap_model(model, "learned")
    own = wrapped.rule_set
    for rule in own.rules:
        rule.initial = "universal" if "universal" in rule.starts else rule.initial
    shape_of = {tlp.readouts.INPUT: model.input_shape, **dict(enumerate(own.shapes))}
    tlp.universal.initialise(own, [shape_of[position] for position in own.read], known_series.CLASSES)
    return wrapped.explain(shown.series, shown.labels)


def _integrated_gradients(model, shown):
    return series_answers.integrated_gradients(model, shown.series, shown.labels)


METHODS = {
    "default": _ours("universal"),
    "universal rule of images": _with_rule_of_images,
    "gradient × input": _ours("gradient"),
    "Integrated Gradients, 50 steps": _integrated_gradients,
    "Grad-CAM": _ours("gradient", "grad_cam"),
}


def chapter(name, store, arguments):
    """The table of one case of `known_series_models`."""
    case = known_series_models.CASES[name]
    path = results.kept_file(arguments.results / "cache", name, ".keras", {}, results.KNOWN_SERIES)
    model = subjects.kept(path, lambda: known_series_models.trained(case))
    tested = case.make(_TESTED, case.lengths[-1], arguments.seed)
    is_right = model.predict(tested.series, batch_size=16, verbose=0).argmax(1) == tested.labels
    chosen = np.flatnonzero(is_right & (tested.labels > 0))[: arguments.series]
    shown = known_series.KnownSeries(*(part[chosen] for part in tested))
    digest = results.arrays_digest([*model.get_weights(), *shown])
    kept = functools.partial(_kept, store, {"series": [name, digest], "seed": arguments.seed})
    effects = functools.cache(
        lambda: [series_answers.effect(model, *each) for each in zip(*shown, strict=True)]
    )
    rows = []
    for method, explain in METHODS.items():

        def compute(explain=explain):
            return measured(explain(model, shown), shown.masks, effects())

        values = kept(method, compute)
        rows.append([method, *(tables.interval(values[column]) for column in _COLUMNS.values())])
    count, length, right = len(chosen), case.lengths[-1], is_right.mean()
    heading = f"{count} series of {length:,} positions, of the {right:.1%} that the model gets right."
    return "\n\n".join([f"## {name}", heading, tables.table(["", *_COLUMNS], rows)])


def measured(maps, masks, effects):
    """Dict from measures to one value for each series."""
    pairs = list(zip(maps, masks, strict=True))
    return {
        "correlation": [effect.correlation(one) for one, effect in zip(maps, effects, strict=True)],
        "ranks": [series_answers.ranks(*pair) for pair in pairs],
        "area": [series_answers.area(*pair) for pair in pairs],
    }


def _kept(store, settings, method, compute):
    code = (*results.RULES, *results.KNOWN_SERIES, "benchmarks/evaluation/series_answers.py", measured)
    return store.get_or_compute({**settings, "method": method}, code, compute)
