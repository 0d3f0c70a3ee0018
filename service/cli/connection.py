"""Find the service and the key, and turn the service's problems into words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from service.cli.output import CommandFailed, Exit
from service.client import ExpungeClient, ExpungeProblem

URL_VARIABLE = "EXPUNGE_URL"
KEY_VARIABLE = "EXPUNGE_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"


def find_key(given: str | None) -> str:
    """Return the API key: as given, from the environment, or this machine's own.

    Raises:
        CommandFailed: There is none.
    """
    if key := given or os.environ.get(KEY_VARIABLE):
        return key
    path = Path(os.environ.get("EXPUNGE_HOME", ".expunge")).expanduser() / "admin.key"
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandFailed(
            f"There is no API key. Give --key, set {KEY_VARIABLE}, or run where {path} is.",
            Exit.USAGE,
        ) from error


@contextmanager
def connect(url: str | None, key: str | None) -> Iterator[ExpungeClient]:
    """Yield a client of the service.

    Raises:
        CommandFailed: It cannot be reached, refuses, or there is no key.
    """
    base = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    if not base.startswith(("http://", "https://")):
        raise CommandFailed(f"{base} is no http:// or https:// address.", Exit.USAGE)
    try:
        with ExpungeClient(base, find_key(key)) as client:
            yield client
    except httpx2.InvalidURL as error:
        raise CommandFailed(f"{base} is no URL.", Exit.USAGE) from error
    except ExpungeProblem as problem:
        if problem.status == 0:
            words = f"The service cannot be reached at {base}. Is it running (`expunge up`)?"
            raise CommandFailed(words, Exit.UNREACHABLE, problem.document) from problem
        raise CommandFailed(_words(problem), Exit.FAILED, problem.document) from problem


def _words(problem: ExpungeProblem) -> str:
    """Return what is wrong and what to do about it."""
    title, action = problem.document.get("title"), problem.document.get("action")
    return " ".join(part for part in (f"{title}:" if title else "", problem.detail, action) if part)
