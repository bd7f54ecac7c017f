"""Do maps lie on evidence that is known? Our rules before and after training, and other methods.

Each image shows a box that decides its class (`evaluation/known_images.py`). A map is judged by the share of
its highest pixels in that box, as many as the box has, and by the share of its positive values there. The
last row of a table is the best map that is constant on patches of four pixels: more is hard for a token
model. `placed` is a table of models that crop, pad, slice and flip images, or take two
(`evaluation/known_placed.py`).

Series show patterns: motifs in DNA, bursts in noise (`evaluation/known_series.py`). A map is also judged by
its correlation with mutagenesis, or with what windows of zeros do.

Results are kept in RESULTS/known_answer.jsonl.
"""

import functools
from typing import NamedTuple

import keras
import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import images as data
from benchmarks.evaluation import (
    known_images,
    known_placed,
    known_series_models,
    known_series_table,
    learned_rules,
    measures,
    methods,
    options,
    results,
    subjects,
    tables,
)

#: Points of an insertion or deletion curve, without the first.
CURVE_STEPS = 14
ORACLE = "best map of patches of 4"


class Row(NamedTuple):
    """Rules and a readout, before or after training.

    Attributes:
        rule: Name of a rule.
        readout: Name of a readout; None for the default of the model.
        trained: Whether `learned_rules.fit` trains them.
    """

    rule: str
    readout: str | None = None
    trained: bool = False


#: Our rows by name; those that end in "trained" are compared with the same without.
ROWS = {
    "universal rule": Row("universal"),
    "universal rule, trained": Row("universal", trained=True),
    "layer weights alone": Row("gradient", "multi_layer"),
    "layer weights alone, trained": Row("gradient", "multi_layer", trained=True),
    "learned rule, input readout": Row("learned", "input"),
    "learned rule, input readout, trained": Row("learned", "input", trained=True),
    "gradient × input": Row("gradient", "input"),
}


def peers(model):
    """Other methods for a model, a list of `Method`."""
    found = [method for method in methods.baselines(0) if method.name != "Sobel edges"]
    return found + methods.peers(model, names=("grad_cam", "attention_rollout", "gradient_x_attention"))


def patch_oracle(masks, patch=4):
    """Maps that give each patch the share of the evidence in it, float `[n, h, w]`."""
    count, height, width = masks.shape
    shares = masks.reshape(count, height // patch, patch, width // patch, patch).mean((2, 4))
    return shares.repeat(patch, 1).repeat(patch, 2)


def measured(context, maps):
    """Dict from measures to one value for each image."""
    values = measures.known_answer(context, maps)
    ranks = values["known_ranks"]
    for kind, classes in known_images.KINDS.items():
        values[f"known_ranks/{kind}"] = ranks[np.isin(context.labels, classes)]
    fidelity = measures.fidelity(context, maps)
    return {**values, **{name: fidelity[name] for name in ("fidelity", "fidelity_unseen")}}


def explained(context, row, steps):
    """Maps of a row."""
    keras.utils.set_random_seed(context.seed)
    wrapped = tlp.wrap_model(context.subject.model, rule=row.rule, readout=row.readout)
    if row.trained:
        _, batch_size = learned_rules.schedule("known", quick=False)
        learned_rules.fit(wrapped, context.subject.train, steps, batch_size, context.seed)
    return wrapped.explain(context.images, context.labels)


def add_options(parser):
    names = (*subjects.KNOWN, known_placed.NAME, *known_series_models.NAMES)
    options.add_subjects(parser, names, names)
    parser.add_argument("--series", type=options.at_least(1), default=8, help="test series at most")
    parser.add_argument("--images", type=options.at_least(1), default=96, help="test images at most")
    parser.add_argument("--steps", type=options.at_least(1), default=300, help="of training")
    parser.add_argument("--untrained", action="store_true", help="train nothing, which takes minutes a row")
    options.add_seed(parser)


def run(arguments):
    store = results.ResultStore(arguments.results / "known_answer.jsonl")
    chapters = []
    for name in arguments.subjects:
        if name == known_placed.NAME:
            chapters.append(known_placed.chapter(store, arguments))
            print(chapters[-1], flush=True)
            continue
        if name in known_series_models.NAMES:
            chapters.append(known_series_table.chapter(name, store, arguments))
            print(chapters[-1], flush=True)
            keras.backend.clear_session()
            continue
        try:
            subject = subjects.load(name, arguments.results / "cache")
        except data.MissingData as reason:
            chapters.append(f"## {name}\n\nLeft out: {reason}.")
            continue
        chapters.append(_chapter(subject, store, arguments))
        print(chapters[-1], flush=True)
        keras.backend.clear_session()
    path = arguments.results / "known_answer.md"
    path.write_text("\n\n".join(chapters) + "\n", encoding="utf-8")


def _chapter(subject, store, arguments):
    """The tables of one subject."""
    context = measures.Context(subject, arguments.images, CURVE_STEPS, 0, 0, arguments.seed)
    kept = functools.partial(_kept, context, store)
    found = {}
    for name, row in ROWS.items():
        if not (row.trained and arguments.untrained):
            settings = {"row": row._asdict(), "training_steps": arguments.steps if row.trained else 0}
            code = (*results.RULES, explained)
            found[name] = kept(settings, code, functools.partial(explained, context, row, arguments.steps))
    for method in peers(subject.model):
        (variant,) = method.variants

        def explain(method=method, variant=variant):
            return variant.form(method.explain(context.images, context.labels), context.images)

        try:
            found[method.name] = kept({"method": method.name}, results.PEERS, explain)
        except ValueError as reason:  # as for attention in windows
            print(f"{method.name} left out: {reason}", flush=True)
    found[ORACLE] = kept({"method": ORACLE}, (patch_oracle,), lambda: patch_oracle(context.masks))
    columns = [
        ("ranks", "known_ranks"),
        *((f"ranks, {kind}", f"known_ranks/{kind}") for kind in known_images.KINDS),
        ("mass", "known_mass"),
        ("ins−del, 5 fills", "fidelity"),
        ("unseen fills", "fidelity_unseen"),
    ]
    table = [
        [name, *(tables.interval(values[column]) for _, column in columns)] for name, values in found.items()
    ]
    heading = f"{len(context.images)} test images of the {subject.accuracy:.1%} that the model gets right."
    return "\n\n".join(
        [
            f"## {subject.name}",
            heading,
            tables.table(["", *(title for title, _ in columns)], table),
            *_gains(found, columns),
        ]
    )


def _kept(context, store, settings, code, explain):
    return store.get_or_compute(
        {"subject": [context.subject.name, context.subject.digest], **settings, **context.settings},
        (*results.MEASURES, *code, measured),
        lambda: measured(context, explain()),
    )


def _gains(found, columns):
    """A table of what training changed, paired by image; empty if nothing was trained."""
    rows = []
    for name in found:
        before = found.get(name.removesuffix(", trained"))
        if before is not found[name]:
            differences = (np.subtract(found[name][column], before[column]) for _, column in columns)
            rows.append([name, *(tables.interval(list(values)) for values in differences)])
    titles = ["", *(title for title, _ in columns)]
    return ["Trained less untrained, paired by image.", tables.table(titles, rows)] if rows else []
