"""Early layers that keep their weights: what all classes share there need not be learnt again."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from unlearning.features import find_last_stage, find_module


@contextmanager
def frozen_early(model: nn.Module, classifier: str, share: float) -> Iterator[None]:
    """Freeze a share of the layers before the last stage while the block runs.

    Frozen layers are neither perturbed nor trained, batch norms among them keep their statistics,
    and a backward pass ends before them. Layers are modules with parameters of their own, in the
    order of their definition. Nothing is frozen where no last stage can be told.
    """
    stage = find_last_stage(model, classifier)
    if stage is None or share == 0:
        yield
        return
    late = {*stage.modules(), *find_module(model, classifier).modules()}
    layers = [
        module
        for module in model.modules()
        if module not in late and list(module.parameters(recurse=False))
    ]
    frozen = [
        parameter
        for layer in layers[: round(share * len(layers))]
        for parameter in layer.parameters(recurse=False)
        if parameter.requires_grad
    ]
    for parameter in frozen:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad = True
