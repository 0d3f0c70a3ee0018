"""Attested deployments: where a version serves, and that none goes back to erased data.

Expunge deploys nothing. The owner says which version serves where, and a deployment of a version
that holds what a closed request erased is refused from the closing on; one from before is listed
as stale until another takes its place.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from service.database import now
from service.errors import Conflict, NotFound, Unprocessable
from service.ledger.holding import Held, Holdings
from service.ledger.log import iso, take_turn
from service.ledger.orders import Caller, Page
from service.ledger.reading import find_current, get_model, get_row, get_version, page_of
from service.ledger.report_context import ResidualCopy
from service.ledger.states import record
from service.tables import Audit, AuditPurpose, Deployment, Model, ModelVersion, Run

CLOCK_SKEW_S = 300.0  # a caller's clock may be ahead of the database's


@dataclass(frozen=True, kw_only=True)
class Attestation:
    """What an owner says: which version serves where, put there by whom and when (default: now)."""

    version: int
    environment: str
    deployed_by: str
    deployed_at: datetime | None = None


@dataclass(frozen=True)
class Placed:
    """A deployment with its version and what that holds now."""

    row: Deployment
    version: ModelVersion
    held: Held

    @property
    def stale_since(self) -> datetime | None:
        """When it became stale; null while it is not, or once it has ended."""
        if self.row.ended_at is not None or self.held.since is None:
            return None
        return max(self.held.since, self.row.deployed_at)


def attest(session: Session, caller: Caller, model_id: uuid.UUID, said: Attestation) -> Deployment:
    """Keep that a version serves in an environment; what served there before has ended.

    Raises:
        NotFound: the model or the version.
        Conflict: `version_not_promoted`; `version_holds_erased_data` unless it was deployed before
            the first closing of a request whose samples it holds.
        Unprocessable: `deployed_in_future`.
    """
    take_turn(session, caller.tenant_id)
    version = get_version(session, caller, model_id, said.version)
    model, moment = get_model(session, caller, model_id), now(session)
    at = said.deployed_at or moment
    if at > moment + timedelta(seconds=CLOCK_SKEW_S):
        detail = f"It is {iso(moment)}: only what serves already can be attested."
        errors = [{"pointer": "/deployed_at", "detail": detail}]
        raise Unprocessable("deployed_in_future", detail, errors)
    at = min(at, moment)
    if version.promoted_at is None:
        detail = f"Version {version.number} is {version.state} and never was current."
        raise Conflict("version_not_promoted", detail)
    refuse_holding(session, model, version, at)
    row = Deployment(
        tenant_id=caller.tenant_id,
        model_id=model.id,
        version_id=version.id,
        environment=said.environment,
        deployed_by=said.deployed_by,
        deployed_at=at,
        attested_by=caller.actor,
        attested_at=moment,
        ended_at=_take_place(session, model, said.environment, at),
    )
    session.add(row)
    session.flush()
    facts = {"version": version.number, "environment": row.environment, "deployed_at": iso(at)}
    record(session, row, "attested", caller.actor, **facts)
    return row


def refuse_holding(
    session: Session, model: Model, version: ModelVersion, at: datetime | None = None
) -> None:
    """Refuse to let a version serve from some time on (default: now) that holds erased data.

    Raises:
        Conflict: `version_holds_erased_data`.
    """
    held = Holdings(session, model).of(version)
    if held.since is None or (at is not None and at < held.since):
        return
    current = find_current(session, model.id)
    detail = (
        f"Version {version.number} holds {held.samples} samples that were erased from"
        f" {iso(held.since)} on."
    )
    number = None if current is None or current.id == version.id else current.number
    since = iso(held.since)
    raise Conflict(
        "version_holds_erased_data", detail, count=held.samples, since=since, current_version=number
    )


def end_deployment(
    session: Session, caller: Caller, model_id: uuid.UUID, deployment_id: uuid.UUID
) -> Deployment:
    """Keep that nothing serves there any more.

    Raises:
        NotFound: no such deployment of the model.
        Conflict: `already_ended`.
    """
    take_turn(session, caller.tenant_id)
    row = get_deployment(session, caller, model_id, deployment_id)
    if row.ended_at is not None:
        raise Conflict("already_ended", f"It ended on {iso(row.ended_at)}.")
    row.ended_at = now(session)
    session.flush()
    record(session, row, "ended", caller.actor, environment=row.environment)
    return row


def get_deployment(
    session: Session, caller: Caller, model_id: uuid.UUID, deployment_id: uuid.UUID
) -> Deployment:
    """Return a deployment of a model, or raise NotFound."""
    get_model(session, caller, model_id)
    row = get_row(session, caller, Deployment, deployment_id, "deployment")
    if row.model_id != model_id:
        raise NotFound("deployment")
    return row


def list_deployments(
    session: Session,
    caller: Caller,
    *,
    model_id: uuid.UUID | None = None,
    environment: str | None = None,
    active: bool | None = None,
    stale: bool | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Deployment]:
    """Return deployments, newest first; stale ones serve and hold erased data."""
    wanted: list[ColumnElement[bool]] = []
    if model_id is not None:
        wanted.append(Deployment.model_id == get_model(session, caller, model_id).id)
    if environment is not None:
        wanted.append(Deployment.environment == environment)
    if active is not None:
        ended = Deployment.ended_at
        wanted.append(ended.is_(None) if active else ended.is_not(None))
    if stale is not None:
        own = Deployment.tenant_id == caller.tenant_id
        query = select(Deployment).where(own, Deployment.ended_at.is_(None), *wanted)
        rows = session.scalars(query).all()
        ids = [one.row.id for one in placed(session, rows) if one.stale_since is not None]
        wanted.append(Deployment.id.in_(ids) if stale else Deployment.id.not_in(ids))
    return page_of(session, caller, Deployment, *wanted, cursor=cursor, limit=limit)


def placed(session: Session, rows: Collection[Deployment]) -> list[Placed]:
    """Return deployments with what their versions hold now, in the same order."""
    holdings = {
        key: Holdings(session, session.get_one(Model, key)) for key in {r.model_id for r in rows}
    }
    found = []
    for row in rows:
        version = session.get_one(ModelVersion, row.version_id)
        found.append(Placed(row, version, holdings[row.model_id].of(version)))
    return found


def serving(session: Session, model_id: uuid.UUID) -> list[Placed]:
    """Return where versions of a model serve now, by the environment's name."""
    query = (
        select(Deployment)
        .where(Deployment.model_id == model_id, Deployment.ended_at.is_(None))
        .order_by(Deployment.environment, Deployment.id)
    )
    return placed(session, session.scalars(query).all())


