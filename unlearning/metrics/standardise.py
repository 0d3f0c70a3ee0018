"""Per-channel scale of the retain features (it has no direction; it undoes hidden rescalings)."""

import torch
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.moments import Moments

FLOOR = 1e-3


def channel_scale(retain: Moments, floor: float = FLOOR) -> Tensor:
    """Return each channel's standard deviation over the retain set, floored: [d] float64, > 0.

    The floor is `floor` times the largest deviation, so that a channel that is silent on the
    retain set cannot decide a metric. A positive rescaling of channels, absorbed by the next layer
    and invisible in the outputs, then leaves every feature metric as it was, as long as no channel
    crosses the floor (`floored_channels` counts those that lie below it).

    Raises:
        NotComputable: no retain sample, or constant retain features.
    """
    if not retain.count:
        raise NotComputable("the retain set is empty")
    deviation = _deviation(retain)
    largest = deviation.max()
    if largest <= 0:
        raise NotComputable("the retain features are constant")
    return deviation.clamp(min=float(floor * largest))


def floored_channels(retain: Moments, floor: float = FLOOR) -> int:
    """Count the channels whose deviation over the retain set lies below the floor."""
    deviation = _deviation(retain)
    return int((deviation < floor * deviation.max()).sum())


def standardise(features: Tensor, scale: Tensor) -> Tensor:
    """Divide [n, d] features by the [d] scale; the mean stays, the precision too."""
    return features / scale.to(features)


def _deviation(retain: Moments) -> Tensor:
    return torch.sqrt(retain.covariance().diagonal().clamp(min=0))
