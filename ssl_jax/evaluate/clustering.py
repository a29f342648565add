"""Do groups that were found without labels agree with the labels?"""

from __future__ import annotations

import numpy as np


def kmeans(x: np.ndarray, clusters: int, seed: int = 0, restarts: int = 3) -> np.ndarray:
    """The cluster [N] in [0, clusters) of each row of x [N, F]: k-means++ and Lloyd, the best of `restarts` by inertia."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums in one order, whatever machine this is
        return KMeans(clusters, n_init=restarts, random_state=seed).fit_predict(x.astype(np.float64)).astype(np.int32)


def agreement(found: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Normalised mutual information (arithmetic mean), adjusted Rand index and Hungarian accuracy of clusters [N].

    `nmi` and `accuracy` lie in [0, 1]; `ari` is 0 for a random partition and 1 for the same one.
    """
    from sklearn.metrics import adjusted_rand_score

    return {
        "nmi": nmi(found, labels),
        "ari": float(adjusted_rand_score(labels, found)),
        "accuracy": matched_accuracy(found, labels),
    }


def nmi(found: np.ndarray, labels: np.ndarray) -> float:
    """Normalised mutual information of clusters and classes [N], by the arithmetic mean of their entropies."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(labels, found))


def matched_accuracy(found: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy under the best one-to-one matching of clusters to classes (Kuhn 1955); clusters beyond the classes are wrong."""
    from scipy.optimize import linear_sum_assignment

    counts = together(found, labels)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def together(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many records are in each cluster and class, int [clusters, classes]."""
    counts = np.zeros((int(found.max()) + 1, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (found, labels), 1)
    return counts
