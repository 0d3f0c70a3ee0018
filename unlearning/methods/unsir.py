"""UNSIR: break a class with images that the network finds most unlike it, then repair the rest.

Tarun, Chundawat, Mandal and Kankanhalli, "Fast Yet Effective Machine Unlearning" (arXiv
2111.08947): for each class to be forgotten a batch of noise images is optimised to *maximise* the
original's loss for that class, minimising −loss + λ · ‖noise‖²; one epoch on the noise under that
label beside a part of R impairs the class, epochs on the part alone repair the others. λ = .1,
Adam with rate .1 on the noise, and a repairing rate of half the impairing one follow published
runs; walks, numbers of images and rates in terms of the recipe are ours.

Deviations: batches of noise and of R are mixed evenly instead of samples within a batch, and batch
norm is in eval mode on the noise, whose statistics would ruin every other class.

Defined for whole classes only: in instance scope a class keeps samples in R, and noise under its
label would impair what the retain set must keep.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.data import Images
from unlearning.errors import NonFiniteLoss
from unlearning.methods.contract import Method
from unlearning.methods.descent import descend, share_of
from unlearning.methods.distillation import frozen_original
from unlearning.problem import Problem, Scope
from unlearning.progress import Progress
from unlearning.randomness import generator
from unlearning.settings import check_ranges, check_types
from unlearning.training import REPORT_EVERY, Epoch, Walk, cross_entropy

_NOISE_LR = 0.1


@dataclass(frozen=True, kw_only=True)
class Unsir(Method):
    """Learn error-maximising noise, impair with it, repair without.

    Raises:
        InvalidProblem: a ValueError, for hyper-parameters of another type or out of range.
    """

    name: ClassVar[str] = "unsir"
    version: ClassVar[str] = "1"
    scopes: ClassVar[tuple[Scope, ...]] = ("class",)

    noise_steps: int = 40
    """Steps of Adam on the noise."""
    noise_images: int = 64
    """Noise images for each forgotten class."""
    noise_penalty: float = 0.1
    """The paper's λ, on the squared length of an image."""
    noise_repeats: int = 1
    """Walks over the noise in each epoch of impairing."""
    impair_epochs: int = 1
    """Epochs on noise and a part of R."""
    repair_epochs: int = 4
    """Epochs on the part of R alone."""
    retain_fraction: float = 1.0
    """Part of the retain set that is used, drawn once."""
    relative_lr: float = 1.0
    """First learning rate as a fraction of the recipe's peak; it falls to zero along a cosine."""
    relative_repair_lr: float = 0.5
    """Learning rate of repairing as a fraction of that of impairing."""

    def __post_init__(self) -> None:
        check_types(self)
        ranges = {
            "noise_steps": self.noise_steps >= 1,
            "noise_images": self.noise_images >= 1,
            "noise_penalty": 0 <= self.noise_penalty <= 100,
            "noise_repeats": self.noise_repeats >= 1,
            "impair_epochs": self.impair_epochs >= 1,
            "repair_epochs": self.repair_epochs >= 0,
            "retain_fraction": 0 < self.retain_fraction <= 1,
            "relative_lr": 0 < self.relative_lr <= 10,
            "relative_repair_lr": 0 < self.relative_repair_lr <= 10,
        }
        check_ranges(self, ranges)

    def __call__(self, problem: Problem) -> nn.Module:
        """Return the impaired and repaired model."""
        part = share_of(problem.retain, self.retain_fraction, problem.seed)
        loss = cross_entropy()
        noise = Walk(images=self.noise(problem), loss=loss, batch_statistics=False)
        impair = Epoch(
            walks=[*[noise] * self.noise_repeats, Walk(images=part, loss=loss)], interleaved=True
        )
        repair = Epoch(walks=[Walk(images=part, loss=loss, relative_lr=self.relative_repair_lr)])
        return descend(
            problem.copy_model(),
            [impair] * self.impair_epochs + [repair] * self.repair_epochs,
            problem,
            phase=self.name,
            relative_lr=self.relative_lr,
        )

    def noise(self, problem: Problem) -> "NoiseImages":
        """Optimise the noise, the same number of images for each forgotten class.

        Raises:
            NonFiniteLoss: when the original's loss on the noise is not finite.
        """
        labels = torch.tensor(problem.forgotten_classes).repeat_interleave(self.noise_images)
        shape = (len(labels), *problem.forget.batch(torch.zeros(1, dtype=torch.int64)).shape[1:])
        start = torch.randn(shape, generator=generator(problem.seed, "noise"))
        pixels = start.to(problem.device).requires_grad_()
        model, wanted = frozen_original(problem), labels.to(problem.device)
        optimizer = torch.optim.Adam([pixels], lr=_NOISE_LR)
        for step in range(1, self.noise_steps + 1):
            problem.cancel.raise_if_cancelled()
            loss = self.noise_loss(model, pixels, wanted)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            if step % REPORT_EVERY == 0 or step == self.noise_steps:
                problem.progress(Progress(f"{self.name}: noise", step, self.noise_steps))
        if not torch.isfinite(pixels).all():
            raise NonFiniteLoss("the original's loss on the noise is not finite")
        return NoiseImages(pixels.detach(), labels, problem.num_classes)

    def noise_loss(self, model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
        """Return −loss + penalty · mean squared length of an image."""
        lengths = pixels.square().flatten(1).sum(1).mean()
        return self.noise_penalty * lengths - functional.cross_entropy(model(pixels), labels)


class NoiseImages:
    """Images that were never pixels: floats of any size, used as they are."""

    def __init__(self, values: Tensor, labels: Tensor, num_classes: int) -> None:
        self.values, self.labels, self.num_classes = values, labels, num_classes
        self.device = values.device

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> Tensor:
        """Return the images at `index`."""
        return self.values[index.to(self.device)]

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield one batch for each index."""
        return (self.batch(index) for index in indices)

    def subset(self, index: Tensor) -> Images:
        """Return the images at `index` as a set of their own."""
        return NoiseImages(self.batch(index), self.labels[index.cpu()], self.num_classes)
