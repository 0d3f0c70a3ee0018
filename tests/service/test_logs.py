"""Logs: one JSON object a line in production, whoever wrote it."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from service.config import Settings
from service.logs import configure_logging


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put the root logger back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_in_production_every_line_is_an_object(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    configure_logging(Settings(home=tmp_path, mode="production"))
    structlog.get_logger("service.x").info("run planned", run="r1", requests=2)
    logging.getLogger("uvicorn").warning("slow %s", "request")
    try:
        int("boom")
    except ValueError:
        structlog.get_logger("service.x").exception("it broke")
    first, second, third = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["run"], first["requests"]) == ("run planned", "r1", 2)
    assert (first["level"], first["logger"]) == ("info", "service.x")
    assert (second["event"], second["level"]) == ("slow request", "warning")
    assert "ValueError: invalid literal" in third["exception"]


def test_otherwise_lines_are_for_people(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    configure_logging(Settings(home=tmp_path))
    structlog.get_logger("service.x").info("run planned", run="r1")
    assert "run planned" in capsys.readouterr().err


def test_looks_at_the_schema_leave_no_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    configure_logging(Settings(home=tmp_path))
    logging.getLogger("alembic.runtime.migration").info("Context impl SQLiteImpl.")
    logging.getLogger("alembic.runtime.migration").warning("schema is odd")
    assert capsys.readouterr().err.count("\n") == 1
