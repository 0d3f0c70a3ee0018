"""Nobody gets back to weights that hold what was erased since."""

from pathlib import Path
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from service import ledger
from service.errors import IllegalMove
from service.ledger.states import move
from service.tables import ModelVersion, VersionState
from tests.service.http.test_errors import problem
from tests.service.http.test_models import order
from tests.service.ledger.purges import purge_rows
from tests.service.ledger.world import World


@pytest.fixture
def model(client: TestClient, world: World) -> str:
    """Return the URL of a model whose first version was superseded."""
    made = client.post("/v1/models", json=order(world)).json()
    world.work()
    world.request_for(UUID(made["id"]), "s0")
    world.work()
    return f"/v1/models/{made['id']}"


def test_old_weights_are_served_for_an_audit_alone(
    client: TestClient, model: str, data: Path
) -> None:
    url = f"{model}/versions/1/weights"
    assert problem(client.get(url), 409, "version_not_current")["current"] == 2
    ranged = client.get(url, headers={"Range": "bytes=0-7"})
    problem(ranged, 409, "version_not_current")
    served = client.get(url, params={"for_audit": "true"})
    assert served.content == (data / "weights.safetensors").read_bytes()


def test_old_weights_cannot_be_registered_as_another_model(
    client: TestClient, world: World, model: str, tmp_path: Path
) -> None:
    again = order(world, name="the same under another name")
    refused = problem(client.post("/v1/models", json=again), 409, "version_not_current")
    assert (refused["current"], model.endswith(refused["model_id"])) == (2, True)
    purge_rows(world, tmp_path, keep_superseded_days=0)
    problem(client.post("/v1/models", json=again), 409, "version_not_current")
    purged = client.get(f"{model}/versions/1/weights", params={"for_audit": "true"})
    problem(purged, 410, "weights_purged")


@pytest.mark.parametrize("state", ["superseded", "purged", "rejected"])
def test_no_such_version_can_become_current(world: World, state: str) -> None:
    with world.database.write() as session:
        version = session.query(ModelVersion).first()
        assert version is not None
        version.state = VersionState(state)
        with pytest.raises(IllegalMove):
            move(session, version, VersionState.CURRENT)
        session.rollback()
    assert not {"superseded", "purged", "rejected"} & {
        name for name, after in ledger.MOVES[VersionState].items() if "current" in after
    }
