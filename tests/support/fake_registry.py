"""A Schema Registry of a few lines, with the answers that a test gives it, over real HTTP."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

NOT_FOUND = {"error_code": 40403, "message": "Schema 77 not found"}


@dataclass
class FakeRegistry:
    """Answers by path: a status and a body each; whatever has none is unknown.

    Attributes
    ----------
    url
        Its address.
    answers
        May change while it runs.
    asked
        Method, path, headers in lower case, and body of each request.
    n_failures
        So many requests are answered with 503 first.
    """

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    n_failures: int = 0

    @property
    def paths(self) -> list[str]:
        """Of the requests."""
        return [path for _, path, _, _ in self.asked]

    def add(self, number: int, text: str, **more: Any) -> None:
        """Let it know a schema."""
        self.answers[f"/schemas/ids/{number}"] = (200, {"schema": text, **more})

    def answer(self, path: str) -> tuple[int, Any]:
        """Return what is answered."""
        if self.n_failures:
            self.n_failures -= 1
            return 503, b"later"
        return self.answers.get(path, self.answers.get("*", (404, NOT_FOUND)))


@contextmanager
def fake_registry(certificate: Path | None = None) -> Iterator[FakeRegistry]:
    """Serve a registry on a free port, by TLS where a file has a certificate and its key."""
    fake = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.asked.append((self.command, self.path, headers, body))
            status, content = fake.answer(self.path)
            self.send_response(status)
            if status // 100 == 3:
                self.send_header("location", content)
                content = b""
            self.end_headers()
            self.wfile.write(content if isinstance(content, bytes) else orjson.dumps(content))

        do_GET = do_POST = respond

        def log_message(self, *arguments: object) -> None:
            del arguments

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        scheme = "http" if certificate is None else "https"
        fake.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
