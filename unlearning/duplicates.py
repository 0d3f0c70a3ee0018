"""Copies of forget samples among other samples: the same pixels, or nearly the same picture.

A forgotten picture that lives on under another id keeps teaching what was to be forgotten. Copies
with equal pixels are found by digest. For the others two searches nominate and one check decides:
the nearest by penultimate features (what the network holds for alike) and the most alike of coarse
thumbnails are compared pixel by pixel, and are copies when they agree better than R's own samples
do with their most similar others. Features alone cannot decide: in a collapsed class every
class-mate is near, and a copy shifted by a pixel may not be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.pictures import Pictures, agreement, most_alike, nearest

PAIRS = 8_192
"""How many pairs of images are compared at a time."""


@dataclass(frozen=True, kw_only=True)
class CopyRule:
    """When two different images are the same picture."""

    neighbours: int = 10
    """How many nearest neighbours each of the two searches nominates."""
    shift: int = 1
    """Largest shift that is undone, in pixels of the thumbnail; mirroring always is."""
    quantile: float = 0.99
    """Share of R's samples whose most similar other sample is not to count as a copy."""
    least: float = 0.90
    """Correlation below which nothing is a copy, however unlike R's samples are."""
    most: float = 0.995
    """Correlation from which everything is a copy: R may be full of copies itself."""
    calibrated_on: int = 2_000
    """Samples of R that the thresholds are taken from."""
    least_of_class: int = 50
    """Of these samples a class needs so many for a threshold of its own."""


@dataclass(frozen=True)
class Thresholds:
    """Correlation from which two images are the same picture."""

    of_class: dict[int, float]
    pooled: float

    def at(self, labels: Tensor) -> Tensor:
        """Return the threshold for forget samples of these labels: float32 [n]."""
        return torch.tensor([self.of_class.get(y, self.pooled) for y in labels.tolist()])


@dataclass(frozen=True)
class Copies:
    """Which forget samples have copies in the searched set, and where.

    A group is all samples, of both sets, with the same pixels.
    """

    forget_groups: Tensor
    """Group of each forget sample, int64 [n_F]."""
    found_groups: Tensor
    """Group of each searched sample, int64 [n]."""
    near: Tensor
    """Pairs (forget sample, group of searched samples) of the same picture, int64 [p, 2]."""

    def of(self, members: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the copies of some forget samples: byte-equal ones and, without these, near ones.

        Positions in the searched set, rising.
        """
        wanted = torch.as_tensor(members, dtype=torch.int64)
        equal = torch.isin(self.found_groups, self.forget_groups[wanted])
        groups = self.near[torch.isin(self.near[:, 0], wanted), 1]
        near = torch.isin(self.found_groups, groups) & ~equal
        return equal.nonzero()[:, 0].tolist(), near.nonzero()[:, 0].tolist()


def calibrate(retain: Pictures, rule: CopyRule | None = None) -> Thresholds:
    """Take the thresholds from how alike R's samples are to their most similar other sample.

    Pixel-equal samples of R do not count: they are copies, and say nothing of strangers.
    """
    rule = rule or CopyRule()
    order = sorted(range(len(retain)), key=lambda i: (retain.digests[i], int(retain.labels[i])))
    chosen = torch.tensor(order[: rule.calibrated_on], dtype=torch.int64)
    best = torch.full((len(retain),), -1.0)
    for own, _, agreed in _compared(retain, chosen, retain, rule):
        best.scatter_reduce_(0, own, agreed, "amax")
    known = chosen[best[chosen] > -1]
    labels = retain.labels[known]
    counts = torch.bincount(labels) if len(labels) else torch.zeros(0)
    return Thresholds(
        of_class={
            label: _threshold(best[known[labels == label]], rule)
            for label in (counts >= rule.least_of_class).nonzero()[:, 0].tolist()
        },
        pooled=_threshold(best[known], rule),
    )


def find_copies(
    forget: Pictures, searched: Pictures, thresholds: Thresholds, rule: CopyRule | None = None
) -> Copies:
    """Find the copies of forget samples in another set; memory O(n_F·k + n), never n_F·n."""
    rule = rule or CopyRule()
    groups = _number([*forget.digests, *searched.digests])
    forget_groups, found_groups = groups[: len(forget)], groups[len(forget) :]
    pairs = [torch.empty((0, 2), dtype=torch.int64)]
    for own, other, agreed in _compared(forget, torch.arange(len(forget)), searched, rule):
        same = agreed >= thresholds.at(forget.labels[own])
        pairs.append(torch.stack([own[same], found_groups[other[same]]], dim=1))
    return Copies(forget_groups, found_groups, _distinct(torch.cat(pairs)))


def _compared(
    ours: Pictures, chosen: Tensor, theirs: Pictures, rule: CopyRule
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (our positions, their positions, agreement) of all nominated pairs of unlike pixels.

    Of samples with the same pixels the first stands for all, so that many cannot crowd out others.
    """
    groups = _number([*ours.digests, *theirs.digests])
    ours_in, theirs_in = groups[: len(ours)], groups[len(ours) :]
    kept = _first_of_each(theirs_in)
    count = rule.neighbours + 1  # a sample's own pixels may take one place
    # a shift of less than half a coarse pixel needs no undoing to be among the most alike
    shift = round(rule.shift * ours.coarse.shape[-1] / ours.thumbnails.shape[-1])
    nominated = [most_alike(ours.coarse[chosen], theirs.coarse[kept], count, shift)]
    if ours.features is not None and theirs.features is not None:
        nominated.append(nearest(ours.features[chosen], theirs.features[kept], count))
    others = kept[torch.cat(nominated, dim=1)]
    owners = chosen[:, None].expand_as(others)
    pairs = _distinct(torch.stack([owners.flatten(), others.flatten()], dim=1))
    pairs = pairs[ours_in[pairs[:, 0]] != theirs_in[pairs[:, 1]]]
    for own, other in (part.unbind(1) for part in torch.split(pairs, PAIRS)):
        ours_seen, theirs_seen = ours.thumbnails[own].float(), theirs.thumbnails[other].float()
        yield own, other, agreement(ours_seen, theirs_seen, rule.shift)


def _number(digests: list[bytes]) -> Tensor:
    """Number digests so that equal ones get equal numbers: int64 [n]."""
    numbers: dict[bytes, int] = {}
    found = [numbers.setdefault(digest, len(numbers)) for digest in digests]
    return torch.tensor(found, dtype=torch.int64)


def _distinct(pairs: Tensor) -> Tensor:
    """Return each pair [p, 2] once, in rising order."""
    distinct: Tensor = torch.unique(pairs, dim=0)
    return distinct


def _first_of_each(groups: Tensor) -> Tensor:
    """Return the position of the first member of each group, rising."""
    seen: dict[int, int] = {}
    for position, group in enumerate(groups.tolist()):
        seen.setdefault(group, position)
    return torch.tensor(list(seen.values()), dtype=torch.int64)


def _threshold(best: Tensor, rule: CopyRule) -> float:
    """Return the quantile of the best agreements, within the rule's bounds."""
    if not len(best):
        return rule.most
    quantile = float(best.quantile(rule.quantile, interpolation="higher"))
    return min(max(quantile, rule.least), rule.most)
