"""Compares the learned maps with other methods' on nine models and five data sets.

    python benchmarks/quality.py --quick      # two models, few images, 14 CPU minutes
    python benchmarks/quality.py              # all; hours on two cores

Each (model, method) gets a JSON file with one value an image for every measure; a run that was cut off
goes on where it was, and results whose settings have changed are measured anew. The tables are written to
`tables.md` beside them. The split of images is that of `evaluation/subjects.py`; data sets whose
folder TF_LEARNPROP_DATA does not name are left out, which is said.
"""

import argparse
import functools
import hashlib
import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from evaluation import measures, methods, our_rules, sanity, subjects, tables, universal_rule  # noqa: E402

import tf_learnprop as tlp  # noqa: E402
from tf_learnprop import metrics  # noqa: E402

OURS = "learned rules"
#: Methods of more passes than this are left out of max-sensitivity, which takes many maps, and on the large
#: models of class correlation and the pointing game, which would take hours.
CHEAP = 20
#: Steps of the refinement; each runs what eight masks keep and what they leave, forwards and backwards.
REFINE_STEPS = (10, 20)
PASSES_A_STEP = 8 * 2 * 2
#: The universal rule made without any model of the subject's family, and without the subject's model alone.
UNIVERSAL = {"universal rule (family unseen)": True, "universal rule (model unseen)": False}
#: Of the randomised layers two are looked at, the last and the first: rules are trained anew at each.
SANITY_LAYERS = 2
QUICK = ("digits_swish", "cifar_resnet20")


class Run:
    """One subject, its context, and where its results lie."""

    def __init__(self, name, count, arguments, cache):
        self.quick, self.seed, self.cache = arguments.quick, arguments.seed, cache
        self.retrain = not arguments.keep_rules
        self.subject = subjects.load(name, cache)
        self.large = large = name.startswith(("imagenet", "animals"))
        self.context = measures.Context(
            self.subject,
            count=count or ((6 if large else 16) if self.quick else (40 if large else 100)),
            steps=8 if self.quick else (10 if large else 14),
            samples=32 if self.quick else (50 if large else 100),
            mosaics=4 if self.quick else 12,
            seed=self.seed,
        )
        self.wrap = tlp.wrap_model
        if not self.quick:  # the universal rule, made without any model of this family, takes minutes
            self.wrap = functools.partial(self._universal, family=True)
        self.rules = our_rules.path(self.subject, cache, self.quick, self.seed, self.wrap)
        self.rise_masks = 200 if self.quick else (2000 if name.startswith("imagenet") else 1000)
        self.folder = arguments.out / ("quick" if self.quick else "full") / name
        self.folder.mkdir(parents=True, exist_ok=True)
        logits = subjects.logits(self.subject.forward, self.context.images)
        self.least_likely = logits.argmin(1)
        self.mosaics = self._mosaics()
        self.enlarged_methods = None

    def methods(self, model):
        """All methods for the subject's model, or the same model for larger images."""
        ours = [
            methods.Method(OURS, 2, tlp.wrap_model(model, rule=str(self.rules)).explain),
            methods.Method("untrained rules", 2, tlp.wrap_model(model).explain),
        ]
        if not self.quick:
            for name, family in UNIVERSAL.items():
                ours.append(methods.Method(name, 2, _when_asked(self._universal, model, family)))
            for steps in REFINE_STEPS:
                refined = functools.partial(ours[0].explain, refine_steps=steps)
                name = f"{OURS} ({steps} refinement steps)"
                ours.append(methods.Method(name, 2 + PASSES_A_STEP * steps, refined))
        spread = float(np.ptp(self.subject.train))
        return ours + methods.methods(
            subjects.flat(model),
            spread=spread,
            rise_masks=self.rise_masks,
            sobol_designs=4 if self.quick else 32,
            seed=self.seed,
        )

    def _universal(self, model, family):
        """The model with the universal rule of other models' training, see `universal_rule.held_out`."""
        generator = universal_rule.held_out(self.subject.name, self.cache, self.seed, family)
        return universal_rule.wrapped(model, generator)

    def _mosaics(self):
        """Mosaics of test images, or None where too few classes have confident images."""
        test = self.subject.test
        probabilities = keras.ops.softmax(subjects.logits(self.subject.forward, test)).numpy()
        try:
            return metrics.mosaics(
                test, self.subject.labels, probabilities, count=self.context.mosaics, seed=self.seed
            )
        except ValueError:
            return None

    @property
    def heading(self):
        """What was measured, in a line."""
        context, subject = self.context, self.subject
        mosaics = f"{_count(self.mosaics) or 'no'} mosaics of images with confidence ≥ .9"
        return (
            f"{len(context.images)} test images of the {subject.accuracy:.1%} that the model gets right; "
            f"rules trained on {len(subject.train)} others; {context.steps} steps a curve, "
            f"{context.samples} samples, {mosaics}."
        )


