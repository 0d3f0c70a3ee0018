"""What needs no key, and the documents that describe the interface."""

import ast
import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from service import verify
from service.config import Settings
from service.database import Database
from service.keys import create_key, ensure_tenant
from service.main import StaleSchema, create_app
from service.problem_catalog import CATALOG, as_markdown
from service.signing import SigningKeyError
from tests.servers import POSTGRES, serve

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the OpenAPI document as the app makes it."""
    return create_app(Settings()).openapi()


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all operations."""
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_health_keys_and_verifier_need_no_key(anonymous: TestClient) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    assert anonymous.get("/readyz").json()["status"] == "ready"
    (key,) = anonymous.get("/.well-known/jwks.json").json()["keys"]
    assert key["kid"].startswith("SHA256:")
    assert anonymous.get("/v1/verifier").text == Path(verify.__file__).read_text(encoding="utf-8")
    assert anonymous.get("/openapi.json").status_code == 200


def test_readiness_names_what_is_broken(anonymous: TestClient, sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        session.execute(text("DROP TABLE alembic_version"))
    response = anonymous.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["schema"] is False


def test_a_service_outlives_a_database_that_is_away(tmp_path: Path) -> None:
    with serve(*POSTGRES) as server:
        with closing(Database(server.url)) as database:
            database.migrate()
            with database.write() as session:
                _, token = create_key(session, ensure_tenant(session).id, "test")
        server.stop(signal.SIGKILL)
        settings = Settings(home=tmp_path, database_url=server.url)
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").json()["checks"]["database"] is False
            refused = client.get("/v1/models")
            assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
            assert int(refused.headers["Retry-After"]) > 0
            server.start()
            assert client.get("/readyz").json()["status"] == "ready"
            assert client.get("/v1/models").json()["items"] == []


def test_the_service_refuses_to_start_on_a_stale_schema(tmp_path: Path) -> None:
    with (
        pytest.raises(StaleSchema, match="migrate"),
        TestClient(create_app(Settings(home=tmp_path))),
    ):
        pass


def test_the_service_makes_no_key_in_production(settings: Settings) -> None:
    production = settings.model_copy(update={"mode": "production"})
    with pytest.raises(SigningKeyError), TestClient(create_app(production)):
        pass


def test_the_document_in_docs_is_current(document: dict[str, Any]) -> None:
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == json.loads(json.dumps(document))


def test_every_operation_says_what_it_does_and_how_it_fails(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    seen = set()
    for operation in operations(document):
        assert operation["summary"]
        assert operation["description"]
        seen.add(operation["operationId"])
        problems = {
            status
            for status, response in operation["responses"].items()
            if "application/problem+json" in response.get("content", {})
        }
        assert "500" in problems
        if "security" in operation:
            assert {"401", "403"} <= problems
    assert len(seen) == len(operations(document))


def test_all_references_of_the_document_lead_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(schemas)
    assert "itemSchema" not in text


def test_the_list_of_problems_is_current() -> None:
    assert (ROOT / "docs" / "problems.md").read_text(encoding="utf-8") == as_markdown()


def test_every_code_in_the_source_is_documented() -> None:
    """Codes are literals handed to an error's constructor, or to a helper that does so."""
    codes = set()
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _raises_a_problem(node):
                codes |= {
                    argument.value
                    for argument in node.args[:3]
                    if isinstance(argument, ast.Constant) and _is_code(argument.value)
                }
    assert len(codes) > 30
    assert codes <= set(CATALOG) | {"claim_lost"}  # claim_lost only ever reaches a worker


def _raises_a_problem(node: ast.Call) -> bool:
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    names = {"ServiceError", "Conflict", "Unprocessable", "ManifestRejected", "_refuse"}
    return name in names | {"problem_response", "fail_run", "fail_audit"}


def _is_code(value: object) -> bool:
    return isinstance(value, str) and value.replace("_", "").isalpha() and value.islower()


def test_importing_the_service_loads_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, service.main, service.client\n"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
