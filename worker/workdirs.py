"""Private working folders: one a job, removed always; those of dead workers at the next start.

A worker's folder is locked while the worker lives, and the kernel drops the lock with the process,
however that ends. So a folder that can be locked has no owner any more.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_LOCK = "owner.lock"


class Workdirs:
    """The working folders of one worker process.

    Args:
        root: Folder that all workers of this machine share; made if missing.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._root = root
        with self._alone():
            self._own = Path(tempfile.mkdtemp(prefix="worker-", dir=root))
            self._lock = _try_lock(self._own)

    def remove_stale(self) -> int:
        """Remove the folders of workers that have died; return how many there were."""
        removed = 0
        with self._alone():
            for folder in self._root.glob("worker-*"):
                lock = None if folder == self._own else _try_lock(folder)
                if lock is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                    lock.close()
                    removed += 1
        return removed

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a new folder from being seen before its owner has locked it."""
        with (self._root / _LOCK).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def job(self, name: str) -> Iterator[Path]:
        """Give one job a fresh folder that only this user can enter, and remove it afterwards."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._own))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove this worker's own folder."""
        shutil.rmtree(self._own, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def _try_lock(folder: Path) -> BinaryIO | None:
    """Return the folder's lock file, locked; None while another process holds it."""
    try:
        file = os.fdopen(os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError:  # it was removed a moment ago, or belongs to another user
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
