"""The one training loop, used by every method and every reference.

A non-finite loss or gradient never reaches the weights: the optimiser is told to skip the step on
the device, and the host looks at that flag before each step on the CPU, and every `CHECK_EVERY`
steps on CUDA, where looking means waiting. Nothing else in a step waits for the device: the order,
labels and random moves of a walk are sent before its first step. All randomness comes from the
seed.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.augmentation import augment, draw_moves
from unlearning.compilation import compiled
from unlearning.data import Images, channels_last
from unlearning.errors import InvalidProblem, NonFiniteLoss
from unlearning.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from unlearning.randomness import derive_seed, generator, seeded
from unlearning.recipe import Recipe

CHECK_EVERY = 32
"""Steps on CUDA between two looks at the flag of non-finite losses."""
REPORT_EVERY = 10
"""Steps between two progress reports."""

Schedule = Literal["one_cycle", "falling"]


class Batch(NamedTuple):
    """What a loss is computed from, on the device."""

    images: Tensor
    """Normalised and augmented, float32 [b, C, H, W]."""
    labels: Tensor
    """int64 [b]."""
    positions: Tensor
    """Where the samples are in the set, int64 [b]."""


LossStep = Callable[[nn.Module, Batch], Tensor]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One pass over one set in random order."""

    images: Images
    loss: LossStep
    batch_statistics: bool = True
    """Whether batch norm uses and updates its statistics; False keeps it in eval mode."""
    relative_lr: float = 1.0
    """Factor on the schedule's learning rate."""
    active: Callable[[], bool] | None = None
    """Asked before each step; one that is not active is left out, and the schedule goes on."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Walks done one after the other, or step by step in turn."""

    walks: Sequence[Walk]
    interleaved: bool = False
    prepare: Callable[[], None] | None = None
    """Called before the first step, e.g. to refresh statistics."""


def cross_entropy(label_smoothing: float = 0.0, *, compile_pass: bool = False) -> LossStep:
    """Make the loss step of plain supervised training, on request with a compiled pass."""
    prepare = functools.lru_cache(maxsize=1)(compiled)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        run = prepare(model, batch.images.device) if compile_pass else model
        return functional.cross_entropy(
            run(batch.images), batch.labels, label_smoothing=label_smoothing
        )

    return loss


