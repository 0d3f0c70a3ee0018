"""Fixtures of the worker's tests: an installation, and a runtime to run its jobs in."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.cli.operating import Sweeper
from service.signing import load_signer
from tests.worker.installation import (
    Installation,
    install,
    settings_for,
    train_weights,
    write_weights,
)
from worker.forkserver import ForkServer, scrubbed
from worker.runtime import Runtime
from worker.workdirs import Workdirs


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = install(settings_for(tmp_path / "home"))
    yield made
    made.database.close()


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer(scrubbed(os.environ))
    server.ensure_running()
    yield server
    server.close()


@pytest.fixture
def runtime(installation: Installation, fork_server: ForkServer) -> Iterator[Runtime]:
    settings = installation.settings
    workdirs = Workdirs(settings.home / "work")
    yield Runtime(
        settings=settings,
        database=installation.database,
        storage=installation.storage,
        signer=load_signer(settings.signing_key_file, create=True),
        fork_server=fork_server,
        workdirs=workdirs,
    )
    workdirs.close()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Installation]:
    """An embedded installation with its dispatcher and sweeper running."""
    installation = install(settings_for(tmp_path / "home", sweep_interval_s=0.5))
    stop = threading.Event()
    sweeper = threading.Thread(target=Sweeper(installation.settings).run, args=(stop,))
    sweeper.start()
    with closing(installation.database):
        yield installation
        stop.set()
        sweeper.join()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "weights.safetensors")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return train_weights(tmp_path / "trained.safetensors")
