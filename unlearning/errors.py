"""Every error that this library raises on purpose.

UnlearningError
├── InvalidProblem    the request or its data cannot be worked on as given
├── NonFiniteLoss     training diverged and was stopped before its weights were spoilt
├── Cancelled         the caller's cancel token was set
├── NotComputable     a figure is undefined for this data; the reason says why
└── WeightsRejected   a weights file is damaged, hostile or of another network
"""

from typing import ClassVar, Literal

WeightsCode = Literal[
    "weights_not_safetensors", "weights_truncated", "weights_mismatch", "weights_not_finite"
]


class UnlearningError(Exception):
    """Root of the tree; `code` is stable and fit for programs, the message for people."""

    code: ClassVar[str] = "unlearning_error"


class InvalidProblem(UnlearningError, ValueError):
    """The problem contradicts itself or lacks what the method needs."""

    code = "invalid_problem"


class NonFiniteLoss(UnlearningError):
    """Loss or gradient became NaN or infinite; no step was taken with it."""

    code = "non_finite_loss"


class Cancelled(UnlearningError):
    """The work stopped because its cancel token was set."""

    code = "cancelled"


class NotComputable(UnlearningError):
    """A figure is undefined here; `reason` is a plain sentence for the report."""

    code = "not_computable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WeightsRejected(UnlearningError):
    """A weights file was refused; `code` tells which of the four checks it failed."""

    code = "weights_rejected"

    def __init__(self, code: WeightsCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]  # one class, four codes
        self.detail = detail
