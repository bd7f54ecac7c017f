"""Metrics of attribution maps, from any method: fidelity, localisation, sanity, complexity.

They take maps `[n, *spatial]` and a model as a callable from images to logits. No single one says that a
map is right: `docs/evaluation.md` says where each can be fooled, `report` puts together a few to go by.

**Streams.** Images and maps are arrays, or come in batches: a `tf.data.Dataset`, a `keras.utils.PyDataset` or
another iterable of batches, that ends. Of (images, labels) the images are taken. Measures need the whole set
(for its mean colour, another image as a fill, ranks …), so a stream is gathered into memory, in its order:
maps must be in the same, which a dataset that shuffles anew at each pass does not keep.

**Fills.** Insertion, deletion, degradation, µFidelity and infidelity replace pixels and look at the output of
one class. What replaces them, the *fill*, decides much of the result: a map can fit one fill. So judge by
several (`insertion_deletion`). A fill is a name, an array that fits the images (RISE's mean is `0.0` for
normalised images), or a callable from images to such an array. The names:

- `"mean"`: the colour `mean`, by default the mean of each channel over the images given.
- `"blur"`: `gaussian_blur`, RISE's; outside the image is `mean`.
- `"noise"`: Gaussian noise with the mean and standard deviation of each channel over the images given.
- `"image"`: another of the images given, drawn by `seed`.
- `"neighbours"`: `fill_from_neighbours`, in-painting by what is left around a pixel.
"""

from tf_learnprop.metrics._bootstrap import Interval, bootstrap_interval
from tf_learnprop.metrics._perturbing import fill_from_neighbours, gaussian_blur
from tf_learnprop.metrics.additivity import infidelity, mu_fidelity
from tf_learnprop.metrics.complexity import gini, high_frequency_energy, total_variation
from tf_learnprop.metrics.degradation import Degradation, degradation
from tf_learnprop.metrics.insertion_deletion import (
    Curve,
    InsertionDeletion,
    deletion,
    insertion,
    insertion_deletion,
)
from tf_learnprop.metrics.localisation import Mosaics, grid_pointing_game, mosaics, relevance_rank_accuracy
from tf_learnprop.metrics.report import Report, report
from tf_learnprop.metrics.robustness import max_sensitivity
from tf_learnprop.metrics.sanity import (
    Randomisation,
    Similarity,
    class_sensitivity,
    cosine_similarity_convergence,
    randomisation,
    similarity,
)

__all__ = [
    "Curve",
    "Degradation",
    "InsertionDeletion",
    "Interval",
    "Mosaics",
    "Randomisation",
    "Report",
    "Similarity",
    "bootstrap_interval",
    "class_sensitivity",
    "cosine_similarity_convergence",
    "degradation",
    "deletion",
    "fill_from_neighbours",
    "gaussian_blur",
    "gini",
    "grid_pointing_game",
    "high_frequency_energy",
    "infidelity",
    "insertion",
    "insertion_deletion",
    "max_sensitivity",
    "mosaics",
    "mu_fidelity",
    "randomisation",
    "relevance_rank_accuracy",
    "report",
    "similarity",
    "total_variation",
]
