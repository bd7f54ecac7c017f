"""Do maps of what is no class lie on evidence that is known? Regions, boxes, values, similarities, tokens.

Each case is a small model, trained here, and samples whose evidence is known by construction
(`target_images.py`, `target_series.py` and `target_texts.py` in `evaluation/`). A map is judged by the share
of its highest places on the evidence, as many as the evidence has (ranks), and by the share of its positive
values there (mass); of the cases that have them, by the mass on the marker and on the other object. Where
rules are trained as well, insertion − deletion is measured too, with the mean as fill.

Results are kept in RESULTS/targets.jsonl.
"""

import functools
import pathlib

import keras
import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import options, results, subjects, tables, target_cases
from benchmarks.evaluation.target_images import Known
from tf_learnprop import metrics

OURS = "universal rule"
_COLUMNS = {
    "ranks": "ranks",
    "mass": "mass",
    "on the marker": "marker",
    "on the other object": "other",
    "insertion − deletion": "fidelity",
}
#: Steps, samples in a step and learning rate of the training of rules.
_RULE_STEPS, _RULE_BATCH, _RULE_RATE = 100, 32, 5e-3
_MODELS = tuple(
    f"benchmarks/evaluation/{name}.py"
    for name in ("target_cases", "target_images", "target_models", "target_series", "target_texts")
)


def add_options(parser):
    options.add_subjects(parser, tuple(target_cases.CASES), target_cases.CASES)
    parser.add_argument("--samples", type=options.at_least(1), default=48, help="test samples at most")
    options.add_seed(parser)


def run(arguments):
    store = results.ResultStore(arguments.results / "targets.jsonl")
    chapters = []
    for name in arguments.subjects:
        chapters.append(_chapter(name, store, arguments))
        print(chapters[-1], flush=True)
        keras.backend.clear_session()
    (arguments.results / "targets.md").write_text("\n\n".join(chapters) + "\n", encoding="utf-8")


def kept_model(case: target_cases.Case, folder: pathlib.Path) -> keras.Model:
    """The model of a case, trained if none is kept in `folder`."""
    path = results.kept_file(folder / "cache", f"target_{case.model}", ".keras", {}, _MODELS)
    return subjects.kept(path, case.train)


def explainers(case: target_cases.Case) -> dict:
    """Functions from a model and `Known` to maps, by title."""

    def ours(model, known):
        return tlp.wrap_model(model, output=case.output).explain(known.inputs, case.target(model, known))

    def peer(settings, model, known):
        target = case.target(model, known)
        return tlp.explain(model, known.inputs, target, output=case.output, **settings)

    found = {OURS: ours}
    if case.trains_rules:
        found[f"{OURS}, trained"] = functools.partial(trained, case)
    return found | {title: functools.partial(peer, settings) for title, settings in case.peers.items()}


def trained(
    case: target_cases.Case, model: keras.Model, known: Known, steps: int = _RULE_STEPS
) -> np.ndarray:
    """Maps of rules that were trained for the model, on other samples."""
    keras.utils.set_random_seed(0)
    wrapped = tlp.wrap_model(model, output=case.output)
    wrapped.compile(keras.optimizers.Adam(_RULE_RATE, global_clipnorm=1.0))
    wrapped.fit(case.make(steps * _RULE_BATCH, 500).inputs, batch_size=_RULE_BATCH, epochs=1, verbose=0)
    return wrapped.explain(known.inputs, case.target(model, known))


def measured(maps: np.ndarray, known: Known) -> dict[str, np.ndarray]:
    """Dict from measures to one value for each sample."""
    mass = metrics.mask_mass_accuracy(maps, known.evidence)
    parts = {name: metrics.mask_mass_accuracy(maps, mask) for name, mask in known.parts.items()}
    return {"ranks": metrics.mask_rank_accuracy(maps, known.evidence), "mass": mass, **parts}


def _measured(case, model, known, maps):
    values = measured(maps, known)
    if case.trains_rules:
        wrapped, target = tlp.wrap_model(model, output=case.output), case.target(model, known)
        fidelity = metrics.insertion_deletion(wrapped, known.inputs, maps, target, fills="mean", step=2)
        values["fidelity"] = fidelity.scores
    return values


def tested(case: target_cases.Case, model: keras.Model, count: int, seed: int) -> tuple[Known, float]:
    """Samples that the model gets right, and its share of such."""
    known = case.make(2 * count, seed)
    is_right = case.is_right(model, known)
    chosen = np.flatnonzero(is_right)[:count]
    cut = {field: getattr(known, field)[chosen] for field in ("inputs", "evidence")}
    both = ({name: part[chosen] for name, part in of.items()} for of in (known.parts, known.asked))
    return Known(cut["inputs"], None, cut["evidence"], *both), float(is_right.mean())


def _chapter(name, store, arguments):
    case = target_cases.CASES[name]
    model = kept_model(case, arguments.results)
    known, accuracy = tested(case, model, arguments.samples, arguments.seed)
    settings = {"case": name, "digest": results.arrays_digest([*model.get_weights(), known.inputs])}
    rows = []
    for title, explain in explainers(case).items():
        values = store.get_or_compute(
            {**settings, "method": title, "peers": case.peers.get(title)},
            (*results.RULES, *results.PEERS, "tf_learnprop/targets", _measured, measured, trained),
            lambda explain=explain: _measured(case, model, known, explain(model, known)),
        )
        rows.append([title, *(tables.interval(values.get(column)) for column in _COLUMNS.values())])
    heading = f"{len(known.inputs)} samples of the {accuracy:.1%} that the model gets right."
    return "\n\n".join([f"## {name}", heading, tables.table(["", *_COLUMNS], rows)])
