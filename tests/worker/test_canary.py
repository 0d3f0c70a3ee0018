"""Canaries: whole requests on the real stack, then a search for ids and secrets where none may be.

The stack runs as in production: PostgreSQL, a Redis of its own, JSON logs, TLS to the receiver.
"""

import io
import json
import re
import socket
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pypdf import PdfReader
from sqlalchemy import text

from service.client import ENVELOPE, ExpungeClient, ExpungeProblem
from service.config import Settings
from service.database import Database
from service.keys import create_key, ensure_tenant
from service.secret_files import make_secrets
from service.tables import Base
from tests.servers import VALKEY, Server, serve
from tests.service.certificates import certificate
from tests.service.receiver import Receiver, listening
from tests.spans import collected, endpoint
from tests.worker.installation import (
    ARCHITECTURE,
    CLASSES,
    HOLDOUT,
    KWARGS,
    PREPROCESSING,
    TRAIN,
    empty_database,
    environment,
    image_of,
    until,
    write_weights,
)

SAMPLE, SUBJECT, FILE = "zanzibar-sample", "quetzal-subject", "wombat-file"
pytestmark = pytest.mark.slow
PERSONAL = (SAMPLE, SUBJECT, FILE)


@dataclass
class Story:
    """What became known of whom: by place, all bytes that were found there."""

    settings: Settings
    redis: Server
    receiver: Receiver
    collector: Receiver
    home: Path
    secrets: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)

    def places(self) -> dict[str, bytes]:
        """Return everything in which no canary may be, by where it was."""
        logs = {path.name: path.read_bytes() for path in self.home.glob("*.log")}
        calls = [repr(call).encode() for call in self.receiver.calls]
        written = [path.read_bytes() for path in self.redis.home.rglob("*.aof")]
        answers = {name: body.encode() for name, body in self.answers.items()}
        return {
            **logs,
            **answers,
            "webhooks": b"\n".join(calls),
            "spans": b"\n".join(call.body for call in self.collector.calls),
            "redis": b"\n".join(written),
            "problems": "\n".join(self.problems).encode(),
        }


@contextmanager
def running(story: Story, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of the installation, its log kept in a file of its name."""
    with (story.home / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", *command],
            env=environment(story.settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def story(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Let two persons ask: one is forgotten, the other's image is damaged, so that a job fails."""
    home = tmp_path_factory.mktemp("canary")
    make_secrets(home / "secrets")
    key, made = certificate(home, "localhost")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made, key)
    with ExitStack() as stack:
        receiver = stack.enter_context(listening(tls))
        collector = stack.enter_context(listening())
        redis = stack.enter_context(serve(*VALKEY))
        settings = Settings(
            home=home / "home",
            mode="production",
            database_url=empty_database(postgres_url, "canary"),
            broker_url=redis.url,
            data_roots=[home / "data"],
            signing_key_file=home / "secrets" / "signing.pem",
            pepper_file=home / "secrets" / "pepper",
            outgoing_ca_file=made,
            otlp_endpoint=endpoint(collector),
            outgoing_hosts=("localhost",),
            outgoing_networks=("127.0.0.0/8", "::1/128"),  # type: ignore[arg-type]
            threads=1,
            device="cpu",
        )
        found = Story(settings, redis, receiver, collector, home)
        _tell(found)
        yield found


def _tell(story: Story) -> None:
    database = Database.from_settings(story.settings)
    database.migrate()
    with database.write() as session:
        story.secrets["key"] = create_key(session, ensure_tenant(session).id, "canary")[1]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (
        running(story, "serve", "--port", str(port)),
        running(story, "sweep"),
        running(story, "worker"),
        ExpungeClient(f"http://127.0.0.1:{port}", story.secrets["key"]) as client,
    ):
        until(lambda: _is_ready(client))
        model = _register(story, client, f"https://localhost:{story.receiver.port}/hook")
        closed = client.wait(_ask(client, model, 0, ladder=["retrain"])["id"])
        _read(story, client, closed)
        damaged = story.settings.data_roots[0] / f"{FILE}-7.png"
        damaged.write_bytes(b"no image")
        failed = client.wait(_ask(client, model, 3, ladder=["retrain"], audit="none")["id"])
        story.answers["failed request"] = json.dumps(client.get_request(failed["id"]))
        assert (closed["status"], failed["status"]) == ("completed", "failed"), (closed, failed)
        _stumble(story, client, model)
        until(lambda: any(b"request.failed" in call.body for call in story.receiver.calls))
        until(lambda: _traced(story) == {"expunge-api", "expunge-sweep", "expunge-worker"})
        log = client._json("GET", "/v1/audit-log?limit=1000")
        story.answers["audit log"] = json.dumps(log)
    _dump(story, database)
    database.close()


def _traced(story: Story) -> set[str]:
    return {span.process for span in collected(story.collector)}


def _is_ready(client: ExpungeClient) -> bool:
    try:
        return bool(client.ready())
    except (ExpungeProblem, httpx2.HTTPError):
        return False


