"""Metrics are served over HTTP, and those who connect cannot use up the process."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from stream_detector import metrics_server
from stream_detector.errors import ConfigError
from stream_detector.metrics_server import CONNECTIONS_MAX, MetricsServer
from stream_detector.telemetry import Metrics

N_FILES_MAX = 256

SERVE = f"""
import logging, os, resource, sys
from stream_detector.log_lines import set_up_logging
from stream_detector.metrics_server import MetricsServer
from stream_detector.telemetry import Metrics

resource.setrlimit(resource.RLIMIT_NOFILE, ({N_FILES_MAX}, {N_FILES_MAX}))
set_up_logging(logging.INFO)
with MetricsServer(Metrics().registry, "127.0.0.1", 0) as server:
    print(server.port, flush=True)
    opened = []
    for line in sys.stdin:
        if line == "use up\\n":
            try:
                while True:
                    opened.append(open(os.devnull))
            except OSError:
                pass
        elif line == "free\\n":
            opened.clear()
        print(len(os.listdir("/proc/self/fd")) if not opened else len(opened), flush=True)
"""
"""Serves metrics with few files to open, and says how many are open when asked."""


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return str(response.read().decode())


@contextmanager
def idle_connections(port: int, n_connections: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            for _ in range(n_connections)
        ]


def test_metrics_are_served_over_http() -> None:
    metrics = Metrics()
    metrics.retries.labels("DeliveryError").inc()
    with MetricsServer(metrics.registry, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(address, timeout=5) as response:
            text = response.read().decode()
    assert 'stream_detector_retries_total{error="DeliveryError"} 1.0' in text
    for name in ("batch_records", "inference_seconds", "latency_seconds", "assigned_partitions"):
        assert f"# HELP stream_detector_{name} " in text


def get(port: int, path: str) -> tuple[int, str, str]:
    """Return status, type and text of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_health_is_served_beside_the_metrics() -> None:
    metrics, plain = Metrics(), "text/plain; charset=utf-8"
    with MetricsServer(metrics.registry, "127.0.0.1", 0) as server:
        assert get(server.port, "/livez") == (200, plain, "ok\n")
        status, kind, text = get(server.port, "/readyz")
        assert (status, kind) == (503, plain)
        assert [line.partition(":")[0] for line in text.splitlines()] == ["partitions", "Kafka"]
        metrics.partitions.set(1)
        metrics.answered.set_to_current_time()
        assert get(server.port, "/readyz?verbose") == (200, plain, "ok\n")
        metrics.turned.set(0)
        status, _, text = get(server.port, "/livez")
        assert (status, text.partition(":")[0]) == (503, "the loop")
        assert get(server.port, "/metrics?name[]=none")[0] == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz/", "/metrics/x"])
def test_other_addresses_are_not_found(path: str) -> None:
    with MetricsServer(Metrics().registry, "127.0.0.1", 0) as server:
        status, _, text = get(server.port, path)
    assert (status, text) == (404, "expected /metrics, /livez or /readyz\n")


def test_a_port_in_use_is_a_setting_to_change() -> None:
    with (
        MetricsServer(Metrics().registry, "127.0.0.1", 0) as server,
        pytest.raises(ConfigError, match="--metrics-port"),
    ):
        MetricsServer(Metrics().registry, "127.0.0.1", server.port)


class Served:
    """The process of `SERVE`."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        self.port = self._answer()

    def _answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def ask(self, what: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._answer()


def cpu_s(pid: int) -> float:
    """Return how long a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def served() -> Iterator[Served]:
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc")
    made = Served()
    yield made
    made.process.kill()
    made.process.communicate()


def test_idle_connections_leave_the_process_its_files(served: Served) -> None:
    n_before = served.ask("count")
    with idle_connections(served.port, 250):
        assert "stream_detector_lag_records" in scrape(served.port)
        deadline_s = time.monotonic() + 5  # threads close those that made room
        while served.ask("count") > n_before + CONNECTIONS_MAX + 1:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        assert "stream_detector_lag_records" in scrape(served.port)


def test_a_process_without_files_says_so_and_serves_again(served: Served) -> None:
    assert served.ask("use up") > 200
    before_s = cpu_s(served.process.pid)
    with idle_connections(served.port, 20):
        time.sleep(1.2)
        assert cpu_s(served.process.pid) - before_s < 0.5
        served.ask("free")
        assert "stream_detector_lag_records" in scrape(served.port)
    served.process.terminate()
    _, err = served.process.communicate()
    assert err.count("WARNING metrics-failed") == 1
    assert "ulimit -n" in err
    assert f"({N_FILES_MAX})" in err


def test_an_idle_connection_is_ended_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "CONNECTION_S_MAX", 0.3)
    with MetricsServer(Metrics().registry, "127.0.0.1", 0) as server:
        begin_s = time.monotonic()
        with idle_connections(server.port, 1) as (idle,):
            idle.sendall(b"GET /metrics HTTP/1.1\r\n")
            while time.monotonic() < begin_s + 5 and idle.send(b"x") and not ended(idle):
                time.sleep(0.1)  # each byte comes in time, and the whole does not
            assert 0.2 < time.monotonic() - begin_s < 2


def ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_the_oldest_connections_are_ended_first() -> None:
    with (
        MetricsServer(Metrics().registry, "127.0.0.1", 0) as server,
        idle_connections(server.port, CONNECTIONS_MAX) as first,
        idle_connections(server.port, 2) as last,
    ):
        deadline_s = time.monotonic() + 5
        while not (ended(first[0]) and ended(first[1])) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert [ended(each) for each in first] == [True] * 2 + [False] * (CONNECTIONS_MAX - 2)
        assert [ended(each) for each in last] == [False] * 2


def test_a_request_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def collect(self) -> Iterator[object]:
            raise ZeroDivisionError

    registry = Metrics().registry
    with MetricsServer(registry, "127.0.0.1", 0) as server:
        registry.register(Broken())  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises(OSError, match=r"Remote end closed|reset"):
                scrape(server.port)
    assert [each.getMessage() for each in caplog.records] == [
        "metrics-failed reason=ZeroDivisionError()"
    ]
