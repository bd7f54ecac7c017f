"""Metrics of attribution maps, from any method: fidelity, localisation, sanity, complexity.

They take maps `[n, *spatial]` and a model as a callable from images to logits. No single one says that a
map is right.
"""

from tf_learnprop.metrics._perturbing import fill_from_neighbours, gaussian_blur
from tf_learnprop.metrics.complexity import gini, high_frequency_energy, total_variation
from tf_learnprop.metrics.fidelity import (
    Curve,
    Degradation,
    InsertionDeletion,
    degradation,
    deletion,
    infidelity,
    insertion,
    insertion_deletion,
    max_sensitivity,
    mu_fidelity,
)
from tf_learnprop.metrics.localisation import Mosaics, grid_pointing_game, mosaics
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
    "Mosaics",
    "Randomisation",
    "Similarity",
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
    "similarity",
    "total_variation",
]
