"""Compares our insertion, deletion and µFidelity with those of xplique, image by image.

    .venv-bench/bin/python benchmarks/against_xplique.py

Needs the extra `bench`, and TF_LEARNPROP_DATA for the images. Both sides get the same model, images, maps and
parameters: insertion from a blur and deletion to 0, of the softmax probability, with steps of equal size;
µFidelity of the logit, as Spearman's correlation, on a grid that divides the image.

Insertion and deletion are deterministic, up to ties: xplique takes pixels of equal attribution in the order of
`argsort`, ours at random by a seed. So the maps are replaced by their ranks, ties broken once for both.

µFidelity draws its sets, so both sides are averaged over seeds and compared within the standard error over seeds.
xplique removes each cell by a draw of its own, ours a fixed number of cells, so xplique's sets differ in size, and
larger sets have both a larger sum and a larger drop. The last column is xplique's measure with sets of the fixed
size: what remains to our value is then the difference of the implementations.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import xplique.metrics  # noqa: E402
from evaluation import methods, subjects  # noqa: E402

import tf_learnprop as tlp  # noqa: E402
from tf_learnprop import metrics  # noqa: E402

#: Name of the subject, images, steps of the curves (they divide the number of pixels).
SUBJECTS = (("cifar_resnet20", 32, 16), ("imagenet_lite0", 8, 14))
GRID = 8
SUBSET = 0.2


class FixedSizeMuFidelity(xplique.metrics.MuFidelity):
    """xplique's µFidelity with `int(SUBSET · GRID²)` cells in every set."""

    def _perturb_samples(self, inputs, nb_perturbations):
        chance = tf.random.uniform((nb_perturbations, GRID**2))
        place = tf.argsort(tf.argsort(chance, 1), 1)
        keep = tf.cast(place >= int(SUBSET * GRID**2), tf.float32)
        keep = tf.reshape(keep, (nb_perturbations, GRID, GRID, 1))
        keep = tf.image.resize(keep, inputs.shape[1:3], method="nearest")[None]
        perturbed = inputs[:, None] * keep
        return tf.reshape(perturbed, (-1, *inputs.shape[1:])), tf.repeat(keep, len(inputs), 0)


def blur(images):
    return metrics.gaussian_blur(images, kernel=11, sigma=5.0)


def maps_of(subject, images, labels):
    """Maps of three kinds: noise, edges, and smooth ones that follow the model."""
    explain = {method.name: method.explain for method in methods.baselines(seed=0)}
    return {
        "random": explain["random"](images, labels),
        "Sobel edges": explain["Sobel edges"](images, labels),
        "learned rules, untrained": tlp.wrap_model(subject.model).explain(images, labels),
    }


def curve_scores(subject, images, labels, maps, steps):
    """Scores of the images by measure, (ours `[n]`, xplique's `[n]`)."""
    flat = maps.reshape(len(maps), -1)
    ranks = flat.argsort(1, kind="stable").argsort(1).reshape(maps.shape).astype(np.float32)
    probability = keras.Model(subject.model.inputs, keras.ops.softmax(subject.model.outputs[0]))
    one_hot = np.eye(probability.output_shape[-1], dtype=np.float32)[labels]

    def theirs(measure, baseline):
        # xplique gives the mean over its images, so it gets them one by one.
        return [
            measure(probability, images[k : k + 1], one_hot[k : k + 1], steps=steps, baseline_mode=baseline)(
                ranks[k : k + 1]
            )
            for k in range(len(images))
        ]

    ours = dict(step=flat.shape[1] // steps)
    arguments = (subject.forward, images, ranks, labels)
    return {
        "deletion": (
            metrics.deletion(*arguments, fill=0.0, **ours).scores,
            theirs(xplique.metrics.Deletion, 0.0),
        ),
        "insertion": (
            metrics.insertion(*arguments, fill=blur, **ours).scores,
            theirs(xplique.metrics.Insertion, blur),
        ),
    }


def mu_fidelities(subject, images, labels, maps, samples, seeds):
    """Means over the images, one a seed: ours, xplique's, xplique's with sets of a fixed size."""
    one_hot = np.eye(subject.model.output_shape[-1], dtype=np.float32)[labels]
    shared = dict(grid_size=GRID, subset_percent=SUBSET, nb_samples=samples)
    ours, theirs, fixed = [], [], []
    for seed in range(seeds):
        values = metrics.mu_fidelity(
            subject.forward,
            images,
            maps,
            labels,
            grid=GRID,
            subset=SUBSET,
            samples=samples,
            correlation="spearman",
            fill=0.0,
            seed=seed,
        )
        ours.append(values.mean())
        for measure, results in ((xplique.metrics.MuFidelity, theirs), (FixedSizeMuFidelity, fixed)):
            keras.utils.set_random_seed(seed)
            results.append(measure(subject.model, images, one_hot, **shared)(maps.astype(np.float32)))
    return ours, theirs, fixed


def _spread(values):
    """Mean, and its standard error over seeds."""
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=64, help="sets of µFidelity")
    parser.add_argument("--seeds", type=int, default=4, help="repetitions of µFidelity, at least 2")
    parser.add_argument("--subjects", default=",".join(name for name, _, _ in SUBJECTS), help="by commas")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds must be at least 2. Received: {arguments.seeds}")
    chosen = arguments.subjects.split(",")
    if unknown := set(chosen) - {name for name, _, _ in SUBJECTS}:
        parser.error(
            f"--subjects must be of {[name for name, _, _ in SUBJECTS]}. Received: {sorted(unknown)}"
        )

    columns = "| model | maps | measure | ours | xplique | difference | largest of an image | fixed size |"
    print(columns, "|" + " --- |" * 8, sep="\n")
    for name, count, steps in SUBJECTS:
        if name not in chosen:
            continue
        subject = subjects.load(name, pathlib.Path("results/quality/cache"))
        images, labels = subject.test[:count], subject.labels[:count]
        for kind, maps in maps_of(subject, images, labels).items():
            for measure, (ours, theirs) in curve_scores(subject, images, labels, maps, steps).items():
                gap = np.subtract(ours, theirs)
                print(
                    f"| {name} | {kind} | {measure} | {np.mean(ours):.5f} | {np.mean(theirs):.5f} "
                    f"| {gap.mean():+.1e} | {np.abs(gap).max():.1e} | |",
                    flush=True,
                )
            values = mu_fidelities(subject, images, labels, maps, arguments.samples, arguments.seeds)
            (ours, error), (theirs, their_error), (fixed, fixed_error) = map(_spread, values)
            print(
                f"| {name} | {kind} | µFidelity | {ours:.3f} ± {error:.3f} | {theirs:.3f} ± {their_error:.3f} "
                f"| {ours - theirs:+.3f} ± {np.hypot(error, their_error):.3f} | "
                f"| {fixed:.3f} ± {fixed_error:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
