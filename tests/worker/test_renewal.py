"""Lease renewal: on time, with the newest progress, and honest about a lost lease."""

import threading
import time
from typing import Any

from sqlalchemy.exc import OperationalError

from worker.renewal import Renewal


class Ledger:
    """Stands in for the database: notes every renewal and answers as told."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.seen: list[dict[str, Any] | None] = []
        self.asked = threading.Semaphore(0)

    def renew(self, progress: dict[str, Any] | None) -> str:
        self.seen.append(progress)
        self.asked.release()
        answer = self.answers.pop(0) if self.answers else "ok"
        if answer == "down":
            raise OperationalError("renew", {}, Exception("database is down"))
        return answer


def test_the_lease_is_renewed_again_and_again() -> None:
    ledger = Ledger()
    with Renewal(ledger.renew, lease_s=0.03) as renewal:
        for _ in range(3):
            ledger.asked.acquire()
        assert renewal.answer == "ok"


def test_the_newest_progress_travels_with_the_renewal() -> None:
    ledger = Ledger()
    with Renewal(ledger.renew, lease_s=0.3) as renewal:
        renewal.report({"step": 1})
        renewal.report({"step": 2})
        ledger.asked.acquire()
    assert ledger.seen[0] == {"step": 2}


def test_a_cancelled_job_is_known_and_no_longer_renewed() -> None:
    ledger = Ledger("cancel")
    with Renewal(ledger.renew, lease_s=0.03) as renewal:
        renewal._thread.join()
        assert renewal.answer == "cancel"
    assert len(ledger.seen) == 1


def test_a_stolen_lease_is_lost() -> None:
    ledger = Ledger("ok", "lost")
    with Renewal(ledger.renew, lease_s=0.03) as renewal:
        renewal._thread.join()
        assert renewal.answer == "lost"


def test_a_database_that_comes_back_in_time_loses_nothing() -> None:
    ledger = Ledger("down", "ok", "cancel")
    with Renewal(ledger.renew, lease_s=3) as renewal:
        renewal._thread.join()
        assert renewal.answer == "cancel"


def test_a_database_that_stays_away_costs_the_lease() -> None:
    ledger = Ledger(*["down"] * 100)
    with Renewal(ledger.renew, lease_s=0.05) as renewal:
        renewal._thread.join()
        assert renewal.answer == "lost"


def test_a_lease_that_nobody_confirmed_in_time_is_lost_before_the_database_has_answered() -> None:
    release = threading.Event()

    def hang(_progress: dict[str, Any] | None) -> str:
        release.wait()
        return "ok"

    with Renewal(hang, lease_s=0.2) as renewal:
        answers = [renewal.answer]
        time.sleep(0.3)
        answers.append(renewal.answer)
        release.set()
    assert answers == ["ok", "lost"]
