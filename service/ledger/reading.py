"""Reading: every look-up is bound to the caller's tenant; what is foreign is not found."""

import uuid
from typing import TypeVar

from sqlalchemy import BigInteger, ColumnElement, Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.database import now
from service.errors import NotFound, Unprocessable
from service.ledger.orders import Caller, Page
from service.tables import (
    ApiKey,
    Audit,
    Dataset,
    DeletionRequest,
    Deployment,
    Job,
    Model,
    ModelVersion,
    Qualification,
    Report,
    RequestGroup,
    RequestStatus,
    Run,
    VersionState,
    WebhookDelivery,
    WebhookEndpoint,
)

Row = TypeVar(
    "Row",
    ApiKey,
    Audit,
    Dataset,
    DeletionRequest,
    Deployment,
    Job,
    Model,
    Qualification,
    Report,
    RequestGroup,
    Run,
    WebhookDelivery,
    WebhookEndpoint,
)
Numbered = TypeVar("Numbered")
OPEN = (RequestStatus.PENDING, RequestStatus.IN_PROGRESS, RequestStatus.ON_HOLD)


def get_row(session: Session, caller: Caller, table: type[Row], key: uuid.UUID, what: str) -> Row:
    """Return a row as the database has it now.

    Raises:
        NotFound: no such row, or another tenant's.
    """
    row = session.get(table, key, populate_existing=True)
    if row is None or row.tenant_id != caller.tenant_id:
        raise NotFound(what)
    return row


def get_dataset(session: Session, caller: Caller, dataset_id: uuid.UUID) -> Dataset:
    """Return a data set, or raise NotFound."""
    return get_row(session, caller, Dataset, dataset_id, "data set")


def get_model(session: Session, caller: Caller, model_id: uuid.UUID) -> Model:
    """Return a model, or raise NotFound."""
    return get_row(session, caller, Model, model_id, "model")


def get_request(session: Session, caller: Caller, request_id: uuid.UUID) -> DeletionRequest:
    """Return a deletion request, or raise NotFound."""
    return get_row(session, caller, DeletionRequest, request_id, "deletion request")


def get_audit(session: Session, caller: Caller, audit_id: uuid.UUID) -> Audit:
    """Return an audit, or raise NotFound."""
    return get_row(session, caller, Audit, audit_id, "audit")


def get_qualification(
    session: Session, caller: Caller, model_id: uuid.UUID, qualification_id: uuid.UUID
) -> Qualification:
    """Return a qualification of a model, or raise NotFound."""
    row = get_row(session, caller, Qualification, qualification_id, "qualification")
    if row.model_id != model_id:
        raise NotFound("qualification")
    return row


def get_run(session: Session, caller: Caller, run_id: uuid.UUID) -> Run:
    """Return a run, or raise NotFound."""
    return get_row(session, caller, Run, run_id, "run")


def get_job(session: Session, caller: Caller, job_id: uuid.UUID) -> Job:
    """Return a job, or raise NotFound."""
    return get_row(session, caller, Job, job_id, "job")


def get_report(session: Session, caller: Caller, report_id: uuid.UUID) -> Report:
    """Return a signed report, or raise NotFound."""
    return get_row(session, caller, Report, report_id, "report")


def report_of_request(session: Session, caller: Caller, request_id: uuid.UUID) -> Report:
    """Return the report that closed a request; NotFound while there is none."""
    return _one_report(session, caller, Report.request_id == request_id)


def report_of_audit(session: Session, caller: Caller, audit_id: uuid.UUID) -> Report:
    """Return the report of an audit; NotFound while there is none."""
    return _one_report(session, caller, Report.audit_id == audit_id)


def get_version(session: Session, caller: Caller, model_id: uuid.UUID, number: int) -> ModelVersion:
    """Return a version of a model by its number, or raise NotFound."""
    get_model(session, caller, model_id)
    version = session.scalar(
        select(ModelVersion).where(ModelVersion.model_id == model_id, ModelVersion.number == number)
    )
    if version is None:
        raise NotFound("version")
    return version


def current_version(session: Session, caller: Caller, model_id: uuid.UUID) -> ModelVersion | None:
    """Return the version that serves now; none while the model is being checked."""
    get_model(session, caller, model_id)
    return find_current(session, model_id)


def find_current(session: Session, model_id: uuid.UUID) -> ModelVersion | None:
    """Return a model's current version, for callers that know the model is theirs."""
    return session.scalar(
        select(ModelVersion)
        .where(ModelVersion.model_id == model_id, ModelVersion.state == VersionState.CURRENT)
        .execution_options(populate_existing=True)
    )


def list_versions(session: Session, caller: Caller, model_id: uuid.UUID) -> list[ModelVersion]:
    """Return all versions of a model, oldest first."""
    get_model(session, caller, model_id)
    query = select(ModelVersion).where(ModelVersion.model_id == model_id)
    return list(session.scalars(query.order_by(ModelVersion.number)))


