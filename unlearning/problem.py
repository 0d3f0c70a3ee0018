"""The problem that an unlearning method is called with."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from unlearning.data import Images
from unlearning.errors import InvalidProblem
from unlearning.features import find_module
from unlearning.networks import count_outputs, is_classifier
from unlearning.progress import CancelToken, ProgressCallback, ignore_progress
from unlearning.recipe import Recipe

Scope = Literal["class", "instance", "mixed"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A trained model, what it must forget, and what it may learn from.

    Raises:
        InvalidProblem: when a set is empty, classes disagree, the classifier is missing or of
            another width, or the target predictions do not fit the forget set.
    """

    model: nn.Module
    """The original; no method changes it."""
    forget: Images
    """The forget set F."""
    retain: Images
    """The retain set R: all that any training may use."""
    holdout: Images
    """The hold-out H, never trained on."""
    classifier: str
    """Name of the module whose input are the penultimate features."""
    num_classes: int
    """Width of the logits, forgotten classes included."""
    seed: int = 0
    """Decides every random number of the method."""
    device: str | torch.device = "cpu"
    """Where the sets' batches are and the work is done."""
    recipe: Recipe | None = None
    """How the model was trained; its defaults stand in where a method needs settings only."""
    build: Callable[[], nn.Module] | None = None
    """Makes a fresh, untrained network from torch's global random state."""
    forget_predictions: Tensor | None = None
    """Probabilities [n_F, K] for F by models that never saw the sample (cross-fitted), if any."""
    progress: ProgressCallback = ignore_progress
    """Told how far the method is."""
    cancel: CancelToken = field(default_factory=CancelToken)
    """Stops the method."""

    def __post_init__(self) -> None:
        for name in ("forget", "retain", "holdout"):
            images: Images = getattr(self, name)
            if not len(images):
                raise InvalidProblem(f"the {name} set is empty")
            if images.num_classes != self.num_classes:
                raise InvalidProblem(
                    f"the {name} set has {images.num_classes} classes, not {self.num_classes}"
                )
            if images.device.type != torch.device(self.device).type:
                raise InvalidProblem(f"the {name} set is not on the device {self.device}")
        classifier = find_module(self.model, self.classifier)
        if not is_classifier(classifier):
            raise InvalidProblem(f"{self.classifier} is no linear layer or 1x1 convolution")
        if (width := count_outputs(classifier)) != self.num_classes:
            raise InvalidProblem(f"{self.classifier} has {width} outputs, not {self.num_classes}")
        given = self.forget_predictions
        if given is not None and given.shape != (len(self.forget), self.num_classes):
            raise InvalidProblem("forget_predictions must be of shape [forget samples, classes]")

    @cached_property
    def retained_classes(self) -> tuple[int, ...]:
        """Classes with samples in the retain set, ascending."""
        return tuple(sorted(set(self.retain.labels.tolist())))

    @cached_property
    def forgotten_classes(self) -> tuple[int, ...]:
        """Classes of the forget set without samples in the retain set, ascending."""
        return tuple(sorted(set(self.forget.labels.tolist()) - set(self.retained_classes)))

    @cached_property
    def scope(self) -> Scope:
        """Whether whole classes are forgotten, single samples, or both."""
        whole = torch.isin(self.forget.labels, torch.tensor(self.forgotten_classes))
        if whole.all():
            return "class"
        return "mixed" if whole.any() else "instance"

    @property
    def settings(self) -> Recipe:
        """The recipe, or the default one."""
        return self.recipe or Recipe()

    def copy_model(self) -> nn.Module:
        """Return a copy of the model on the device, without gradients."""
        model = copy.deepcopy(self.model).to(self.device)
        model.zero_grad(set_to_none=True)
        return model
