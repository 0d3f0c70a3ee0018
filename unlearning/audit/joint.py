"""The exact joint test: is the candidate the strangest of the models that never saw the data?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Below this spread two retrainings are the same for any reader of a metric in [0, 1] or of a log.
SD_FLOOR = 0.005


@dataclass(frozen=True, kw_only=True)
class JointTest:
    """Outcome for one candidate among ``n`` references.

    ``statistic`` is its distance, ``rank`` its place among all n + 1 (1 = the farthest; ties are
    counted as farther, so they never help to reject) and ``p_value`` = rank / (n + 1).
    """

    statistic: float
    rank: int
    n: int
    p_value: float

    @property
    def rejected(self) -> bool:
        """Whether the candidate alone is the farthest: probability 1/(n + 1) for a retrain."""
        return self.rank == 1


def distances(x: Array, others: Array) -> Array:
    """Return shrunk Mahalanobis distances [...] of ``x`` [..., d] from ``others`` [..., n, d].

    Every dimension is divided by the others' standard deviation (``SD_FLOOR`` at least), then the
    covariance is shrunk after Ledoit and Wolf (2004), so n may be as small as d.
    """
    mean, scale, covariance = standard_spread(others)
    deviation = ((x - mean) / scale)[..., None]
    squared: Array = np.swapaxes(deviation, -1, -2) @ np.linalg.solve(covariance, deviation)
    return np.sqrt(squared[..., 0, 0])


def standard_spread(rows: Array) -> tuple[Array, Array, Array]:
    """Return the mean, the scale and the shrunk covariance of (rows − mean) / scale.

    ``rows`` [..., n, d] may be many sets of equal size; [..., d], [..., d] and [..., d, d] result.

    What the floor adds to a dimension's spread is taken as independent of the others, so the
    covariance is never singular and a dimension without spread is measured in units of the floor.
    """
    mean, spread = rows.mean(axis=-2), rows.std(axis=-2, ddof=1)
    scale = np.maximum(spread, SD_FLOOR)
    covariance = shrunk_covariance((rows - mean[..., None, :]) / scale[..., None, :])
    added = 1e-6 + 1 - np.square(spread / scale)
    return mean, scale, covariance + added[..., None] * np.eye(rows.shape[-1])


def shrunk_covariance(centred: Array) -> Array:
    """Return the covariance of centred rows [..., n, d], shrunk towards a multiple of the identity.

    The best share of the identity for the squared error, estimated after Ledoit and Wolf (2004).
    """
    count, dims = centred.shape[-2:]
    covariance = np.swapaxes(centred, -1, -2) @ centred / count
    size = np.trace(covariance, axis1=-2, axis2=-1) / dims
    power = np.square(covariance).sum(axis=(-2, -1))
    error = (np.square(centred).sum(axis=-1) ** 2).sum(axis=-1) / count - power
    spread = power - dims * size**2
    share = np.minimum(error / count / np.where(spread > 0, spread, 1.0), 1.0)
    share = np.where(spread > 0, share, 1.0)[..., None, None]
    shrunk: Array = (1 - share) * covariance + share * size[..., None, None] * np.eye(dims)
    return shrunk


def joint_test(candidate: Array, references: Array) -> JointTest:
    """Test ``candidate`` [d] against ``references`` [n, d] whose vectors are fixed numbers."""
    pool = np.vstack([references, candidate[None]])
    return exact_test(lambda index: _split(pool, index), len(pool))


def exact_test(view: Callable[[int], tuple[Array, Array]], size: int) -> JointTest:
    """Test the last of ``size`` models against all others.

    ``view(i)`` gives the vector of model i and those of all others, computed from the others alone
    (a divergence from *their* mean prediction, say). Every model is then treated alike, so under
    exchangeability each is the farthest with probability 1/size, whatever the distribution
    (conformal prediction, Vovk et al. 2005). Raises ValueError for fewer than three models.
    """
    if size < 3:
        raise ValueError("the joint test needs two references at least")
    own, others = zip(*(view(index) for index in range(size)), strict=True)
    found = distances(np.stack(own), np.stack(others))
    # Equal models may differ in the last bit because their sums run in another order.
    rank = int((found >= found[-1] * (1 - 1e-9)).sum())
    return JointTest(statistic=float(found[-1]), rank=rank, n=size - 1, p_value=rank / size)


def _split(pool: Array, index: int) -> tuple[Array, Array]:
    return pool[index], np.delete(pool, index, axis=0)


def stack(rows: Sequence[Sequence[float]]) -> Array:
    """Return the rows as a float64 matrix [n, d]."""
    return np.asarray(rows, dtype=np.float64)
