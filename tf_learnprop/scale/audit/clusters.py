"""Clusters of the maps of one class: spectral relevance analysis (Lapuschkin et al., 2019).

The maps of a class that a model recognises in several ways, such as by the object and by a mark in a corner,
form several groups. Maps are compared by the Hellinger distance of their weights, in 0..1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tf_learnprop.scale import extras
from tf_learnprop.scale.audit.regions import Regions

_NEIGHBOURS = 10
_MOST = 8
#: Fewer maps than this are one cluster.
FEWEST = 30
#: Weight between all pairs, so that the graph of neighbours is connected (Amini et al., 2013).
_EVERYWHERE = 1e-3
#: Added to the eigenvalues: below it, they differ by chance.
_LEAST = 0.03


class Cluster(NamedTuple):
    """A cluster of a sample of maps.

    Attributes:
        members: int64 `[m]`. Places of its maps in the sample, the most typical first.
        mean: float64 `[h, w]`. Mean map.
        shares: float64 `[regions]`. Mean share of weight in each of `regions.NAMES`.
    """

    members: np.ndarray
    mean: np.ndarray
    shares: np.ndarray


def find(weights: np.ndarray, seed: int = 0) -> list[Cluster]:
    """Divides maps into clusters.

    The graph connects each map with its nearest neighbours. The number of clusters, at most eight, is where
    the eigenvalues of its Laplacian have the widest gap. Gaps are those of logarithms: in maps that differ
    little by little, such as by the place of an object, wider gaps follow further up.

    Args:
        weights: float `[n, h, w]`; each map sums to 1.
        seed: Seed of the clustering.

    Returns:
        The clusters, the largest first; a single one for few maps.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    labels = np.zeros(len(weights), int) if len(weights) < FEWEST else _labels(weights, seed)
    clusters = [_cluster(weights, np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return sorted(clusters, key=lambda cluster: -len(cluster.members))


def distances(weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Hellinger distances `[n, k]` between maps `[n, h, w]` and `[k, h, w]` that each sum to 1."""
    roots, others = (np.sqrt(maps.reshape(len(maps), -1).astype(np.float64)) for maps in (weights, means))
    return np.sqrt(np.clip(1 - roots @ others.T, 0, 1))


def _labels(weights: np.ndarray, seed: int) -> np.ndarray:
    from scipy.sparse import csgraph

    neighbors = extras.require("sklearn.neighbors", "audit")
    cluster = extras.require("sklearn.cluster", "audit")
    roots = np.sqrt(weights.reshape(len(weights), -1))
    graph = neighbors.kneighbors_graph(roots, min(_NEIGHBOURS, len(roots) - 1)).toarray()
    affinity = (graph + graph.T) / 2 + _EVERYWHERE / len(roots)
    eigenvalues = np.linalg.eigvalsh(csgraph.laplacian(affinity, normed=True))[: _MOST + 1]
    count = int(np.argmax(np.diff(np.log(np.maximum(eigenvalues, 0) + _LEAST)))) + 1
    if count == 1:
        return np.zeros(len(roots), int)
    model = cluster.SpectralClustering(
        count, affinity="precomputed", assign_labels="cluster_qr", random_state=seed
    )
    return model.fit_predict(affinity)


def _cluster(weights: np.ndarray, members: np.ndarray) -> Cluster:
    mean = weights[members].mean(0, dtype=np.float64)
    far = distances(weights[members], mean[None])[:, 0]
    shares = Regions(mean.shape).shares(mean[None])[0]
    return Cluster(members[np.argsort(far, kind="stable")], mean, shares)
