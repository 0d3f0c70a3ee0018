"""Effective rank of features: how many directions they fill; no direction is better.

Far below the references' on the forget set, its features were collapsed onto few directions (which
lets dimensional alignment look good); far above, they were scattered. On the retain set it shows
what unlearning did to the features that should have stayed.
"""

import torch
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.alignment import RetainSpace
from unlearning.metrics.moments import Moments


def effective_rank(spectrum: Tensor) -> float:
    """Return exp of the entropy of a spectrum's shares: 1 (one direction) to d (all equal).

    Source: Roy and Vetterli (2007), over variances.

    Raises:
        NotComputable: the spectrum is zero.
    """
    shares = spectrum.double().clamp(min=0)
    total = float(shares.sum())
    if total <= 0:
        raise NotComputable("the spectrum is zero")
    return float(torch.special.entr(shares / total).sum().exp())


def retain_rank(space: RetainSpace) -> float:
    """Return the effective rank of the standardised Σ_R."""
    return effective_rank(space.eigenvalues)


def forget_rank(space: RetainSpace, forget: Moments) -> float:
    """Return the effective rank of S_F, the standardised second moment of F about μ_R.

    Its own eigenvalues count, not its shares along the retain axes. One sample gives 1.

    Raises:
        NotComputable: no forget sample, or every forget sample equals μ_R.
    """
    if forget.count == 0:
        raise NotComputable("the forget set is empty")
    scatter = forget.scatter_about(space.mean) / torch.outer(space.scale, space.scale)
    return effective_rank(torch.linalg.eigvalsh(scatter))
