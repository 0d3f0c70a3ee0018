"""Linear probe: higher means the class is still easier to find; a retrained model probes high too.

Multinomial logistic regression on the standardised features of F ∪ R with their true labels;
its accuracy on the hold-out says what a fresh head would recover. Only the distance to the
references counts, never an absolute threshold.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.errors import NotComputable

_MAX_STEPS = 500
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Probe:
    """A fitted linear classifier: weight [K, d] and bias [K], float64."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return [n, K] logits of [n, d] features, to be given to `accuracy`."""
        return features.to(self.weight) @ self.weight.T + self.bias


def fit_probe(features: Tensor, labels: Tensor, num_classes: int, l2: float = 1e-3) -> Probe:
    """Minimise mean cross-entropy + l2/2·‖W‖² by L-BFGS from zero; the bias is not penalised.

    The problem is convex, so the result is the same for any order or duplication of the samples.
    Classes without a sample are never predicted.

    Args:
        features: [n, d], standardised.
        labels: [n], in [0, num_classes).
        num_classes: all classes of the model.
        l2: weight of the penalty, > 0.

    Raises:
        NotComputable: no sample.
        ValueError: NaN or infinite features, labels out of range, l2 ≤ 0.
    """
    check_labelled(features, labels, num_classes)
    if l2 <= 0:
        raise ValueError(f"l2 must be positive, got {l2}")
    present, targets = torch.unique(labels.to(features.device), return_inverse=True)
    rows = features.detach().double()
    centre = rows.mean(dim=0)
    rows = rows - centre
    weight, bias = _minimise(rows, targets, len(present), l2)
    full_weight = rows.new_zeros(num_classes, rows.shape[1])
    full_bias = rows.new_full((num_classes,), -torch.inf)
    full_weight[present] = weight
    full_bias[present] = bias - weight @ centre
    return Probe(full_weight, full_bias)


def check_labelled(features: Tensor, labels: Tensor, num_classes: int) -> None:
    """Refuse empty, non-finite or mislabelled training samples of a probe."""
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"expected [n, d] and [n], got {features.shape} and {labels.shape}")
    if not len(labels):
        raise NotComputable("no sample to learn from")
    if not torch.isfinite(features).all():
        raise ValueError("features hold NaN or infinite values")
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise ValueError(f"labels must lie in [0, {num_classes})")


def _minimise(rows: Tensor, targets: Tensor, num_classes: int, l2: float) -> tuple[Tensor, Tensor]:
    weight = rows.new_zeros(num_classes, rows.shape[1])
    bias = rows.new_zeros(num_classes)
    wanted = functional.one_hot(targets, num_classes).to(rows)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_MAX_STEPS,
        tolerance_grad=_TOLERANCE,
        tolerance_change=_TOLERANCE**2,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        """Set the gradients by their formula: a graph would cost a fifth of the time."""
        log_shares = torch.log_softmax(torch.addmm(bias, rows, weight.T), dim=1)
        value = functional.nll_loss(log_shares, targets) + 0.5 * l2 * weight.square().sum()
        errors = log_shares.exp_().sub_(wanted).div_(len(rows))
        weight.grad = torch.addmm(weight, errors.T, rows, beta=l2)
        bias.grad = errors.sum(dim=0)
        return float(value)

    with torch.no_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
    return weight, bias
