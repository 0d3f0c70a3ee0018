"""Clustering of hold-out features: higher means classes are still told apart in the features.

k-means on the L2-normalised standardised features of the whole hold-out, with as many clusters as
the model has classes, forgotten ones included. On the forgotten class alone NMI is undefined, so
all of H is clustered and the forgotten class is read off by its best-matching cluster.
"""

import warnings
from collections.abc import Collection

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # no stubs
from torch import Tensor
from torch.nn import functional

from unlearning.errors import NotComputable


def cluster(features: Tensor, num_clusters: int, starts: int = 10, seed: int = 0) -> Tensor:
    """Assign [n, d] standardised features to clusters by k-means: [n] int64 on the CPU.

    Features are L2-normalised first. The best of `starts` k-means++ starts is kept; one thread
    and a fixed seed make it repeatable. Fewer distinct points than clusters leave clusters empty.

    Raises:
        NotComputable: fewer samples than clusters.
        ValueError: NaN or infinite features.
    """
    if len(features) < num_clusters:
        raise NotComputable(f"{len(features)} hold-out samples cannot form {num_clusters} clusters")
    if not torch.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values")
    points = functional.normalize(features.detach().float().cpu(), dim=1).numpy()
    kmeans = KMeans(num_clusters, n_init=starts, random_state=seed)
    # One thread: sums in a fixed order, and no waiting for a pool that is larger than the work.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(kmeans.fit_predict(points).astype(np.int64))


def nmi(clusters: Tensor, labels: Tensor) -> float:
    """Return 2·I(clusters; labels) / (H(clusters) + H(labels)), in [0, 1].

    Raises:
        NotComputable: no sample, or all labels equal (H(labels) = 0).
    """
    counts = contingency(clusters, labels)
    if counts.shape[1] < 2:
        raise NotComputable("normalised mutual information needs two classes in the hold-out")
    joint = counts / counts.sum()
    entropies = _entropy(joint.sum(dim=0)) + _entropy(joint.sum(dim=1))
    mutual = entropies - _entropy(joint.flatten())
    return float((2 * mutual / entropies).clamp(0, 1))


def pairwise_f1(clusters: Tensor, labels: Tensor) -> float:
    """Return F1 over *pairs* of samples, in [0, 1]: same cluster against same class.

    Raises:
        NotComputable: no two samples share a class.
    """
    counts = contingency(clusters, labels)
    both = _pairs(counts).sum()
    same_cluster, same_class = _pairs(counts.sum(dim=1)).sum(), _pairs(counts.sum(dim=0)).sum()
    if same_class == 0:
        raise NotComputable("no two hold-out samples share a class")
    return float(2 * both / (same_cluster + same_class))


def matched_f1(clusters: Tensor, labels: Tensor, classes: Collection[int]) -> float:
    """Return the mean F1 of `classes`, each with its cluster in the best one-to-one match.

    The match (Hungarian) maximises the sum of F1 over all classes of the hold-out; in [0, 1].

    Raises:
        NotComputable: none of `classes` occurs in the hold-out.
    """
    counts = contingency(clusters, labels)
    sizes = counts.sum(dim=1, keepdim=True) + counts.sum(dim=0, keepdim=True)
    scores = 2 * counts / sizes
    rows, columns = linear_sum_assignment(scores.numpy(), maximize=True)
    matched = torch.zeros(counts.shape[1], dtype=torch.float64)
    matched[columns] = scores[rows, columns]
    wanted = torch.isin(
        torch.unique(labels.cpu()), torch.tensor(sorted(classes), dtype=torch.int64)
    )
    if not wanted.any():
        raise NotComputable("the classes have no hold-out sample")
    return float(matched[wanted].mean())


def contingency(clusters: Tensor, labels: Tensor) -> Tensor:
    """Count samples of each (occurring cluster, occurring label): [clusters, labels] float64."""
    if clusters.shape != labels.shape or clusters.ndim != 1:
        raise ValueError(f"expected [n] and [n], got {clusters.shape} and {labels.shape}")
    if not clusters.numel():
        raise NotComputable("the hold-out is empty")
    row_names, rows = torch.unique(clusters.cpu(), return_inverse=True)
    column_names, columns = torch.unique(labels.cpu(), return_inverse=True)
    cells = torch.bincount(
        rows * len(column_names) + columns, minlength=len(row_names) * len(column_names)
    )
    return cells.reshape(len(row_names), len(column_names)).double()


def _entropy(shares: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy


def _pairs(counts: Tensor) -> Tensor:
    return counts * (counts - 1) / 2
