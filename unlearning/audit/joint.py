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


def distance(x: Array, others: Array) -> float:
    """Return the shrunk Mahalanobis distance of ``x`` [d] from the rows of ``others`` [n, d].

    Every dimension is divided by the others' standard deviation (``SD_FLOOR`` at least), then the
    covariance is shrunk after Ledoit and Wolf (2004), so n may be as small as d.
    """
    mean, scale, covariance = standard_spread(others)
    deviation = (x - mean) / scale
    return float(np.sqrt(deviation @ np.linalg.solve(covariance, deviation)))


def standard_spread(rows: Array) -> tuple[Array, Array, Array]:
    """Return mean [d], scale [d] and the shrunk covariance [d, d] of (rows − mean) / scale.

    What the floor adds to a dimension's spread is taken as independent of the others, so the
    covariance is never singular and a dimension without spread is measured in units of the floor.
    """
    mean, spread = rows.mean(axis=0), rows.std(axis=0, ddof=1)
    scale = np.maximum(spread, SD_FLOOR)
    covariance = shrunk_covariance((rows - mean) / scale)
    added = 1e-6 + 1 - np.square(spread / scale)
    return mean, scale, covariance + np.diag(added)


def shrunk_covariance(centred: Array) -> Array:
    """Return the covariance of centred rows [n, d], shrunk towards a multiple of the identity.

    The best share of the identity for the squared error, estimated after Ledoit and Wolf (2004).
    """
    count, dims = centred.shape
    covariance = centred.T @ centred / count
    size = np.trace(covariance) / dims
    error = (np.square(centred).sum(axis=1) ** 2).sum() / count - np.square(covariance).sum()
    spread = np.square(covariance).sum() - dims * size**2
    share = min(error / count / spread, 1.0) if spread > 0 else 1.0
    shrunk: Array = (1 - share) * covariance + share * size * np.eye(dims)
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
    distances = [distance(*view(index)) for index in range(size)]
    rank = sum(_at_least(other, distances[-1]) for other in distances)
    return JointTest(statistic=distances[-1], rank=rank, n=size - 1, p_value=rank / size)


def _at_least(other: float, own: float) -> bool:
    # Equal models may differ in the last bit because their sums run in another order.
    return other >= own * (1 - 1e-9)


def _split(pool: Array, index: int) -> tuple[Array, Array]:
    return pool[index], np.delete(pool, index, axis=0)


def stack(rows: Sequence[Sequence[float]]) -> Array:
    """Return the rows as a float64 matrix [n, d]."""
    return np.asarray(rows, dtype=np.float64)
