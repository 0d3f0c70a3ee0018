"""The sweeper's process sends webhooks too; killed in the middle, the next one sends them again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from standardwebhooks import Webhook

from service.ledger.webhooks import try_endpoint
from tests.service.webhooks.conftest import Town


@contextmanager
def sweeping(town: Town) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the process of `expunge sweep`, ended afterwards whatever happens."""
    url = town.database.url.render_as_string(hide_password=False)
    environment = {
        "EXPUNGE_HOME": str(town.settings.home),
        "EXPUNGE_DATABASE_URL": url,
        "EXPUNGE_OUTGOING_ALLOW_HTTP": "true",
        "EXPUNGE_OUTGOING_NETWORKS": '["127.0.0.0/8"]',
        "EXPUNGE_OUTGOING_TIMEOUT_S": "30",
    }
    command = [sys.executable, "-m", "service.cli", "sweep"]
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so; fail when it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_sweeper_that_is_killed_during_a_call_is_followed_by_one_that_repeats_it(
    town: Town,
) -> None:
    key, secret = town.endpoint()
    town.receiver.answer, town.receiver.drip_s = b"x" * 1000, 0.05
    with town.database.write() as session:
        try_endpoint(session, town.world.caller, key)
    with sweeping(town) as process:
        wait_until(lambda: town.receiver.calls)
        process.kill()
    ((delivery, _),) = town.told(key)
    assert (delivery.delivered_at, delivery.given_up_at) == (None, None)

    town.receiver.drip_s = 0.0
    town.wait()  # the lease of the killed one runs out
    with sweeping(town) as process:
        wait_until(lambda: town.told(key)[0][0].delivered_at)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    first, second = town.receiver.calls
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    Webhook(secret).verify(second.body, second.headers)
    log = output.decode()
    assert f"delivery={delivery.id}" in log
    assert secret.removeprefix("whsec_") not in log
    assert town.receiver.url not in log
