"""K-fold pool: for every forget sample, predictions by a model that never saw it.

Each model of the pool is trained by the recipe on all of R ∪ F but one fold of at most a tenth.
What they predict serves as instance targets (`Problem.forget_predictions`), tells which samples the
recipe memorises, and gives RMIA its references. It never decides a verdict: models trained on less
are a biased comparison, and what supplied a method's targets does not audit it.

All but one of the models saw a given forget sample, so the pool is personal data while it lives.
Its weights are never stored: one model at a time is trained, asked and let go. What is left, a
`Pool`, are predictions of forget samples: whoever keeps one deletes it with the batch of requests
whose samples it is about (the service: when their run is over). Earlier erased samples never get
here: the sets are R and F, and nothing else is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unlearning.data import Images, concatenate
from unlearning.errors import InvalidProblem, NotComputable
from unlearning.features import split_evenly
from unlearning.folds import split_folds
from unlearning.metrics.confidence import label_probability, temperature
from unlearning.metrics.rmia import rmia_scores
from unlearning.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from unlearning.randomness import derive_seed
from unlearning.recipe import Recipe
from unlearning.training import train_from_recipe


@dataclass(frozen=True)
class Pool:
    """What the models of a pool say of F and of the hold-out, on the CPU."""

    unseen: Tensor
    """Whether a model never saw a forget sample, bool [m, n_F]; one True a round and sample."""
    forget_predictions: Tensor
    """Mean probabilities by models that never saw the sample, float32 [n_F, K]."""
    forget_probabilities: Tensor
    """p_y of F, temperature-calibrated on the hold-out, float64 [m, n_F]."""
    holdout_probabilities: Tensor
    """p_y of the hold-out, calibrated likewise, float64 [m, n_H]; no model saw any of it."""

    def memorised(self) -> Tensor:
        """Return how far each forget sample is memorised, float64 [n_F] in [-1, 1].

        The largest difference of p_y between a model that saw the sample and one that did not. As
        the largest of many differences it lies above 0 for samples that nobody memorises too;
        compare it among samples, or use `mean_memorised`.
        """
        seen = self.forget_probabilities.masked_fill(self.unseen, -torch.inf).amax(0)
        strange = self.forget_probabilities.masked_fill(~self.unseen, torch.inf).amin(0)
        return seen - strange

    def mean_memorised(self) -> Tensor:
        """Return mean p_y by models that saw the sample minus that by the others, float64 [n_F].

        Zero in expectation where nothing is memorised. Source: Feldman and Zhang (2020), eq. 1.
        """
        unseen = self.unseen.double()
        strange = (self.forget_probabilities * unseen).sum(0) / unseen.sum(0)
        seen = (self.forget_probabilities * (1 - unseen)).sum(0) / (1 - unseen).sum(0)
        return seen - strange

    def rmia_references(self) -> tuple[Tensor, Tensor]:
        """Return `references` [r, n_F] and `population_references` [m, n_H] for `rmia_scores`.

        p_y under models that saw neither: r rounds of them for F, all m for the hold-out.
        """
        rounds = int(self.unseen.sum(0)[0])
        order = self.unseen.to(torch.int8).argsort(dim=0, descending=True, stable=True)[:rounds]
        return self.forget_probabilities.gather(0, order), self.holdout_probabilities


@dataclass(frozen=True, kw_only=True)
class PoolTask:
    """What a pool is trained from; R and F are all that is ever trained on.

    Raises:
        InvalidProblem: an empty set, or groups that do not name one for each sample of R and F.
    """

    build: Callable[[], nn.Module]
    """Makes a fresh, untrained network from torch's global random state."""
    recipe: Recipe
    """How the original was trained."""
    retain: Images
    """R, on the same device as the others."""
    forget: Images
    """F."""
    holdout: Images
    """H, for calibration and as RMIA's population; never trained on."""
    groups: Tensor | None = None
    """int64 [n_R + n_F], R first: samples with one number (a person's, or copies) are left out
    together."""
    rounds: int = 1
    """How often the whole set is split anew; each gives one more model that never saw a sample."""
    seed: int = 0
    """Decides folds, initial weights and the order of training."""
    progress: ProgressCallback = ignore_progress
    """Told how far the pool is."""
    cancel: CancelToken | None = None
    """Stops the training."""

    def __post_init__(self) -> None:
        for name in ("retain", "forget", "holdout"):
            if not len(getattr(self, name)):
                raise InvalidProblem(f"the {name} set is empty")
        total = len(self.retain) + len(self.forget)
        if self.groups is not None and self.groups.shape != (total,):
            raise InvalidProblem(f"groups must be of shape [{total}], R first, then F")
        if self.rounds < 1:
            raise InvalidProblem("a pool needs one round at least")


