"""Dimensional alignment and energy: no direction is "better", only closeness to references is.

Definition `da/2`, after Seo, Kim and Han (arXiv 2407.17710). With μ_R and Σ_R the mean and
covariance of the penultimate features of the retain set, P the k leading eigenvectors of Σ_R,
k = |C_R| − 1 (the retained classes less one), and S_F the mean of (z − μ_R)(z − μ_R)ᵀ over F:

    da = tr(PᵀS_F P) / tr(S_F) ∈ [0, 1],   energy = log ρ = log(tr S_F / tr Σ_R).

Both are centred on the *retain* mean: about the global mean a forgotten class lies inside the span
of the retained ones and an untouched model would look aligned. Everything is computed in
standardised coordinates from raw moments, so no features are held and no second pass is made.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale


@dataclass(frozen=True)
class RetainSpace:
    """The retain set's principal axes in standardised coordinates.

    Attributes:
        mean: [d] float64, μ_R in raw coordinates.
        scale: [d] float64, divisor of each channel.
        eigenvalues: [d] float64 of the standardised Σ_R, falling, ≥ 0.
        eigenvectors: [d, d] float64, one per column.
        rank: eigenvalues above rounding error.
    """

    mean: Tensor
    scale: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    rank: int


def retain_space(retain: Moments, scale: Tensor | None = None) -> RetainSpace:
    """Decompose the retain covariance, standardised by `scale` (default: `channel_scale`).

    Raises:
        NotComputable: no retain sample, or constant retain features.
    """
    scale = channel_scale(retain) if scale is None else scale.double().cpu()
    covariance = retain.covariance() / torch.outer(scale, scale)
    values, vectors = torch.linalg.eigh(covariance)
    values = values.flip(0).clamp(min=0)
    rounding = len(values) * torch.finfo(torch.float32).eps * float(values[0])
    rank = min(int((values > rounding).sum()), retain.count - 1)
    return RetainSpace(retain.mean, scale, values, vectors.flip(1), rank)


def alignment_rank(space: RetainSpace, num_retained_classes: int) -> int:
    """Return k = |C_R| − 1, capped at the rank of Σ_R (so also at d): beyond it P is arbitrary.

    Raises:
        NotComputable: a single retained class spans no direction between classes.
    """
    if num_retained_classes < 1:
        raise ValueError(f"num_retained_classes must be positive, got {num_retained_classes}")
    k = min(num_retained_classes - 1, space.rank)
    if k < 1:
        raise NotComputable("one retained class: there is no direction between retained classes")
    return k


def da(space: RetainSpace, forget: Moments, num_retained_classes: int) -> float:
    """Return the share of the forget set's spread about μ_R that lies in the retained directions.

    In [0, 1]; chance is k / d. Low for an untouched model in class scope, higher for a retrained
    one; for single samples the direction can turn.

    Args:
        space: of the retain set, from `retain_space`.
        forget: raw moments of the forget set, or of the hold-out of the forgotten classes.
        num_retained_classes: classes with at least one sample in the retain set.

    Raises:
        NotComputable: k = 0, no forget sample, or every forget sample equals μ_R.
    """
    k = alignment_rank(space, num_retained_classes)
    return float(sweep(space, forget)[k - 1])


def sweep(space: RetainSpace, forget: Moments) -> Tensor:
    """Return da for every k from 1 to d: [d] float64, rising to 1."""
    spread = forget_spectrum(space, forget)
    return (spread.cumsum(0) / spread.sum()).clamp(0, 1)


def energy(space: RetainSpace, forget: Moments) -> float:
    """Return log ρ, ρ = mean‖z − μ_R‖² over F divided by the same over R, in nats.

    High for an untouched model in class scope, lower for a retrained one. After Expunge's own
    measurements; it sees the magnitude that da leaves free.
    """
    return math.log(float(forget_spectrum(space, forget).sum() / space.eigenvalues.sum()))


def forget_spectrum(space: RetainSpace, forget: Moments) -> Tensor:
    """Return the forget set's mean square along each retain axis about μ_R: [d] float64, ≥ 0."""
    if forget.count == 0:
        raise NotComputable("the forget set is empty")
    scatter = forget.scatter_about(space.mean) / torch.outer(space.scale, space.scale)
    total = float(scatter.trace())
    # Closer than the rounding of float32 features, the forget set *is* the retain mean.
    size = float(space.eigenvalues.sum() + (space.mean / space.scale).square().sum())
    if total <= torch.finfo(torch.float32).eps ** 2 * size:
        raise NotComputable("every forget feature equals the retain mean")
    axes = space.eigenvectors
    return ((scatter @ axes) * axes).sum(dim=0).clamp(min=0)


def sample_spread(space: RetainSpace, features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return ‖Pᵀ(z − μ_R)‖² and ‖z − μ_R‖² of each sample: two [n] float64, to be bootstrapped.

    The ratio of their means is da; the log of the second's mean over the trace is energy.
    """
    centred = (features.double().cpu() - space.mean) / space.scale
    return (centred @ space.eigenvectors[:, :k]).square().sum(1), centred.square().sum(1)
