"""Early stop by retain validation: forgetting that ruins the model is taken back."""

import torch
from torch import Tensor, nn

from unlearning.data import Images
from unlearning.features import split_evenly
from unlearning.problem import Problem
from unlearning.randomness import generator

_FEWEST = 2


class Guard:
    """Watches a model's accuracy on samples that train nothing, from epoch to epoch."""

    def __init__(self, model: nn.Module, images: Images | None, max_drop: float) -> None:
        self.model, self.images, self.max_drop = model, images, max_drop
        self.stopped = False
        """Whether forgetting has ended."""
        self.best = -1.0
        """Highest accuracy after any forget epoch so far."""
        self._begun = False
        self._kept: dict[str, Tensor] = {}

    def look(self) -> None:
        """Measure; where accuracy fell too far, give back the best epoch's weights and stop.

        Called before each epoch that forgets and after the last of them. The first look measures
        nothing: the weights before any forgetting are never given back. Nor is optimiser state.
        """
        if self.images is None or self.stopped:
            return
        if not self._begun:
            self._begun = True
            return
        accuracy = self._accuracy(self.images)
        if accuracy < self.best - self.max_drop:
            self.model.load_state_dict(self._kept)
            self.stopped = True
        elif accuracy > self.best:
            self.best = accuracy
            state = self.model.state_dict()
            self._kept = {name: value.detach().clone() for name, value in state.items()}

    @torch.no_grad()
    def _accuracy(self, images: Images) -> float:
        training = {module: module.training for module in self.model.modules()}
        self.model.eval()
        right = torch.zeros((), device=images.device)
        indices = split_evenly(len(images), 512)
        for index, x in zip(indices, images.batches(indices), strict=True):
            labels = images.labels[index].to(images.device)
            right += (self.model(x).argmax(1) == labels).sum()
        for module, mode in training.items():
            module.training = mode
        return float(right) / len(images)


def watched(
    problem: Problem, model: nn.Module, share: float, max_drop: float
) -> tuple[Images, Guard]:
    """Split the retain set into what trains and what a guard of `model` watches.

    With a share of 0, or a retain set too small to spare two samples, all of it trains and the
    guard never stops anything.
    """
    spared = round(share * len(problem.retain))
    if spared < _FEWEST or len(problem.retain) - spared < _FEWEST:
        return problem.retain, Guard(model, None, max_drop)
    order = torch.randperm(len(problem.retain), generator=generator(problem.seed, "validation"))
    images = problem.retain.subset(order[:spared].sort().values)
    return problem.retain.subset(order[spared:].sort().values), Guard(model, images, max_drop)
