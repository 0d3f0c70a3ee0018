"""Until when a request must be answered, and by how much that may be put off.

Where readings of the law differ the earlier one is taken: months are counted from the moment the
data subject asked, not from the day after, by the calendar of the caller's time zone or by that of
UTC, and `due_at` never moves over a weekend. What Regulation (EEC, Euratom) 1182/71 Art. 3 grants
beyond that is told beside it, as `lapses_at`.
"""

import calendar
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

SATURDAY = 5


@dataclass(frozen=True)
class Regime:
    """One law's period and extension, in calendar months or in days.

    `rolls`: a last day that is a Saturday, Sunday or public holiday ends on the next working day.
    """

    rule: str
    extension_rule: str
    months: int = 0
    days: int = 0
    extra_months: int = 0
    extra_days: int = 0
    rolls: bool = True


REGIMES: dict[str, Regime] = {
    "gdpr": Regime(
        rule="one calendar month after receipt (GDPR Art. 12(3))",
        extension_rule="two further calendar months (GDPR Art. 12(3))",
        months=1,
        extra_months=2,
    ),
    "uk_gdpr": Regime(
        rule="one calendar month after receipt (UK GDPR Art. 12A)",
        extension_rule="two further calendar months (UK GDPR Art. 12A)",
        months=1,
        extra_months=2,
    ),
    "ccpa": Regime(
        rule="45 days after receipt (CCPA §1798.130)",
        extension_rule="45 further days (CCPA §1798.130)",
        days=45,
        extra_days=45,
        rolls=False,
    ),
    "other": Regime(
        rule="one calendar month after receipt",
        extension_rule="two further calendar months",
        months=1,
        extra_months=2,
    ),
}
DUE_RULES = {name: regime.rule for name, regime in REGIMES.items()}


def due_at(asked: datetime, regulation: str = "gdpr") -> datetime:
    """Return the deadline of a request that was made at `asked`, in UTC.

    On the last evening of a month it may be the next month in UTC already, or the other way round,
    and months differ in length: of the two counts the earlier deadline holds.
    """
    regime = REGIMES[regulation]
    return min(
        (add_months(moment, regime.months) + timedelta(days=regime.days)).astimezone(UTC)
        for moment in (asked, asked.astimezone(UTC))
    )


def extended_due_at(due: datetime, regulation: str = "gdpr") -> datetime:
    """Return the deadline after the one extension that the law allows, counted from the first."""
    regime = REGIMES[regulation]
    return add_months(due, regime.extra_months) + timedelta(days=regime.extra_days)


def lapses_at(due: datetime, regulation: str, holidays: Collection[date] = ()) -> datetime:
    """Return when the period of a deadline is over by law: at the end of its last day (UTC).

    By Art. 3(4) of Regulation 1182/71 a period whose last day is a Saturday, a Sunday or a public
    holiday ends with the next working day.
    """
    last = due.date()
    while REGIMES[regulation].rolls and (last.weekday() >= SATURDAY or last in holidays):
        last += timedelta(days=1)
    return datetime.combine(last + timedelta(days=1), time(), due.tzinfo)


def add_months(moment: datetime, months: int) -> datetime:
    """Return the same day and time some months on, or the last day of a month that lacks it."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)
