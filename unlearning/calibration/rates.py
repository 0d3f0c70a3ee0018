"""Rates of verdicts with intervals that know which candidates shared a draw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unlearning.metrics.intervals import wilson

_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Rate:
    """k of n, with 95 % intervals: Wilson's, and a bootstrap over clusters.

    `effective_n` is n over the design effect, the clusters' variance over the binomial one; n where
    the rate is 0 or 1 or there is one cluster, for then the clusters tell nothing about it.
    """

    k: int
    n: int
    wilson: tuple[float, float]
    clustered: tuple[float, float] | None
    effective_n: float

    @property
    def value(self) -> float:
        """The share."""
        return self.k / self.n

    def to_json(self) -> dict[str, object]:
        """Return all of it as JSON values."""
        return {
            "k": self.k,
            "n": self.n,
            "rate": self.value,
            "wilson": list(self.wilson),
            "clustered": None if self.clustered is None else list(self.clustered),
            "effective_n": self.effective_n,
        }


def clustered_rate(hits: Sequence[bool], clusters: Sequence[object], seed: int = 0) -> Rate:
    """Return the rate of hits; candidates of one cluster (a draw) are resampled together.

    Raises:
        ValueError: nothing to count, or lengths that differ.
    """
    if not hits or len(hits) != len(clusters):
        raise ValueError("give at least one hit or miss, and a cluster for each")
    k, n = sum(hits), len(hits)
    names = sorted(set(clusters), key=str)
    index = {name: place for place, name in enumerate(names)}
    sums, sizes = np.zeros(len(names)), np.zeros(len(names))
    for hit, cluster in zip(hits, clusters, strict=True):
        sums[index[cluster]] += hit
        sizes[index[cluster]] += 1
    rate = k / n
    clustered, effective = None, float(n)
    if len(names) > 1:
        rng = np.random.default_rng(seed)
        drawn = rng.integers(len(names), size=(_RESAMPLES, len(names)))
        rates = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
        low, high = np.quantile(rates, (0.025, 0.975))
        clustered = (float(low), float(high))
        # The ratio estimator's variance over clusters (Cochran 1977, 6.4).
        residual = sums - rate * sizes
        variance = np.square(residual).sum() * len(names) / (len(names) - 1) / n**2
        if 0 < k < n and variance > 0:
            effective = min(float(n), rate * (1 - rate) / float(variance))
    return Rate(k=k, n=n, wilson=wilson(k, n), clustered=clustered, effective_n=effective)
