"""A service on PostgreSQL with everything configured, and without limits that would end a run."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.config import Settings
from service.database import Database
from service.main import create_app
from tests.service.certificates import certificate
from tests.service.http.opendsr.conftest import DOMAIN
from tests.service.ledger.world import World

UNLIMITED: dict[str, Any] = dict.fromkeys(
    (
        *(f"rate_{owner}_{kind}" for owner in ("key", "tenant") for kind in ("reads", "writes")),
        *(f"quota_{name}" for name in ("keys", "models", "datasets", "open_requests")),
        *(f"quota_{name}" for name in ("open_audits", "running_qualifications")),
    ),
    0,
)


@pytest.fixture
def world(postgres_database: Database) -> World:
    """Return a company whose model is checked and ready."""
    world = World(postgres_database)
    world.register()
    return world


@pytest.fixture
def settings(tmp_path: Path, data: Path, postgres_database: Database) -> Settings:
    """Return settings with which every route can answer."""
    key, made = certificate(tmp_path, DOMAIN, "ec")
    return Settings(
        home=tmp_path / "home",
        database_url=postgres_database.url.render_as_string(hide_password=False),
        data_roots=[data],
        public_url=f"https://{DOMAIN}",
        opendsr_key_file=key,
        opendsr_certificate_file=made,
        outgoing_allow_http=True,
        outgoing_networks=(IPv4Network("127.0.0.0/8"),),
        **UNLIMITED,
    )


@pytest.fixture
def anonymous(settings: Settings) -> Iterator[TestClient]:
    """Return a client without a key, in whose log lines nobody is interested."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client