def _register(story: Story, client: ExpungeClient, hook: str) -> str:
    """Register receiver, data set and model; return the model's id."""
    root = story.settings.data_roots[0]
    root.mkdir()
    lines = ["sample_id,label,split,uri,subject_id"]
    for number in range(TRAIN + HOLDOUT):
        (root / f"{FILE}-{number}.png").write_bytes(image_of(number % CLASSES, number))
        split = "train" if number < TRAIN else "holdout"
        lines.append(
            f"{SAMPLE}-{number},{number % CLASSES},{split},{FILE}-{number}.png,{SUBJECT}-{number}"
        )
    (root / "manifest.csv").write_text("\n".join(lines))
    endpoint = client._json("POST", "/v1/webhook-endpoints", {"url": hook})
    story.secrets["webhook secret"] = endpoint["secret"]
    dataset = client.register_dataset("canary", root / "manifest.csv")
    samples = list(client.samples(dataset["id"]))
    assert all(name in json.dumps(samples) for name in PERSONAL)  # here they may be seen
    model = client.register_model(
        *("canary", dataset["id"], write_weights(root / "weights.safetensors")),
        architecture=ARCHITECTURE,
        architecture_kwargs=KWARGS,
        preprocessing=PREPROCESSING,
        recipe={"epochs": 1, "batch_size": 16, "shift": 0},
    )
    assert client.wait_for_model(model["id"])["status"] == "ready"
    return str(model["id"])


def _ask(client: ExpungeClient, model: str, number: int, **fields: object) -> dict[str, Any]:
    terms = {"policy": "first-look", "subject_ids": [f"{SUBJECT}-{number + 1}"], **fields}
    return client.open_request(model, [f"{SAMPLE}-{number}"], **terms)


def _read(story: Story, client: ExpungeClient, request: Mapping[str, Any]) -> None:
    """Keep what a closed request and its report say, in every form."""
    story.answers["closed request"] = json.dumps(request)
    for kind in ("application/json", ENVELOPE, "text/html"):
        story.answers[f"report as {kind}"] = str(client.report(request["id"], kind))
    pdf = PdfReader(io.BytesIO(client.report(request["id"], "application/pdf")))
    story.answers["report as PDF"] = "".join(page.extract_text() for page in pdf.pages)
    envelope = client._request("GET", request["links"]["report"])
    own = envelope.headers["content-location"]
    bundle = zipfile.ZipFile(io.BytesIO(client._request("GET", f"{own}/bundle").content))
    for name in bundle.namelist():
        story.answers[f"bundle: {name}"] = bundle.read(name).decode("latin-1")
    story.answers["reply"] = client._request("GET", f"{request['links']['self']}/reply").text
    story.answers["events"] = client._request("GET", request["links"]["events"]).text


def _stumble(story: Story, client: ExpungeClient, model: str) -> None:
    """Do what is refused, with ids and secrets in every place that a caller has."""
    wishes: list[dict[str, Any]] = [
        {"sample_ids": [f"{SAMPLE}-0"]},  # erased already
        {"sample_ids": [f"{SAMPLE}-nobody"]},
        {"sample_ids": [f"{SAMPLE}-9"] * 2},
        {"sample_ids": [f"{SAMPLE}-{TRAIN}"]},  # a hold-out sample
        {"subject_ids": [f"{SUBJECT}-nobody"]},
        {"sample_ids": f"{SAMPLE}-9", "labels": [f"{SUBJECT}-9"]},
        {"sample_ids": [f"{SAMPLE}-9"], "policy": f"{SAMPLE}-9"},
        {"sample_ids": [f"{SAMPLE}-9"], "ladder": [f"{FILE}-9"]},
    ]
    with httpx2.Client(base_url=str(client._http.base_url)) as bare:
        known = {"Authorization": f"Bearer {story.secrets['key']}"}
        for wish in wishes:
            body = {"model_id": model, **wish}
            answer = bare.post("/v1/deletion-requests", json=body, headers=known)
            assert answer.status_code in (409, 422), answer.text
            story.problems.append(answer.text)
        wrong = {"Authorization": f"Bearer {story.secrets['key'][:-1]}"}
        story.problems.append(bare.get("/v1/models", headers=wrong).text)
        url = f"/v1/deletion-requests?cursor={SAMPLE}-9&status={SUBJECT}-9"
        story.problems.append(bare.get(url, headers=known).text)
        broken = {**known, "Content-Type": "application/json"}
        text_ = f'{{"sample_ids": ["{SAMPLE}-9"'
        story.problems.append(
            bare.post("/v1/deletion-requests", content=text_, headers=broken).text
        )


def _dump(story: Story, database: Database) -> None:
    with database.read() as session:
        for name in Base.metadata.tables:
            rows = session.scalars(text(f"SELECT t::text FROM {name} t"))  # noqa: S608 - our names
            story.tables[name] = "\n".join(rows)


def test_no_id_of_a_sample_is_where_it_may_not_be(story: Story) -> None:
    places = story.places()
    for wanted in (
        "serve.log",
        "sweep.log",
        "worker.log",
        "webhooks",
        "redis",
        "problems",
        "spans",
    ):
        assert places[wanted], f"nothing was kept of {wanted}"
    assert len(places) > 20
    pattern = re.compile("|".join(PERSONAL).encode())
    found = {name: pattern.findall(body) for name, body in places.items()}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_no_secret_is_where_it_may_not_be(story: Story) -> None:
    secrets = {
        "key": story.secrets["key"].rpartition("_")[2],
        "webhook secret": story.secrets["webhook secret"].removeprefix("whsec_"),
        "pepper": (story.home / "secrets" / "pepper").read_text("latin-1").strip(),
        "signing key": (story.home / "secrets" / "signing.pem").read_text().splitlines()[1],
        "Redis password": (story.redis.home / "secret").read_text(),
        "database password": str(Database.from_settings(story.settings).url.password),
    }
    places = {**story.places(), **{name: rows.encode() for name, rows in story.tables.items()}}
    for what, secret in secrets.items():
        assert len(secret) >= 24
        holders = [name for name, body in places.items() if secret.encode("latin-1") in body]
        assert holders == [], what


def test_the_ledger_keeps_ids_in_the_table_of_samples_alone(story: Story) -> None:
    holders = {
        name for name, rows in story.tables.items() if any(word in rows for word in PERSONAL)
    }
    assert holders == {"samples"}
