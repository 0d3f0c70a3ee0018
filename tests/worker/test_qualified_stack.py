"""A qualification and a request that rests on it, with real workers on the embedded stack."""

from pathlib import Path

from service.client import PAGE
from tests.worker.installation import EPOCHS, Installation
from tests.worker.test_stacks import client_of, worker


def test_two_trials_qualify_a_method_and_a_request_rests_on_them(
    stack: Installation, trained: Path
) -> None:
    model_id = str(stack.model(trained, EPOCHS))
    with client_of(stack) as client, worker(stack.settings), worker(stack.settings):
        assert client.wait_for_model(model_id)["status"] == "ready"
        # A seed at which trials pass: how often they do is not the point here.
        terms = {"policy": "first-look", "kinds": ["mislabelled"], "trials": 2, "seed": 1}
        made = client.qualify(model_id, "distilled_recovery", **terms)
        found = client.wait_for_qualification(model_id, made["id"])
        assert found["state"] == "live", found
        stored = stack.stored()
        request = client.open_request(
            model_id,
            ["id-0", "id-4", "id-8", "id-10"],
            policy="first-look",
            audit="qualified",
            ladder=["distilled_recovery", "retrain"],
        )
        closed = client.wait(request["id"])
        predicate = client.report(request["id"])["predicate"]
        page = client.report(request["id"], PAGE)
        versions = client.versions(model_id)
    assert len(stored) == 1, "the trials' networks ended with them"
    assert all(len(trial["references"]) == 19 for trial in found["trials"])
    assert sum(trial["verdict"] == "PASS" for trial in found["trials"]) >= 1
    assert closed["status"] == "completed"
    assert closed["tries"][0]["method"] == "distilled_recovery"
    assert predicate["lineage"]["references"] == []
    assert closed["verdict"] == closed["tries"][0]["verdict"] == "QUALIFIED", closed["tries"]
    assert predicate["qualification"]["id"] == made["id"]
    assert predicate["qualification"]["kinds"] == found["results"]
    assert all(check["ok"] for part in predicate["audit"]["parts"] for check in part["checks"])
    assert predicate["qualification"]["id"] in page
    assert [version["state"] for version in versions] == ["superseded", "current"]
