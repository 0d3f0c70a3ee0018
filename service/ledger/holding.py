"""Which erased samples a version of a model still holds, and since when it should not serve.

A version holds what a closed request erased unless it is that request's result or was made from
it. A version that was trained from scratch holds nothing that was in E when its run was planned.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import unpack
from service.ledger.orders import RETRAIN
from service.ledger.samples import samples_of
from service.tables import DeletionRequest, Model, ModelVersion, RequestStatus, Run


@dataclass(frozen=True)
class Held:
    """Erased samples that a version holds; `since`: when the first of them had to be gone.

    `suspect` are those that the model may have been trained on, its owner not having said; they
    do not count into `samples`.
    """

    samples: int = 0
    since: datetime | None = None
    suspect: int = 0


class Holdings:
    """What each version of one model holds; reads the model's requests and versions once."""

    def __init__(self, session: Session, model: Model) -> None:
        self._session, self._model = session, model

    def of(self, version: ModelVersion | None) -> Held:
        """Return what a version holds; null stands for weights that are not checked yet."""
        chain = [] if version is None else self._chain(version)
        retrained = next((step for step in chain if _is_retrained(step)), None)
        clean = BitMap() if retrained is None else self._clean_of(retrained)
        made = {step.id for step in chain}
        held: list[DeletionRequest] = []
        gone = BitMap()
        for request, ordinals in self._closed:
            if request.result_version_id in made:
                gone |= ordinals
            elif not ordinals <= clean:
                held.append(request)
        suspect = BitMap()
        if retrained is None and self._model.suspect is not None:
            suspect = unpack(self._model.suspect) - gone
        samples = sum(request.num_samples for request in held)
        times = [request.closed_at for request in held if request.closed_at is not None]
        if self._model.trained_on_erased and suspect:
            samples, times = samples + len(suspect), [*times, self._model.created_at]
            suspect = BitMap()
        return Held(samples, min(times, default=None), len(suspect))

    @cached_property
    def _versions(self) -> dict[UUID, ModelVersion]:
        query = select(ModelVersion).where(ModelVersion.model_id == self._model.id)
        return {version.id: version for version in self._session.scalars(query)}

    @cached_property
    def _closed(self) -> list[tuple[DeletionRequest, BitMap]]:
        """Return the completed requests with their samples, or their run's once those are gone."""
        query = select(DeletionRequest).where(
            DeletionRequest.model_id == self._model.id,
            DeletionRequest.status == RequestStatus.COMPLETED,
        )
        rows = self._session.scalars(query.order_by(DeletionRequest.id)).all()
        own = samples_of(self._session, [row.id for row in rows])
        return [(row, own.get(row.id) or self._forget_of(row)) for row in rows]

    def _forget_of(self, request: DeletionRequest) -> BitMap:
        run = self._session.get_one(Run, request.run_id)
        return unpack(run.forget)

    def _chain(self, version: ModelVersion) -> list[ModelVersion]:
        """Return a version and those that it was made from, newest first."""
        chain = [version]
        while (parent := chain[-1].parent_id) is not None:
            chain.append(self._versions[parent])
        return chain

    def _clean_of(self, retrained: ModelVersion) -> BitMap:
        if retrained.run_id is None:
            return BitMap()
        return unpack(self._session.get_one(Run, retrained.run_id).erased)


def _is_retrained(version: ModelVersion) -> bool:
    return version.method is not None and version.method["name"] == RETRAIN
