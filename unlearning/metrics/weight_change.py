"""Where the weights changed: head_fraction 1 means only the classifier moved, which is a mask."""

import torch
from torch import Tensor, nn

from unlearning.errors import NotComputable


def head_fraction(original: nn.Module, candidate: nn.Module, classifier: str) -> float:
    """Return the classifier's share of the squared weight change, in [0, 1].

    Parameters and floating-point buffers count (a BatchNorm's running statistics too).

    Args:
        original: the network before.
        candidate: the network after, with the same parameter names and shapes.
        classifier: name of the classifier module, as `classifier_name` gives.

    Raises:
        NotComputable: no weight changed.
        ValueError: the networks do not match, a weight is not finite, no such classifier.
    """
    before, after = _floats(original), _floats(candidate)
    if {k: v.shape for k, v in before.items()} != {k: v.shape for k, v in after.items()}:
        raise ValueError("the two networks do not have the same weights")
    head = rest = 0.0
    found = False
    for name, value in before.items():
        change = float((after[name].double().cpu() - value.double().cpu()).square().sum())
        if name.startswith(f"{classifier}."):
            found = True
            head += change
        else:
            rest += change
    if not found:
        raise ValueError(f"no weights under the classifier name {classifier!r}")
    total = torch.tensor(head + rest)
    if not torch.isfinite(total):
        raise ValueError("a weight is NaN or infinite")
    if not total:
        raise NotComputable("no weight changed")
    return head / (head + rest)


def _floats(model: nn.Module) -> dict[str, Tensor]:
    """Return each floating-point tensor of the model once, shared ones under their first name."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor.detach() for name, tensor in named.items() if tensor.is_floating_point()}
