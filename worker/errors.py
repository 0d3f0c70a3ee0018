"""How a failure ends a job.

    JobFailure              kind      then
    ├── UsageFailure        usage     the job fails: what was registered cannot be used as it is
    ├── FatalFailure        fatal     the job fails: trying again would end the same way
    └── TransientFailure    transient another try, until the retry budget is spent

A detail is for a person: what happened and what to do. It never names a sample.
"""

import errno
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


def machine_failure(error: OSError) -> TransientFailure:
    """Say that the worker's machine failed a job; the message of `error` may hold a path."""
    if is_disk_full(error):
        return TransientFailure(
            "disk_full",
            "A disk is full: the worker's own, or that of the storage. Free some space; the job is"
            " tried again.",
        )
    reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
    return TransientFailure(
        "input_output", f"The worker could not read or write its files ({reason})."
    )


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error says that a disk or a quota is full, in whichever library's words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error)
