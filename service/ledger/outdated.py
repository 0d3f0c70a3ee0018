"""No way back to weights that hold what was erased since.

`MOVES` lets no version become current but a candidate of a run. What is left is to serve old
weights by mistake, or to register them once more as a model of their own: both are refused.
"""

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import Conflict
from service.ledger.reading import find_current
from service.tables import ModelVersion, VersionState


def refuse_outdated(session: Session, version: ModelVersion) -> None:
    """Refuse to serve a version that was superseded or rejected.

    Raises:
        Conflict: `version_not_current`, with the number of the one that is, in `current`.
    """
    if version.state in (VersionState.SUPERSEDED, VersionState.REJECTED):
        present = find_current(session, version.model_id)
        number = None if present is None else present.number
        detail = (
            f"Version {version.number} was {version.state}: it still holds samples that were"
            f" erased. The current one is version {number}."
        )
        raise Conflict("version_not_current", detail, current=number)


def refuse_return(session: Session, tenant_id: uuid.UUID, sha256: str) -> None:
    """Refuse weights that an erasure replaced, under whatever model's name they come back.

    Raises:
        Conflict: `version_not_current`, with the model and the number of the one that replaced
            them.
    """
    query = select(ModelVersion).where(
        ModelVersion.tenant_id == tenant_id,
        ModelVersion.weights_sha256 == sha256,
        ModelVersion.superseded_at.is_not(None),
    )
    known = session.scalars(query.order_by(ModelVersion.id)).first()
    if known is None:
        return
    present = find_current(session, known.model_id)
    number = None if present is None else present.number
    detail = (
        f"These are the weights of version {known.number} of model {known.model_id}, which an"
        f" erasure replaced: they hold what was erased. The current one is version {number}."
    )
    raise Conflict("version_not_current", detail, model_id=str(known.model_id), current=number)
