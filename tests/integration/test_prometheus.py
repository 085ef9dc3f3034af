"""A real Prometheus scrapes what `detect` serves, and its rules fire and are silent again."""

import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest
from command_line import CommandLine

from stream_detector.clients import connect
from stream_detector.core.records import OutputRecord
from stream_detector.metrics_server import MetricsServer
from stream_detector.settings import ConnectionSettings
from stream_detector.telemetry import Metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "stream-detector.rules.yml"
DEADLINE_S = 30.0

CONFIG = """\
global: {{scrape_interval: 300ms, scrape_timeout: 300ms, evaluation_interval: 300ms}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: pumps
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""

NEEDS_MINUTES = {"StreamDetectorBehind"}
"""Rules that look at the lag of more than a minute."""


@pytest.fixture
def metrics() -> Metrics:
    """Those of a process that is well."""
    made = Metrics()
    made.partitions.set(4)
    made.answered.set_to_current_time()
    made.bundle_info.labels("pumps", "v1").set(1)
    made.keys.set(10)
    return made


@contextmanager
def prometheus(folder: Path, port: int, rules: str) -> Iterator[str]:
    """Run a Prometheus that scrapes a port and has these rules; gives its address."""
    (folder / "rules.yml").write_text(rules)
    (folder / "prometheus.yml").write_text(CONFIG.format(port=port))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--web.listen-address={address}", "--log.level=error"]
    command += ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
    ):
        try:
            yield address
        finally:
            process.kill()


@pytest.fixture
def firing(
    metrics: Metrics, prometheus_tools: None, tmp_path: Path
) -> Iterator[Callable[[], set[str]]]:
    """Return which rules fire now in a Prometheus that scrapes; none has to hold for long."""
    del prometheus_tools
    rules = re.sub(r"for: \S+", "for: 0s", RULES.read_text())
    with (
        MetricsServer(metrics.registry, "127.0.0.1", 0) as server,
        prometheus(tmp_path, server.port, rules) as address,
    ):
        yield lambda: firing_at(address)


def ask(address: str, path: str) -> object:
    """Return what Prometheus says, None where it has not started yet."""
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def firing_at(address: str) -> set[str]:
    data = ask(address, "alerts")
    if not isinstance(data, dict):
        return {"not started"}
    alerts = data["alerts"]
    assert all(alert["labels"].get("job", "pumps") == "pumps" for alert in alerts)
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def value_at(address: str, metric: str) -> float | None:
    """Return what Prometheus has scraped last of a metric without labels of its own."""
    data = ask(address, f"query?query={urllib.parse.quote(metric)}")
    assert data is None or isinstance(data, dict)
    return float(data["result"][0]["value"][1]) if data and data["result"] else None


def wait(firing: Callable[[], set[str]], expected: set[str], turn: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while (found := firing()) != expected:
        assert time.monotonic() < deadline_s, (expected - found, found - expected)
        turn()
        time.sleep(0.1)


def fail(metrics: Metrics) -> None:
    """Let everything be wrong at once, and counters rise."""
    metrics.turned.set(0)
    metrics.answered.set(0)
    metrics.partitions.set(0)
    metrics.restoring.set(1)
    metrics.held.set(1)
    metrics.rejected_in_a_row.set(100)
    metrics.unscored_keys.labels("late").set(1)
    metrics.silent_keys.set(2)
    metrics.bundle_info.labels("pumps", "v2").set(1)
    metrics.latency.observe(20)
    metrics.restores.labels("retention").inc()
    metrics.retries.labels("DeliveryError").inc()
    metrics.records.labels("dead_letter").inc()
    metrics.windows.labels("anomalous").inc()


def mend(metrics: Metrics) -> None:
    """Let gauges be as in a process that is well."""
    metrics.turned.set_to_current_time()
    metrics.answered.set_to_current_time()
    metrics.partitions.set(4)
    metrics.restoring.set(0)
    metrics.held.set(0)
    metrics.rejected_in_a_row.set(0)
    metrics.unscored_keys.labels("late").set(0)
    metrics.silent_keys.set(0)
    metrics.bundle_info.clear()
    metrics.bundle_info.labels("pumps", "v1").set(1)


def test_the_rules_fire_and_are_silent_again(
    metrics: Metrics, firing: Callable[[], set[str]]
) -> None:
    names = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    wait(firing, set(), lambda: None)
    time.sleep(1)
    assert firing() == set()
    wait(firing, names - NEEDS_MINUTES, lambda: fail(metrics))
    of_counters = {"AlertsLate", "StateLost", "Retrying", "DeadLetters", "ManyAnomalous"}
    left = {f"StreamDetector{name}" for name in of_counters}
    wait(firing, left, lambda: mend(metrics))


@pytest.mark.kafka
@pytest.mark.usefixtures("prometheus_tools")
def test_a_rule_as_it_is_shipped_fires_on_a_running_detector(
    kafka: str,
    topic_options: dict[str, str],
    halving_bundle: Path,
    command_line: CommandLine,
    tmp_path: Path,
) -> None:
    words = [word for option in topic_options.items() for word in option]
    detector = command_line.start(
        *("detect", halving_bundle, "--bootstrap-servers", kafka, *words, "--metrics-port", 0),
        *("--group", "scraped"),
    )
    detector.wait_for(" ready ")
    (port,) = re.findall(r"metrics address=\S+:(\d+)", detector.output)
    settings = ConnectionSettings(bootstrap_servers=kafka)

    def send(value: bytes, n_records: int) -> None:
        topic = topic_options["--input-topic"]
        client.produce([OutputRecord(topic, b"pump", value)] * n_records)
        client.flush(10_000)

    def wait_for_rejected(n_records: int) -> None:
        wait(
            lambda: {str(value_at(address, "stream_detector_rejected_in_a_row"))},
            {f"{n_records:.1f}"},
            lambda: None,
        )

    with (
        prometheus(tmp_path, int(port), RULES.read_text()) as address,
        closing(connect(settings)) as client,
    ):
        send(b"another program's record", 99)
        wait_for_rejected(99)
        time.sleep(1)
        assert firing_at(address) == set()
        send(b"another program's record", 1)
        wait(lambda: firing_at(address), {"StreamDetectorAllRejected"}, lambda: None)
        send(orjson.dumps({"values": [0.5] * 140}), 1)
        wait_for_rejected(0)
        wait(lambda: firing_at(address), set(), lambda: None)
