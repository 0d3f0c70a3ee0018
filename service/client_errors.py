"""What the Python client raises."""

from collections.abc import Mapping
from typing import Any

import httpx2


class ExpungeProblem(Exception):
    """The service refused or failed; ``code`` is stable, see docs/problems.md.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        code: Stable code.
        detail: What is wrong, in words.
        document: The whole problem document.
    """

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(document.get("code", "unknown"))
        self.detail = str(document.get("detail", "The service gave no reason."))
        self.document = dict(document)
        places = [f"{e['pointer']}: {e['detail']}" for e in self.document.get("errors", [])]
        super().__init__("\n  ".join([f"{self.code}: {self.detail}", *places]))


def no_answer(error: httpx2.TransportError) -> ExpungeProblem:
    """Return the problem of a service that cannot be reached."""
    return ExpungeProblem(0, {"code": "no_answer", "detail": f"No answer: {error}"})


def raise_for_problem(response: httpx2.Response) -> None:
    """Raise what a response says is wrong; return where nothing is.

    Raises:
        ExpungeProblem: The service refused or failed.
    """
    if response.status_code < 400:
        return
    response.read()
    try:
        document = response.json()
    except ValueError:
        document = {"detail": response.text[:500]}
    raise ExpungeProblem(response.status_code, document if isinstance(document, dict) else {})
