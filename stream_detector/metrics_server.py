"""Serve metrics and health over HTTP, so that whoever connects cannot use up the process.

A scraper asks, is answered and leaves within milliseconds. So few connections are open at a time,
none stays open for long, and where one more comes the oldest is ended.
"""

import contextlib
import logging
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import MetricsHandler

from stream_detector.errors import ConfigError
from stream_detector.health import Health, HealthReport
from stream_detector.limits import own_shortage
from stream_detector.telemetry import log_event

CONNECTIONS_MAX = 8
"""Connections at a time; Prometheus opens one for each scrape."""

CONNECTION_S_MAX = 10.0
"""How long a connection may last; Prometheus' own limit for a scrape is 10 s."""

LOG_EVERY_S = 60.0
"""Shortest time between two log lines about requests that were not answered."""

_BACKOFF_S = 0.5
"""Wait where a connection cannot be accepted: it stays in the queue and would be tried again at
once."""


class MetricsServer:
    """Serve `/metrics`, `/livez` and `/readyz` over HTTP while the `with` block lasts.

    Parameters
    ----------
    registry
        Metrics to serve.
    host, port
        Address to serve at; port 0 takes a free one, which the attribute `port` then holds.
    health
        Answers `/livez` and `/readyz`; None judges one process by its metrics.

    Raises
    ------
    ConfigError
        If the address cannot be bound.
    """

    def __init__(
        self, registry: CollectorRegistry, host: str, port: int, health: HealthReport | None = None
    ) -> None:
        try:
            self._server = _Server(registry, host, port, health or Health(registry))
        except OSError as error:
            remedy = own_shortage(error) or "choose another --metrics-port or metrics_host"
            message = f"metrics cannot be served on {host}:{port}: {error.strerror}; {remedy}"
            raise ConfigError(message) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()
        self.port = int(self._server.server_port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(MetricsHandler):
    """Answers one request."""

    health: HealthReport

    def do_GET(self) -> None:
        """Answer `/metrics`, `/livez` and `/readyz`; any other address is not found."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            super().do_GET()
        elif path == "/livez":
            self._say(self.health.why_stuck())
        elif path == "/readyz":
            self._say(self.health.why_not_ready())
        else:
            self._answer(HTTPStatus.NOT_FOUND, ["expected /metrics, /livez or /readyz"])

    def _say(self, problems: list[str]) -> None:
        """Answer with what is wrong, one line each, or that nothing is."""
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        self._answer(status, problems or ["ok"])

    def _answer(self, status: HTTPStatus, lines: list[str]) -> None:
        """Send a status and lines of text."""
        body = "".join(f"{line}\n" for line in lines).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    """Answers each connection in a thread of its own, and ends the oldest where there are many."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, registry: CollectorRegistry, host: str, port: int, health: HealthReport
    ) -> None:
        self._opened_at_s: dict[Any, float] = {}  # by connection, the oldest first
        self._lock = threading.Lock()
        self._logged_at_s = -LOG_EVERY_S
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = found[0][0]
        handler: Any = type(
            "_Handler",
            (_Handler,),
            {"registry": registry, "health": health, "timeout": CONNECTION_S_MAX},
        )
        super().__init__((str(found[0][4][0]), port), handler)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; where none can be, end all and let the caller try again."""
        try:
            return super().get_request()
        except OSError as error:
            self._end(len(self._opened_at_s))
            self._log(own_shortage(error) or error)
            time.sleep(_BACKOFF_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection, and end the oldest if there are too many."""
        with self._lock:
            self._opened_at_s[request] = time.monotonic()
        self._end(len(self._opened_at_s) - CONNECTIONS_MAX)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End connections that have lasted too long; called twice a second."""
        until_s = time.monotonic() - CONNECTION_S_MAX
        with self._lock:
            n_over = sum(opened_at_s <= until_s for opened_at_s in self._opened_at_s.values())
        self._end(n_over)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that was answered or ended."""
        with self._lock:
            self._opened_at_s.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log why a request was not answered; a client that has left is no matter."""
        del request, client_address
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self._log(own_shortage(error) or repr(error))

    def _end(self, n_connections: int) -> None:
        """End the oldest connections; the thread of each then closes it."""
        with self._lock:
            for request in list(self._opened_at_s)[: max(0, n_connections)]:
                del self._opened_at_s[request]
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def _log(self, reason: object) -> None:
        """Write a log line, at most one every `LOG_EVERY_S`."""
        now_s = time.monotonic()
        if now_s - self._logged_at_s >= LOG_EVERY_S:
            self._logged_at_s = now_s
            log_event(logging.WARNING, "metrics-failed", reason=reason)
