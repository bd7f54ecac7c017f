"""Metrics of attribution maps from any method: fidelity, localisation, sanity, complexity.

They take maps `[n, *spatial]` and a model, which is a callable from images to logits. No single metric says
that a map is right: `docs/evaluation.md` says how each can be fooled, and `report` puts a few of them
together.

**Two forms.** Many metrics need a model, its images and the classes to follow. An `Evaluation` holds them: it
checks the images and runs the model on them once, and then measures any number of maps. For one-off use the
same functions also take all that an `Evaluation` is made of.

```python
evaluation = tlp.metrics.Evaluation(model, images, targets, fills=("mean", "blur"), seed=1)
tlp.metrics.insertion_deletion(evaluation, maps)
tlp.metrics.mu_fidelity(evaluation, maps, samples=100)

tlp.metrics.mu_fidelity(model, images, maps, targets, samples=100, seed=1)  # the same, one-off
```

**Streams.** Images and maps are arrays, or come in batches: a `tf.data.Dataset`, a `keras.utils.PyDataset` or
another iterable of batches that has an end. Of (images, labels) the images are taken. The metrics need the
whole set, for its mean colour or for ranks for example, so streams become arrays in memory. Their order must
be the same each time; a dataset that shuffles again at each pass does not keep it.

**Fills.** Insertion, deletion, degradation, µFidelity and infidelity replace pixels and look at the output of
one class. What replaces pixels, the *fill*, decides much of the result, and a map can fit one fill. So it is
better to use several (`insertion_deletion`). A fill is a name, an array that fits the images (RISE's mean is
`0.0` for normalised images), or a callable from images to such an array. The names are:

- `"mean"`: the colour `mean`, by default the mean of each channel over the images.
- `"blur"`: `gaussian_blur`, the blur of RISE. Outside the image everything counts as `mean`.
- `"noise"`: Gaussian noise with the mean and standard deviation of each channel over the images.
- `"image"`: another one of the images, drawn at random.
- `"neighbours"`: `fill_from_neighbours`, in-painting from the kept pixels around a pixel.
"""

from tf_learnprop.metrics._bootstrap import Interval, bootstrap_interval
from tf_learnprop.metrics._comparison import Comparison, Cost, Measure, Standing
from tf_learnprop.metrics._report_table import Report
from tf_learnprop.metrics.additivity import infidelity, mu_fidelity, single_deletion
from tf_learnprop.metrics.comparison import compare
from tf_learnprop.metrics.complexity import gini, high_frequency_energy, total_variation
from tf_learnprop.metrics.degradation import Degradation, degradation
from tf_learnprop.metrics.evaluation import Evaluation
from tf_learnprop.metrics.ground_truth import (
    box_masks,
    mask_auc,
    mask_iou,
    mask_mass_accuracy,
    mask_rank_accuracy,
    pointing_game,
)
from tf_learnprop.metrics.image_fills import fill_from_neighbours, gaussian_blur
from tf_learnprop.metrics.insertion_deletion import (
    Curve,
    InsertionDeletion,
    deletion,
    insertion,
    insertion_deletion,
)
from tf_learnprop.metrics.localisation import Mosaics, grid_pointing_game, mosaics, relevance_rank_accuracy
from tf_learnprop.metrics.randomisation import Randomisation, randomisation
from tf_learnprop.metrics.report import centre_blob, report
from tf_learnprop.metrics.robustness import max_sensitivity
from tf_learnprop.metrics.sanity import class_sensitivity, cosine_similarity_convergence, leak
from tf_learnprop.metrics.similarity import Similarity, similarity

__all__ = [
    "Comparison",
    "Cost",
    "Curve",
    "Degradation",
    "Evaluation",
    "InsertionDeletion",
    "Interval",
    "Measure",
    "Mosaics",
    "Randomisation",
    "Report",
    "Similarity",
    "Standing",
    "bootstrap_interval",
    "box_masks",
    "centre_blob",
    "class_sensitivity",
    "compare",
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
    "leak",
    "mask_auc",
    "mask_iou",
    "mask_mass_accuracy",
    "mask_rank_accuracy",
    "max_sensitivity",
    "mosaics",
    "mu_fidelity",
    "pointing_game",
    "randomisation",
    "relevance_rank_accuracy",
    "report",
    "similarity",
    "single_deletion",
    "total_variation",
]
