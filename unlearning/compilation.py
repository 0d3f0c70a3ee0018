"""Compile a network's forward and backward pass, where the machine can."""

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn


def compiled(model: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the model's pass compiled; the model itself, with a warning, where that cannot be.

    The compiled pass uses the model's own weights and changes nothing of it. Rounding differs from
    that of the plain pass, so equal seeds give models that are alike, not equal to the bit. Hooks
    that are added later are not seen by it.

    Warns:
        RuntimeWarning: this machine cannot compile (on the CPU a C++ compiler is needed).
    """
    if reason := obstacle(device.type):
        message = f"The training step is not compiled: {reason}. It runs uncompiled instead."
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return model
    return torch.compile(model)


@functools.cache
def obstacle(device_type: str) -> str | None:
    """Return why nothing can be compiled for `cpu` or `cuda`, None where it can; tried once."""
    try:
        doubled = torch.compile(_double)(torch.ones(8, device=device_type))
    except (RuntimeError, ImportError, OSError) as error:
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None if doubled.sum().item() == 16 else "compiled code computes wrong sums"


def _double(x: Tensor) -> Tensor:
    return x * 2
