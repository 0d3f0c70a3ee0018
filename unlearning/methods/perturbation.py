"""Ways to ruin what a network knows, in place; frozen parameters stay as they are."""

import copy

import torch
from torch import nn

from unlearning.features import find_last_stage, find_module

_FEWEST_KERNELS = 0.1


def restart_last_stage(model: nn.Module, classifier: str) -> None:
    """Draw the last stage and the classifier anew; the whole network where no stage can be told."""
    stage = find_last_stage(model, classifier)
    reinitialise(model if stage is None else stage)
    reinitialise(find_module(model, classifier))


@torch.no_grad()
def shrink_towards_fresh(model: nn.Module, keep: float) -> None:
    """Replace all trainable weights w, in place, by keep · w + (1 − keep) · freshly drawn ones."""
    fresh = copy.deepcopy(model)
    reinitialise(fresh)
    for weight, drawn in zip(model.parameters(), fresh.parameters(), strict=True):
        weight.lerp_(drawn, 1 - keep)


@torch.no_grad()
def transpose_kernels(model: nn.Module) -> bool:
    """Swap the spatial axes of all trainable square kernels larger than 1x1, in place.

    Returns False, and changes nothing, where fewer than a tenth of the trainable linear layers
    and convolutions have such kernels: too little would be perturbed (transformers, MLPs).
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and module.weight.requires_grad
    ]
    spatial = [
        layer
        for layer in layers
        if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] == layer.kernel_size[1] > 1
    ]
    if len(spatial) < _FEWEST_KERNELS * len(layers) or not spatial:
        return False
    for layer in spatial:
        layer.weight.copy_(layer.weight.transpose(2, 3).clone())
    return True


def reinitialise(module: nn.Module) -> None:
    """Draw all trainable weights below `module` anew, in place, by their layers' own rule.

    Statistics of batch norms start anew with them. Parameters that no layer can initialise
    (class tokens, layer scales) keep their values.
    """
    for part in module.modules():
        own = list(part.parameters(recurse=False))
        if not all(parameter.requires_grad for parameter in own):
            continue
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
