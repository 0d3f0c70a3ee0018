"""Calibration error: lower is better; above the references' the confidences mean less than before.

Expected calibration error (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017): how far stated
confidence and accuracy lie apart on hold-out samples of retained classes.
"""

import torch
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.accuracy import recognised

BINS = 15


def calibration_error(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Return Σ n_b/n · |accuracy_b − mean confidence_b| over equal-width bins, in [0, 1].

    Confidence is the largest of softmax(logits), uncalibrated; a bin holds its upper end. Biased
    upwards for few samples, alike for all models.

    Raises:
        NotComputable: no sample.
        ValueError: NaN logits.
    """
    hits = recognised(logits, labels).double()
    if not len(hits):
        raise NotComputable("the hold-out has no sample of a retained class")
    confidences = torch.softmax(logits.double(), dim=1).amax(dim=1)
    index = (confidences * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, index.cpu(), hits - confidences)
    return float(gaps.abs().sum()) / len(hits)
