"""Loops to compare ours with: one written by hand, and one with torchvision's parts.

Both train the same network on the same pixels with the same kind of augmentation and the same
optimiser, learning rates and gradient clipping as `unlearning.training.fit`. The bare loop draws
the same random numbers too, so it must arrive at the same weights; the other draws its own.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from unlearning.data import TensorImages
from unlearning.randomness import generator
from unlearning.recipe import Recipe
from unlearning.training import fit, one_cycle

Loop = Callable[[nn.Module, TensorImages, Recipe, int], object]


def ours(model: nn.Module, images: TensorImages, recipe: Recipe, seed: int) -> None:
    """Train by the library's loop."""
    fit(model, images, recipe, seed=seed)


def bare(model: nn.Module, images: TensorImages, recipe: Recipe, seed: int) -> None:
    """Train by hand: pixels on the device, augmentation on the device, nothing checked.

    The number of images must be a multiple of the batch size.
    """
    step = _Step(model, images.device, recipe, len(images))
    scale = torch.tensor(images.std, device=images.device).mul(255).view(-1, 1, 1)
    offset = torch.tensor(images.mean, device=images.device).mul(255).view(-1, 1, 1)
    labels = images.labels.to(images.device)
    for epoch in range(recipe.epochs):
        draws = generator(seed, "epoch", epoch, 0)
        order = torch.randperm(len(images), generator=draws)
        for index in torch.split(order, recipe.batch_size):
            offsets = torch.randint(
                -recipe.shift, recipe.shift + 1, (2, len(index), 1), generator=draws
            )
            mirrored = torch.zeros((len(index), 1), dtype=torch.bool)
            if recipe.flip:
                mirrored = torch.rand((len(index), 1), generator=draws) < 0.5
            index, offsets, mirrored = (  # noqa: PLW2901 - the same, on the device
                part.to(images.device, non_blocking=True) for part in (index, offsets, mirrored)
            )
            x = (images.images[index].float() - offset) / scale
            step(_moved(x, recipe.shift, offsets, mirrored), labels[index])
    step.finish()


def dataloader(
    model: nn.Module, images: TensorImages, recipe: Recipe, seed: int, *, workers: int
) -> None:
    """Train by torch's `DataLoader` with torchvision's transforms of one image at a time."""
    step = _Step(model, images.device, recipe, len(images))
    on_gpu = images.device.type == "cuda"
    loader = DataLoader(
        _Pixels(images, recipe),
        batch_size=recipe.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=on_gpu,
        generator=torch.Generator().manual_seed(seed),
    )
    for _ in range(recipe.epochs):
        for x, y in loader:
            on_device = x.to(images.device, non_blocking=True)
            step(on_device, y.to(images.device, non_blocking=True))
    step.finish()


def loops(workers: tuple[int, ...] = (0, 2)) -> Iterator[tuple[str, Loop]]:
    """Yield the loops by name, ours first."""
    yield "ours", ours
    yield "bare", bare
    for number in workers:
        yield f"dataloader_{number}_workers", partial(dataloader, workers=number)


class _Step:
    """Forward pass, backward pass and optimiser as anyone would write them."""

    def __init__(self, model: nn.Module, device: torch.device, recipe: Recipe, size: int) -> None:
        self.model = model.train().to(memory_format=torch.channels_last)
        self.device, self.recipe, self.taken = device, recipe, 0
        self.total = recipe.epochs * (size // recipe.batch_size)
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=recipe.peak_lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    def __call__(self, x: Tensor, y: Tensor) -> None:
        x = x.contiguous(memory_format=torch.channels_last)
        on_gpu = self.device.type == "cuda"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=on_gpu):
            loss = functional.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        rate = self.recipe.peak_lr * one_cycle(self.taken, self.total)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.taken += 1

    def finish(self) -> None:
        self.model.to(memory_format=torch.contiguous_format).eval()


def _moved(x: Tensor, shift: int, offsets: Tensor, mirrored: Tensor) -> Tensor:
    """Cut each image out of a larger one with a dark border, some of them mirrored."""
    number, channels, height, width = x.shape
    dark = x.amin((0, 2, 3)).view(1, channels, 1, 1)
    padded = dark.repeat(number, 1, height + 2 * shift, width + 2 * shift)
    padded[:, :, shift : shift + height, shift : shift + width] = x
    rows = torch.arange(height, device=x.device) + offsets[0] + shift
    columns = torch.arange(width, device=x.device) + offsets[1] + shift
    columns = torch.where(mirrored, width - 1 + 2 * shift - columns, columns)
    which = torch.arange(number, device=x.device)[:, None, None]
    cut = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)


class _Pixels(Dataset[tuple[Tensor, int]]):
    """The images one by one, as torchvision's examples prepare them."""

    def __init__(self, images: TensorImages, recipe: Recipe) -> None:
        self.pixels, self.labels = images.images.cpu(), images.labels.tolist()
        side = images.images.shape[-1]
        self.prepare = v2.Compose(
            [
                v2.RandomCrop(side, padding=recipe.shift),
                v2.RandomHorizontalFlip(0.5 * recipe.flip),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.prepare(self.pixels[index]), self.labels[index]
