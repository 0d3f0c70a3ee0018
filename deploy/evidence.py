"""What must hold once the request has closed, read from outside: the API, the database, the log."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from deploy.stack import ComposeStack
from service.client import ExpungeClient
from service.commitment import canonical_json
from worker.demo.evidence import save_report

GENESIS = "0" * 64
LOG_PAGE = 1000
CLOSED = "deletion-request.completed"
STORAGE = "/var/lib/expunge/storage"
ROUTES = "/proc/net/route"
WAYS_OUT = {"postgres": False, "redis": False, "worker": False, "api": True, "sweep": True}
NOBODY = "https://receiver.invalid/expunge"  # RFC 6761: such a name never exists
CALL_TIMEOUT_S = 60.0


class Lost(RuntimeError):
    """Something was lost, doubled, changed, or less protected than promised."""


def require(holds: object, words: str) -> None:
    """Go on if it holds.

    Raises:
        Lost: It does not.
    """
    if not holds:
        raise Lost(words)


def audit_log(url: str, key: str) -> list[dict[str, Any]]:
    """Return the whole audit log of the key's tenant, in order."""
    entries: list[dict[str, Any]] = []
    cursor: str | None = None
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        while True:
            wanted = {"limit": LOG_PAGE} | ({"cursor": cursor} if cursor else {})
            page = http.get("/v1/audit-log", params=wanted).raise_for_status().json()
            entries += page["items"]
            if (cursor := page["next_cursor"]) is None:
                return entries


def check_chain(entries: list[dict[str, Any]]) -> str:
    """Recompute every link of the audit log."""
    previous = GENESIS
    for place, entry in enumerate(entries, start=1):
        content = {name: value for name, value in entry.items() if name != "hash"}
        require(entry["seq"] == place, f"entry {place} of the audit log has seq {entry['seq']}")
        require(entry["prev_hash"] == previous, f"entry {place} does not follow the one before")
        previous = hashlib.sha256(canonical_json(content)).hexdigest()
        require(entry["hash"] == previous, f"entry {place} of the audit log was changed")
    return f"{len(entries)} links"


def check_closed_once(stack: ComposeStack, request_id: str, entries: list[dict[str, Any]]) -> str:
    """Count closings, reports, versions and unfinished jobs."""
    resource = f"deletion-requests/{request_id}"
    closings = sum(e["resource"] == resource and e["action"] == CLOSED for e in entries)
    require(closings == 1, f"the request was closed {closings} times")
    reports = stack.sql(f"SELECT count(*) FROM reports WHERE request_id = '{request_id}'")  # noqa: S608
    require(reports == [["1"]], f"the request has {reports} reports")
    versions = stack.sql(
        "SELECT v.number, v.state, p.number FROM model_versions v"
        " LEFT JOIN model_versions p ON p.id = v.parent_id ORDER BY v.number"
    )
    current = [(number, parent) for number, state, parent in versions if state == "current"]
    require(len(current) == 1 and current[0][1] == "1", f"no chain of versions: {versions}")
    states = dict(stack.sql("SELECT status, count(*) FROM jobs GROUP BY status"))
    require(set(states) <= {"completed", "cancelled"}, f"jobs are left: {states}")
    ((jobs, attempts),) = stack.sql("SELECT count(*), sum(attempt) FROM jobs")
    chain = f"version {current[0][0]} current after version 1"
    return f"1 closing, 1 report, {chain}, {jobs} jobs in {attempts} attempts"


def check_artifacts(stack: ComposeStack) -> str:
    """Recompute the digest of every stored file; its name must be that digest.

    What a killed upload left under `temporary/` never got a name; it is counted, and no loss.
    """
    find = f"cd {STORAGE} && find . -type f -exec sha256sum {{}} +"
    listed = stack.execute("api", "sh", "-c", find).decode().splitlines()
    files = [line.split() for line in listed]
    named = [(digest, path) for digest, path in files if not path.startswith("./temporary/")]
    wrong = [path for digest, path in named if Path(path).name != digest]
    require(named, "the storage is empty")
    require(not wrong, f"half written: {wrong}")
    return f"{len(named)} files, each whole; {len(files) - len(named)} unfinished uploads"


def check_report(client: ExpungeClient, request_id: str, folder: Path) -> str:
    """Fetch the report in every form; have verify.py judge it, its log, and an altered copy."""
    evidence = save_report(client, request_id, "request", folder)
    said = evidence.verification.read_text()
    require(evidence.accepted, f"the verifier refuses the report: {said}")
    require(evidence.altered_refused, "the verifier accepts an altered report")
    return "page, PDF, reply and bundle served; verify.py accepts the envelope, and no altered one"


def check_report_against_log(entries: list[dict[str, Any]], folder: Path) -> str:
    """Have verify.py look for the saved report's place in the audit log."""
    (folder / "log.json").write_text(json.dumps({"items": entries, "next_cursor": None}))
    options = ("--jwks", "jwks.json", "--log", "log.json")
    command = [sys.executable, "verify.py", "report.dsse.json", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"verify.py --log: {done.stdout}{done.stderr}")
    return check_chain(entries)


def check_hardening(stack: ComposeStack) -> str:
    """Look at every running container: user, root file system, capabilities, new privileges."""
    containers = stack.inspect()
    for container in containers:
        name, host = container["Name"].lstrip("/"), container["HostConfig"]
        require(container["Config"]["User"] not in {"", "0", "root", "0:0"}, f"{name} runs as root")
        require(host["ReadonlyRootfs"], f"{name} can write to its root file system")
        require(host["CapDrop"] == ["ALL"] and not host["CapAdd"], f"{name} has capabilities")
        require("no-new-privileges:true" in host["SecurityOpt"], f"{name} may gain privileges")
        require(host["Memory"] > 0, f"{name} may take all memory")
    return f"{len(containers)} containers: not root, read-only, no capabilities, memory limited"


def check_ways_out(stack: ComposeStack) -> str:
    """Ask each container's kernel for a route to everywhere; only two may have one."""
    for service, expected in WAYS_OUT.items():
        routes = stack.execute(service, "cat", ROUTES).decode()
        words = "has a way out" if has_default_route(routes) else "has no way out"
        require(has_default_route(routes) == expected, f"{service} {words}")
    return f"{', '.join(name for name, out in WAYS_OUT.items() if out)}, and no other"


def has_default_route(routes: str) -> bool:
    """Say whether a table in the form of `/proc/net/route` leads to everywhere."""
    rows = [line.split() for line in routes.splitlines()[1:]]
    return any(row[1] == row[7] == "00000000" for row in rows if len(row) > 7)


def check_webhook(stack: ComposeStack, key: str) -> str:
    """Register a receiver that cannot exist; the sweep must get as far as looking up its name.

    By then it has opened the secret, which the API sealed, with the same pepper.
    """
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=stack.url, headers=headers) as http:
        made = http.post("/v1/webhook-endpoints", json={"url": NOBODY}).raise_for_status().json()
        place = f"/v1/webhook-endpoints/{made['id']}"
        http.post(f"{place}/test").raise_for_status()
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while True:
            (told,) = http.get(f"{place}/deliveries").raise_for_status().json()["items"]
            errors = [tried["error"] for tried in told["attempts"] if tried["error"]]
            if errors or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        http.delete(place).raise_for_status()
    require(errors, "the sweep called nobody")
    require(errors[0] == "name_unknown", f"the sweep's call failed otherwise: {errors[0]}")
    return "signed and tried; the receiver's name is unknown, as it must be"
