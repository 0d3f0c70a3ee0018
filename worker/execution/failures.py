"""Translate what the library raises into failures that end a job."""

import errno
import traceback
from pathlib import Path

from unlearning.errors import Cancelled, InvalidProblem, UnlearningError, WeightsRejected
from worker.errors import (
    FatalFailure,
    JobFailure,
    TransientFailure,
    UsageFailure,
    is_disk_full,
    machine_failure,
)

_REPOSITORY = Path(__file__).resolve().parents[2]
_USAGE = (WeightsRejected, InvalidProblem)
_DEVICE_WORDS = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "HIP error", "NCCL error")


def as_failure(error: BaseException) -> JobFailure:
    """Translate any exception into a failure that can be shown and counted."""
    if isinstance(error, JobFailure):
        return error
    if isinstance(error, Cancelled):
        return TransientFailure("stopped", "The job was stopped before it ended.")
    if isinstance(error, _USAGE):
        return UsageFailure(error.code, str(error))
    if isinstance(error, UnlearningError):
        return FatalFailure(error.code, str(error))
    return _of_machine(error) or FatalFailure("internal_error", _describe(error))


def _of_machine(error: BaseException) -> JobFailure | None:
    """Translate what the machine did to the job; None where the program is to blame."""
    if _is_out_of_memory(error):
        return TransientFailure(
            "out_of_memory",
            "The job asked for more memory than this machine has. Give the worker more memory, or"
            " run it on another machine.",
        )
    if _is_device_fault(error):
        return TransientFailure(
            "device_fault",
            f"The accelerator failed under the job: {str(error).partition(chr(10))[0][:200]}. The"
            " next try gets a fresh process; if that fails too, see the machine's kernel log.",
        )
    if is_disk_full(error):
        return machine_failure(OSError(errno.ENOSPC, ""))
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether `error` is Python's or torch's way of saying that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _is_device_fault(error: BaseException) -> bool:
    """Tell whether the accelerator failed, not the program: its context is lost with the child."""
    if type(error).__name__ == "AcceleratorError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _DEVICE_WORDS)


def _describe(error: BaseException) -> str:
    """Say what went wrong and where; an OSError's message holds a path, so it is left out."""
    frames = traceback.extract_tb(error.__traceback__)
    place = ""
    if frames:
        path = Path(frames[-1].filename)
        inside = path.is_relative_to(_REPOSITORY)
        shown = path.relative_to(_REPOSITORY) if inside else path.name
        place = f" in {shown}, line {frames[-1].lineno}"
    message = "" if isinstance(error, OSError) else f": {str(error)[:300]}"
    return f"An unexpected {type(error).__name__} was raised{place}{message}"
