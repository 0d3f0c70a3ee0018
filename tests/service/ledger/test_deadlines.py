"""Deadlines by calendar month, what extends them, and when the law's period is really over."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ledger import DUE_RULES, due_at, extended_due_at, lapses_at
from service.ledger.deadlines import add_months

REGULATIONS = sorted(DUE_RULES)
Day = tuple[int, int, int]
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 - zoned next
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(MOMENTS, st.integers(0, 40))
def test_months_are_added_as_one_would_on_a_wall_calendar(moment: datetime, months: int) -> None:
    assert add_months(moment, months) == by_hand(moment, months)


def by_hand(moment: datetime, months: int) -> datetime:
    """Turn the pages one by one, then go back from the 31st until the day is there."""
    year, month = moment.year, moment.month
    for _ in range(months):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    for day in range(moment.day, 0, -1):
        try:
            return moment.replace(year=year, month=month, day=day)
        except ValueError:
            continue
    raise AssertionError


@pytest.mark.parametrize(
    ("asked", "regulation", "due", "extended"),
    [
        ((2026, 11, 23), "gdpr", (2026, 12, 23), (2027, 2, 23)),
        ((2026, 1, 31), "gdpr", (2026, 2, 28), (2026, 4, 28)),
        ((2026, 11, 30), "uk_gdpr", (2026, 12, 30), (2027, 2, 28)),
        ((2026, 12, 31), "ccpa", (2027, 2, 14), (2027, 3, 31)),
        ((2028, 1, 30), "other", (2028, 2, 29), (2028, 4, 29)),
    ],
)
def test_each_regulation_has_its_period_and_its_extension(
    asked: Day, regulation: str, due: Day, extended: Day
) -> None:
    first = due_at(datetime(*asked, 10, tzinfo=UTC), regulation)
    assert first == datetime(*due, 10, tzinfo=UTC)
    assert extended_due_at(first, regulation) == datetime(*extended, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "due"),
    [
        ("2026-02-28T23:30:00-05:00", "2026-03-29T04:30:00+00:00"),  # March in UTC, 31 days
        ("2026-03-01T00:30:00+05:00", "2026-03-28T19:30:00+00:00"),  # February in UTC, 28 days
        ("2026-01-31T23:30:00-05:00", "2026-03-01T04:30:00+00:00"),
        ("2026-11-23T10:00:00+00:00", "2026-12-23T10:00:00+00:00"),
    ],
)
def test_of_two_calendars_the_earlier_deadline_holds(asked: str, due: str) -> None:
    found = due_at(datetime.fromisoformat(asked))
    assert (found.isoformat(), found.tzinfo) == (due, UTC)


@given(MOMENTS, st.sampled_from(REGULATIONS), st.integers(-14, 14))
def test_the_same_moment_elsewhere_is_never_due_later(
    moment: datetime, regulation: str, hours: int
) -> None:
    there = moment.astimezone(timezone(timedelta(hours=hours)))
    assert due_at(there, regulation) <= due_at(moment, regulation)


@pytest.mark.parametrize(
    ("due", "regulation", "over"),
    [
        ((2026, 12, 23), "gdpr", (2026, 12, 24)),  # a Wednesday ends with itself
        ((2026, 12, 26), "gdpr", (2026, 12, 29)),  # a Saturday ends with Monday
        ((2026, 12, 27), "uk_gdpr", (2026, 12, 29)),  # so does a Sunday
        ((2027, 1, 1), "gdpr", (2027, 1, 5)),  # a holiday before a weekend
        ((2026, 12, 26), "ccpa", (2026, 12, 27)),  # calendar days, whatever they are
    ],
)
def test_a_period_ends_with_a_working_day_where_the_law_says_so(
    due: Day, regulation: str, over: Day
) -> None:
    holidays = {date(2027, 1, 1)}
    assert lapses_at(datetime(*due, 10, tzinfo=UTC), regulation, holidays) == datetime(
        *over, tzinfo=UTC
    )


@given(MOMENTS, st.sampled_from(REGULATIONS))
def test_the_deadline_is_never_later_than_the_law_allows(asked: datetime, regulation: str) -> None:
    due = due_at(asked, regulation)
    assert asked + timedelta(days=28) <= due <= asked + timedelta(days=45)
    assert due < lapses_at(due, regulation) <= due + timedelta(days=3)
    assert extended_due_at(due, regulation) > due
