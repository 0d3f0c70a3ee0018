"""What several tests of the audit do to a model: take samples, look, measure."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from unlearning.audit.measure import measure, split_parts
from unlearning.audit.measurement import Measurement
from unlearning.audit.observation import Samples
from unlearning.features import Outputs, extract

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World


def samples_of(world: "World", erased: list[int]) -> Samples:
    """Return the samples of an audit whose E are these positions in D."""
    task = world.task(erased)
    return Samples(
        retain=task.retain,
        holdout=task.holdout,
        erased=task.erased,
        classifier=task.classifier,
        num_classes=task.num_classes,
    )


def measured_on(model: nn.Module, samples: Samples) -> Measurement:
    """Return the audit's figures of a model on all of E, which is one part."""
    (part,) = split_parts(samples, torch.arange(len(samples.erased)))
    return measure(model, samples, {"part": part})["part"]


def seen_by(model: nn.Module, samples: Samples) -> tuple[Outputs, Outputs, Outputs]:
    """Return features and logits on R, H and E."""
    sets = (samples.retain, samples.holdout, samples.erased)
    retain, holdout, erased = (extract(model, images, "head") for images in sets)
    return retain, holdout, erased
