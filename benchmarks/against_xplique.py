"""Compares our insertion, deletion and µFidelity with those of xplique.

Needs the extra `bench`, and TF_LEARNPROP_DATA for the images. Both sides get the same model, images, maps and
parameters: insertion from a blur and deletion to 0, of the softmax probability, in steps of equal size;
µFidelity of the logit, as Spearman's correlation, on a grid that divides the image.

- Insertion and deletion: xplique takes pixels of equal attribution in the order of `argsort`, we take them in
  a random order given by a seed. So maps are replaced by their ranks, with ties broken once for both.
- µFidelity, same sets: xplique gets the sets that our function draws. It adds up in float32, we add up in
  float64, which can swap the ranks of sets whose sums are nearly equal.
- µFidelity, own sets: each side draws its own, with several seeds; ± is the standard error over seeds. They
  differ by more than that because xplique removes each cell by a draw of its own, while we remove a fixed
  number of cells. A larger set has both a larger sum and a larger drop, so sets of different sizes correlate
  even for random maps of positive values.
"""

import keras
import numpy as np
import tensorflow as tf
import xplique.metrics as xplique

import tf_learnprop as tlp
from benchmarks.evaluation import images as data
from benchmarks.evaluation import methods, options, subjects
from tf_learnprop import metrics

#: Number of images, and of steps of the curves, a divisor of the number of pixels.
SUBJECTS = {"cifar_resnet20": (32, 16), "imagenet_lite0": (8, 14)}
GRID = 8
SUBSET = 0.2


def maps_of(subject, images, labels):
    """Three kinds of maps: noise, edges, and smooth maps that depend on the model."""
    explain = {method.name: method.explain for method in methods.baselines(seed=0)}
    return {
        "random": explain["random"](images, labels),
        "Sobel edges": explain["Sobel edges"](images, labels),
        "learned rules, untrained": tlp.wrap_model(subject.model, rule="learned").explain(images, labels),
    }


def curve_scores(subject, images, labels, maps, steps):
    """Dict from a measure to scores `[n]`: (ours, xplique's)."""
    pixels = maps[0].size
    order = maps.reshape(-1, pixels).argsort(1, kind="stable")
    ranks = order.argsort(1).reshape(maps.shape).astype(np.float32)
    probability = keras.Model(subject.model.inputs, keras.ops.softmax(subject.model.outputs[0]))

    def blur(images):
        return metrics.gaussian_blur(images, kernel=11, sigma=5.0)

    def both(ours, theirs, fill):
        mine = ours(subject.forward, images, ranks, labels, fill=fill, step=pixels // steps).scores
        return mine, _one_by_one(theirs, probability, images, labels, ranks, baseline_mode=fill, steps=steps)

    return {
        "deletion": both(metrics.deletion, xplique.Deletion, 0.0),
        "insertion": both(metrics.insertion, xplique.Insertion, blur),
    }


def mu_fidelity(forward, images, labels, maps, samples, seed):
    """Our µFidelity `[n]` with xplique's settings: ranks, on a grid, removed cells set to 0."""
    options = dict(grid=GRID, subset=SUBSET, samples=samples, correlation="spearman", fill=0.0, seed=seed)
    return metrics.mu_fidelity(forward, images, maps, labels, **options)


def of_same_sets(subject, images, labels, maps, samples):
    """µFidelity `[n]` with the same sets: (ours, xplique's)."""
    kept = _kept(images.shape[1:], samples)

    class SameSets(xplique.MuFidelity):
        def _perturb_samples(self, inputs, nb_perturbations):
            return inputs * kept, kept[None]

    options = dict(nb_samples=samples, batch_size=samples)  # all samples of an image at once
    theirs = _one_by_one(SameSets, subject.model, images, labels, maps, **options)
    return mu_fidelity(subject.forward, images, labels, maps, samples, seed=0), theirs


def _kept(shape, samples):
    """The pixels that our function keeps, float32 `[samples, h, w, 1]`, found on an image of ones."""
    seen = []

    def record(images):
        seen.append(images)
        return np.tile([0.0, 2.0], (len(images), 1))

    mu_fidelity(record, np.ones((1, *shape)), 1, np.ones((1, *shape[:2])), samples, seed=0)
    return np.concatenate(seen[1:])[..., :1]  # the first is the image as it is


def of_own_sets(subject, images, labels, maps, samples, seeds):
    """µFidelity, mean over the images, one value for each seed: (ours, xplique's)."""
    ours, theirs = [], []
    for seed in range(seeds):
        ours.append(mu_fidelity(subject.forward, images, labels, maps, samples, seed).mean())
        keras.utils.set_random_seed(seed)
        options = dict(grid_size=GRID, subset_percent=SUBSET, nb_samples=samples)
        theirs.append(_theirs(xplique.MuFidelity, subject.model, images, labels, maps, **options))
    return ours, theirs


def _theirs(measure, model, images, labels, maps, **options):
    one_hot = np.eye(model.output_shape[-1], dtype=np.float32)[labels]
    return measure(model, images, one_hot, **options)(tf.cast(maps, tf.float32))


def _one_by_one(measure, model, images, labels, maps, **options):
    """A value for each image: xplique returns the mean over its images, so it gets them one by one."""
    single = [slice(k, k + 1) for k in range(len(images))]
    return [_theirs(measure, model, images[k], labels[k], maps[k], **options) for k in single]


def _row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def compare(name, cache, samples, seeds):
    """Prints the rows of a subject."""
    count, steps = SUBJECTS[name]
    subject = subjects.load(name, cache)
    images, labels = subject.test[:count], subject.labels[:count]
    for kind, maps in maps_of(subject, images, labels).items():
        deterministic = {
            **curve_scores(subject, images, labels, maps, steps),
            "µFidelity, same sets": of_same_sets(subject, images, labels, maps, samples),
        }
        for measure, (ours, theirs) in deterministic.items():
            gap = np.subtract(ours, theirs)
            values = (f"{np.mean(ours):.5f}", f"{np.mean(theirs):.5f}", f"{gap.mean():+.1e}")
            _row(name, kind, measure, *values, f"{np.abs(gap).max():.1e}")
        drawn = of_own_sets(subject, images, labels, maps, samples, seeds)
        (ours, theirs), errors = np.mean(drawn, 1), np.std(drawn, 1, ddof=1) / np.sqrt(seeds)
        values = (f"{ours:.3f} ± {errors[0]:.3f}", f"{theirs:.3f} ± {errors[1]:.3f}")
        gap = f"{ours - theirs:+.3f} ± {np.hypot(*errors):.3f}"
        _row(name, kind, "µFidelity, own sets", *values, gap, "")


def add_options(parser):
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--samples", type=options.at_least(2), default=64, help="sets of µFidelity")
    parser.add_argument("--seeds", type=options.at_least(2), default=4, help="repetitions of µFidelity")


def run(arguments):
    titles = ("model", "maps", "measure", "ours", "xplique", "mean difference", "largest of an image")
    _row(*titles)
    _row(*["---"] * len(titles))
    for name in arguments.subjects:
        try:
            compare(name, arguments.results / "cache", arguments.samples, arguments.seeds)
        except data.MissingData as reason:
            print(f"{name} is left out: {reason}.")
