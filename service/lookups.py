"""Read-only look-ups that routes need beside the ledger's."""

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.ledger import Caller, Page, get_dataset
from service.ledger.reading import page_after
from service.tables import Approval, Job, JobKind, JobStatus, ModelVersion, Sample


def find_samples(
    session: Session,
    caller: Caller,
    dataset_id: uuid.UUID,
    *,
    label: int | None = None,
    subject_id: str | None = None,
    split: str | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Sample]:
    """Return samples in the manifest's order; the cursor is the last ordinal seen.

    Raises:
        NotFound: The data set.
        Unprocessable: ``bad_cursor``.
    """
    get_dataset(session, caller, dataset_id)
    query = select(Sample).where(Sample.dataset_id == dataset_id)
    wanted = {"label": label, "subject_id": subject_id, "split": split}
    query = query.filter_by(**{name: value for name, value in wanted.items() if value is not None})
    return page_after(session, query, Sample.ordinal, cursor, limit)


def version_number(session: Session, version_id: uuid.UUID | None) -> int | None:
    """Return a version's number."""
    if version_id is None:
        return None
    return session.scalar(select(ModelVersion.number).where(ModelVersion.id == version_id))


def last_approval(session: Session, run_id: uuid.UUID | None) -> Approval | None:
    """Return the newest question whether a candidate of a run may be promoted."""
    if run_id is None:
        return None
    query = select(Approval).where(Approval.run_id == run_id).order_by(Approval.id.desc())
    return session.scalar(query.limit(1))


def check_failure(session: Session, model_id: uuid.UUID) -> str | None:
    """Return the code with which the check of a model's weights failed, if it did."""
    query = select(Job.error).where(
        Job.model_id == model_id, Job.kind == JobKind.CHECK, Job.status == JobStatus.FAILED
    )
    error = session.scalar(query.limit(1))
    return None if error is None else str(error["code"])
