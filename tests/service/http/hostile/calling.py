"""Calls made up by schemathesis from the OpenAPI document, sent to the application and judged."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from service.problem_catalog import CATALOG
from tests.service.http.hostile.bodies import sound_body

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_PARTS = ("method", "url", "params", "headers", "json", "data", "files")
_OWN_HEADERS = ("authorization", "content-length", "user-agent")
AnyCase = Case[Any]
PROBLEM = "application/problem+json"
HOSTILE = (b"\x00", b"\xff\xfe", b"[" * 5000, b'{"a":' * 2000, b"1e999", b"NaN", b'"\\ud800"')
VALUES: tuple[object, ...] = (
    *("\x00", "a\x00b", "\ud800", "", " ", "\u202e", "x" * 5000, "../../../etc/passwd"),
    *("file:///etc/shadow", "http://169.254.169.254/", "' OR 1=1 --", "{{7*7}}", "%s%n"),
    *(0, -1, 2**31, 2**63, 2**64, 10**400, -0.5, 1e308, float("inf"), float("nan")),
    *(None, True, [], {}, [[]], ["\x00"], {"\x00": "\x00"}, [None] * 50),
)


@dataclass
class Run:
    """What was sent and what came of it; `failures` by operation and words."""

    client: TestClient
    known: Mapping[str, str]
    seed: int
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def send(self, case: AnyCase, chance: random.Random) -> None:
        """Send one made-up call, sometimes with ids that exist or with a spoilt body."""
        if chance.random() < 0.6:
            _put_known(case, self.known)
        request = self._request(case, chance)
        if request is not None:
            self._judge(case, self.client.send(request))

    def _request(self, case: AnyCase, chance: random.Random) -> httpx2.Request | None:
        """Return what goes over the wire, None for what not even a hostile client can write."""
        try:
            call = case.as_transport_kwargs(base_url="http://testserver")
            wire = requests.Request(
                **{name: call[name] for name in _PARTS if call.get(name) is not None}
            ).prepare()
            body: Any = wire.body or b""
            content: bytes = body.encode() if isinstance(body, str) else body
            headers: dict[str, Any] = {
                name: text
                for name, text in wire.headers.items()
                if name.lower() not in _OWN_HEADERS
            }
            sound = sound_body(case.operation.path, self.known, chance)
            if sound is not None and case.operation.method == "post" and chance.random() < 0.4:
                content = _with_hostile_value(json.dumps(sound).encode(), chance)
                headers = {"Content-Type": "application/json"}
            elif content and chance.random() < 0.3:
                content = _spoilt(content, chance)
            request = self.client.build_request(
                wire.method or "", wire.url or "", headers=headers, content=content
            )
        except (ValueError, TypeError, UnicodeError, httpx2.InvalidURL, requests.RequestException):
            return None
        request.read()
        return request

    def _judge(self, case: AnyCase, response: httpx2.Response) -> None:
        self.statuses[response.status_code] += 1
        label = case.operation.label
        if response.status_code >= 400:
            code = (
                response.json()["code"] if response.headers["content-type"] == PROBLEM else "none"
            )
            self.codes[code] += 1
            own = CATALOG[code].status if code in CATALOG else None
            told = {409: 400, 422: 400}.get(own or 0, own) if "/opendsr/" in label else own
            if told != response.status_code:
                self._fail(label, f"{response.status_code} {code}", response)
        try:
            case.validate_response(response, checks=CHECKS)
        except (FailureGroup, Failure) as error:
            found = error.exceptions if isinstance(error, FailureGroup) else [error]
            for failure in found:
                self._fail(label, f"{response.status_code} {failure.title}", response, str(failure))

    def _fail(self, label: str, words: str, response: httpx2.Response, more: str = "") -> None:
        sent = response.request
        told = (
            f"{sent.method} {sent.url} {sent.content[:300]!r} -> {response.text[:600]} {more[:600]}"
        )
        self.failures.setdefault((label, words), told)


def operations(client: TestClient) -> Iterator[Any]:
    """Yield every operation of the document that the application serves."""
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        yield found.ok()


def call_all(run: Run, calls: int) -> None:
    """Send about that many calls, as many to each operation, half of them invalid."""
    found = list(operations(run.client))
    while sum(run.statuses.values()) < calls:
        rest = calls - sum(run.statuses.values())
        before = rest
        for number, operation in enumerate(found):
            modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
            if rest < 4 * len(found):
                modes = [modes[(number + run.seed) % 2]]
            for mode in modes:
                each = max(1, -(-rest // (len(found) * len(modes))))
                _call(run, operation, mode, min(each, 300))
        run.seed += 1
        if calls - sum(run.statuses.values()) == before:
            raise AssertionError("no call can be made up any more")


def _call(run: Run, operation: Any, mode: GenerationMode, number: int) -> None:  # noqa: ANN401 - schemathesis's own type is not exported
    @seed(run.seed)
    @settings(
        max_examples=number,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode), st.randoms(use_true_random=False))
    def call(case: AnyCase, chance: random.Random) -> None:
        run.send(case, chance)

    with suppress(Unsatisfiable):  # what takes no parameter cannot be called in a wrong way
        call()


def _put_known(case: AnyCase, known: Mapping[str, str]) -> None:
    """Name things that exist, so that a call gets further than to a 404."""
    for name in case.path_parameters or {}:
        if name in known:
            case.path_parameters[name] = known[name]
    body = case.body
    if isinstance(body, dict):
        for name in ("model_id", "dataset_id"):
            if name in body:
                body[name] = known[name]
        if "sample_ids" in body and isinstance(body["sample_ids"], list):
            body["sample_ids"] = [f"s{len(str(body)) % 12}"]
        for name, value in (
            ("manifest_uri", "manifest.csv"),
            ("weights_uri", "weights.safetensors"),
            ("policy", "first-look"),
        ):
            if name in body:
                body[name] = value


def _spoilt(content: bytes, chance: random.Random) -> bytes:
    """Put a hostile value into the document; or cut it, flip a bit of it, or put bytes into it."""
    place = chance.randrange(len(content))
    if chance.random() < 0.6:
        return _with_hostile_value(content, chance)
    match chance.randrange(3):
        case 0:
            return content[:place]
        case 1:
            flipped = content[place] ^ (1 << chance.randrange(8))
            return content[:place] + bytes([flipped]) + content[place + 1 :]
        case _:
            return content[:place] + chance.choice(HOSTILE) + content[place:]


def _with_hostile_value(content: bytes, chance: random.Random) -> bytes:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    places = list(_places(document))
    if places and chance.random() < 0.8:  # else it stays sound
        holder, key = chance.choice(places)
        holder[key] = chance.choice(VALUES)
    return json.dumps(document).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - any JSON value
    """Yield every place of a document: what holds it, and under which key."""
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)
