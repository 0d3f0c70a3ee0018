"""Embedding M4: above ½ forget samples lie closer to retain samples than these among themselves.

RULER's M4 (arXiv 2605.27569): the percentile of each forget sample's cosine to its nearest retain
sample within the retain samples' leave-one-out cosines. Null ½ with deviation 1/√(12n); above ½
residual memorisation, below ½ displaced. Instance scope only: a forgotten class has no retain
sample near it.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.errors import NotComputable

_ROWS = 1024


def m4(forget: Tensor, retain: Tensor) -> float:
    """Return the mean percentile, in [0, 1], of [n, d] forget among [m, d] retain features.

    Ties count half. Memory O(1024·m).

    Raises:
        NotComputable: no forget sample, or fewer than two retain samples.
        ValueError: NaN or infinite features.
    """
    if not len(forget) or len(retain) < 2:
        raise NotComputable("needs a forget sample and two retain samples")
    if not (torch.isfinite(forget).all() and torch.isfinite(retain).all()):
        raise ValueError("features hold NaN or infinite values")
    unit_forget = functional.normalize(forget.detach().double(), dim=1)
    unit_retain = functional.normalize(retain.detach().double(), dim=1)
    null = nearest_cosine(unit_retain, unit_retain, leave_self_out=True).sort().values
    own = nearest_cosine(unit_forget, unit_retain)
    below = torch.searchsorted(null, own, right=False)
    up_to = torch.searchsorted(null, own, right=True)
    return float((below + up_to).double().mean()) / (2 * len(null))


def nearest_cosine(queries: Tensor, keys: Tensor, *, leave_self_out: bool = False) -> Tensor:
    """Return each unit query's largest cosine to the unit keys: [n]; by itself if asked to."""
    nearest = []
    for start in range(0, len(queries), _ROWS):
        cosines = queries[start : start + _ROWS] @ keys.T
        if leave_self_out:
            cosines.diagonal(offset=start).fill_(-torch.inf)
        nearest.append(cosines.amax(dim=1))
    # Duplicates must tie: their cosines differ from 1 by rounding only.
    return torch.cat(nearest).round(decimals=12)


def null_deviation(n: int) -> float:
    """Return the standard deviation of M4 of n independent samples under the null."""
    return 1 / math.sqrt(12 * n)