def measured(run, method):
    """Results of one method, from its file as far as they are there."""
    path = run.folder / f"{method.name.replace(' ', '_').replace('/', '-')}.json"
    settings = {**run.context.settings, "passes": method.passes, "mosaics": _count(run.mosaics)}
    if method.name.startswith(OURS):
        settings["rules"] = hashlib.sha256(run.rules.read_bytes()).hexdigest()
    if kept := _read(path, settings):
        return kept
    context = run.context
    variant = _best_variant(run, method)
    method.explain(context.images[:2], context.labels[:2])  # traced before the clock starts

    def explain(images, targets):
        return variant.form(method.explain(images, targets), images)

    started = time.perf_counter()
    maps = explain(context.images, context.labels)
    seconds = (time.perf_counter() - started) / len(maps)
    values = {
        **measures.fidelity(context, maps),
        **measures.degradation(context, maps),
        **measures.correlation(context, maps),
        **measures.complexity(context, maps),
    }
    cheap = method.passes <= CHEAP
    if cheap:
        values |= measures.max_sensitivity(context, explain)
    if cheap or not run.large:
        values |= measures.class_sensitivity(context, maps, explain, run.least_likely)
    if run.mosaics and (cheap or not run.large):
        values |= measures.pointing(_of_mosaics(run, method.name, variant), run.mosaics)
    result = {
        "settings": settings,
        "passes": method.passes,
        "seconds": seconds,
        "variant": variant.name,
        "note": method.note,
        "measures": {name: np.asarray(value).tolist() for name, value in values.items()},
    }
    _write(path, result)
    return result


def sanity_of(run):
    """Sanity checks of our rules, from their file if that is there."""
    path = run.folder / "sanity.json"
    settings = {"seed": run.seed, "rules": hashlib.sha256(run.rules.read_bytes()).hexdigest()}
    for retrained in {True, run.retrain}:  # what was measured with more than is asked for will do
        if kept := _read(path, {**settings, "retrained": retrained}):
            return kept
    settings["retrained"] = run.retrain
    # Rules are trained anew once for each randomised layer.
    schedule = our_rules.schedule(run.subject.name, quick=True) if run.retrain else None
    result = {
        "settings": settings,
        "randomisation": sanity.randomisation(
            run.subject, run.rules, SANITY_LAYERS, schedule, run.seed, run.wrap
        ),
        "convergence": sanity.convergence(run.subject, run.rules, run.seed),
    }
    _write(path, result)
    return result


def _read(path, settings):
    """The result of an earlier run with the same settings, or None."""
    result = json.loads(path.read_text()) if path.exists() else {}
    return result if result.get("settings") == settings else None


def _write(path, result):
    """Writes a JSON file whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result))
    partial.replace(path)


def _best_variant(run, method):
    """The variant that does best on the tune images."""
    if len(method.variants) == 1:
        return method.variants[0]
    images = run.subject.tune[: max(len(run.context.images) // 3, 4)]
    labels = subjects.logits(run.subject.forward, images).argmax(1)
    raw = method.explain(images, labels)
    scores = [
        measures.fidelity(run.context, variant.form(raw, images), images, labels)["fidelity"].mean()
        for variant in method.variants
    ]
    return method.variants[int(np.argmax(scores))]


def _of_mosaics(run, name, variant):
    """The same method for the model at the mosaics' size."""
    if run.enlarged_methods is None:
        factor = run.mosaics.images.shape[1] // run.context.images.shape[1]
        run.enlarged_methods = {method.name: method for method in run.methods(run.subject.enlarged(factor))}
    method = run.enlarged_methods[name]
    return lambda images, targets: variant.form(method.explain(images, targets), images)


def _when_asked(wrap, *arguments):
    """`explain` of a model that is wrapped when it is first asked for: making its rules can take long."""
    wrapped = functools.cache(lambda: wrap(*arguments))
    return lambda images, targets: wrapped().explain(images, targets)


def _count(mosaics):
    return len(mosaics.images) if mosaics else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few images, two models")
    parser.add_argument(
        "--subjects",
        help=f"of {', '.join(subjects.NAMES)}; by commas, each with its own number of images if that "
        "follows after a colon",
    )
    parser.add_argument("--methods", help="names of methods, by commas; ours always")
    parser.add_argument(
        "--keep-rules", action="store_true", help="train none anew on randomised models, which takes long"
    )
    parser.add_argument("--images", type=int, help="test images of each subject at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results/quality"))
    arguments = parser.parse_args()
    asked = QUICK if arguments.quick else subjects.NAMES
    if arguments.subjects:
        asked = arguments.subjects.split(",")
    counts = {}
    for one in asked:
        name, colon, count = one.partition(":")
        if name not in subjects.NAMES or (colon and not (count.isdecimal() and int(count))):
            parser.error(
                f"--subjects must be of {', '.join(subjects.NAMES)}, or such a name, a colon and a number "
                f"of images above 0. Received: {one}"
            )
        counts[name] = int(count) if colon else arguments.images

    chapters, every, started = [], {}, time.perf_counter()
    for name, count in counts.items():
        try:
            run = Run(name, count, arguments, arguments.out / "cache")
        except subjects.MissingData as reason:
            chapters.append(f"## {name}\n\nLeft out: {reason}.")
            continue
        chosen = [
            method
            for method in run.methods(run.subject.model)
            if not arguments.methods or method.name in (OURS, *arguments.methods.split(","))
        ]
        results = {}
        for method in chosen:
            results[method.name] = measured(run, method)
            fidelity = np.mean(results[method.name]["measures"]["fidelity"])
            print(
                f"{time.perf_counter() - started:6.0f} s  {name}  {method.name}  {fidelity:.3f}", flush=True
            )
        every[name] = results
        chapters.append(tables.markdown(name, run.heading, results, OURS, sanity_of(run)))
        keras.backend.clear_session()
        text = "\n\n".join([*_summaries(every), *chapters]) + "\n"
        (arguments.out / ("quick" if arguments.quick else "full") / "tables.md").write_text(text)
    print("\n\n".join([*_summaries(every), *chapters]))


def _summaries(every):
    titles = {"fidelity": "five fills", "fidelity_unseen": "fills unseen in training"}
    return [
        f"Insertion − deletion, {title}.\n\n{tables.summary(every, name)}"
        for name, title in titles.items()
        if every
    ]


if __name__ == "__main__":
    main()
