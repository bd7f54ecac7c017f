"""The measures of a method's maps: dicts from names to one value for each image."""

import functools

import numpy as np

from tf_learnprop import metrics

#: RISE's blur, 11 pixels and sigma 5, at every image size: in proportion it would leave small images sharp.
BLUR = functools.partial(metrics.gaussian_blur, kernel=11, sigma=5.0)
FILLS = {"blur": BLUR, "mean": "mean", "noise": "noise", "image": "image", "neighbours": "neighbours"}
#: Fills that the training of rules never uses.
UNSEEN = ("image", "neighbours")
#: Cells a side of the mosaics.
GRIDS = (2, 3)
#: Images for max-sensitivity, which takes many maps.
SENSITIVITY_COUNT = 12


class Context:
    """A subject with the images that are measured, and the effort spent on them.

    Args:
        subject: `Subject`.
        count: int, number of images at most.
        steps: int, points of the insertion and deletion curves, without the first.
        samples: int, sets of µFidelity and squares of infidelity.
        mosaics: int, number of mosaics at most.
        seed: int.
    """

    def __init__(self, subject, count, steps, samples, mosaics, seed):
        self.subject, self.seed = subject, seed
        self.steps, self.samples, self.mosaics = steps, samples, mosaics
        self.images, self.labels = subject.test[:count], subject.labels[:count]
        self.masks = None if subject.masks is None else subject.masks[:count]

    @functools.cached_property
    def evaluation(self):
        """The model on these images, for the metrics to share."""
        return self.evaluate(self.images, self.labels)

    def evaluate(self, images, labels):
        """An `Evaluation` of other images with the same fills and seed."""
        return metrics.Evaluation(
            self.subject.forward, images, labels, fills=FILLS, batch_size=64, seed=self.seed
        )

    @property
    def settings(self):
        """Settings that results depend on, as JSON values."""
        return {
            "images": len(self.images),
            "steps": self.steps,
            "samples": self.samples,
            "mosaics": self.mosaics,
            "seed": self.seed,
        }


def fidelity(context, maps, images=None, labels=None):
    """Insertion, deletion and their difference: under each fill, over all, over those unseen in training."""
    evaluation = context.evaluation if images is None else context.evaluate(images, labels)
    result = metrics.insertion_deletion(evaluation, maps, step=-(-maps[0].size // context.steps))
    values = {"fidelity": result.scores}
    for fill in FILLS:
        values[f"insertion/{fill}"] = result.insertion[fill].scores
        values[f"deletion/{fill}"] = result.deletion[fill].scores
        values[f"fidelity/{fill}"] = values[f"insertion/{fill}"] - values[f"deletion/{fill}"]
    values["fidelity_unseen"] = np.mean([values[f"fidelity/{fill}"] for fill in UNSEEN], 0)
    return values


def degradation(context, maps):
    """LeRF − MoRF in tiles of 8 and of 14 pixels (for images of 224), filled from neighbours."""
    values = {}
    for pixels in (8, 14):
        tile = max(round(pixels * maps.shape[1] / 224), 1)
        tiles = (-(-maps.shape[1] // tile)) ** 2
        result = metrics.degradation(
            context.evaluation, maps, tile=tile, step=-(-tiles // context.steps), fill="neighbours"
        )
        values[f"degradation/{pixels}"] = result.scores
    return values


def correlation(context, maps):
    """µFidelity and infidelity, with the mean colour as the fill."""
    evaluation, samples = context.evaluation, context.samples
    return {
        "mu_fidelity": metrics.mu_fidelity(evaluation, maps, grid=min(9, maps.shape[1]), samples=samples),
        "infidelity": metrics.infidelity(evaluation, maps, samples=samples),
    }


def complexity(context, maps):
    """Gini index, total variation, share of energy in high frequencies."""
    return {
        "gini": metrics.gini(maps),
        "total_variation": metrics.total_variation(maps),
        "high_frequency": metrics.high_frequency_energy(maps),
    }


def class_sensitivity(context, maps, explain, least_likely):
    """Rank correlation between maps of the predicted and of the least likely class; lower is better."""
    others = explain(context.images, least_likely)
    return {"class_sensitivity": metrics.similarity(maps, others).rank_correlation}


def max_sensitivity(context, explain):
    """How much a map changes when its image hardly changes, on a few images."""
    images, labels = context.images[:SENSITIVITY_COUNT], context.labels[:SENSITIVITY_COUNT]
    return {"max_sensitivity": metrics.max_sensitivity(explain, images, labels, samples=3, seed=context.seed)}


def known_answer(context, maps):
    """Shares of the highest ranks, and of the positive values, that lie on the evidence if it is known."""
    if context.masks is None:
        return {}
    return {
        "known_ranks": metrics.mask_rank_accuracy(maps, context.masks),
        "known_mass": metrics.mask_mass_accuracy(maps, context.masks),
    }


def pointing(explain, mosaics):
    """Whether the map of a mosaic points at the cell of the class; means over the cells.

    Two measures: the grid pointing game, a share of the positive attribution; and the share of the highest
    ranks, which does not depend on where a map's zero is. Their names end in the number of cells a side.
    """
    cells = mosaics.labels.shape[1]
    side = int(cells**0.5)
    shares, ranks = [], []
    for cell in range(cells):
        maps = explain(mosaics.images, mosaics.labels[:, cell])
        shares.append(metrics.grid_pointing_game(maps, cell, grid=side))
        ranks.append(metrics.relevance_rank_accuracy(maps, cell, grid=side))
    return {f"pointing/{side}": np.mean(shares, 0), f"pointing_ranks/{side}": np.mean(ranks, 0)}
