"""The worker's pulse beats with the heartbeat of its consumer, which needs the broker."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from celery.signals import heartbeat_sent


def test_each_heartbeat_touches_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path))
    import worker.app

    pulse = tmp_path / "pulse"
    heartbeat_sent.send(sender=None)  # a worker that has not opened, or has closed
    assert not pulse.exists()
    settings = SimpleNamespace(pulse_file=pulse)
    monkeypatch.setattr(worker.app, "_runtimes", [SimpleNamespace(settings=settings)])
    heartbeat_sent.send(sender=None)
    assert pulse.exists()