def page_versions(
    session: Session,
    caller: Caller,
    model_id: uuid.UUID,
    cursor: str | None = None,
    limit: int = 200,
) -> Page[ModelVersion]:
    """Return versions of a model, oldest first; the cursor is the last number seen."""
    get_model(session, caller, model_id)
    query = select(ModelVersion).where(ModelVersion.model_id == model_id)
    return page_after(session, query, ModelVersion.number, cursor, limit)


def list_jobs(session: Session, caller: Caller, run_id: uuid.UUID) -> list[Job]:
    """Return the jobs of a run, oldest first."""
    get_run(session, caller, run_id)
    return list(session.scalars(select(Job).where(Job.run_id == run_id).order_by(Job.id)))


def list_datasets(
    session: Session, caller: Caller, cursor: str | None = None, limit: int = 50
) -> Page[Dataset]:
    """Return data sets, newest first."""
    return page_of(session, caller, Dataset, cursor=cursor, limit=limit)


def list_models(
    session: Session, caller: Caller, cursor: str | None = None, limit: int = 50
) -> Page[Model]:
    """Return models, newest first."""
    return page_of(session, caller, Model, cursor=cursor, limit=limit)


def list_audits(
    session: Session, caller: Caller, cursor: str | None = None, limit: int = 50
) -> Page[Audit]:
    """Return audits, newest first."""
    return page_of(session, caller, Audit, cursor=cursor, limit=limit)


def list_qualifications(
    session: Session,
    caller: Caller,
    model_id: uuid.UUID,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Qualification]:
    """Return a model's qualifications, newest first, whatever became of them."""
    get_model(session, caller, model_id)
    wanted = Qualification.model_id == model_id
    return page_of(session, caller, Qualification, wanted, cursor=cursor, limit=limit)


def list_requests(
    session: Session,
    caller: Caller,
    *,
    status: str | None = None,
    model_id: uuid.UUID | None = None,
    overdue: bool | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[DeletionRequest]:
    """Return deletion requests, newest first; overdue are the open ones past their deadline."""
    wanted: list[ColumnElement[bool]] = []
    if status is not None:
        wanted.append(DeletionRequest.status == RequestStatus(status))
    if model_id is not None:
        wanted.append(DeletionRequest.model_id == model_id)
    if overdue is not None:
        late = DeletionRequest.status.in_(OPEN) & (DeletionRequest.due_at < now(session))
        wanted.append(late if overdue else ~late)
    return page_of(session, caller, DeletionRequest, *wanted, cursor=cursor, limit=limit)


def page_of(
    session: Session,
    caller: Caller,
    table: type[Row],
    *wanted: ColumnElement[bool],
    cursor: str | None,
    limit: int,
) -> Page[Row]:
    """Page by key, newest first: UUIDv7 keys are in the order of creation."""
    query = select(table).where(table.tenant_id == caller.tenant_id, *wanted)
    if cursor is not None:
        query = query.where(table.id < _parse_cursor(cursor))
    rows = session.scalars(query.order_by(table.id.desc()).limit(limit + 1)).all()
    more = len(rows) > limit
    return Page(list(rows[:limit]), str(rows[limit - 1].id) if more else None)


def page_after(
    session: Session,
    query: Select[Numbered],
    column: InstrumentedAttribute[int],
    cursor: str | None,
    limit: int,
) -> Page[Numbered]:
    """Page by a number that each row has, lowest first; the cursor is the last number seen.

    Raises:
        Unprocessable: `bad_cursor`.
    """
    if cursor is not None:
        digits = 18 if isinstance(column.type, BigInteger) else 9
        query = query.where(column > parse_number(cursor, digits))
    rows = session.scalars(query.order_by(column).limit(limit + 1)).all()
    more = len(rows) > limit
    return Page(list(rows[:limit]), str(getattr(rows[limit - 1], column.key)) if more else None)


def parse_number(cursor: str, digits: int = 9) -> int:
    """Return the number that a list goes on after; `digits`: as many as its column surely holds.

    Raises:
        Unprocessable: `bad_cursor`.
    """
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= digits):
        detail = "This is no cursor of this list."
        raise Unprocessable("bad_cursor", detail, [{"pointer": "/query/cursor", "detail": detail}])
    return int(cursor)


def _parse_cursor(cursor: str) -> uuid.UUID:
    try:
        return uuid.UUID(cursor)
    except ValueError:
        problem = {"pointer": "/cursor", "detail": "not a cursor of this list"}
        raise Unprocessable("bad_cursor", "That cursor is of no list.", [problem]) from None


def _one_report(session: Session, caller: Caller, wanted: ColumnElement[bool]) -> Report:
    report = session.scalar(select(Report).where(wanted, Report.tenant_id == caller.tenant_id))
    if report is None:
        raise NotFound("report")
    return report
