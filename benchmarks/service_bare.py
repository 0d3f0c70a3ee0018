"""Bare FastAPI routes for `benchmarks.service`: the same look-ups and inserts, nothing around them.

Each route takes the body of the service's own, looks up the same rows once, writes as many rows to
the same tables and computes the same commitment. It has no ORM, checks no rule, keeps no hash
chain, negotiates nothing, logs nothing and answers errors as FastAPI does. It is what an engineer
would write who needs only the happy path.
"""

import base64
import json
import os
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

from fastapi import FastAPI, Header, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pyroaring import BitMap
from sqlalchemy import (
    ARRAY,
    Connection,
    Row,
    Select,
    String,
    Table,
    any_,
    create_engine,
    func,
    insert,
    literal,
    select,
    update,
)

from service import tables
from service.bitmaps import pack, unpack
from service.commitment import merkle_root, new_salt
from service.tables import new_id

ENGINE = create_engine(os.environ["EXPUNGE_DATABASE_URL"], pool_pre_ping=True)
APP = FastAPI()

Authorization = Annotated[str, Header()]


def table_of(mapped: type[tables.Base]) -> Table:
    """Return the table of a mapped class."""
    return cast("Table", mapped.__table__)


Samples, Requests = table_of(tables.Sample), table_of(tables.DeletionRequest)


class Order(BaseModel):
    """The body of a deletion request."""

    model_config = ConfigDict(extra="forbid")
    model_id: uuid.UUID
    sample_ids: list[Annotated[str, Field(min_length=1, max_length=512)]]


def key_of(connection: Connection, authorization: str) -> Row[Any]:
    """Look up the caller's key."""
    prefix = authorization.removeprefix("Bearer ex_live_").partition("_")[0]
    return connection.execute(
        select(table_of(tables.ApiKey)).where(tables.ApiKey.prefix == prefix)
    ).one()


@APP.post("/v1/deletion-requests", status_code=202)
def open_request(order: Order, authorization: Authorization) -> JSONResponse:
    """Insert a request with its samples, its copies and an audit event; let E grow."""
    with ENGINE.begin() as connection:
        key = key_of(connection, authorization)
        model = connection.execute(
            select(table_of(tables.Model)).where(tables.Model.id == order.model_id)
        ).one()
        ordinals, digests = _samples(connection, model.dataset_id, order.sample_ids)
        data_set = connection.execute(
            select(table_of(tables.Dataset)).where(tables.Dataset.id == model.dataset_id)
        ).one()
        equal = connection.scalars(
            select(Samples.c.ordinal).where(
                Samples.c.dataset_id == data_set.id,
                Samples.c.sha256 == any_(literal(digests, ARRAY(String))),
            )
        )
        copies = BitMap(equal) - ordinals
        values = _request(key, order, len(ordinals))
        _write(connection, values, model.dataset_id, ordinals, copies)
    shown = {name: value for name, value in values.items() if name != "commitment_salt"}
    headers = {"Location": f"/v1/deletion-requests/{values['id']}"}
    return JSONResponse(_plain(shown), 202, headers)


def _samples(
    connection: Connection, dataset_id: uuid.UUID, sample_ids: list[str]
) -> tuple[BitMap, list[str]]:
    query = select(Samples.c.ordinal, Samples.c.sha256).where(
        Samples.c.dataset_id == dataset_id,
        Samples.c.sample_id == any_(literal(sample_ids, ARRAY(String))),
    )
    rows = connection.execute(query).all()
    return BitMap(row.ordinal for row in rows), [row.sha256 for row in rows]


def _write(
    connection: Connection,
    values: dict[str, Any],
    dataset_id: uuid.UUID,
    ordinals: BitMap,
    copies: BitMap,
) -> None:
    erased = table_of(tables.Tombstones)
    mine = erased.c.dataset_id == dataset_id
    row = connection.execute(select(erased).where(mine).with_for_update()).one()
    grown = unpack(row.ordinals) | ordinals
    now = values["received_at"]
    connection.execute(
        update(erased).where(mine).values(ordinals=pack(grown), count=len(grown), updated_at=now)
    )
    own = {"request_id": values["id"], "tenant_id": values["tenant_id"]}
    connection.execute(insert(Requests).values(values))
    connection.execute(
        insert(table_of(tables.RequestSamples)).values(ordinals=pack(ordinals), **own)
    )
    connection.execute(
        insert(table_of(tables.RequestCopies)).values(
            included=0, byte_equal=pack(copies), near=pack([]), **own
        )
    )
    _log(connection, values)
    connection.execute(_waiting(table_of(tables.WebhookEndpoint), values["tenant_id"])).all()
    runs = table_of(tables.Run)
    active = (runs.c.model_id == values["model_id"], runs.c.state == "active")
    connection.execute(select(runs.c.id).where(*active)).all()


