"""Bounds of what callers give, where the databases or the calendar would fail on it."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field

TEXT = r"^[^\x00]*$"
"""Text that PostgreSQL can keep."""
MAX_INT = 2**31 - 1
"""The largest whole number of a column."""
YEARS = (1970, 9000)
"""Years of a time; deadlines and other time zones stay well within the calendar."""


def _in_years(moment: datetime) -> datetime:
    first, last = YEARS
    if not first <= moment.year <= last:
        raise ValueError(f"the year has to be one from {first} to {last}")
    return moment


def _without_nul(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Refuse NUL characters however deep in a JSON value."""
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("a text holds a NUL character")
    if isinstance(value, list):
        for item in value:
            _without_nul(item)
    if isinstance(value, dict):
        for pair in value.items():
            _without_nul(list(pair))
    return value


Moment = Annotated[datetime, AfterValidator(_in_years)]
AwareMoment = Annotated[AwareDatetime, AfterValidator(_in_years)]
Label = Annotated[int, Field(ge=0, le=MAX_INT)]
JsonMap = Annotated[dict[str, Any], AfterValidator(_without_nul)]
