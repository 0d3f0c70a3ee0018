"""What a caller can be told; routes turn each into an RFC 9457 problem with its stable `code`.

ServiceError
├── InvalidCredentials   401
├── InsufficientScope    403
├── NotFound             404
├── Conflict             409   already_erased, already_requested, already_closed, name_taken, …
│   └── IllegalMove      409   a state may not follow another
└── Unprocessable        422   unknown_samples, repeated_samples, not_training_samples, …
"""

from collections.abc import Sequence
from typing import Any


class ServiceError(Exception):
    """A refusal with an HTTP status, a stable code and words for a person.

    `errors` holds `{"pointer": JSON pointer into the body, "detail": words}`; `extensions` are
    further members of the problem document. Neither ever holds a sample id.
    """

    def __init__(
        self,
        status_code: int,
        code: str,
        detail: str,
        errors: Sequence[dict[str, str]] = (),
        **extensions: Any,  # noqa: ANN401 - any JSON value
    ) -> None:
        super().__init__(detail)
        self.status_code = status_code
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.extensions = extensions


class InvalidCredentials(ServiceError):
    """No key, or one that is unknown, expired or revoked."""

    def __init__(self, detail: str = "This API key is not valid.") -> None:
        super().__init__(401, "invalid_credentials", detail)


class InsufficientScope(ServiceError):
    """A valid key that may not do this."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            403, "insufficient_scope", f"The key lacks the scope {scope}.", scope=scope
        )


class NotFound(ServiceError):
    """Nothing of that id, or it belongs to another tenant."""

    def __init__(self, what: str) -> None:
        super().__init__(404, "not_found", f"There is no such {what}.")


class Conflict(ServiceError):
    """The request is well formed but the ledger's present state refuses it."""

    def __init__(self, code: str, detail: str, **extensions: Any) -> None:  # noqa: ANN401
        super().__init__(409, code, detail, **extensions)


class IllegalMove(Conflict):
    """A state that may not follow the present one."""

    def __init__(self, what: str, present: str, wanted: str) -> None:
        super().__init__("illegal_move", f"A {what} that is {present} cannot become {wanted}.")


class Unprocessable(ServiceError):
    """A body whose values make no sense together with what is registered."""

    def __init__(
        self,
        code: str,
        detail: str,
        errors: Sequence[dict[str, str]] = (),
        **extensions: Any,  # noqa: ANN401 - any JSON value
    ) -> None:
        super().__init__(422, code, detail, errors, **extensions)
