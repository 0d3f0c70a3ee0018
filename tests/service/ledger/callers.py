"""What callers do to a ledger, in whatever order: one half of the machine of test_machine.py."""

import contextlib
import uuid
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service import ledger
from service.database import Database
from service.errors import Conflict, Unprocessable
from service.ledger import Caller, group_acts
from service.ledger.states import group_status
from service.tables import Approval, DeletionRequest, RequestGroup, RequestStatus
from tests.service.ledger.answers import publish
from tests.service.ledger.groups import act, ask_all
from tests.service.ledger.world import World


class Callers(RuleBasedStateMachine):
    """Requests, cancellations, holds, extensions, decisions, trials."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.database)
        self.world.register()

    @rule(
        sample=st.integers(0, 11),
        policy=st.sampled_from(["standard", "first-look"]),
        audit=st.sampled_from(ledger.AUDIT_LEVELS),
        approval=st.booleans(),
    )
    def request(self, sample: int, policy: str, audit: str, approval: bool) -> None:
        terms: dict[str, Any] = {"policy": policy, "audit": audit, "approval": approval}
        terms |= {"ladder": ("muda", "retrain")}
        codes = {"already_erased", "already_requested"}
        codes |= {"qualification_missing"} if audit == "qualified" else set()
        try:
            self.world.request(f"s{sample}", **terms)
        except Conflict as error:
            assert error.code in codes  # noqa: PT017
        except Unprocessable as error:
            assert error.code == "nothing_left"  # noqa: PT017

    @rule(sample=st.integers(0, 11))
    def request_of_all_models(self, sample: int) -> None:
        try:
            ask_all(self.world, f"s{sample}")
        except (Conflict, Unprocessable) as error:
            codes = {"already_erased", "already_requested", "nothing_left"}
            assert error.code in codes  # noqa: PT017

    @rule(what=st.sampled_from(["cancel", "extend", "hold", "release"]), data=st.data())
    def act_on_a_group(self, what: group_acts.Act, data: st.DataObject) -> None:
        known = [row.id for row in self.world.all(RequestGroup)]
        if known:
            with contextlib.suppress(Conflict):
                act(self.world, data.draw(st.sampled_from(known)), what)

    @invariant()
    def a_group_stands_where_its_members_do(self) -> None:
        requests = self.world.all(DeletionRequest)
        for row in self.world.all(RequestGroup):
            members = {request.status for request in requests if request.group_id == row.id}
            assert row.status == group_status(members)
            assert (row.closed_at is None) == (row.status in ("pending", "in_progress", "on_hold"))

    @rule(policy=st.sampled_from(["standard", "first-look"]), seed=st.integers(0, 3))
    def qualify(self, policy: str, seed: int) -> None:
        try:
            self.world.qualify(policy=policy, seed=seed)
        except Unprocessable as error:
            assert error.code in {"too_many_trials", "too_few_trials"}  # noqa: PT017

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        keys = [row.id for row in self.world.all(DeletionRequest)]
        if keys:
            try:
                self.world.cancel(data.draw(st.sampled_from(keys)))
            except Conflict as error:
                assert error.code == "already_closed"  # noqa: PT017

    @rule(act=st.sampled_from(["hold", "release", "extend"]), data=st.data())
    def put_aside(self, act: str, data: st.DataObject) -> None:
        known = [row.id for row in self.world.all(DeletionRequest)]
        if not known:
            return
        request_id = data.draw(st.sampled_from(known))
        with contextlib.suppress(Conflict), self.world.database.write() as session:
            if act == "hold":
                ledger.hold_request(session, self.world.caller, request_id, "legal_claims")
            elif act == "release":
                ledger.release_request(session, self.world.caller, request_id)
            else:
                ledger.extend_request(session, self.world.caller, request_id, "complexity")

    @rule(decision=st.sampled_from(["approved", "rejected"]), data=st.data())
    def decide(self, decision: Literal["approved", "rejected"], data: st.DataObject) -> None:
        known = [row.id for row in self.world.all(DeletionRequest)]
        if known:
            self.approve_or_reject(data.draw(st.sampled_from(known)), decision)

    def approve_or_reject(
        self, request_id: uuid.UUID, decision: Literal["approved", "rejected"]
    ) -> None:
        with contextlib.suppress(Conflict), self.world.database.write() as session:
            ledger.decide(
                session,
                Caller(self.world.caller.tenant_id, "key:approver"),
                request_id,
                decision,
                "other",
                candidate=None,
                publish=publish,
            )

    @invariant()
    def nothing_is_promoted_without_approval_or_for_a_held_request(self) -> None:
        approved = {row.run_id for row in self.world.all(Approval) if row.decision == "approved"}
        for row in self.world.all(DeletionRequest):
            if row.status == RequestStatus.COMPLETED and row.needs_approval:
                assert row.verdict == "NOTHING_TO_REMOVE" or row.run_id in approved
            if row.status == RequestStatus.ON_HOLD:
                assert row.run_id is None
