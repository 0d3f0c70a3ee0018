"""A dry run reads and waits for nobody."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from service import ledger
from tests.service.http.test_requests import wish
from tests.service.ledger.world import World

URL = "/v1/deletion-requests"


@pytest.mark.parametrize("grouped", [False, True])
def test_a_dry_run_goes_on_while_others_write(
    caller: TestClient, company: World, grouped: bool
) -> None:
    body: dict[str, Any] = wish(company, "s0", dry_run=True, subject_request_id="DSR-1")
    if grouped:
        body |= {"model_id": None, "dataset_id": str(company.dataset_id)}
    assert caller.get(URL).status_code == 200  # the use of the key is noted by a write
    with ThreadPoolExecutor(1) as pool, company.database.write() as session:
        ledger.take_turn(session, company.caller.tenant_id)
        answer = pool.submit(caller.post, URL, json=body)
        assert answer.result(timeout=60).status_code == 200
