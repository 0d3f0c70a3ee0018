"""The benchmark of da runs as a command and tells what it measured."""

import json
import math
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.da", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_prints_and_stores_ratio_memory_and_circumstances(tmp_path: Path) -> None:
    output = tmp_path / "results" / "da.json"
    size = ("--rows", "100000", "--dims", "64", "--repeats", "3", "--threads", "1")
    done = run(*size, "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert "time / one Gram product" in done.stdout
    report = json.loads(output.read_text())
    assert (report["rows"], report["dims"], report["threads"]) == (100_000, 64, 1)
    assert len(report["gram_seconds"]) == len(report["da_energy_seconds"]) == 3
    assert 0 < report["ratio"]["min"] <= report["ratio"]["median"] <= report["ratio"]["max"]
    assert 0 <= report["da"] <= 1
    assert math.isfinite(report["energy"])
    assert {"date", "torch", "python", "platform", "processor", "seed"} <= report.keys()
    assert report["extra_memory_bytes"] < report["features_bytes"] / 2


def test_sizes_that_measure_nothing_are_refused() -> None:
    done = run("--rows", "3")
    assert done.returncode == 2
    assert "rows" in done.stderr
