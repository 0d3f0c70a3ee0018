"""Who may do what in the running containers: change the audit log, read the metrics."""

import json
from pathlib import Path

import httpx2

from deploy.evidence import require
from deploy.stack import ComposeStack

CONNECTED = ("api", "worker", "sweep")
ROLE = "expunge_app"
DENIED = "42501"  # insufficient_privilege; a trigger would refuse with another state
DAMAGES = (
    "UPDATE audit_events SET actor = 'nobody'",
    "DELETE FROM audit_events",
    "TRUNCATE audit_events",
    "ALTER TABLE audit_events DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "UPDATE audit_checkpoints SET seq = 1",
    "DELETE FROM audit_checkpoints",
    "TRUNCATE audit_checkpoints",
    "DROP TABLE audit_checkpoints",
    "UPDATE alembic_version SET version_num = 'none'",
    "CREATE TABLE of_mine (id integer)",
    "SET ROLE expunge",
)
# As the container itself connects; each statement is rolled back, whatever it did.
_TRY = """
import json, sys
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from service.config import get_settings
from service.database import Database
engine = Database.from_settings(get_settings()).engine
said = {}
with engine.connect() as connection:
    role = connection.execute(text("SELECT current_user")).scalar_one()
for statement in json.load(sys.stdin):
    with engine.connect() as connection:
        try:
            connection.execute(text(statement))
            said[statement] = "done"
        except DBAPIError as error:
            said[statement] = error.orig.sqlstate
        connection.rollback()
print(json.dumps({"role": role, "said": said}))
"""
_GET = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers=dict(h.split("=", 1) for h in sys.argv[2:]))
try:
    with urllib.request.urlopen(request, timeout=30) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"""
_METRIC = "\nexpunge_outbox_due "


def check_role(stack: ComposeStack) -> str:
    """Try to change the audit log with the credentials that each container holds."""
    for service in CONNECTED:
        tried = stack.execute(service, "python", "-c", _TRY, stdin=json.dumps(DAMAGES).encode())
        found = json.loads(tried)
        require(found["role"] == ROLE, f"{service} connects as {found['role']}")
        done = {what: state for what, state in found["said"].items() if state != DENIED}
        require(not done, f"{service} was not denied: {done}")
    return f"{ROLE} in {', '.join(CONNECTED)}: {len(DAMAGES)} statements denied in each"


def check_metrics(stack: ComposeStack) -> str:
    """Ask for the metrics inside the API's container, from a neighbour, and through the port."""
    own, neighbours = "http://127.0.0.1:8000/metrics", "http://api:8000/metrics"
    inside = _get(stack, "api", own)
    require(
        inside.startswith("200 ") and _METRIC in inside, f"inside, /metrics said {inside[:200]}"
    )
    for service, url, *headers in (
        ("api", own, "X-Forwarded-For=127.0.0.1"),
        ("worker", neighbours),
    ):
        said = _get(stack, service, url, *headers)
        require(said.startswith("404"), f"{service} got {said[:200]} from {url}, {headers}")
    for forged in ({}, {"X-Forwarded-For": "127.0.0.1"}):
        status = httpx2.get(f"{stack.url}/metrics", headers=forged).status_code
        require(status == 404, f"the published port answers /metrics with {status}")
    return f"{len(inside.splitlines())} lines inside; 404 for a proxy, a neighbour and the port"


def check_log(stack: ComposeStack, kept: Path) -> str:
    """Check the whole log where it is stored, against all checkpoints and one that was kept.

    Args:
        stack: The installation.
        kept: A checkpoint outside of the installation; signed now when there is none yet. By then
            the sweep must have signed one by itself.
    """
    if not kept.exists():
        require(_checkpoints(stack), "the sweep signed no checkpoint")
        path = "/tmp/checkpoint.dsse.json"  # noqa: S108 - the container's own tmpfs
        stack.execute("api", "expunge", "log", "checkpoint", "--output", path)
        kept.write_bytes(stack.execute("api", "cat", path))
    verify = ("expunge", "log", "verify", "--json", "--checkpoint", "/dev/stdin")
    said = json.loads(stack.execute("api", *verify, stdin=kept.read_bytes()))
    require(said and all(log["ok"] for log in said.values()), f"the log is damaged: {said}")
    (log,) = said.values()
    require(log["vouched"], "no checkpoint vouches for the log")
    signed = _checkpoints(stack)
    return f"{log['length']} entries, {log['vouched']} vouched for by {signed} checkpoints"


def _checkpoints(stack: ComposeStack) -> int:
    ((signed,),) = stack.sql("SELECT count(*) FROM audit_checkpoints")
    return int(signed)


def _get(stack: ComposeStack, service: str, url: str, *headers: str) -> str:
    return stack.execute(service, "python", "-c", _GET, url, *headers).decode()
