"""Bounds of times that callers give: the calendar ends, and deadlines and zones go beyond it."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

YEARS = (1970, 9000)


def _in_years(moment: datetime) -> datetime:
    first, last = YEARS
    if not first <= moment.year <= last:
        raise ValueError(f"the year has to be one from {first} to {last}")
    return moment


Moment = Annotated[datetime, AfterValidator(_in_years)]
AwareMoment = Annotated[AwareDatetime, AfterValidator(_in_years)]
