"""Which samples of a data set stand or fall together: one person's, and files with equal bytes.

A worker gets numbers, never ids.
"""

from collections.abc import Hashable

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.tables import Dataset, Sample

FETCHED = 5_000  # rows read from the database at a time


def sample_groups(session: Session, dataset: Dataset, included: BitMap) -> dict[int, int]:
    """Return the group of each included ordinal, named by the lowest ordinal in it.

    Samples of one subject share a group, and so do samples whose files are equal; who shares with
    one of them shares with all. A sample without either is a group of its own.
    """
    query = (
        select(Sample.ordinal, Sample.subject_id, Sample.sha256)
        .where(Sample.dataset_id == dataset.id)
        .order_by(Sample.ordinal)
        .execution_options(yield_per=FETCHED)
    )
    groups, first = _Groups(), dict[Hashable, int]()
    with session.execute(query) as found:
        for ordinal, subject_id, sha256 in found:
            if ordinal not in included:
                continue
            groups.join(ordinal, first.setdefault(("file", sha256), ordinal))
            if subject_id is not None:
                groups.join(ordinal, first.setdefault(("subject", subject_id), ordinal))
    return {ordinal: groups.of(ordinal) for ordinal in included}


class _Groups:
    """Disjoint sets that are named by their lowest member."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def of(self, member: int) -> int:
        """Return the name of a member's set, shortening the way there."""
        parents = self._parents
        while (parent := parents.setdefault(member, member)) != member:
            parents[member] = parents[parent]
            member = parents[member]
        return member

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        low, high = sorted((self.of(one), self.of(other)))
        self._parents[high] = low