def _log(connection: Connection, values: dict[str, Any]) -> None:
    events = table_of(tables.AuditEvent)
    last = connection.execute(
        select(events.c.seq, events.c.hash)
        .where(events.c.tenant_id == values["tenant_id"])
        .order_by(events.c.seq.desc())
        .limit(1)
    ).one()
    event = {
        "tenant_id": values["tenant_id"],
        "seq": last.seq + 1,
        "at": values["received_at"],
        "actor": values["created_by"],
        "action": "deletion-request.received",
        "resource": f"deletion-requests/{values['id']}",
        "payload": {"samples": values["num_samples"], "commitment": values["commitment_root"]},
        "prev_hash": last.hash,
        "hash": secrets.token_hex(32),  # of one's own, as the table demands
    }
    connection.execute(insert(events).values(event))


def _waiting(table: Table, tenant_id: uuid.UUID) -> Select[Any]:
    return select(table).where(table.c.tenant_id == tenant_id, table.c.state == "enabled")


def _request(key: Row[Any], order: Order, num_samples: int) -> dict[str, Any]:
    now, salt = datetime.now(UTC), new_salt()
    return {
        "id": new_id(),
        "tenant_id": key.tenant_id,
        "model_id": order.model_id,
        "regulation": "gdpr",
        "submitted_time": now,
        "received_at": now,
        "due_at": now + timedelta(days=30),
        "due_rule": "one_calendar_month",
        "num_samples": num_samples,
        "policy_name": "standard",
        "policy_version": 1,
        "policy_digest": "0" * 64,
        "ladder": ["muda", "distilled_recovery", "retrain"],
        "audit": "references",
        "commitment_root": merkle_root(salt, order.sample_ids),
        "commitment_salt": salt,
        "status": "PENDING",
        "created_by": f"key:{key.prefix}",
    }


@APP.get("/v1/deletion-requests/{request_id}")
def get_request(request_id: uuid.UUID, authorization: Authorization) -> JSONResponse:
    """Read a request with its run, the run's jobs, its versions, copies and audits."""
    with ENGINE.begin() as connection:
        key = key_of(connection, authorization)
        mine = (Requests.c.id == request_id, Requests.c.tenant_id == key.tenant_id)
        row = connection.execute(select(Requests).where(*mine)).one()
        model, data, run = table_of(tables.Model), table_of(tables.Dataset), table_of(tables.Run)
        jobs, approvals = table_of(tables.Job), table_of(tables.Approval)
        versions, copies = table_of(tables.ModelVersion), table_of(tables.RequestCopies)
        audits, links = table_of(tables.Audit), table_of(tables.RequestAudit)
        found = [
            connection.execute(select(run).where(run.c.id == row.run_id)).all(),
            connection.execute(select(jobs).where(jobs.c.run_id == row.run_id)).all(),
            connection.execute(select(approvals).where(approvals.c.run_id == row.run_id)).all(),
            connection.execute(select(versions).where(versions.c.id == row.base_version_id)).all(),
            connection.execute(select(copies).where(copies.c.request_id == row.id)).all(),
            connection.execute(select(model).where(model.c.id == row.model_id)).all(),
            connection.execute(
                select(data)
                .join(model, model.c.dataset_id == data.c.id)
                .where(model.c.id == row.model_id)
            ).all(),
            connection.execute(
                select(audits)
                .join(links, links.c.audit_id == audits.c.id)
                .where(links.c.request_id == row.id)
            ).all(),
            connection.execute(select(func.clock_timestamp())).all(),
        ]
    shown = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for a row's columns
    done = sum(job.status == "COMPLETED" for job in found[1])
    shown |= {"progress": {"percent": done}, "tries": found[0][0].tries if found[0] else []}
    return JSONResponse(_plain(shown))


@APP.get("/v1/deletion-requests/{request_id}/report")
def get_report(request_id: uuid.UUID, authorization: Authorization) -> Response:
    """Read a request and its report, and send the statement that was signed."""
    with ENGINE.begin() as connection:
        key = key_of(connection, authorization)
        mine = (Requests.c.id == request_id, Requests.c.tenant_id == key.tenant_id)
        connection.execute(select(Requests).where(*mine)).one()
        reports = table_of(tables.Report)
        report = connection.execute(select(reports).where(reports.c.request_id == request_id)).one()
    statement = base64.b64decode(json.loads(report.envelope)["payload"])
    return Response(statement, media_type="application/json")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    kept = (str, int, float, bool, list, dict, type(None))
    return {
        name: value if isinstance(value, kept) else str(value)
        for name, value in values.items()
        if not isinstance(value, bytes)
    }