def fit(
    model: nn.Module,
    images: Images,
    recipe: Recipe,
    *,
    seed: int,
    loss: LossStep | None = None,
    schedule: Schedule = "one_cycle",
    phase: str = "training",
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> nn.Module:
    """Train a model in place on one set, by default with cross-entropy; see `train`."""
    walk = Walk(images=images, loss=loss or cross_entropy(recipe.label_smoothing))
    return train(
        model,
        [Epoch(walks=[walk])] * recipe.epochs,
        recipe,
        seed=seed,
        schedule=schedule,
        phase=phase,
        progress=progress,
        cancel=cancel,
    )


def train_from_recipe(
    build: Callable[[], nn.Module],
    images: Images,
    recipe: Recipe,
    *,
    seed: int,
    phase: str = "training",
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> nn.Module:
    """Build a network and train it by its recipe; equal seeds give equal models on one machine.

    Returns the model in eval mode on the images' device.
    """
    with seeded(derive_seed(seed, "initial weights"), images.device):
        model = build().to(images.device)
    return fit(model, images, recipe, seed=seed, phase=phase, progress=progress, cancel=cancel)


def train(
    model: nn.Module,
    epochs: Sequence[Epoch],
    recipe: Recipe,
    *,
    seed: int,
    schedule: Schedule = "one_cycle",
    phase: str = "training",
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> nn.Module:
    """Train a model in place and return it in eval mode.

    Frozen parameters, and statistics of batch norms that are wholly frozen, stay. `epochs` replaces
    the recipe's number of them. torch's global random state is untouched.

    Raises:
        NonFiniteLoss: when loss or gradient becomes NaN or infinite, before the step is taken.
        Cancelled: when the token was set, before the next step.
        InvalidProblem: when all parameters are frozen.
    """
    device = epochs[0].walks[0].images.device
    total = sum(len(split(len(walk.images), recipe.batch_size)) for e in epochs for walk in e.walks)
    stepper = _Stepper(model, recipe, total, schedule, device)
    model.to(memory_format=torch.channels_last)
    with seeded(derive_seed(seed, "dropout"), device):
        for number, epoch in enumerate(epochs):
            if epoch.prepare is not None:
                epoch.prepare()
            for walk, batch in _batches(epoch, recipe, seed, number):
                if cancel is not None:
                    cancel.raise_if_cancelled()
                if walk.active is None or walk.active():
                    stepper.step(walk, batch)
                stepper.taken = taken = stepper.taken + 1
                if taken % REPORT_EVERY == 0 or taken == total:
                    progress(Progress(phase, taken, total, f"epoch {number + 1} of {len(epochs)}"))
        stepper.check()
    model.to(memory_format=torch.contiguous_format)
    return model.eval()


def split(length: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches of one walk.

    A tail shorter than a quarter of a batch joins the batch before it: its few samples would have
    a full step's weight, and batch norm cannot work on one.
    """
    full, tail = divmod(length, batch_size)
    if full and tail * 4 < batch_size:
        return [batch_size] * (full - 1) + [batch_size + tail]
    return [batch_size] * full + ([tail] if tail else [])


def one_cycle(step: int, total: int) -> float:
    """Return the factor on the peak learning rate: 1/25 → 1 in three tenths, → 0 by cosines."""
    warm_up = 0.3 * total
    if step < warm_up:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / warm_up)) / 2
    return falling(step - warm_up, total - warm_up)


def falling(step: float, total: float) -> float:
    """Return the factor on the peak learning rate: 1 → 0 along half a cosine."""
    return (1 + math.cos(math.pi * step / total)) / 2


def _batches(epoch: Epoch, recipe: Recipe, seed: int, number: int) -> Iterator[tuple[Walk, Batch]]:
    """Yield the batches of one epoch, of one walk after the other or evenly mixed."""
    streams = [
        walk_batches(walk.images, recipe, generator(seed, "epoch", number, which))
        for which, walk in enumerate(epoch.walks)
    ]
    counts = [len(split(len(walk.images), recipe.batch_size)) for walk in epoch.walks]
    turns = [(i, which) for which, count in enumerate(counts) for i in range(count)]
    if epoch.interleaved:
        turns.sort(key=lambda turn: ((turn[0] + 0.5) / counts[turn[1]], turn[1]))
    for _, which in turns:
        yield epoch.walks[which], next(streams[which])


def walk_batches(images: Images, recipe: Recipe, draws: torch.Generator) -> Iterator[Batch]:
    """Yield the batches of one walk over a set in random order, augmented by the recipe."""
    sizes = split(len(images), recipe.batch_size)
    order = torch.randperm(len(images), generator=draws)
    moves = draw_moves(sizes, recipe.shift, recipe.flip, draws, images.device)
    loaded = images.batches(torch.split(order, sizes))
    sent = (part.to(images.device, non_blocking=True) for part in (images.labels[order], order))
    labels, positions = (torch.split(part, sizes) for part in sent)
    for x, move, *rest in zip(loaded, moves, labels, positions, strict=True):
        yield Batch(channels_last(augment(x, move)), *rest)


class _Stepper:
    """The optimiser, its schedule and its guard against non-finite steps."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        total: int,
        schedule: Schedule,
        device: torch.device,
    ) -> None:
        self.model, self.recipe, self.total, self.device = model, recipe, total, device
        self.factor = one_cycle if schedule == "one_cycle" else falling
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise InvalidProblem("all parameters of the model are frozen: nothing can be trained")
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=recipe.peak_lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.taken = 0
        self.check_every = _look_every(device)
        self.bad = torch.zeros((), device=device)
        self._modes: dict[bool, list[tuple[nn.Module, bool]]] = {}

    def step(self, walk: Walk, batch: Batch) -> None:
        """Take one step, unless it or an earlier one was not finite."""
        self._set_modes(statistics=walk.batch_statistics and len(batch.labels) > 1)
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"
        ):
            loss = walk.loss(self.model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm, foreach=True)
        finite = torch.isfinite(loss.detach()) & torch.isfinite(norm)
        self.bad = torch.maximum(self.bad, (~finite).float())
        if self.taken % self.check_every == 0:
            self.check()
        # the fused optimiser leaves weights and momentum alone where this is 1, without a wait
        self.optimizer.found_inf = self.bad  # type: ignore[attr-defined]
        lr = self.recipe.peak_lr * walk.relative_lr * self.factor(self.taken, self.total)
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()

    def check(self) -> None:
        """Raise NonFiniteLoss when a step had to be skipped."""
        if self.bad.item():
            raise NonFiniteLoss(
                f"loss or gradient was not finite at or before step {self.taken + 1} of "
                f"{self.total}; the weights were not changed by it. A lower learning rate helps."
            )

    def _set_modes(self, *, statistics: bool) -> None:
        known = self._modes.get(statistics)
        if known and all(module.training is mode for module, mode in known):
            return
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - all three kinds
                own = list(module.parameters(recurse=False))
                frozen = bool(own) and not any(p.requires_grad for p in own)
                module.train(statistics and not frozen)
        self._modes[statistics] = [(module, module.training) for module in self.model.modules()]


def _look_every(device: torch.device) -> int:
    return CHECK_EVERY if device.type == "cuda" else 1
