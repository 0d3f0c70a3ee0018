"""The overhead benchmark runs on the embedded stack and accounts for every second."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import overhead


@pytest.mark.slow
def test_the_parts_of_a_job_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "overhead.json"
    options = ["--repeats", "1", "--long-seconds", "0.5", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["overhead", *options])
    overhead.main()
    job = json.loads(output.read_text())["long_job"]
    parts = [value for name, value in job.items() if name not in {"total", "bare"}]
    assert sum(parts) == pytest.approx(job["total"], abs=0.01)
    assert min(parts) >= 0
