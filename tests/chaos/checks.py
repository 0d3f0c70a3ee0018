"""What has to hold once everything runs again and all requests have ended."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service import ledger
from service.collecting import Collector
from service.config import Settings
from service.database import Database
from service.signing import load_signer
from service.storage import Storage, digest_file
from service.tables import (
    AuditEvent,
    DeletionRequest,
    Job,
    JobStatus,
    ModelVersion,
    Outbox,
    Report,
    RequestStatus,
    Run,
    RunState,
    Tenant,
    VersionState,
)
from tests.chaos.installation import left_over

CLOSING = ("deletion-request.completed", "deletion-request.failed", "deletion-request.cancelled")


def broken_promises(settings: Settings, asked: set[str]) -> list[str]:
    """Return what was lost, doubled or left behind, in words; nothing where all is well."""
    with closing(Database.from_settings(settings)) as database:
        with database.read() as session:
            found = [
                *_requests(session, asked),
                *_versions(session),
                *_jobs(session),
                *_log(session),
                *_reports(session, settings),
            ]
        found += _storage(database, settings)
    return found + [f"process {pid} is left over" for pid in left_over(settings.home)]


def _requests(session: Session, asked: set[str]) -> Iterator[str]:
    """Every request that was sent for is there once, has completed once, and has one report."""
    rows = session.scalars(select(DeletionRequest)).all()
    held = Counter(row.subject_request_id for row in rows)
    yield from (f"request {name} was lost" for name in asked - held.keys())
    yield from (f"request {name} is there {n} times" for name, n in held.items() if n != 1)
    reports = Counter(session.scalars(select(Report.request_id)))
    closings = Counter(
        session.scalars(select(AuditEvent.resource).where(AuditEvent.action.in_(CLOSING)))
    )
    for row in rows:
        if row.status != RequestStatus.COMPLETED:
            yield f"request {row.subject_request_id} is {row.status}: {row.reason_code}"
        if reports[row.id] != 1:
            yield f"request {row.subject_request_id} has {reports[row.id]} reports"
        if (times := closings[f"deletion-requests/{row.id}"]) != 1:
            yield f"request {row.subject_request_id} ended {times} times"


def _versions(session: Session) -> Iterator[str]:
    """The promoted versions of each model are one chain from its first to its current one."""
    rows = session.scalars(select(ModelVersion).order_by(ModelVersion.number)).all()
    for model_id in {row.model_id for row in rows}:
        own = [row for row in rows if row.model_id == model_id]
        promoted = [row for row in own if row.promoted_at is not None]
        for parent, child in pairwise(promoted):
            if child.parent_id != parent.id:
                yield f"version {child.number} of {model_id} was not made from {parent.number}"
        states = [str(row.state) for row in promoted]
        if states != ["superseded"] * (len(states) - 1) + ["current"]:
            yield f"the promoted versions of {model_id} are {states}"
        for row in own:
            if row.state == VersionState.CANDIDATE:
                yield f"version {row.number} of {model_id} is a candidate without a run"


def _jobs(session: Session) -> Iterator[str]:
    """Nothing works or waits any more, and no wake-up was left behind."""
    live = (JobStatus.WAITING, JobStatus.QUEUED, JobStatus.RUNNING)
    for table, condition, what in (
        (Job, Job.status.in_(live), "jobs are not over"),
        (Job, Job.status == JobStatus.FAILED, "jobs failed"),
        (Run, Run.state == RunState.ACTIVE, "runs are active"),
        (Outbox, Outbox.sent_at.is_(None), "wake-ups were never sent"),
    ):
        count = session.execute(select(func.count()).select_from(table).where(condition)).scalar()
        if count:
            yield f"{count} {what}"


def _log(session: Session) -> Iterator[str]:
    """The chain is whole, and each job was completed at most once, by the attempt that held it."""
    for tenant_id in session.scalars(select(Tenant.id)):
        findings = ledger.verify_chain(session, tenant_id).findings
        yield from (f"audit log: {found}" for found in findings)
    query = select(AuditEvent).where(AuditEvent.resource.startswith("jobs/"))
    attempts: Counter[str] = Counter()
    holder: dict[str, int] = {}
    completed: set[str] = set()
    for event in session.scalars(query.order_by(AuditEvent.seq)):
        job, attempt = event.resource, event.payload.get("attempt")
        if event.action == "job.running":
            attempts[job] += 1
            holder[job] = attempts[job]
            if attempt != attempts[job]:
                yield f"{job} was claimed twice as attempt {attempt}"
        elif event.action != "job.completed":
            holder.pop(job, None)
        else:
            if job in completed:
                yield f"{job} was completed twice"
            completed.add(job)
            if attempt != holder.get(job):
                yield f"{job} was completed by attempt {attempt}, held by {holder.get(job)}"


def _reports(session: Session, settings: Settings) -> Iterator[str]:
    """The stand-alone verifier accepts every report, with nothing of Expunge in reach."""
    jwks = load_signer(settings.signing_key_file, create=False).jwks()
    verifier = Path(ledger.__file__).parents[1] / "verify.py"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "jwks.json").write_text(json.dumps(jwks))
        for report in session.scalars(select(Report)):
            path = folder / "report.dsse.json"
            path.write_bytes(report.envelope)
            done = subprocess.run(
                [sys.executable, "-I", str(verifier), str(path), "--jwks", folder / "jwks.json"],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                yield f"report {report.id} does not verify: {done.stdout}{done.stderr}"


def _storage(database: Database, settings: Settings) -> Iterator[str]:
    """After the collector, the storage holds what the ledger names, whole, and nothing else."""
    storage = Storage(settings.storage_url)
    with database.read() as session:
        tenants = session.scalars(select(Tenant.id)).all()
    for tenant_id in tenants:
        with database.write() as session:
            ledger.purge(session, settings, tenant_id)
    collector = Collector(database, storage, age_s=0)
    collector.collect()
    collector.collect()
    root = Path(settings.storage_url.removeprefix("file://"))
    present = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    with database.read() as session:
        named = ledger.named_artifacts(session)
        pending = ledger.pending_artifacts(session)
    yield from (f"{key} is named and not there" for key in sorted(named - present))
    yield from (f"{key} is there and not named" for key in sorted(present - named))
    yield from (f"nobody wrote down that {key} is gone" for key in sorted(pending - named))
    for key in sorted(named & present):
        if digest_file(root / key) != key.rpartition("/")[2]:
            yield f"{key} is half-written"


def summary(settings: Settings) -> dict[str, Any]:
    """Count what the suite has been through."""
    with closing(Database.from_settings(settings)) as database, database.read() as session:
        jobs = session.scalars(select(Job)).all()
        return {
            "requests": session.scalar(select(func.count()).select_from(DeletionRequest)),
            "runs": session.scalar(select(func.count()).select_from(Run)),
            "jobs": len(jobs),
            "attempts": sum(job.attempt for job in jobs),
            "failures": sum(job.failures for job in jobs),
            "events": session.scalar(select(func.count()).select_from(AuditEvent)),
        }
