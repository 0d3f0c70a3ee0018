"""A service over a test database, a tenant with a key, and a folder that callers may name."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.config import Settings
from service.database import Database
from service.keys import SCOPES, create_key
from service.ledger import ReportContext, SignedReport
from service.main import create_app
from service.reports import publish
from service.signing import load_signer
from service.storage import Storage
from tests.service.ledger.world import World

MakeKey = Callable[..., str]
FIGURE = b"audit-bars"  # what the made-up workers' figure has the digest of; no drawing


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the data root, with three images, a manifest and weights."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (root / "images" / f"{name}.png").write_bytes(b"pixels of " + name.encode())
    lines = ["sample_id,label,split,uri", "a,0,train,images/a.png", "b,1,train,images/b.png"]
    (root / "manifest.csv").write_text("\n".join([*lines, "c,1,holdout,images/c.png"]))
    (root / "weights.safetensors").write_bytes(safetensors())
    return root


@pytest.fixture
def settings(tmp_path: Path, data: Path, sqlite_database: Database) -> Settings:
    """Return settings for the test database."""
    return Settings(
        home=tmp_path / "home",
        database_url=sqlite_database.url.render_as_string(hide_password=False),
        data_roots=[data],
        max_body_bytes=100_000,
        max_sample_ids=5,
    )


@pytest.fixture
def world(sqlite_database: Database) -> World:
    """Return a company whose model is checked and ready."""
    world = World(sqlite_database)
    world.register()
    return world


@pytest.fixture
def make_key(world: World) -> MakeKey:
    """Return a function that makes a key with these scopes, all by default."""

    def make(*scopes: str) -> str:
        with world.database.write() as session:
            return create_key(session, world.caller.tenant_id, "test", scopes or SCOPES)[1]

    return make


@pytest.fixture
def anonymous(settings: Settings) -> Iterator[TestClient]:
    """Return a client without a key; failures come back as answers."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(anonymous: TestClient, make_key: MakeKey) -> TestClient:
    """Return a client whose key may do everything."""
    anonymous.headers["Authorization"] = f"Bearer {make_key()}"
    return anonymous


@pytest.fixture
def company(database: Database) -> World:
    """Return a company on each kind of database."""
    world = World(database)
    world.register()
    return world


@pytest.fixture
def caller(company: World, tmp_path: Path) -> Iterator[TestClient]:
    """Yield a client of a service over that database."""
    url = company.database.url.render_as_string(hide_password=False)
    settings = Settings(home=tmp_path / "home", database_url=url, data_roots=[tmp_path])
    with company.database.write() as session:
        token = create_key(session, company.caller.tenant_id, "test", SCOPES)[1]
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@pytest.fixture
def signing_world(
    world: World,
    settings: Settings,
    audit_result: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """Return the company, its workers signing real reports with one stored figure."""
    signer = load_signer(settings.signing_key_file, create=True)
    key = Storage(settings.storage_url).put_bytes(FIGURE, "image/svg+xml")
    figure = {
        "name": "bars",
        "title": "Bars",
        "alt": "Three bars",
        "media_type": "image/svg+xml",
        "uri": key,
        "sha256": hashlib.sha256(FIGURE).hexdigest(),
        "table": {"columns": ["x"], "rows": [[1]]},
    }

    def sign(context: ReportContext) -> SignedReport:
        return publish(replace(context, audit=audit_result, figures=(figure,)), signer)

    monkeypatch.setattr(world, "_publish", sign)
    return world


def safetensors(metadata: dict[str, str] | None = None) -> bytes:
    """Return a safetensors file with one tensor of two floats."""
    header = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    text = json.dumps({**header, "__metadata__": metadata or {}}).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack("<2f", 1.0, 2.0)