def tell_stale(session: Session, model_id: uuid.UUID) -> None:
    """Tell of each deployment that serves what a request, closed just now, erased."""
    for one in serving(session, model_id):
        if one.stale_since is not None:
            number, samples = one.version.number, one.held.samples
            where = one.row.environment
            record(session, one.row, "stale", version=number, environment=where, samples=samples)


def deployment_copies(session: Session, owner: Run | Audit) -> tuple[ResidualCopy, ...]:
    """List for a report where versions that hold erased data are attested to serve."""
    if isinstance(owner, Audit) and owner.purpose == AuditPurpose.EXTERNAL:
        return ()
    return tuple(
        ResidualCopy(
            what="deployment",
            name=f"version {one.version.number} in {one.row.environment}",
            digest=one.version.weights_sha256,
            where=one.row.environment,
            contains=True,
            until=None,
        )
        for one in serving(session, owner.model_id)
        if one.stale_since is not None
    )


def _take_place(session: Session, model: Model, environment: str, at: datetime) -> datetime | None:
    """End what served there before that time; return when the next one came, if one did."""
    query = (
        select(Deployment)
        .where(Deployment.model_id == model.id, Deployment.environment == environment)
        .order_by(Deployment.deployed_at, Deployment.id)
    )
    following = None
    for row in session.scalars(query.execution_options(populate_existing=True)):
        if row.deployed_at > at:
            following = following or row.deployed_at
        elif row.ended_at is None or row.ended_at > at:
            row.ended_at = at
    return following
