"""How many directions do features use? Measures of their spectrum, in float64 on the host.

None is a measure of quality between methods. RankMe and alpha-ReQ need features only, LiDAR several views of each record.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

LEAST = 3  # dimensions that a power law is fitted to


def rankme(x: np.ndarray, epsilon: float = 1e-7) -> float:
    """Effective rank: the exponential of the entropy of normalised singular values (Garrido et al. 2022, arXiv 2210.02885).

    x [N, F], not centred. `p = s / sum(s) + epsilon`; between 1 (all rows proportional) and min(N, F).
    """
    return effective_rank(energies(x), epsilon)


def effective_rank(energies: np.ndarray, epsilon: float = 1e-7) -> float:
    """`rankme` of squared singular values."""
    return _effective(np.sqrt(energies), epsilon)


def directions(x: np.ndarray) -> float:
    """Along how many directions rows lie: the exponential of the entropy of normalised squared singular values.

    x [N, F], not centred; the entropy is that of von Neumann (Kim et al. 2023, "VNE", arXiv 2304.01434). Between 1
    (all rows proportional, or all zero) and min(N, F). A long tail of small singular values, which `rankme` counts, weighs
    little here: one strong direction gives nearly 1.
    """
    energy = energies(x)
    p = energy / max(energy.sum(), 1e-300)
    return float(np.exp(-np.sum(p * np.log(np.maximum(p, 1e-300)))))


def alpha_req(x: np.ndarray, first: int = 12, last: int | None = None) -> float:
    """alpha of a power law: minus the slope of log eigenvalue over log rank, by least squares (Agrawal et al. 2022, eq. 3).

    x [N, F]; eigenvalues of the centred covariance, ranks `first` to `last` (1 is the largest; default: all that are above
    rounding). About 1 is where natural representations lie; much larger: few directions. With fewer than `first` + 3
    eigenvalues the fit begins at 1. NaN where fewer than three are left.
    """
    return power_law(energies(x - x.mean(axis=0, dtype=np.float64)), first, last)


def power_law(energies: np.ndarray, first: int = 12, last: int | None = None) -> float:
    """`alpha_req` of the squared singular values of centred features: a common factor changes no slope."""
    values = np.sort(energies)[::-1]
    present = min(int((values > 1e-12 * values[0]).sum()), last or len(values))
    begin = first if present >= first + LEAST - 1 else 1
    if present < begin + LEAST - 1:
        return float("nan")
    rank = np.arange(begin, present + 1)
    return float(-np.polyfit(np.log(rank), np.log(values[begin - 1 : present]), 1)[0])


def lidar(views: np.ndarray, delta: float = 1e-4, epsilon: float = 1e-8) -> float:
    """Effective rank of what tells records apart beyond their views (Thilak et al. 2023, arXiv 2312.04000, eq. 1 to 4).

    views [n, q, D]: embeddings of q views of n records. Eigenvalues of `Sw^-1/2 Sb Sw^-1/2`, where Sb is the covariance of
    the means over views (n - 1 degrees of freedom) and Sw that within records (n (q - 1)), plus `delta` on the diagonal;
    their entropy is that of `(l + epsilon) / sum(l + epsilon)`. At most min(n - 1, D).

    Raises:
      ValueError: fewer than two records or two views.
    """
    records, count, width = views.shape
    if records < 2 or count < 2:
        raise ValueError(f"{records} records of {count} views: LiDAR needs at least 2 of each")
    views = views.astype(np.float64)
    means = views.mean(axis=1)
    apart, around = (views - means[:, None]).reshape(-1, width), means - means.mean(axis=0)
    within = apart.T @ apart / (records * (count - 1)) + delta * np.eye(width)
    with threadpool_limits(1, user_api="blas"):
        root = _inverse_root(within)
        values = np.linalg.eigvalsh(root @ (around.T @ around / (records - 1)) @ root)
    return _effective(np.maximum(values, 0) + epsilon, 0.0)


def energies(x: np.ndarray) -> np.ndarray:
    """Squared singular values of x [N, F]: eigenvalues of the smaller Gram matrix, in float64.

    What that rounds away is below the `epsilon` of `rankme`.
    """
    x = np.asarray(x, np.float64)
    with threadpool_limits(1, user_api="blas"):  # on a busy machine the threads of a decomposition wait for each other
        return np.maximum(np.linalg.eigvalsh(x @ x.T if len(x) < x.shape[1] else x.T @ x), 0)


def _effective(values: np.ndarray, epsilon: float) -> float:
    """The exponential of the entropy of values that are made to sum to 1."""
    p = values / max(values.sum(), 1e-300) + epsilon
    return float(np.exp(-np.sum(p * np.log(p))))


def _inverse_root(matrix: np.ndarray) -> np.ndarray:
    values, axes = np.linalg.eigh(matrix)
    return (axes / np.sqrt(values)) @ axes.T
