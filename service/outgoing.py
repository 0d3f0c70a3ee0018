"""Calls to URLs that callers chose: every one that leaves the service goes through here.

The name is resolved once, inside the connection's own making: each address is judged there and the
socket is opened to the address that was judged, so nobody can answer two look-ups differently.
TLS still checks the name. Nothing follows redirects or a proxy of the environment; one deadline
covers look-up, connection and answer, and of the answer only the beginning is read.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httpcore2

from service.addresses import Network, may_call, parse_address
from service.config import Settings

MAX_URL = 2000
MAX_ANSWER_BYTES = 64 * 2**10
MAX_ADDRESSES = 4
_LABEL = r"[a-z0-9_][a-z0-9_-]{0,62}"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?")
_PRINTABLE = re.compile(r"[!-~]+")
Resolve = Callable[[str, int], Sequence[str]]


class UrlRefused(ValueError):
    """Raise when a URL may not be called; the words name no address."""


class CallFailed(Exception):
    """Raise when no answer came; `code` says why, in one stable word.

    Codes: `url_refused`, `address_refused`, `name_unknown`, `connection_failed`, `tls_failed`,
    `timed_out`, `answer_broken`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Rules:
    """Where calls may go: `hosts` empty means any; `networks` may be called though not public."""

    hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    allow_http: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the operator's rules."""
        return cls(
            hosts=tuple(host.lower() for host in settings.outgoing_hosts),
            networks=settings.outgoing_networks,
            allow_http=settings.outgoing_allow_http,
        )


@dataclass(frozen=True)
class Answer:
    """The beginning of an answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def check_url(url: str, rules: Rules) -> None:
    """Refuse what no call may go to, as far as the text of a URL tells.

    Raises:
        UrlRefused: With words for whoever sent the URL.
    """
    if len(url) > MAX_URL or not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise UrlRefused(f"A URL has at most {MAX_URL} printable ASCII characters, no blanks.")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise UrlRefused("That is no URL.") from None
    schemes = ("https", "http") if rules.allow_http else ("https",)
    if parts.scheme not in schemes:
        raise UrlRefused(f"The URL must begin with {' or '.join(schemes)}://.")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise UrlRefused("The URL must carry no user name and no password.")
    if parts.fragment or port == 0:
        raise UrlRefused("The URL must have no fragment, and a port from 1 to 65535.")
    _check_host(host, rules)


def _check_host(host: str, rules: Rules) -> None:
    address = parse_address(host)
    if address is None and not _HOST.fullmatch(host):
        raise UrlRefused("The URL names no host; write international names in their xn-- form.")
    if address is not None and not may_call(address, rules.networks):
        raise UrlRefused("The URL's address is private, local or reserved.")
    if rules.hosts and not any(_matches(host.rstrip("."), pattern) for pattern in rules.hosts):
        raise UrlRefused("The operator allows calls to certain hosts only, and not to this one.")


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == pattern


class Outgoing:
    """Make calls by the operator's rules; may be shared by threads.

    Args:
        rules: Where calls may go.
        timeout_s: For the whole call.
        resolve: Name and port to addresses; for tests.
        tls: Whom to trust; default: the usual authorities.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        timeout_s: float = 15.0,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.rules = rules
        self._timeout_s = timeout_s
        self._resolve = resolve or look_up
        self._tls = tls or ssl.create_default_context()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return calls by the settings, trusting the operator's own authority too if there is one.

        Raises:
            OSError: `outgoing_ca_file` cannot be read.
        """
        tls = ssl.create_default_context()
        if settings.outgoing_ca_file is not None:
            tls.load_verify_locations(cafile=settings.outgoing_ca_file)
        return cls(Rules.of(settings), timeout_s=settings.outgoing_timeout_s, tls=tls)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a body and return the beginning of the answer, whatever its status.

        Raises:
            CallFailed: No answer came, or the call may not be made.
        """
        try:
            check_url(url, self.rules)
        except UrlRefused:
            raise CallFailed("url_refused") from None
        end = time.monotonic() + self._timeout_s
        backend = _JudgingBackend(self.rules, self._resolve, end)
        try:
            with httpcore2.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool:
                return _exchange(pool, url, body, headers)
        except CallFailed:
            raise
        except (httpcore2.TimeoutException, TimeoutError):
            raise CallFailed("timed_out") from None
        except httpcore2.ConnectError as error:
            raise CallFailed(_code_of_connect_error(error)) from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError, ValueError):
            raise CallFailed("answer_broken") from None


def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, in the system's order.

    Raises:
        OSError: There are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _exchange(
    pool: httpcore2.ConnectionPool, url: str, body: bytes, headers: Mapping[str, str]
) -> Answer:
    sent = {"Host": urlsplit(url).netloc, "Accept": "*/*", **headers}
    read = bytearray()
    with pool.stream("POST", url, headers=list(sent.items()), content=body) as response:
        for part in response.iter_stream():
            read += part
            if len(read) >= MAX_ANSWER_BYTES:
                break
        pairs = [
            (name.decode("latin-1"), text.decode("latin-1")) for name, text in response.headers
        ]
    found = {name.lower(): text for name, text in pairs}
    return Answer(response.status, found, bytes(read[:MAX_ANSWER_BYTES]))


def _code_of_connect_error(error: Exception) -> str:
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, ssl.SSLError):
            return "tls_failed"
        chain = chain.__cause__ or chain.__context__
    return "connection_failed"


class _JudgingBackend(httpcore2.NetworkBackend):
    """Open sockets to addresses that it has judged itself, until the deadline."""

    def __init__(self, rules: Rules, resolve: Resolve, end: float) -> None:
        self._rules = rules
        self._resolve = resolve
        self._end = end
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline decides
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Resolve once, judge every address, connect to the first one that answers."""
        options = list(socket_options or ())
        addresses = self._judged(host, port)
        for number, address in enumerate(addresses, 1):
            try:
                stream = self._sockets.connect_tcp(
                    address, port, left(self._end), local_address, options
                )
            except httpcore2.ConnectError:
                if number == len(addresses):
                    raise
            else:
                return _TimedStream(stream, self._end)
        raise CallFailed("name_unknown")

    def _judged(self, host: str, port: int) -> Sequence[str]:
        """Return a name's addresses; a name with a single address of ours is refused whole."""
        try:
            found = self._resolve(host, port)
        except (OSError, UnicodeError):
            raise CallFailed("name_unknown") from None
        for text in found:
            address = parse_address(text)
            if address is None or not may_call(address, self._rules.networks):
                raise CallFailed("address_refused")
        return found[:MAX_ADDRESSES]


class _TimedStream(httpcore2.NetworkStream):
    """A stream whose every step must end by one deadline, so that a drip cannot hold it."""

    def __init__(self, stream: httpcore2.NetworkStream, end: float) -> None:
        self._stream = stream
        self._end = end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, left(self._end))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, left(self._end))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the deadline decides
    ) -> httpcore2.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, left(self._end))
        return _TimedStream(secured, self._end)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as in the base class
        return self._stream.get_extra_info(info)


def left(end: float) -> float:
    """Return the seconds until a moment of the monotonic clock; raise TimeoutError after it."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds
