"""Folds of a training set: few samples left out at a time, people whole, classes balanced."""

import heapq
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from unlearning.errors import InvalidProblem
from unlearning.randomness import generator

MOST_LEFT_OUT = 0.10
"""Largest share of the samples that one model may miss."""


def split_folds(
    labels: Tensor, groups: Tensor | None = None, *, seed: int, most: float = MOST_LEFT_OUT
) -> Tensor:
    """Return the fold of each sample, int64 [n], so that no fold holds more than `most` of them.

    Samples of one group (one person, or copies of one picture) share a fold. As many folds as are
    needed, at least 1 / most. Each class is spread as evenly as whole groups allow; without groups
    its counts, and the folds' sizes, differ by one at most. Equal seeds give equal folds.

    Args:
        labels: int64 [n].
        groups: int64 [n]; every sample is a group of its own by default.
        seed: Decides between equally good folds.
        most: Largest share of the samples in one fold, in (0, 0.5].

    Raises:
        InvalidProblem: too few samples, or a group larger than a fold may be.
    """
    if not 0 < most <= 0.5:
        raise ValueError("a fold may hold more than nothing and at most half of the samples")
    room = int(most * len(labels) + 1e-9)
    if room < 1:
        raise InvalidProblem(f"{len(labels)} samples are too few to leave out {most:.0%} of them")
    members = _members(len(labels), groups)
    largest = max(len(positions) for positions in members)
    if largest > room:
        raise InvalidProblem(
            f"a group of {largest} samples is more than {most:.0%} of {len(labels)}: it cannot be "
            "left out at once"
        )
    return _assign(labels, members, room, seed)


def join_groups(*namings: Sequence[Hashable]) -> Tensor:
    """Return one group number for each sample, int64 [n], that joins all namings.

    Samples that share a name in one of them share a group, and so does who shares with either.
    Numbers are those of the groups' first samples.

    Args:
        *namings: one name for each sample, such as its person or the digest of its pixels.
    """
    count, width = len(namings[0]), 0
    rows, columns = [], []
    for names in namings:
        numbers: dict[Hashable, int] = {}
        numbered = [numbers.setdefault(name, len(numbers)) for name in names]
        rows.append(np.arange(count))
        columns.append(count + width + np.array(numbered, dtype=np.int64))
        width += len(numbers)
    ends = (np.concatenate(rows), np.concatenate(columns))
    links = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(count + width,) * 2)
    _, found = connected_components(links, directed=False)
    _, first, inverse = np.unique(found[:count], return_index=True, return_inverse=True)
    return torch.from_numpy(first[inverse].astype(np.int64))


def _assign(labels: Tensor, members: list[list[int]], room: int, seed: int) -> Tensor:
    """Put large groups first, while there is room to choose; then deal out the single samples."""
    order = torch.randperm(len(members), generator=generator(seed, "folds")).tolist()
    plan = _Plan(labels.numpy(), -(-len(labels) // room), room)
    for index in sorted(order, key=lambda i: -len(members[i])):
        if len(members[index]) > 1:
            plan.place(members[index])
    singles = defaultdict(list)
    for index in order:
        if len(members[index]) == 1:
            singles[int(labels[members[index][0]])].append(members[index][0])
    for label in sorted(singles):
        plan.deal(label, singles[label])
    return torch.from_numpy(plan.folds)


def _members(number: int, groups: Tensor | None) -> list[list[int]]:
    """Return the positions of each group."""
    if groups is None:
        return [[position] for position in range(number)]
    if groups.shape != (number,):
        raise ValueError("groups must name one group for each label")
    found: dict[int, list[int]] = {}
    for position, group in enumerate(groups.tolist()):
        found.setdefault(group, []).append(position)
    return list(found.values())


class _Plan:
    """Folds as they fill up."""

    def __init__(self, labels: np.ndarray, number: int, room: int) -> None:
        self.labels, self.room = labels, room
        self.folds = np.full(len(labels), -1, dtype=np.int64)
        self.counts = np.zeros((number, int(labels.max()) + 1), dtype=np.int64)

    def place(self, positions: list[int]) -> None:
        """Put a group where its classes are rarest, in a fold of its own where none has room."""
        added = np.bincount(self.labels[positions], minlength=self.counts.shape[1])
        sizes = self.counts.sum(1)
        fits = sizes + len(positions) <= self.room
        if not fits.any():
            self.counts = np.vstack([self.counts, np.zeros_like(self.counts[:1])])
            fits, sizes = np.append(fits, True), np.append(sizes, 0)
        crowding = self.counts @ added
        choices = np.flatnonzero(fits)
        fold = min(choices.tolist(), key=lambda k: (crowding[k], sizes[k], k))
        self.folds[positions] = fold
        self.counts[fold] += added

    def deal(self, label: int, positions: list[int]) -> None:
        """Put single samples of one class one by one where the class is rarest."""
        sizes = self.counts.sum(1)
        heap = [
            (int(self.counts[k, label]), int(sizes[k]), k)
            for k in range(len(self.counts))
            if sizes[k] < self.room
        ]
        heapq.heapify(heap)
        for position in positions:
            count, size, fold = heapq.heappop(heap)
            self.folds[position] = fold
            self.counts[fold, label] += 1
            if size + 1 < self.room:
                heapq.heappush(heap, (count + 1, size + 1, fold))
