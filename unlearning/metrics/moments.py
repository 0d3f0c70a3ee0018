"""Mean and covariance of features in one pass (a building block; it has no direction)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

CHUNK_ROWS = 4096
_BLOCK = 128


@dataclass
class Moments:
    """Accumulate count, mean and scatter of rows of width d, chunk by chunk, in float64.

    Each chunk is shifted by its own mean before the Gram product, so a large common offset costs
    no digits; chunks are joined by the update of Chan, Golub and LeVeque (1979), so any split and
    any order give the same result up to rounding. Products run in the chunk's own precision
    (float32: relative error about 1e-7), sums over chunks in float64. Extra memory: O(d² + b·d).

    Attributes:
        count: rows seen.
        mean: [d] float64.
        scatter: [d, d] float64, sum of (x − mean)(x − mean)ᵀ.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(cls, dims: int) -> Self:
        """Start with no rows of width `dims`."""
        mean = torch.zeros(dims, dtype=torch.float64)
        return cls(0, mean, torch.zeros(dims, dims, dtype=torch.float64))

    @classmethod
    def of(cls, features: Tensor, chunk_rows: int = CHUNK_ROWS) -> Self:
        """Accumulate [n, d] features that are already in memory; n may be zero."""
        _check_matrix(features)
        return cls.over(torch.split(features, chunk_rows), dims=features.shape[1])

    @classmethod
    def over(cls, chunks: Iterable[Tensor], dims: int) -> Self:
        """Accumulate an iterable of [b, dims] chunks, holding one at a time."""
        moments = cls.empty(dims)
        for chunk in chunks:
            moments.update(chunk)
        return moments

    def update(self, chunk: Tensor) -> None:
        """Add the rows of a [b, d] chunk.

        Raises:
            ValueError: the width differs, or a value is NaN, infinite or too large to square.
        """
        _check_matrix(chunk)
        if chunk.shape[1] != self.mean.numel():
            raise ValueError(f"expected {self.mean.numel()} channels, got {chunk.shape[1]}")
        for rows in torch.split(chunk.detach(), CHUNK_ROWS):
            if len(rows):
                self._join(*_chunk_moments(rows))

    def merge(self, other: Self) -> None:
        """Add the rows that another accumulator has seen; the other one is not changed."""
        if other.mean.numel() != self.mean.numel():
            raise ValueError(f"expected {self.mean.numel()} channels, got {other.mean.numel()}")
        if other.count:
            self._join(other.count, other.mean, other.scatter)

    def covariance(self) -> Tensor:
        """Divide the scatter by the count (1/n, the population's): symmetric [d, d] float64."""
        if not self.count:
            raise ValueError("no rows were added, so there is no covariance")
        return (self.scatter + self.scatter.T) / (2 * self.count)

    def scatter_about(self, centre: Tensor) -> Tensor:
        """Return the mean of (x − centre)(x − centre)ᵀ over the rows seen: [d, d] float64."""
        shift = self.mean - centre
        return self.covariance() + torch.outer(shift, shift)

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state as tensors, to be stored or sent to another process."""
        count = torch.tensor(self.count, dtype=torch.int64)
        return {"count": count, "mean": self.mean.clone(), "scatter": self.scatter.clone()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        """Restore what `to_tensors` returned."""
        count = int(tensors["count"])
        return cls(count, tensors["mean"].clone(), tensors["scatter"].clone())

    def _join(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        total = self.count + count
        delta = mean - self.mean
        weight = self.count * count / total
        self.scatter.add_(scatter)
        if weight:
            self.scatter.addr_(delta, delta, alpha=weight)
        self.mean.add_(delta, alpha=count / total)
        self.count = total


def _check_matrix(features: Tensor) -> None:
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"expected floating-point features [n, d], got {tuple(features.shape)}")


def _chunk_moments(rows: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return count, mean and scatter of one chunk; the last two as float64 on the CPU."""
    exact = rows.dtype == torch.float64
    if not exact and (
        rows.dtype != torch.float32 or torch.get_float32_matmul_precision() != "highest"
    ):
        # Half precision, or TF32 switched on by the caller: too few digits for eigenvectors.
        rows = rows.double()
    shift = rows.mean(dim=0)
    deviations = rows - shift
    residual = deviations.sum(dim=0).double() / len(rows)
    gram = _gram(deviations).double()
    scatter = gram.cpu().addr_(residual.cpu(), residual.cpu(), alpha=-float(len(rows)))
    if not torch.isfinite(scatter.diagonal()).all():
        raise ValueError("features hold NaN, infinite or too large values")
    return len(rows), (shift.double() + residual).cpu(), scatter


def _gram(deviations: Tensor) -> Tensor:
    """Return XᵀX, computing only the blocks on and above the diagonal (about 5/8 at d = 512)."""
    dims = deviations.shape[1]
    gram = deviations.new_empty(dims, dims)
    for start in range(0, dims, _BLOCK):
        stop = min(start + _BLOCK, dims)
        block = deviations[:, start:stop].T @ deviations[:, start:]
        gram[start:stop, start:] = block
        gram[stop:, start:stop] = block[:, stop - start :].T
    return gram
