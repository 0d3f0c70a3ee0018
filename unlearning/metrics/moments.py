"""Mean and covariance of features in one pass (a building block; it has no direction)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

CHUNK_ROWS = 8192
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
        scatter: [d, d] float64, sum of (x − mean)(x − mean)ᵀ; valid on and above the diagonal.
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
                self._add(_widened(rows))

    def merge(self, other: Self) -> None:
        """Add the rows that another accumulator has seen; the other one is not changed."""
        if other.mean.numel() != self.mean.numel():
            raise ValueError(f"expected {self.mean.numel()} channels, got {other.mean.numel()}")
        if other.count:
            self.scatter.add_(other.scatter)
            delta, weight = self._move_mean(other.count, other.mean)
            self.scatter.addr_(delta, delta, alpha=weight)

    def covariance(self) -> Tensor:
        """Divide the scatter by the count (1/n, the population's): symmetric [d, d] float64."""
        if not self.count:
            raise ValueError("no rows were added, so there is no covariance")
        upper = self.scatter.triu()
        return (upper + upper.triu(1).T) / self.count

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

    def _add(self, rows: Tensor) -> None:
        """Join one chunk, in few large operations: each one costs a round of all threads."""
        shift = rows.mean(dim=0)
        deviations = rows - shift
        blocks = _upper_gram(deviations)
        diagonal = torch.cat([block.diagonal() for _, block in blocks])
        if not torch.isfinite(diagonal).all():
            raise ValueError("features hold NaN, infinite or too large values")
        residual = (deviations.sum(dim=0).double() / len(rows)).cpu()
        for start, block in blocks:
            self.scatter[start : start + len(block), start:] += block.cpu()
        delta, weight = self._move_mean(len(rows), shift.double().cpu() + residual)
        # One product adds w·δδᵀ, the move of the mean, and takes off n·rrᵀ, the shift's rounding.
        vectors = torch.stack([delta, residual])
        factors = torch.tensor([[weight], [-float(len(rows))]], dtype=torch.float64)
        self.scatter.addmm_((factors * vectors).T, vectors)

    def _move_mean(self, count: int, mean: Tensor) -> tuple[Tensor, float]:
        """Move the mean towards `count` more rows'; return the distance and its square's weight."""
        total = self.count + count
        delta = mean - self.mean
        weight = self.count * count / total
        self.mean.add_(delta, alpha=count / total)
        self.count = total
        return delta, weight


def _check_matrix(features: Tensor) -> None:
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"expected floating-point features [n, d], got {tuple(features.shape)}")


def _widened(rows: Tensor) -> Tensor:
    """Return float64 rows where products of the given ones would keep too few digits."""
    if rows.dtype == torch.float64:
        return rows
    if rows.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest":
        return rows
    # Half precision, or TF32 switched on by the caller: too coarse for eigenvectors.
    return rows.double()


def _upper_gram(deviations: Tensor) -> list[tuple[int, Tensor]]:
    """Return XᵀX as strips from the diagonal to the right: 5/8 of the work at d = 512."""
    starts = range(0, deviations.shape[1], _BLOCK)
    return [(at, deviations[:, at : at + _BLOCK].T @ deviations[:, at:]) for at in starts]
