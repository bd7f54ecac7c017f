"""One subject of `quality`: its methods and their results, computed or kept from earlier runs."""

import contextlib
import functools
import time

import keras
import numpy as np

import tf_learnprop as tlp
from benchmarks.evaluation import learned_rules, measures, methods, results, sanity, subjects, universal_rule
from tf_learnprop import metrics

OURS = "learned rules"
#: Methods of more passes than this are left out of max-sensitivity and the pointing game, which take many
#: maps. On the large models they are also left out of class correlation.
CHEAP = 20
#: Steps of the refinement; each runs what eight masks keep and what they leave, forwards and backwards.
REFINE_STEPS = (10, 20)
PASSES_OF_A_STEP = 8 * 2 * 2
#: Universal rules: name, and whether the subject's whole family was left out of the training.
UNIVERSAL = {"universal rule (family unseen)": True, "universal rule (model unseen)": False}
#: Of the randomised layers only the last and the first are measured: rules are trained anew at each.
SANITY_LAYERS = 2


class Comparison:
    """A subject, how much is spent on it, and the store of its results.

    Args:
        subject: `Subject`.
        store: `ResultStore`.
        cache: `pathlib.Path`, folder for rules that are trained here.
        count: int, test images at most; None for the default.
        quick: bool, few images and a short training.
        seed: int.
    """

    def __init__(self, subject, store, cache, count=None, quick=False, seed=0):
        self.subject, self.quick, self.seed = subject, quick, seed
        self._store, self._cache = store, cache
        self.large = large = subject.name.startswith(("imagenet", "animals"))
        self.context = measures.Context(
            subject,
            count=count or ((6 if large else 16) if quick else (40 if large else 100)),
            steps=8 if quick else (10 if large else 14),
            samples=32 if quick else (50 if large else 100),
            mosaics=4 if quick else 24,
            seed=seed,
        )
        self.rules = learned_rules.path(subject, cache, quick, seed)
        self._rise_masks = 200 if quick else (2000 if subject.name.startswith("imagenet") else 1000)
        self._least_likely = subjects.logits(subject.forward, self.context.images).argmin(1)
        self._mosaics = self._make_mosaics()
        self._enlarged_methods = {}

    def methods(self, model=None):
        """All methods for the subject's model, or for the same model at another image size."""
        model = model or self.subject.model
        trained = tlp.wrap_model(model, rule=self.rules)
        own = functools.partial(methods.Method, source="tf_learnprop")
        ours = [
            own(OURS, 2, trained.explain),
            own("untrained rules", 2, tlp.wrap_model(model, rule="learned").explain),
        ]
        if not self.quick:
            for name, family in UNIVERSAL.items():
                ours.append(own(name, 2, _when_asked(self._universal, model, family)))
            for steps in REFINE_STEPS:
                refined = functools.partial(trained.explain, refine_steps=steps)
                name = f"{OURS} ({steps} refinement steps)"
                ours.append(own(name, 2 + PASSES_OF_A_STEP * steps, refined))
        return ours + methods.methods(model, rise_masks=self._rise_masks, seed=self.seed)

    def result(self, method):
        """Dict with `passes`, `seconds` for an image, `variant`, and `measures`, one value for each image."""
        settings = {
            "subject": [self.subject.name, self.subject.digest],
            "method": method.name,
            "passes": method.passes,
            **self.context.settings,
            "mosaics": self._mosaic_counts,
        }
        code = (
            *results.MEASURES,
            *results.PEERS,
            Comparison._measured,
            Comparison._best_variant,
            Comparison._of_mosaics,
        )
        if method.source.startswith("tf_learnprop"):
            code += results.RULES
        if method.name.startswith(OURS):
            settings["rules"] = results.file_digest(self.rules)
        if method.source == "tf_learnprop.methods":
            settings["rise_masks"] = self._rise_masks
        return self._store.get_or_compute(settings, code, lambda: self._measured(method))

    def _measured(self, method):
        context = self.context
        variant = self._best_variant(method)
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
            **measures.known_answer(context, maps),
        }
        cheap = method.passes <= CHEAP
        if cheap:
            values |= measures.max_sensitivity(context, explain)
        if cheap or not self.large:
            values |= measures.class_sensitivity(context, maps, explain, self._least_likely)
        if cheap:
            for grid, mosaics in self._mosaics.items():
                values |= measures.pointing(self._of_mosaics(method.name, variant, grid), mosaics)
        return {"passes": method.passes, "seconds": seconds, "variant": variant.name, "measures": values}

    def sanity(self, retrain):
        """Sanity checks of our rules; `retrain` also trains rules anew on randomised models."""
        settings = {
            "subject": [self.subject.name, self.subject.digest],
            "seed": self.seed,
            "rules": results.file_digest(self.rules),
        }
        code = (*results.RULES, *results.MEASURES, *results.PEERS, "benchmarks/evaluation/sanity.py")
        # A result that also has rules trained anew will do where that is not asked for.
        if kept := self._store.get({**settings, "retrained": True}, code):
            return kept

        def compute():
            schedule = learned_rules.schedule(self.subject.name, quick=True) if retrain else None
            randomised = sanity.randomisation(self.subject, self.rules, SANITY_LAYERS, schedule, self.seed)
            found = sanity.convergence(self.subject, self.rules, self.seed)
            return {"randomisation": randomised, "convergence": found}

        return self._store.get_or_compute({**settings, "retrained": retrain}, code, compute)

    @property
    def heading(self):
        """What was measured, in one line."""
        context, subject = self.context, self.subject
        counts = [f"{count} of {grid} × {grid}" for grid, count in self._mosaic_counts.items()]
        mosaics = f"{' and '.join(counts) or 'no'} mosaics of images with confidence ≥ .9"
        return (
            f"{len(context.images)} test images of the {subject.accuracy:.1%} that the model gets right; "
            f"rules trained on {len(subject.train)} others; {context.steps} steps a curve, "
            f"{context.samples} samples, {mosaics}."
        )

    def _universal(self, model, family):
        """The model with a universal rule of other models' training, see `universal_rule.held_out`."""
        hypernetwork = universal_rule.held_out(self.subject.name, self._cache, self.seed, family)
        return universal_rule.wrapped(model, hypernetwork)

    @property
    def _mosaic_counts(self):
        return {grid: len(mosaics.images) for grid, mosaics in self._mosaics.items()}

    def _make_mosaics(self):
        """Dict from cells a side to mosaics of test images; without what can't be made."""
        if self.subject.enlarged is None:
            return {}
        test, found = self.subject.test, {}
        probabilities = keras.ops.softmax(subjects.logits(self.subject.forward, test)).numpy()
        for grid in measures.GRIDS:
            # About as many cells at each size.
            count = max(4 * self.context.mosaics // grid**2, 1)
            with contextlib.suppress(ValueError):  # too few classes
                found[grid] = metrics.mosaics(
                    test, self.subject.labels, probabilities, grid=grid, count=count, seed=self.seed
                )
        return found

    def _best_variant(self, method):
        """The variant that does best on the tune images."""
        if len(method.variants) == 1:
            return method.variants[0]
        images = self.subject.tune[: max(len(self.context.images) // 3, 4)]
        labels = subjects.logits(self.subject.forward, images).argmax(1)
        raw = method.explain(images, labels)
        scores = [
            measures.fidelity(self.context, variant.form(raw, images), images, labels)["fidelity"].mean()
            for variant in method.variants
        ]
        return method.variants[int(np.argmax(scores))]

    def _of_mosaics(self, name, variant, grid):
        """The same method for the model at the mosaics' size."""
        if grid not in self._enlarged_methods:
            enlarged = self.methods(self.subject.enlarged(grid))
            self._enlarged_methods[grid] = {method.name: method for method in enlarged}
        method = self._enlarged_methods[grid][name]
        return lambda images, targets: variant.form(method.explain(images, targets), images)


def _when_asked(wrap, *arguments):
    """`explain` of a model that is wrapped at its first call: making its rules can take long."""
    wrapped = functools.cache(lambda: wrap(*arguments))
    return lambda images, targets: wrapped().explain(images, targets)
