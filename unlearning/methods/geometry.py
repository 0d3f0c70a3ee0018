"""The retain features' geometry, and how forget features lie in it, with gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale

_LEAST = 1e-12
"""What a vanishing square counts as: small, but its reciprocal times any weight stays finite."""


@dataclass(frozen=True)
class RetainGeometry:
    """What the retain features look like; features are compared in units of `scale`."""

    mean: Tensor
    """[d]."""
    scale: Tensor
    """What `channel_scale` makes of each channel, infinity for a constant one, [d]."""
    basis: Tensor
    """Leading eigenvectors of the standardised covariance, [d, k]."""
    energy: Tensor
    """Mean squared length of the centred, standardised features, scalar."""

    @classmethod
    def of(cls, features: Tensor, others: Tensor, k: int) -> "RetainGeometry":
        """Measure retain features [n, d] and keep their k leading directions.

        Args:
            features: of R, or a part of it.
            others: [m, d] features of the forget set, which bound the scale of channels that are
                silent on R.
            k: how many directions count as the retain set's.

        Raises:
            NotComputable: the retain features are constant.
        """
        scale = channel_scale(Moments.of(features), others).to(features)
        mean = features.mean(0)
        standardised = (features - mean) / scale
        covariance = standardised.T @ standardised / len(features)
        vectors = torch.linalg.eigh(covariance.double()).eigenvectors.float()
        leading = vectors[:, max(0, vectors.shape[1] - k) :]
        return cls(mean, scale, leading, covariance.trace().clamp_min(1e-12))

    def to(self, device: str | torch.device) -> "RetainGeometry":
        """Return the same on a device."""
        parts = (self.mean, self.scale, self.basis, self.energy)
        return RetainGeometry(*(part.to(device) for part in parts))

    def measure(self, features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return da and log ρ of features [b, d], averaged with weights [b] of zeros and ones.

        da = Σ‖Pᵀz‖² / Σ‖z‖² ∈ [0, 1] and ρ = mean‖z‖² / energy of the centred, standardised z.
        """
        z = (features - self.mean) / self.scale
        squares = (z.square().sum(1) * weights).sum()
        inside = ((z @ self.basis).square().sum(1) * weights).sum()
        mean_square = squares / weights.sum().clamp_min(1)
        return inside / squares.clamp_min(_LEAST), (mean_square / self.energy).clamp_min(
            _LEAST
        ).log()
