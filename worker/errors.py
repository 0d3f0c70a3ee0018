"""How a failure ends a job.

    JobFailure              kind      then
    ├── UsageFailure        usage     the job fails: what was registered cannot be used as it is
    ├── FatalFailure        fatal     the job fails: trying again would end the same way
    └── TransientFailure    transient another try, until the retry budget is spent

A detail is for a person: what happened and what to do. It never names a sample.
"""

from typing import ClassVar, Literal

Kind = Literal["fatal", "transient", "usage"]


class JobFailure(Exception):
    """A failure with a stable code and words for a person."""

    kind: ClassVar[Kind] = "fatal"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    def as_message(self) -> dict[str, str]:
        """Return the failure as the child sends it to its supervisor."""
        return {"kind": self.kind, "code": self.code, "detail": self.detail}


class FatalFailure(JobFailure):
    """Trying again would end the same way."""

    kind = "fatal"


class TransientFailure(JobFailure):
    """The next try may succeed."""

    kind = "transient"


class UsageFailure(JobFailure):
    """The caller's data, weights or settings have to change first."""

    kind = "usage"
