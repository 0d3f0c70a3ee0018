"""Later audits of closed requests: opened, refused, on what their run worked on."""

from pathlib import Path
from typing import get_args

import pytest

from service import ledger
from service.bitmaps import digest, unpack
from service.errors import NotFound
from service.keys import ensure_tenant
from service.ledger import AuditOfRequest, Caller
from service.tables import Audit, ModelVersion, Report, RequestSamples
from tests.service.ledger.later import (
    closed,
    done,
    last_comparison,
    open_audit,
    qualified,
    refusal,
)
from tests.service.ledger.purges import purge
from tests.service.ledger.world import LOOKS, World

pytestmark = pytest.mark.usefixtures("measured")
PURPOSES = get_args(AuditOfRequest)


def _reports(world: World) -> list[Report]:
    found: list[Report] = world.all(Report)
    return found


@pytest.mark.parametrize("level", ["qualified", "none", "references"])
def test_a_closed_request_is_audited_with_references_on_what_its_run_worked_on(
    world: World, level: str
) -> None:
    request_id = qualified(world) if level == "qualified" else closed(world, audit=level)
    run, old = world.run_of(request_id), _reports(world)[0]
    audit, link = done(world, request_id)
    assert (audit.verdict, audit.level, audit.purpose) == ("PASS", "references", "upgrade")
    assert audit.base_version_id == run.base_version_id
    assert link.candidate_version_id == world.get(request_id).result_version_id
    assert audit.weights_sha256 == world.current().weights_sha256
    assert (audit.erased, audit.retain_digest) == (run.erased, run.retain_digest)
    assert set(unpack(audit.forget)) == {0, 9}
    handed = world.handed[-1]
    retained = {uri for uri, role in handed.roles.items() if role == "retain"}
    assert retained == {f"{i}.png" for i in range(12)} - {"0.png", "5.png"}
    assert len(handed.spec["references"]) == LOOKS[0]
    assert len(world.references()) == LOOKS[0]
    assert _reports(world)[0].envelope == old.envelope
    about = _reports(world)[1].statement["predicate"]["of_request"]
    assert about == {
        "id": str(request_id),
        "purpose": "upgrade",
        "verdict": world.get(request_id).verdict,
        "report_sha256": old.sha256,
        "comparison": None,
    }
    assert world.current().id == link.candidate_version_id


def test_a_run_of_several_requests_is_audited_for_one_of_them_with_the_whole_runs_e(
    world: World,
) -> None:
    world.request("s1")
    first, second = world.request("s0", "s5"), world.request("s7")
    world.work("PASS")
    run = world.run_of(first)
    assert run.id == world.run_of(second).id
    audit, _ = done(world, first)
    roles = world.handed[-1].roles
    named = {role: {uri for uri, r in roles.items() if r == role} for role in roles.values()}
    assert named["forget"] == {"0.png", "5.png"}
    assert named["erased"] == {"1.png", "7.png"}
    kept = {f"{i}.png" for i in range(12)} - named["forget"] - named["erased"]
    assert named["retain"] == kept
    assert audit.retain_digest == run.retain_digest
    reference = world.references()[-1]
    assert digest(unpack(reference.retain)) == audit.retain_digest


def test_open_and_failed_requests_have_nothing_to_audit(world: World) -> None:
    request_id = world.request("s0", ladder=("muda",))
    assert refusal(world, request_id).code == "not_closed"
    world.work("FAIL")
    assert refusal(world, request_id).code == "no_result"
    cancelled = world.request("s1")
    world.cancel(cancelled)
    assert refusal(world, cancelled, "reproduction").code == "no_result"


@pytest.mark.parametrize("purpose", PURPOSES)
def test_once_e_has_grown_neither_can_be_had(world: World, purpose: AuditOfRequest) -> None:
    request_id = closed(world)
    later = world.request("s1", "s2")
    world.cancel(later)
    refused = refusal(world, request_id, purpose)
    assert (refused.code, refused.extensions["count"]) == ("erased_set_grew", 2)
    assert world.all(Audit) == []


def test_a_later_request_for_samples_in_e_already_does_not_stand_in_the_way(world: World) -> None:
    cancelled = world.request("s1")
    world.cancel(cancelled)
    request_id = closed(world)
    again = closed(world, "s1")
    audit, link = done(world, request_id)
    assert _residual_versions(world) == ["version 1"]
    assert audit.verdict == "PASS"
    assert link.candidate_version_id == world.get(request_id).result_version_id
    assert link.candidate_version_id != world.current().id
    done(world, again)
    assert _residual_versions(world) == ["version 1", "version 2"]


def test_purged_weights_are_named_by_version(world: World, tmp_path: Path) -> None:
    request_id = world.request("s0", policy="first-look")
    world.work("NOTHING_TO_REMOVE")
    purge(world, tmp_path)
    refused = refusal(world, request_id, "reproduction")
    assert (refused.code, refused.extensions["versions"]) == ("version_purged", [2])
    assert done(world, request_id)[1].candidate_version_id == world.current().id


def test_a_candidate_is_not_purged_under_its_audit_and_goes_after_it(
    world: World, tmp_path: Path
) -> None:
    request_id = world.request("s0", policy="first-look")
    world.work("NOTHING_TO_REMOVE")
    open_audit(world, request_id, "reproduction")
    candidate = world.all(ModelVersion)[1]
    for finished in (False, True):
        if finished:
            world.work("NOTHING_TO_REMOVE")
        assert purge(world, tmp_path) == ([candidate.weights_uri] if finished else [])
    assert last_comparison(world)["reproduced"]


def test_without_the_link_to_its_samples_a_request_cannot_be_audited(world: World) -> None:
    request_id = closed(world)
    with world.database.write() as session:
        session.delete(session.get_one(RequestSamples, request_id))
    assert refusal(world, request_id).code == "samples_purged"
    with world.database.read() as session:
        assert ledger.request_images(session, world.caller, request_id) == []


def test_the_images_of_a_request_are_named_as_workers_look_for_them(world: World) -> None:
    request_id = closed(world)
    with world.database.read() as session:
        found = ledger.request_images(session, world.caller, request_id)
    assert found == ["/data/0.png", "/data/5.png"]


def test_the_same_audit_is_not_made_twice_at_once(world: World) -> None:
    request_id = closed(world)
    first = open_audit(world, request_id)
    refused = refusal(world, request_id)
    assert (refused.code, refused.extensions["audit_id"]) == ("audit_in_progress", str(first))
    open_audit(world, request_id, "reproduction")
    world.work("PASS")
    open_audit(world, request_id)
    with world.database.read() as session:
        request = ledger.get_request(session, world.caller, request_id)
        listed = ledger.audits_of_request(session, request)
    assert [audit.purpose for audit, _ in listed] == ["upgrade", "reproduction", "upgrade"]


def test_another_tenants_request_is_not_found(world: World) -> None:
    request_id = closed(world)
    with world.database.write() as session:
        stranger = Caller(ensure_tenant(session, "other").id, "key:other")
    for purpose in PURPOSES:
        with pytest.raises(NotFound):
            open_audit(world, request_id, purpose, stranger)
    with world.database.read() as session, pytest.raises(NotFound):
        ledger.request_images(session, stranger, request_id)


def _residual_versions(world: World) -> list[str]:
    """Return the versions that the newest report says were made with the samples."""
    copies = world.contexts[-1].residual_copies
    return [copy.name for copy in copies if copy.what == "version" and copy.contains]
