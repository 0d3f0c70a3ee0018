"""`python -m deploy.compose_check`: the deployment on a real engine, with every container killed.

Throw-away secrets, build, start, one class request through the published port; while it is open,
each container is killed and started again. It must close exactly once with a report that verifies.
Then database and storage are backed up and restored into fresh volumes, where the same report must
be served. Ends with 0 when nothing was lost, and takes everything down in any case.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from deploy import access, backup, evidence
from deploy.journal import Journal
from deploy.stack import ComposeStack, StackFailed
from service.client import ENVELOPE, ExpungeClient
from worker.demo.actors import Actors
from worker.demo.digits import write_digits
from worker.demo.screen import Screen
from worker.demo.stack import free_port
from worker.demo.story import OPEN, Story

DIGIT = 8
DOWN_S = 2.0
# The worker first: jobs of a killed one wait for their leases, so the request outlasts the others.
KILLED = ("worker", "sweep", "redis", "api", "postgres")
# A job whose child has begun, and whose worker has been heard of since workers were killed.
RUNNING = "status = 'running' AND progress::text <> 'null' AND heartbeat_at > '{since}'"
REQUEST_TIMEOUT_S = 1800.0


class Check:
    """The check's script; every step is a line of the journal.

    Args:
        folder: For data, secrets, reports and backups; removed by whoever made it.
        seed: Of data and networks.
        workers: How many worker containers run.
    """

    def __init__(self, folder: Path, journal: Journal, seed: int, workers: int) -> None:
        self._folder, self._journal, self._seed = folder, journal, seed
        self._data, self._secrets = folder / "data", folder / "secrets"
        self._checkpoint = folder / "checkpoint.dsse.json"
        for made in (self._data, self._secrets):
            made.mkdir(mode=0o755)
        project = f"expunge-check-{secrets.token_hex(3)}"
        self.stack = self._stack(project, workers)
        self.fresh = self._stack(f"{project}-restored", workers)
        self._key = ""
        self._workers_killed_at = "-infinity"  # by the database's clock

    def run(self) -> None:
        """Go through all steps; the first that fails ends the check."""
        journal = self._journal
        journal.step("does not start without secrets", self._refuses_to_start)
        journal.step("build", self._build)
        journal.step("make secrets", self._make_secrets)
        journal.step("up, all healthy", self._start)
        journal.step("hardening in force", lambda: evidence.check_hardening(self.stack))
        journal.step("ways out", lambda: evidence.check_ways_out(self.stack))
        journal.step("log can't be changed", lambda: access.check_role(self.stack))
        journal.step("metrics", lambda: access.check_metrics(self.stack))
        journal.step("webhook", lambda: evidence.check_webhook(self.stack, self._key))
        with ExpungeClient(self.stack.url, self._key) as client:
            request_id = self._ask(client)
            name = "stop workers, jobs put back"
            journal.step(name, lambda: self._stop_workers(client, request_id))
            for service in KILLED:
                name = f"kill -9 and start {service}"
                journal.step(name, partial(self._kill, client, request_id, service))
            journal.step("the request closes", lambda: self._await_closing(client, request_id))
            self._look_for_losses(client, request_id)
            envelope = client.report(request_id, ENVELOPE)
        self._back_up_and_restore(request_id, envelope)

    def _stack(self, project: str, workers: int) -> ComposeStack:
        return ComposeStack(project, self._data, self._secrets, free_port(), workers)

    def _refuses_to_start(self) -> str:
        try:
            self.stack.compose("up", "--detach", "--no-build", "postgres")
        except StackFailed as failure:
            evidence.require("postgres_password" in str(failure), f"it says only: {failure}")
            return "the engine names the missing file"
        raise evidence.Lost("PostgreSQL started without a password")

    def _build(self) -> str:
        self.stack.compose("build", "--quiet")
        sizes = self.stack.image_sizes()
        return ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in sizes.items())

    def _make_secrets(self) -> str:
        self.stack.compose("run", "--rm", "make-secrets")
        before = (self._secrets / "postgres_password").read_bytes()
        self.stack.compose("run", "--rm", "make-secrets")
        after = (self._secrets / "postgres_password").read_bytes()
        evidence.require(before == after, "a second run made another password")
        return f"{len(list(self._secrets.iterdir()))} files; a second run changed none"

    def _start(self) -> str:
        self.stack.up()
        made = self.stack.execute("api", "expunge", "keys", "create", "check", "--json")
        self._key = json.loads(made)["key"]
        return f"{self.stack.workers} workers; first API key made"

    def _ask(self, client: ExpungeClient) -> str:
        """Register the digits and a network, and ask for the erasure of a whole class."""
        digits = write_digits(self._data, self._seed)
        screen = Screen()
        story = Story(client, digits, Actors(digits, DIGIT, self._seed), screen, DIGIT, self._seed)
        opened: list[str] = []

        def ask() -> str:
            model_id = story.register()
            opened.append(story.open(model_id, "class", digits.ids_labelled(DIGIT)))
            return f"request {opened[0]} of {len(digits.ids_labelled(DIGIT))} samples"

        self._journal.step("register, request through the port", ask)
        return opened[0]

    def _kill(self, client: ExpungeClient, request_id: str, service: str) -> str:
        """Kill a service's containers while the request is open and a job is running."""
        running = self._await_running_job(client, request_id)
        self.stack.kill(service)
        if service == "worker":
            ((self._workers_killed_at,),) = self.stack.sql("SELECT now()")
        time.sleep(DOWN_S)
        self.stack.start(service)
        self.stack.wait_until_healthy("api")
        status = client.get_request(request_id)["status"]
        return f"{running} jobs were running; healthy again, request {status}"

    def _stop_workers(self, client: ExpungeClient, request_id: str) -> str:
        """Stop the workers in the middle of a job, as an upgrade does; no failure is counted."""
        self._await_running_job(client, request_id)
        before, start = self.stack.count("sum(failures)", "true"), time.monotonic()
        self.stack.compose("stop", "worker")
        seconds = time.monotonic() - start
        left = self.stack.count("count(*)", "status = 'running'")
        evidence.require(left == 0, f"{left} jobs still count as running")
        after = self.stack.count("sum(failures)", "true")
        evidence.require(before == after, f"failures counted: {after - before}")
        self.stack.start("worker")
        return f"gone after {seconds:.1f} s, {before} failures before and after"

    def _await_running_job(self, client: ExpungeClient, request_id: str) -> int:
        """Return how many jobs run, once one does; the request must still be open."""
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        where = RUNNING.format(since=self._workers_killed_at)
        while not (running := self.stack.count("count(*)", where)):
            status = client.get_request(request_id)["status"]
            evidence.require(status in OPEN, f"the request was {status} too early")
            evidence.require(time.monotonic() < deadline, "no job is running")
            time.sleep(0.3)
        return running

    def _await_closing(self, client: ExpungeClient, request_id: str) -> str:
        closed = client.wait(request_id, timeout_s=REQUEST_TIMEOUT_S)
        evidence.require(closed["status"] == "completed", f"it ended {closed['status']}: {closed}")
        return f"{closed['status']}, verdict {closed['verdict']}"

    def _look_for_losses(self, client: ExpungeClient, request_id: str) -> None:
        entries = evidence.audit_log(self.stack.url, self._key)
        reports = self._folder / "reports"
        for name, look in {
            "closed exactly once": lambda: evidence.check_closed_once(
                self.stack, request_id, entries
            ),
            "artifacts whole": lambda: evidence.check_artifacts(self.stack),
            "report verifies": lambda: evidence.check_report(client, request_id, reports),
            "audit chain verifies": lambda: evidence.check_report_against_log(entries, reports),
            "log verify": lambda: access.check_log(self.stack, self._checkpoint),
        }.items():
            self._journal.step(name, look)

    def _back_up_and_restore(self, request_id: str, envelope: bytes) -> None:
        """Move to fresh volumes by backup and restore; the key and the report must be the same."""
        journal, folder = self._journal, self._folder / "backup"
        journal.step("back up", lambda: backup.back_up(self.stack, folder))
        journal.step("down", lambda: _nothing_left(self.stack))
        journal.step("restore into fresh volumes", lambda: backup.restore(self.fresh, folder))

        def serve() -> str:
            with ExpungeClient(self.fresh.url, self._key) as client:
                same = client.report(request_id, ENVELOPE) == envelope
                evidence.require(same, "the restored report has other bytes")
                evidence.check_report(client, request_id, self._folder / "restored")
            entries = evidence.audit_log(self.fresh.url, self._key)
            chain = evidence.check_report_against_log(entries, self._folder / "restored")
            whole = evidence.check_artifacts(self.fresh)
            return f"same bytes, verified; {chain}; {whole}"

        journal.step("restored report served", serve)
        journal.step("restored log", lambda: access.check_log(self.fresh, self._checkpoint))
        journal.step("restored rights", lambda: access.check_role(self.fresh))


def _nothing_left(stack: ComposeStack) -> str:
    left = stack.down()
    evidence.require(not left, f"left behind: {left}")
    return "no container, volume or network is left"


def main() -> int:
    """Run the check; 0: nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of data and networks")
    parser.add_argument("--workers", type=int, default=2, help="worker containers")
    arguments = parser.parse_args()
    os.umask(0o022)  # the containers' user reads the data
    journal = Journal()
    with ExitStack() as clean_up:
        folder = Path(clean_up.enter_context(tempfile.TemporaryDirectory(prefix="expunge-check-")))
        check = Check(folder, journal, arguments.seed, arguments.workers)
        for stack in (check.stack, check.fresh):
            clean_up.callback(stack.down)
        try:
            check.run()
        except Exception as failure:  # noqa: BLE001 - whatever it was, the table is shown
            journal.explain(failure, [*check.stack.logs(), *check.fresh.logs()])
    journal.show()
    return 0 if journal.all_kept else 1


if __name__ == "__main__":
    sys.exit(main())
