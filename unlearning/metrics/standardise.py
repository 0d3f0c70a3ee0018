"""Per-channel scale of the retain features (it has no direction; it undoes hidden rescalings).

Every bound here is in a channel's *own* units, never in those of another channel, so a positive
rescaling of any channels by any factors, absorbed by the next layer and invisible in the outputs,
leaves the standardised features as they were.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.moments import CHUNK_ROWS, Moments

FLOOR = 0.1
_CONSTANT = 1e-5
_EXPONENTS = 126


def channel_scale(retain: Moments, others: Tensor | None = None, floor: float = FLOOR) -> Tensor:
    """Return each channel's standard deviation over the retain set, floored: [d] float64, > 0.

    The floor is `floor` times the channel's own root mean square deviation from μ_R over `others`.
    A channel that is (nearly) silent on the retain set, as ReLU networks have them for a single
    class, then moves a sample of `others` by at most 1/`floor` of that unit, on average, instead
    of without bound. A channel that is constant on both has the scale infinity: it vanishes.

    Args:
        retain: raw moments of the retain set.
        others: [m, d] raw features of what the model is measured on besides: hold-out and erased.
        floor: share of the deviation over `others`, in (0, 1).

    Raises:
        NotComputable: no retain sample, or constant retain features.
    """
    if not retain.count:
        raise NotComputable("the retain set is empty")
    deviation = retain_deviation(retain)
    rounding = _CONSTANT * retain.mean.abs()
    if not (deviation > rounding).any():
        raise NotComputable("the retain features are constant")
    reach = torch.zeros_like(deviation) if others is None else deviation_about(retain.mean, others)
    constant = torch.maximum(deviation, reach) <= rounding
    return torch.maximum(deviation, floor * reach).masked_fill(constant, torch.inf)


def silent_channels(retain: Moments, scale: Tensor) -> int:
    """Count the channels that `channel_scale` floored or made vanish."""
    return int((retain_deviation(retain) < scale).sum())


def standardise(features: Tensor, scale: Tensor) -> Tensor:
    """Divide [n, d] features by the [d] scale; the mean stays, the precision too."""
    return features / scale.to(features)


def retain_deviation(retain: Moments) -> Tensor:
    """Return each channel's standard deviation over the retain set: [d] float64."""
    return torch.sqrt((retain.scatter.diagonal() / retain.count).clamp(min=0))


def deviation_about(centre: Tensor, features: Tensor) -> Tensor:
    """Return the root mean square of [m, d] features about a [d] centre: [d] float64."""
    total = torch.zeros_like(centre)
    for rows in torch.split(features.detach().cpu(), CHUNK_ROWS):
        total += (rows.double() - centre).square().sum(dim=0)
    return torch.sqrt(total / max(1, len(features)))


def level_(sets: Sequence[Tensor]) -> None:
    """Multiply each channel of the [n, d] float32 sets by one power of two, in place.

    Afterwards the largest value of a channel over all sets lies in [½, 1), so squares neither
    overflow nor vanish however far a channel was rescaled. Powers of two round nothing. A channel
    that holds NaN or infinity is left alone.
    """
    largest = torch.stack([rows.abs().amax(dim=0) for rows in sets if len(rows)]).amax(dim=0)
    _, exponent = torch.frexp(largest)
    usable = torch.isfinite(largest) & (largest > 0)
    exponent = torch.where(usable, exponent, 0).clamp(-_EXPONENTS, _EXPONENTS)
    factors = torch.exp2(-exponent.double()).float()
    for rows in sets:
        rows.mul_(factors)
