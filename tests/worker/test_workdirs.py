"""Working folders: private, removed always, and those of the dead at the next start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worker.workdirs import Workdirs


def test_a_job_gets_a_private_folder_that_is_removed(tmp_path: Path) -> None:
    workdirs = Workdirs(tmp_path / "work")
    with workdirs.job("a-job") as folder:
        (folder / "file").write_text("x")
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    workdirs.close()


def test_a_failed_job_leaves_nothing(tmp_path: Path) -> None:
    workdirs = Workdirs(tmp_path / "work")
    with pytest.raises(RuntimeError, match="made up"), workdirs.job("a-job") as folder:
        raise RuntimeError("made up")
    assert not folder.exists()
    workdirs.close()


def test_folders_of_the_dead_are_removed_and_of_the_living_kept(tmp_path: Path) -> None:
    root = tmp_path / "work"
    code = (
        "import sys; from pathlib import Path; from worker.workdirs import Workdirs\n"
        f"w = Workdirs(Path({str(root)!r})); print(w._own, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        mine = Workdirs(root)
        assert mine.remove_stale() == 0
        assert folder.exists()
        os.kill(other.pid, signal.SIGKILL)
    assert mine.remove_stale() == 1
    assert not folder.exists()
    mine.close()
