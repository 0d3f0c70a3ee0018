"""The world that the ledger's tests play in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service import policies
from service.database import Database
from tests.service.ledger.later import measure_in_full
from tests.service.ledger.world import LOOKS, World


@pytest.fixture(autouse=True)
def few_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the shipped policies look at a few references only: their number is not the point."""
    shipped = policies._all_policies()
    small = tuple(
        replace(policy, document=policy.document | _small(len(policy.document["looks"])))
        for policy in shipped
    )
    monkeypatch.setattr(policies, "_all_policies", lambda: small)


def _small(num_looks: int) -> dict[str, Any]:
    return {"looks": LOOKS[:num_looks], "max_approximate_chain": 2}


@pytest.fixture
def measured(
    world: World,
    audit_result: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """Return what workers measure in audits with references; a test may change it in between."""
    measure_in_full(world, audit_result, tmp_path, monkeypatch)
    return audit_result


@pytest.fixture
def world(database: Database) -> World:
    """Return a company whose model is checked and ready."""
    world = World(database)
    world.register()
    return world
