"""One compose project of this repository, driven by `docker compose` as a user would."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TAG = "check"
HEALTHY_TIMEOUT_S = 180.0
_COMMAND_TIMEOUT_S = 3600.0


class StackFailed(RuntimeError):
    """A command of the engine failed, or a container did not become healthy; says what it said."""


class ComposeStack:
    """The services of `docker-compose.yml` under a project name of their own.

    Args:
        project: Name that sets containers, networks and volumes apart from other projects.
        data, secrets: Folders that take the place of `./data` and `./secrets`.
        port: Port of the loopback interface that the API is published on.
        workers: How many worker containers run.
    """

    def __init__(self, project: str, data: Path, secrets: Path, port: int, workers: int) -> None:
        self.project = project
        self.url = f"http://127.0.0.1:{port}"
        self.workers = workers
        ours = ("EXPUNGE_", "COMPOSE_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self._environment = inherited | {
            "EXPUNGE_DATA": str(data),
            "EXPUNGE_SECRETS": str(secrets),
            "EXPUNGE_PUBLISH": f"127.0.0.1:{port}",
            "EXPUNGE_TAG": TAG,
            "EXPUNGE_THREADS": "1",
            "EXPUNGE_TORCH_INDEX": os.environ.get("EXPUNGE_TORCH_INDEX", ""),
        }

    def compose(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run `docker compose` and return what it wrote to standard output.

        Raises:
            StackFailed: It ended with another code than 0.
        """
        project = ("--ansi", "never", "--project-name", self.project)
        return self._run(["docker", "compose", *project, *arguments], stdin)

    def up(self) -> None:
        """Start everything and return once every container is healthy."""
        self.compose("up", "--detach", "--wait", "--scale", f"worker={self.workers}")

    def kill(self, service: str) -> None:
        """Kill a service's containers at once (SIGKILL); nothing starts them again."""
        self.compose("kill", service)

    def start(self, service: str) -> None:
        """Start a service's containers again and return once they are healthy."""
        self.compose("start", service)
        self.wait_until_healthy(service)

    def wait_until_healthy(self, service: str) -> None:
        """Return once every container of the service is healthy.

        Raises:
            StackFailed: They are not in time.
        """
        deadline = time.monotonic() + HEALTHY_TIMEOUT_S
        while not (states := self._health(service)) or set(states) != {"healthy"}:
            if time.monotonic() > deadline:
                raise StackFailed(f"{service} is {', '.join(states) or 'not there'}")
            time.sleep(0.5)

    def execute(self, service: str, *command: str, stdin: bytes = b"") -> bytes:
        """Run a command in a running container and return what it wrote."""
        return self.compose("exec", "--no-TTY", service, *command, stdin=stdin)

    def sql(self, query: str) -> list[list[str]]:
        """Return the rows of a query; values as PostgreSQL writes them."""
        psql = ("psql", "--username", "expunge", "--no-align", "--tuples-only", "--command", query)
        return [line.split("|") for line in self.execute("postgres", *psql).decode().splitlines()]

    def count(self, what: str, where: str) -> int:
        """Return an aggregate over the table of jobs."""
        ((value,),) = self.sql(f"SELECT {what} FROM jobs WHERE {where}")  # noqa: S608 - our own words
        return int(value)

    def inspect(self) -> list[dict[str, Any]]:
        """Return what the engine knows of every running container of the project."""
        ids = self.compose("ps", "--quiet").decode().split()
        found: list[dict[str, Any]] = json.loads(self._run(["docker", "inspect", *ids]))
        return found

    def image_sizes(self) -> dict[str, int]:
        """Return the sizes in bytes of the two images that are built, by their names."""
        names = ("expunge-service", "expunge-worker")
        tags = [f"{name}:{TAG}" for name in names]
        found = json.loads(self._run(["docker", "image", "inspect", *tags]))
        return {name: image["Size"] for name, image in zip(names, found, strict=True)}

    def logs(self) -> list[str]:
        """Return the last lines that the containers wrote."""
        said = self.compose("logs", "--no-color", "--tail", "40")
        return said.decode(errors="replace").splitlines()

    def down(self) -> list[str]:
        """Remove containers, networks and volumes; return what is left of them all the same."""
        self.compose(
            "--profile", "setup", "down", "--volumes", "--remove-orphans", "--timeout", "5"
        )
        label = ("--quiet", "--filter", f"label=com.docker.compose.project={self.project}")
        kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        return [
            name for kind in kinds for name in self._run(["docker", *kind, *label]).decode().split()
        ]

    def _health(self, service: str) -> list[str]:
        lines = self.compose("ps", "--all", "--format", "json", service).decode().splitlines()
        return [json.loads(line)["Health"] for line in lines]

    def _run(self, command: Sequence[str], stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=_COMMAND_TIMEOUT_S,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-2000:]
            raise StackFailed(f"`{' '.join(command)}` ended with {done.returncode}: {said}")
        return done.stdout
