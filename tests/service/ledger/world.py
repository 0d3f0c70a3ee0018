"""A small company with one data set and one model, and workers that answer as they are told."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import update
from sqlalchemy.orm import Session

from service import ledger
from service.database import Database
from service.keys import ROLES, create_key, ensure_tenant, list_keys
from service.ledger import (
    AuditOrder,
    Caller,
    Claim,
    DatasetDraft,
    ModelDraft,
    QualificationOrder,
    ReportContext,
    RequestOrder,
    SampleRow,
    SignedReport,
)
from service.tables import (
    DeletionRequest,
    Job,
    JobKind,
    ModelVersion,
    Outbox,
    Qualification,
    Reference,
    Run,
)
from tests.service.ledger.answers import Verdict, answer, digest, key, publish

Kind = Literal["fatal", "transient", "usage"]
LOOKS = [3, 5]  # references that an audit looks at, first and second time
NUM_TRAIN, NUM_HOLDOUT, NUM_CLASSES = 12, 4, 3


def rows(num_train: int = NUM_TRAIN, num_holdout: int = NUM_HOLDOUT) -> list[SampleRow]:
    """Return samples s0, s1, … with hold-out ones h0, h1, … between them, one person for two."""
    train = [
        SampleRow(f"s{i}", i % NUM_CLASSES, "train", f"{i}.png", digest(f"s{i}"), f"p{i // 2}")
        for i in range(num_train)
    ]
    holdout = [
        SampleRow(f"h{i}", i % NUM_CLASSES, "holdout", f"h{i}.png", digest(f"h{i}"))
        for i in range(num_holdout)
    ]
    return train[:3] + holdout + train[3:]


@dataclass
class Handed:
    """What one claimed job was given: its kind, its spec, and by sample uri its role and group."""

    kind: str
    run_id: uuid.UUID | None
    spec: dict[str, Any]
    roles: dict[str, str]
    groups: dict[str, int | None] = field(default_factory=dict)


@dataclass
class World:
    """Drives a ledger as API, dispatcher and workers would."""

    database: Database
    caller: Caller = field(init=False)
    dataset_id: uuid.UUID = field(init=False)
    model_id: uuid.UUID = field(init=False)
    woken: list[uuid.UUID] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    contexts: list[ReportContext] = field(default_factory=list)
    copies: dict[str, list[str]] | None = None
    """Uris that a worker's search finds for every forget set, by kind; None: it does not search."""
    sign: Callable[[ReportContext], SignedReport] = publish

    def __post_init__(self) -> None:
        with self.database.write() as session:
            self.caller = Caller(ensure_tenant(session).id, "key:test")

    def register(
        self,
        *,
        ready: bool = True,
        recipe: dict[str, Any] | None = None,
        samples: Sequence[SampleRow] | None = None,
    ) -> None:
        """Register the data set and the model, and let its check succeed."""
        with self.database.write() as session:
            self.dataset_id = ledger.register_dataset(
                session,
                self.caller,
                DatasetDraft(
                    name="photos",
                    manifest_uri="m.csv",
                    format="csv",
                    root="/data",
                    class_names=["a", "b", "c"],
                    rows=rows() if samples is None else samples,
                ),
            ).id
            self.model_id = ledger.register_model(session, self.caller, self.model_draft(recipe)).id
        if ready:
            self.work()

    def model_draft(self, recipe: dict[str, Any] | None = None, name: str = "net") -> ModelDraft:
        """Return a model as its owner would register it."""
        return ModelDraft(
            name=name,
            dataset_id=self.dataset_id,
            architecture="expunge:mlp",
            weights_uri=self.key(f"{name}-1"),
            weights_sha256=digest(f"{name}-1"),
            preprocessing={"mean": [0.5], "std": [0.5], "size": [8, 8], "channels": 1},
            recipe={"epochs": 2} if recipe is None else recipe,
        )

    key = staticmethod(key)

    def request(self, *sample_ids: str, **order: Any) -> uuid.UUID:  # noqa: ANN401 - fields of the order
        """Open a deletion request, by default with the policy of one look."""
        return self.request_for(self.model_id, *sample_ids, **order)

    def request_for(self, model_id: uuid.UUID, *sample_ids: str, **order: Any) -> uuid.UUID:  # noqa: ANN401 - fields of the order
        """Open a deletion request for some model."""
        terms = {"policy": "first-look", **order}
        if terms.get("approval"):
            self.appoint()
        with self.database.write() as session:
            wanted = RequestOrder(model_id=model_id, sample_ids=sample_ids, **terms)
            return ledger.open_request(session, self.caller, wanted).id

    def appoint(self) -> None:
        """See to it that there is a key that may approve candidates."""
        with self.database.write() as session:
            if not list_keys(session, self.caller.tenant_id):
                create_key(session, self.caller.tenant_id, "officer", ROLES["approver"])

    def audit(self, *sample_ids: str, **order: Any) -> uuid.UUID:  # noqa: ANN401 - fields of the order
        """Open an audit of weights made elsewhere."""
        terms = {"policy": "first-look", "label": "vendor", **order}
        with self.database.write() as session:
            wanted = AuditOrder(
                model_id=self.model_id,
                sample_ids=sample_ids,
                weights_uri=self.key("foreign"),
                weights_sha256=digest("foreign"),
                **terms,
            )
            return ledger.open_audit(session, self.caller, wanted).id

    def qualify(self, method: str = "muda", **order: Any) -> uuid.UUID:  # noqa: ANN401 - fields of the order
        """Open a qualification of two trials, one of each kind."""
        terms = {"policy": "first-look", "trials": 2, "seed": 1, **order}
        with self.database.write() as session:
            wanted = QualificationOrder(**{"model_id": self.model_id, "method": method, **terms})
            return ledger.open_qualification(session, self.caller, wanted).id

    def qualification(self, key: uuid.UUID) -> Qualification:
        """Return a qualification as it is now."""
        with self.database.read() as session:
            return ledger.get_qualification(session, self.caller, self.model_id, key)

    def cancel(self, request_id: uuid.UUID) -> None:
        """Withdraw a request."""
        with self.database.write() as session:
            ledger.cancel_request(session, self.caller, request_id)

    def dispatch(self) -> list[uuid.UUID]:
        """Send what is due and return all jobs that were woken and not looked at yet."""
        with self.database.write() as session:
            ledger.dispatch(session, self.woken.append, 1000)
        return self.woken

    def claim(self, job_id: uuid.UUID, owner: str = "w", lease_s: float = 60) -> Claim | None:
        """Claim one job."""
        with self.database.write() as session:
            return ledger.claim(session, job_id, owner, lease_s)

    def hold(self, kind: JobKind, owner: str = "w") -> Claim:
        """Work until a job of this kind is claimed, and return that claim unfinished."""
        while True:
            claim = self._next_claim(owner)
            assert claim is not None, f"no {kind} job is due"
            if claim.kind == kind:
                return claim
            self.finish(claim)

    def work(self, verdict: Verdict = "PASS", limit: int = 1000) -> int:
        """Do the work that is due, and what follows from it; return how many jobs were done."""
        done = 0
        while done < limit and (claim := self._next_claim()) is not None:
            assert self.finish(claim, verdict)
            done += 1
        return done

    def _next_claim(self, owner: str = "w") -> Claim | None:
        """Claim the job that was woken first among those that can be had."""
        while self.woken or self.dispatch():
            claim = self.claim(self.woken.pop(0), owner)
            if claim is not None:
                return claim
        return None

    def finish_late(self, claim: Claim) -> bool:
        """Complete a claim that may be lost, as a worker that knows nothing of it."""
        with self.database.write() as session:
            return ledger.complete(session, claim, {"artifacts": {}}, publish)

    def finish(self, claim: Claim, verdict: Verdict = "PASS", *, commit: bool = True) -> bool:
        """Read the package of a claimed job and complete it with a made-up result.

        Raises:
            ConnectionError: In place of the commit, where there is to be none.
        """
        with self.database.write() as session:
            package = ledger.build_package(session, claim)
            job = session.get_one(Job, claim.job_id)
            rows = list(package.samples)
            roles = {row.uri: str(row.role) for row in rows}
            groups = {row.uri: row.group for row in rows}
            self.handed.append(Handed(claim.kind, job.run_id, package.spec, roles, groups))
        result = answer(package.spec, claim, verdict)
        if self.copies is not None and "forget_sets" in package.spec:
            places = {row.uri: row.position for row in rows}
            found = {kind: [places[uri] for uri in uris] for kind, uris in self.copies.items()}
            result["near_duplicates"] = dict.fromkeys(package.spec["forget_sets"], found)
        with self.database.write() as session:
            done = ledger.complete(session, claim, result, self._publish)
            if not commit:
                raise ConnectionError("the database went down")
            return done

    def fail(self, claim: Claim, kind: Kind = "fatal", code: str = "boom") -> bool:
        """Report a failure of a claimed job."""
        with self.database.write() as session:
            return ledger.fail(session, claim, ledger.JobError(kind, code, "It broke."))

    def expire(self, job_id: uuid.UUID) -> None:
        """Let a job's lease run out."""
        with self.database.write() as session:
            past = session.get_one(Job, job_id).created_at
            session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=past))

    def make_due(self) -> None:
        """Let every back-off pass."""
        with self.database.write() as session:
            session.execute(update(Job).values(not_before=None))
            session.execute(update(Outbox).values(send_after=Outbox.created_at))

    def get(self, request_id: uuid.UUID) -> DeletionRequest:
        """Return a request as it is now."""
        with self.database.read() as session:
            return ledger.get_request(session, self.caller, request_id)

    def all(self, table: type[Any]) -> list[Any]:
        """Return all rows of a table in the order of their keys."""
        with self.database.read() as session:
            return list(session.query(table).order_by(table.id))

    def run_of(self, request_id: uuid.UUID) -> Run:
        """Return the run that serves or served a request."""
        with self.database.read() as session:
            run_id = ledger.get_request(session, self.caller, request_id).run_id
            assert run_id is not None
            return ledger.get_run(session, self.caller, run_id)

    def current(self) -> ModelVersion:
        """Return the model's current version."""
        with self.database.read() as session:
            version = ledger.current_version(session, self.caller, self.model_id)
            assert version is not None
            return version

    def references(self) -> list[Reference]:
        """Return all references ever asked for."""
        return self.all(Reference)

    def erased(self) -> set[int]:
        """Return E."""
        with self.database.read() as session:
            return set(ledger.erased_ordinals(session, self.dataset_id))

    def _publish(self, context: ReportContext) -> SignedReport:
        self.contexts.append(context)
        return self.sign(context)


@contextmanager
def rolled_back(database: Database) -> Iterator[Session]:
    """Yield a writing session whose changes are undone at the end."""
    with database.write() as session:
        yield session
        session.rollback()
