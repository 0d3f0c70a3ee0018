"""What the Python client raises."""

from collections.abc import Mapping
from typing import Any


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


class WaitTimeout(TimeoutError):
    """The request or audit did not close in time."""
