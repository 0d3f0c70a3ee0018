"""A real HTTP server that keeps what it is sent and answers as it is told."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Received:
    """One call: path, headers in lower case, body."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What came, and what to answer next: statuses in turn, the last one for ever."""

    port: int = 0
    statuses: list[int] = field(default_factory=lambda: [200])
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""
    drip_s: float = 0.0
    calls: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    def next_status(self) -> int:
        """Return the status of the next answer."""
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


@contextmanager
def listening(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Yield a receiver that listens on a free port of this machine."""
    receiver = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(receiver))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            receiver.calls.append(Received(self.path, headers, body))
            self.send_response(receiver.next_status())
            for name, text in receiver.answer_headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(receiver.answer)))
            self.end_headers()
            try:
                self._write(receiver.answer)
            except OSError:  # the caller has heard enough
                self.close_connection = True

        def _write(self, answer: bytes) -> None:
            if not receiver.drip_s:
                self.wfile.write(answer)
                return
            for place in range(len(answer)):
                self.wfile.write(answer[place : place + 1])
                self.wfile.flush()
                time.sleep(receiver.drip_s)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
