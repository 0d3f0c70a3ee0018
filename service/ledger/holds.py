"""What legal holds keep from being purged."""

import uuid

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from service.tables import DeletionRequest, Model, RequestStatus


def held_models(session: Session, tenant_id: uuid.UUID) -> Select[uuid.UUID]:
    """Select the models of a tenant's data sets on hold: nothing that they made may be purged."""
    return select(Model.id).where(Model.dataset_id.in_(held_datasets(session, tenant_id)))


def held_datasets(session: Session, tenant_id: uuid.UUID) -> set[uuid.UUID]:
    """Return the data sets of a tenant with a request on hold: nothing of them may be purged."""
    query = (
        select(Model.dataset_id)
        .join(DeletionRequest, DeletionRequest.model_id == Model.id)
        .where(
            DeletionRequest.tenant_id == tenant_id,
            DeletionRequest.status == RequestStatus.ON_HOLD,
        )
    )
    return set(session.scalars(query))
