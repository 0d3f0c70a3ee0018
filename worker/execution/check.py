"""Check registered weights: do they fit, is every value finite, can the network be measured?"""

from typing import Any

import torch
from torch import nn

from worker.errors import UsageFailure
from worker.execution.context import Execution


def run(execution: Execution) -> dict[str, Any]:
    """Load the weights, find the classifier and push two blank images through the network.

    Raises:
        WeightsRejected: The weights are no safetensors file, do not fit, or are not finite.
        UsageFailure: The classifier is not there, or the outputs have the wrong shape.
    """
    model = execution.load(execution.spec["weights"])
    classifier = execution.classifier
    modules = dict(model.named_modules())
    if classifier not in modules:
        raise UsageFailure(
            "classifier_not_found",
            f"The network has no layer named {classifier!r}. Name its last linear layer, or leave"
            " the name out to have it found.",
        )
    logits, feature_dim = _probe(execution, model, modules[classifier])
    if tuple(logits.shape) != (2, execution.num_classes):
        raise UsageFailure(
            "outputs_mismatch",
            f"For two images the network answers with shape {tuple(logits.shape)} where"
            f" (2, {execution.num_classes}) is needed: one value for each class of the data set.",
        )
    if not bool(torch.isfinite(logits).all()):
        raise UsageFailure(
            "outputs_not_finite",
            "The network answers blank images with infinite values or NaN. Check the weights,"
            " running statistics of normalisation layers included.",
        )
    return {
        "classifier": classifier,
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "feature_dim": feature_dim,
    }


def _probe(
    execution: Execution, model: nn.Module, classifier: nn.Module
) -> tuple[torch.Tensor, int]:
    """Return the logits of two blank images and the width of the classifier's input."""
    widths: list[int] = []

    def note(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        widths.append(int(inputs[0].flatten(1).shape[1]))

    hook = classifier.register_forward_pre_hook(note)
    images = torch.zeros(2, *execution.preprocessing.shape, device=execution.device)
    try:
        with torch.no_grad():
            logits = model(images)
    except RuntimeError as error:
        raise UsageFailure(
            "inputs_mismatch",
            f"The network cannot read images of shape {execution.preprocessing.shape} (channels,"
            f" height, width): {str(error)[:300]}",
        ) from error
    finally:
        hook.remove()
    if not widths:
        raise UsageFailure(
            "classifier_not_used",
            "The named classifier layer is not used when the network reads an image. Name the last"
            " linear layer, or leave the name out to have it found.",
        )
    return logits, widths[0]
