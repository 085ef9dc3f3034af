"""A real Prometheus scrapes the detector's address, and its rules fire and are silent again."""

import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream_detector.metrics_server import MetricsServer
from stream_detector.telemetry import Metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture
def firing(
    metrics: Metrics, prometheus_tools: None, tmp_path: Path
) -> Iterator[Callable[[], set[str]]]:
    """Return which rules fire now in a Prometheus that scrapes; none has to hold for long."""
    del prometheus_tools
    rules = (ROOT / "deploy" / "prometheus" / "stream-detector.rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(re.sub(r"for: \S+", "for: 0s", rules))
    with MetricsServer(metrics.registry, "127.0.0.1", 0) as server, socket.socket() as free:
        (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=server.port))
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        command = ["prometheus", f"--web.listen-address={address}", "--log.level=error"]
        with (
            (tmp_path / "log").open("wb") as log,
            subprocess.Popen(
                [*command, "--config.file=prometheus.yml", "--storage.tsdb.path=data"],
                cwd=tmp_path,
                stdout=log,
                stderr=log,
            ) as process,
        ):
            yield lambda: firing_at(address)
            process.kill()


def firing_at(address: str) -> set[str]:
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/alerts", timeout=5) as answer:
            alerts = json.load(answer)["data"]["alerts"]
    except OSError:  # it has not started yet
        return {"not started"}
    assert all(alert["labels"].get("job", "pumps") == "pumps" for alert in alerts)
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


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
    metrics.bundle_info.remove("pumps", "v2")


def test_the_rules_fire_and_are_silent_again(
    metrics: Metrics, firing: Callable[[], set[str]]
) -> None:
    rules = (ROOT / "deploy" / "prometheus" / "stream-detector.rules.yml").read_text()
    names = set(re.findall(r"alert: (\w+)", rules))
    wait(firing, set(), lambda: None)
    time.sleep(1)
    assert firing() == set()
    wait(firing, names - NEEDS_MINUTES, lambda: fail(metrics))
    of_counters = {"AlertsLate", "StateLost", "Retrying", "DeadLetters", "ManyAnomalous"}
    left = {f"StreamDetector{name}" for name in of_counters}
    wait(firing, left, lambda: mend(metrics))
