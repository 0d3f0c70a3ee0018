"""Choose a representation by the header Accept (RFC 9110, 12.5.1)."""

from collections.abc import Sequence

from service.errors import ServiceError


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """Return the offered media type that the client likes best; ties go to the first offered.

    Raises:
        ServiceError: ``not_acceptable`` (406) with the types that there are.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_parse(part) for part in accept.split(",") if part.strip()]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) <= 0:
        detail = f"There is {', '.join(offered)}."
        raise ServiceError(406, "not_acceptable", detail, available=list(offered))
    return best


def _parse(part: str) -> tuple[str, float]:
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media_range, float(value)
            except ValueError:
                return media_range, 0.0
    return media_range, 1.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the quality that the most specific matching range gives; 0 without one."""
    kind = media_type.partition("/")[0]
    for candidate in (media_type, f"{kind}/*", "*/*"):
        for media_range, quality in ranges:
            if media_range == candidate:
                return quality
    return 0.0