def train_pool(task: PoolTask) -> Pool:
    """Train the pool's models one after the other and keep what they predict.

    Equal seeds give equal pools on one machine. A round costs as many trainings as it has folds, at
    least ten.

    Raises:
        InvalidProblem: too few samples, or a group of more than a tenth of them.
        NonFiniteLoss: the recipe diverges.
        Cancelled: the token was set.
    """
    whole = concatenate(task.retain, task.forget)
    left_out = []
    for number in range(task.rounds):
        folds = split_folds(whole.labels, task.groups, seed=derive_seed(task.seed, "pool", number))
        left_out += [(number, k, folds == k) for k in range(int(folds.max()) + 1)]
    answers = []
    for done, (number, k, out) in enumerate(left_out):
        model = train_from_recipe(
            task.build,
            whole.subset((~out).nonzero()[:, 0]),
            task.recipe,
            seed=derive_seed(task.seed, "pool", number, k),
            phase="pool",
            progress=_of_all(task.progress, done, len(left_out)),
            cancel=task.cancel,
        )
        answers.append(_ask(model, task, out[len(task.retain) :]))
    predictions = torch.zeros(len(task.forget), task.forget.num_classes)
    for answer in answers:
        predictions[answer.unseen] += answer.predictions / task.rounds
    return Pool(
        unseen=torch.stack([answer.unseen for answer in answers]),
        forget_predictions=predictions,
        forget_probabilities=torch.stack([answer.forget for answer in answers]),
        holdout_probabilities=torch.stack([answer.holdout for answer in answers]),
    )


def recognised(pool: Pool, model: nn.Module, task: PoolTask) -> Tensor:
    """Return the RMIA score of each forget sample under a model, float64 [n_F] in [0, 1].

    For triage of the original alone: a candidate that the pool taught is not audited by it.

    Args:
        pool: made from `task`.
        model: on the task's device, in eval mode.
        task: names F and H.
    """
    forget, holdout = _logits(model, task.forget), _logits(model, task.holdout)
    heat = _temperature(holdout, task.holdout.labels)
    strangers, population = pool.rmia_references()
    return rmia_scores(
        label_probability(forget, task.forget.labels, heat),
        strangers,
        label_probability(holdout, task.holdout.labels, heat),
        population,
    )


class _Answer(NamedTuple):
    """What one model says; its predictions are of the samples that it never saw."""

    unseen: Tensor
    predictions: Tensor
    forget: Tensor
    holdout: Tensor


def _ask(model: nn.Module, task: PoolTask, unseen: Tensor) -> _Answer:
    forget, holdout = _logits(model, task.forget), _logits(model, task.holdout)
    heat = _temperature(holdout, task.holdout.labels)
    return _Answer(
        unseen,
        torch.softmax(forget[unseen], dim=1),
        label_probability(forget, task.forget.labels, heat),
        label_probability(holdout, task.holdout.labels, heat),
    )


@torch.no_grad()
def _logits(model: nn.Module, images: Images) -> Tensor:
    batches = images.batches(split_evenly(len(images), 512))
    return torch.cat([model(batch).float().cpu() for batch in batches])


def _temperature(logits: Tensor, labels: Tensor) -> float:
    try:
        return temperature(logits, labels)
    except NotComputable:  # constant outputs are calibrated by no temperature
        return 1.0


def _of_all(progress: ProgressCallback, done: int, count: int) -> ProgressCallback:
    """Return a callback that places one training's steps among those of the pool."""

    def report(inner: Progress) -> None:
        step, total = done * inner.total + inner.step, count * inner.total
        progress(Progress("pool", step, total, f"model {done + 1} of {count}"))

    return report
