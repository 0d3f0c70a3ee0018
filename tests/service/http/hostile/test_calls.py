"""Hostile calls over the whole OpenAPI document: no 5xx, and no answer that is not documented.

A few hundred in the suite; `make hostile CALLS=10000 SEED=1` makes many and prints a table.
"""

import os
import time

import pytest
from starlette.testclient import TestClient

from tests.service.http.belongings import furnish
from tests.service.http.hostile.calling import Run, call_all
from tests.service.ledger.world import World

CALLS = int(os.getenv("EXPUNGE_HOSTILE_CALLS", "300"))
SEED = int(os.getenv("EXPUNGE_HOSTILE_SEED", "1"))


# Starlette leaves the file of a part that is cut off to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in.*SpooledTemporaryFile")
@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")
def test_every_call_gets_a_documented_answer(client: TestClient, signing_world: World) -> None:
    run = Run(client, furnish(client, signing_world), SEED)
    started = time.monotonic()
    call_all(run, CALLS)
    seconds = time.monotonic() - started
    print(f"{sum(run.statuses.values())} calls, seed {SEED}, {seconds:.0f} s")  # noqa: T201
    for status, number in sorted(run.statuses.items()):
        print(f"{status}: {number}")  # noqa: T201
    print(", ".join(f"{code} {number}" for code, number in run.codes.most_common()))  # noqa: T201
    assert run.failures == {}, "\n\n".join(f"{k}: {v}" for k, v in run.failures.items())
    assert len(run.codes) > 8
    assert {200, 201, 400, 404, 422} <= set(run.statuses)
