"""Outgoing calls: to whom they go, that nobody can bend them elsewhere, that each one ends."""

import math
import ssl
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import httpcore2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.addresses import is_public
from service.config import Settings
from service.outgoing import CallFailed, Outgoing, Rules, UrlRefused, _JudgingBackend, check_url
from tests.service.certificates import certificate
from tests.service.receiver import Receiver, listening

HERE = Rules(networks=(IPv4Network("127.0.0.0/8"),), allow_http=True)
OPEN_HTTP = Rules(allow_http=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a receiver on this machine."""
    with listening() as found:
        yield found


def failure(outgoing: Outgoing, url: str) -> str:
    """Make a call that must fail and say why it did."""
    with pytest.raises(CallFailed) as caught:
        outgoing.post(url, b"{}", {})
    return caught.value.code


class Rebinding:
    """A resolver that answers with a public address first and with this machine's afterwards."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> Sequence[str]:  # noqa: ARG002 - as it is called
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


class Recording(httpcore2.SyncBackend):
    """Notes whom it is asked to connect to, and connects to nobody."""

    def __init__(self, opened: list[str]) -> None:
        self._opened = opened

    def connect_tcp(self, host: str, *_: object, **__: object) -> httpcore2.NetworkStream:
        self._opened.append(host)
        return httpcore2.NetworkStream()


def test_a_call_arrives_whole_and_its_answer_comes_back(receiver: Receiver) -> None:
    receiver.answer, receiver.answer_headers = b"thanks", {"Retry-After": "7"}
    answer = Outgoing(HERE).post(receiver.url, b'{"a":1}', {"Webhook-Id": "msg_1"})
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (200, b"thanks", "7")
    (call,) = receiver.calls
    assert (call.path, call.body) == ("/hook", b'{"a":1}')
    assert call.headers["webhook-id"] == "msg_1"
    assert call.headers["host"] == f"127.0.0.1:{receiver.port}"


def test_this_machine_is_not_reached_by_number(receiver: Receiver) -> None:
    assert failure(Outgoing(OPEN_HTTP), receiver.url) == "url_refused"
    assert receiver.calls == []


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1"])
def test_this_machine_is_not_reached_by_any_of_its_names(receiver: Receiver, host: str) -> None:
    code = failure(Outgoing(OPEN_HTTP), f"http://{host}:{receiver.port}/hook")
    assert code in ("address_refused", "name_unknown", "url_refused")
    assert receiver.calls == []


def test_a_name_that_leads_here_is_refused(receiver: Receiver) -> None:
    outgoing = Outgoing(OPEN_HTTP, resolve=lambda *_: ["127.0.0.1"])
    assert failure(outgoing, f"http://evil.example:{receiver.port}/") == "address_refused"
    assert receiver.calls == []


def test_one_address_of_ours_among_public_ones_refuses_the_name(receiver: Receiver) -> None:
    outgoing = Outgoing(OPEN_HTTP, resolve=lambda *_: ["8.8.8.8", "::ffff:127.0.0.1"])
    assert failure(outgoing, f"http://evil.example:{receiver.port}/") == "address_refused"
    assert receiver.calls == []


@given(st.lists(st.integers(0, 2**32 - 1).map(IPv4Address), min_size=1, max_size=6))
def test_no_answer_of_a_resolver_opens_a_socket_to_what_is_not_public(
    addresses: list[IPv4Address],
) -> None:
    opened: list[str] = []
    backend = _JudgingBackend(Rules(), lambda *_: [str(a) for a in addresses], math.inf)
    backend._sockets = Recording(opened)
    if all(map(is_public, addresses)):
        backend.connect_tcp("hook.example", 443)
        assert opened == [str(addresses[0])]
        return
    with pytest.raises(CallFailed, match="address_refused"):
        backend.connect_tcp("hook.example", 443)
    assert opened == []


def test_a_rebinding_resolver_is_asked_once_and_reaches_nobody(receiver: Receiver) -> None:
    rebinding = Rebinding(["192.0.2.1"], ["127.0.0.1"])  # what is judged is what is called
    outgoing = Outgoing(
        Rules(networks=(IPv4Network("192.0.2.0/24"),), allow_http=True),
        resolve=rebinding,
        timeout_s=0.5,
    )
    code = failure(outgoing, f"http://evil.example:{receiver.port}/hook")
    assert code in ("timed_out", "connection_failed")
    assert rebinding.asked == 1
    assert failure(outgoing, f"http://evil.example:{receiver.port}/hook") == "address_refused"
    assert receiver.calls == []


def test_the_address_that_was_judged_is_the_one_called(receiver: Receiver) -> None:
    rebinding = Rebinding(["127.0.0.1"], ["127.0.0.9"])
    outgoing = Outgoing(HERE, resolve=rebinding)
    assert outgoing.post(f"http://hook.example:{receiver.port}/x", b"", {}).status == 200
    assert rebinding.asked == 1
    assert receiver.calls[0].headers["host"] == f"hook.example:{receiver.port}"


def test_the_next_address_is_tried_when_one_does_not_listen(receiver: Receiver) -> None:
    outgoing = Outgoing(HERE, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert outgoing.post(f"http://hook.example:{receiver.port}/x", b"", {}).status == 200


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.statuses = [302, 200]
    receiver.answer_headers = {"Location": receiver.url}
    assert Outgoing(HERE).post(receiver.url, b"", {}).status == 302
    assert len(receiver.calls) == 1


def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{receiver.port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.port}")
    outgoing = Outgoing(HERE, resolve=lambda *_: ["127.0.0.1"])
    assert failure(outgoing, "http://hook.example:1/") == "connection_failed"
    assert receiver.calls == []


def test_of_a_long_answer_only_the_beginning_is_read(receiver: Receiver) -> None:
    receiver.answer = b"x" * 10_000_000
    assert len(Outgoing(HERE).post(receiver.url, b"", {}).body) == 64 * 2**10


def test_an_answer_that_drips_ends_with_the_deadline(receiver: Receiver) -> None:
    receiver.answer, receiver.drip_s = b"x" * 1000, 0.05
    started = time.monotonic()
    assert failure(Outgoing(HERE, timeout_s=0.4), receiver.url) == "timed_out"
    assert time.monotonic() - started < 5


def test_a_name_that_nobody_has_is_told(receiver: Receiver) -> None:
    def nobody(host: str, port: int) -> Sequence[str]:
        raise OSError(host, port)

    assert failure(Outgoing(HERE, resolve=nobody), "http://nobody.example/") == "name_unknown"


def test_tls_checks_the_name_though_the_address_is_pinned(tmp_path: Path) -> None:
    server, trusting = _tls(tmp_path, "hook.example")
    with listening(server) as receiver:
        outgoing = Outgoing(
            Rules(networks=HERE.networks), resolve=lambda *_: ["127.0.0.1"], tls=trusting
        )
        assert outgoing.post(f"https://hook.example:{receiver.port}/x", b"1", {}).status == 200
        assert failure(outgoing, f"https://other.example:{receiver.port}/x") == "tls_failed"
        assert len(receiver.calls) == 1


def test_an_authority_of_the_operators_own_is_trusted_by_its_setting(tmp_path: Path) -> None:
    server, _ = _tls(tmp_path, "localhost")
    networks = (IPv4Network("127.0.0.0/8"),)
    settings = Settings(home=tmp_path, outgoing_networks=networks)
    trusting = settings.model_copy(update={"outgoing_ca_file": tmp_path / "certificate.pem"})
    with listening(server) as receiver:
        url = f"https://localhost:{receiver.port}/"
        resolve = {"resolve": lambda *_: ["127.0.0.1"]}
        strict, kind = Outgoing.from_settings(settings), Outgoing.from_settings(trusting)
        strict._resolve = kind._resolve = resolve["resolve"]
        assert failure(strict, url) == "tls_failed"
        assert kind.post(url, b"", {}).status == 200


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com/", "ftp://example.com/", "file:///etc/passwd", "https://", "x"),
        *("https://user@example.com/", "https://u:p@example.com/", "https://@example.com/"),
        *("https://example.com/#part", "https://example.com:0/", "https://example.com:99999/"),
        *("https://exa mple.com/", "https://example.com/\n", "https://exämple.com/"),
        *("https://example.com\\@evil.example/", "https://[::1]/", "https://[::ffff:10.0.0.1]/"),
        *("https://127.0.0.1/", "https://169.254.169.254/latest/", "https://[fe80::1%25eth0]/"),
        *("https://.example.com/", "https://a..b/", "https://[::1/", "https://x/" + "a" * 2000),
    ],
)
def test_hostile_urls_are_refused_by_their_text(url: str) -> None:
    with pytest.raises(UrlRefused):
        check_url(url, Rules())


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com.:8443/a?b=c",
        "https://8.8.8.8/",
        "https://a_b.x/",
    ],
)
def test_ordinary_urls_are_accepted(url: str) -> None:
    check_url(url, Rules())


def test_a_list_of_hosts_keeps_all_others_out() -> None:
    rules = Rules(hosts=("hooks.example.com", "*.partner.example"))
    for host in (
        "hooks.example.com",
        "HOOKS.example.com",
        "a.partner.example",
        "a.partner.example.",
    ):
        check_url(f"https://{host}/", rules)
    for host in ("example.com", "partner.example", "evilpartner.example", "8.8.8.8"):
        with pytest.raises(UrlRefused):
            check_url(f"https://{host}/", rules)


@given(st.text(max_size=60))
def test_no_text_makes_the_check_fail_in_another_way(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com:{text}"):
        try:
            check_url(url, Rules())
        except UrlRefused:
            continue


def _tls(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context for a name, and a client's that trusts it."""
    key, made = certificate(folder, name)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made, key)
    return server, ssl.create_default_context(cafile=str(made))
