"""Confidence intervals (they have no direction): Wilson, Clopper–Pearson, Student, bootstrap."""

import math

import torch
from scipy import stats
from torch import Tensor

from unlearning.errors import NotComputable


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share, within [0, 1].

    Source: Wilson (1927), without continuity correction.
    """
    if n == 0:
        raise NotComputable("no sample, so no share")
    if not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n, got {successes} of {n}")
    z = float(stats.norm.ppf(0.5 + level / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    # The formula gives exactly 0 and 1 at the ends; rounding would miss them by 1e-17.
    lower = 0.0 if successes == 0 else max(0.0, centre - half)
    upper = 1.0 if successes == n else min(1.0, centre + half)
    return lower, upper


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share, within [0, 1]; it covers at least `level`.

    Source: Clopper and Pearson (1934).
    """
    if n == 0:
        raise NotComputable("no sample, so no share")
    if not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n, got {successes} of {n}")
    tail = (1 - level) / 2
    lower = 0.0 if not successes else float(stats.beta.ppf(tail, successes, n - successes + 1))
    upper = 1.0 if successes == n else float(stats.beta.ppf(1 - tail, successes + 1, n - successes))
    return lower, upper


def mean_interval(values: Tensor, level: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of the mean of [n] values, n ≥ 2."""
    n = values.numel()
    if n < 2:
        raise NotComputable("an interval of a mean needs two samples")
    values = values.double()
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * float(values.std()) / math.sqrt(n)
    mean = float(values.mean())
    return mean - half, mean + half


def bootstrap_ratio(
    numerator: Tensor,
    denominator: Tensor,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of mean(numerator) / mean(denominator), samples redrawn.

    Source: Efron (1979). Both [n], n ≥ 2, paired; deterministic for a seed.

    Raises:
        NotComputable: fewer than two samples, or a denominator that sums to zero.
    """
    n = numerator.numel()
    if denominator.numel() != n:
        raise ValueError(f"expected pairs, got {n} and {denominator.numel()} values")
    if n < 2:
        raise NotComputable("a bootstrap needs two samples")
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.stack([numerator.double().cpu(), denominator.double().cpu()], dim=1)
    sums = torch.stack(
        [
            pairs[torch.randint(n, (n,), generator=generator, dtype=torch.int64)].sum(0)
            for _ in range(draws)
        ]
    )
    if (sums[:, 1] == 0).any():
        raise NotComputable("the denominator is zero")
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    lower, upper = torch.quantile(sums[:, 0] / sums[:, 1], tails).tolist()
    return lower, upper
