"""Remove artifacts that no row names: given up by purging, or of workers that were fenced out.

A worker stores what a job made before the transaction that refers to it, so an artifact without a
row may be one whose row is on its way. It is removed after nobody has named or touched it for a
while that this process has watched by its own monotonic clock: no wall clock decides.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import select

from service import ledger
from service.database import Database
from service.storage import Storage, Stored
from service.tables import Tenant

_log = structlog.get_logger("service.collecting")


@dataclass(frozen=True)
class _Seen:
    """What an artifact without a name was when it was first seen, and when that was."""

    stored: Stored
    at: float


class Collector:
    """Look now and then at everything in the storage; remove what has long been nobody's.

    Args:
        age_s: How long an artifact has to be without a name, unchanged, before it is removed.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._storage = storage
        self._age_s = age_s
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def collect(self) -> int:
        """Look once and return how many artifacts were removed; the first look removes none."""
        present = {stored.path: stored for stored in self._storage.list()}
        named = self._named()  # after the listing: what was named by then is in it
        moment = self._clock()
        orphans = {path: stored for path, stored in present.items() if path not in named}
        self._seen = {
            path: seen
            if (seen := self._seen.get(path)) is not None and seen.stored == stored
            else _Seen(stored, moment)
            for path, stored in orphans.items()
        }
        ripe = [
            seen.stored
            for seen in self._seen.values()
            if seen.at < moment and moment - seen.at >= self._age_s
        ]
        named = self._named() if ripe else named
        removed = [
            stored
            for stored in ripe
            if stored.path not in named and self._storage.remove_unchanged(stored)
        ]
        self._finish({stored.path: stored.size for stored in removed}, present)
        return len(removed)

    def _named(self) -> set[str]:
        with self._database.read() as session:
            return ledger.named_artifacts(session)

    def _finish(self, removed: dict[str, int], present: dict[str, Stored]) -> None:
        """Write down what is gone: of purges the digest, of orphans, which are nobody's, how many.

        What was given up and had been removed already, as by a sweeper that was killed before it
        could write so, is written down too.
        """
        with self._database.read() as session:
            pending = ledger.pending_artifacts(session)
            named = ledger.named_artifacts(session)
            tenants = session.scalars(select(Tenant.id)).all()
        gone: dict[str, int | None] = {
            key: removed.get(key)
            for key in pending - named
            if key in removed or (key not in present and not self._storage.exists(key))
        }
        orphans = {key: size for key, size in removed.items() if key not in pending}
        for tenant_id in tenants:  # one turn at a time, for two could wait for each other
            if not gone and not orphans:
                return
            with self._database.write() as session:
                ledger.finish_purges(session, tenant_id, gone)
                if orphans:
                    size = sum(orphans.values())
                    ledger.record_collected(session, tenant_id, len(orphans), size)
        _log.info("artifacts deleted", purged=len(gone), orphans=len(orphans))
