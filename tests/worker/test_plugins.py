"""The example of docs/plugins.md, installed as a package, on a ladder of a real stack."""

import sys
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from service import ledger
from service.ledger import RequestOrder
from service.tables import DeletionRequest, Report, RequestStatus, Run
from tests.worker.installation import Installation, until
from tests.worker.plugins import (
    BROKEN,
    block,
    entries_of_the_page,
    install_package,
    put_on_path,
)
from tests.worker.test_stacks import worker
from unlearning.methods import get_method
from unlearning.testing import check_method

NAME = "acme_fresh_stage"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's example, and a package whose module cannot be imported."""
    folder = tmp_path / "site-packages"
    install_package(folder, "acme_unlearning", block("python"), entries_of_the_page())
    install_package(folder, "broken_package", BROKEN, {"broken": "broken_package:Method"})
    put_on_path(folder, monkeypatch)
    return folder


def test_the_example_is_short_found_by_name_and_keeps_the_contract(packages: Path) -> None:
    assert len(block("python").splitlines()) <= 36
    assert type(get_method(NAME)).__module__ == "acme_unlearning"
    check_method(lambda: get_method(NAME))


def _ask(stack: Installation, model_id: UUID, sample: str, *ladder: ledger.Rung) -> UUID:
    order = RequestOrder(model_id=model_id, sample_ids=[sample], ladder=ladder, policy="first-look")
    with stack.database.write() as session:
        return ledger.open_request(session, stack.caller, order).id


def _closed(stack: Installation, request_id: UUID) -> DeletionRequest:
    def ended() -> bool:
        with stack.database.read() as session:
            status = session.get_one(DeletionRequest, request_id).status
        return status in (RequestStatus.COMPLETED, RequestStatus.FAILED)

    until(ended)
    with stack.database.read() as session:
        return session.get_one(DeletionRequest, request_id)


def test_plugins_climb_the_ladder_of_a_real_request(
    stack: Installation, weights: Path, packages: Path
) -> None:
    model_id = stack.model(weights)
    rung = {"method": NAME, "hyperparameters": {"epochs": 2}}
    asked = [
        _ask(stack, model_id, "id-0", "broken", rung, "retrain"),
        _ask(stack, model_id, "id-1", "broken"),
        _ask(stack, model_id, "id-2", {**rung, "hyperparameters": {"epochs": 0}}, "retrain"),
    ]
    assert "acme_unlearning" not in sys.modules, "the service reads names and loads nothing"
    with worker(stack.settings):
        whole, failed, wrong = (_closed(stack, request_id) for request_id in asked)
    with stack.database.read() as session:
        run = session.get_one(Run, whole.run_id)
        report = session.scalars(select(Report).where(Report.request_id == whole.id)).one()
        climbed = session.get_one(Run, wrong.run_id)
    predicate = report.statement["predicate"]
    assert whole.status == "completed"
    assert (run.tries[0]["method"], run.tries[0]["hyperparameters"]) == (NAME, {"epochs": 2})
    assert predicate["lineage"]["ladder"] == ["broken", rung, "retrain"]
    [passed] = predicate["lineage"]["passed_over"]
    assert (passed["rung"], passed["code"]) == (0, "method_not_usable")
    assert "could not be loaded from broken_package:Method: ImportError: its" in passed["detail"]
    assert predicate["tries"][0]["hyperparameters"] == {"epochs": 2}
    assert (failed.status, failed.reason_code) == ("failed", "method_not_usable")
    assert "its compiled part is missing" in str(failed.reason)
    assert wrong.verdict == "RETRAINED"
    assert "epochs = 0" in climbed.passed_over[0]["detail"]
