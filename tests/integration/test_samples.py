"""Raw telemetry on a real Kafka: the scores and alerts of live samples are those of a file."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from command_line import CommandLine

from stream_detector.assembly import Served, open_bundle
from stream_detector.clients import connect
from stream_detector.core.records import RecordBatch, Samples
from stream_detector.core.results import Outcome, Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.datasets import load_samples
from stream_detector.datasets.windowing import cut_samples
from stream_detector.evaluation.offline import run_offline
from stream_detector.ports import SystemClock
from stream_detector.replay import Faults, SampleReplayOptions, replay_samples
from stream_detector.replay.faults import NO_FAULTS
from stream_detector.replay.fleet import concatenate
from stream_detector.service import Service
from stream_detector.settings import ConnectionSettings, DetectSettings
from stream_detector.telemetry import Metrics

ROOT = Path(__file__).resolve().parents[2]
INTERVAL_MS = 1000 / 360
BY_KEY = dict[str, list[float]]

# Event times are long past: with the usual retention such records are soon dropped.
KEEP = {"retention_ms": "-1"}

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="session")
def served(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The recipe of heartbeats, hardly trained; late samples wait half a second."""
    del data_folder
    out = tmp_path_factory.mktemp("bundles") / "mitdb"
    changes = [
        "training.epochs=1",
        "window.allowed_lateness_ms=500",
        "alerting.close_after_ms=1000",
    ]
    words = [word for change in changes for word in ("--set", change)]
    recipe = ROOT / "models" / "mitdb-dense.toml"
    CommandLine(out.parent).run("train", recipe, "--out", out, "--json", *words)
    return open_bundle(out)


@pytest.fixture(scope="session")
def signal(data_folder: Path) -> Samples:
    """Five minutes of three patients."""
    del data_folder
    return concatenate([load_samples("mitdb", series=name).train for name in ("100", "106", "119")])


def send(servers: str, topic: str, samples: Samples, faults: Faults = NO_FAULTS, **how: Any) -> Any:
    client = connect(ConnectionSettings(bootstrap_servers=servers))
    options = SampleReplayOptions(sample_interval_ms=INTERVAL_MS, faults=faults, **how)
    try:
        return replay_samples(
            samples, client, topic, options=options, clock=SystemClock(), on_progress=nothing
        )
    finally:
        client.close()


def nothing(*_: int | None) -> None:
    pass


def detect(
    served: Served, servers: str, client: str, topics: tuple[str, str, str], poll_max: int = 32_768
) -> tuple[BY_KEY, Metrics]:
    """Run the service until the topic is read, and return the errors of each key's windows."""
    source, alerts, dead = topics
    settings = DetectSettings(
        bootstrap_servers=servers,
        client=client,  # type: ignore[arg-type]
        input_topic=source,
        alerts_topic=alerts,
        dead_letter_topic=dead,
        group=f"{client}-{alerts}",
        stop_when_idle_s=2.0,
        poll_records_max=poll_max,
    )
    errors: BY_KEY = {}

    def on_step(batch: RecordBatch, step: Step) -> None:
        pairs = zip(step.scores.indices, step.scores.scores.tolist(), strict=True)
        for index, error in pairs:
            errors.setdefault((batch.metadata(int(index)).key or b"").decode(), []).append(error)

    metrics = Metrics()
    service = Service(
        connect(settings, topics=[source], group=settings.group),
        served.detector,
        settings,
        metrics,
        SystemClock(),
    )
    service.add_observer(on_step)
    service.run()
    return errors, metrics


def read_alerts(command_line: CommandLine, servers: str, topic: str) -> list[dict[str, Any]]:
    done = command_line.run(
        *("alerts", "--bootstrap-servers", servers, "--topic", topic, "--json"),
        *("--from-beginning", "--stop-when-idle", "3s"),
    )
    return [json.loads(line) | {"detected_at_ms": 0} for line in done.stdout.splitlines()]


def offline_errors(served: Served, samples: Samples) -> BY_KEY:
    assert isinstance(served.detector, SampleDetector)
    found = cut_samples(samples, served.detector.windows)
    errors = served.detector.score(found.windows)
    by_key: BY_KEY = {}
    for key, error in zip(found.keys, errors.tolist(), strict=True):
        by_key.setdefault(key, []).append(error)
    return by_key


def test_live_is_offline_for_both_clients_and_any_chunking(
    kafka: str,
    served: Served,
    signal: Samples,
    topics: Callable[..., str],
    command_line: CommandLine,
) -> None:
    expected = offline_errors(served, signal)
    assert len(expected) == 3
    first, second = topics(4, **KEEP), topics(2, **KEEP)
    send(kafka, first, signal, chunk_samples=36, content_type="float32")
    send(kafka, second, signal, chunk_samples=7, content_type="json")
    alerts = {}
    for client, poll_max in (("kafka-python", 32_768), ("confluent", 777)):
        outputs = (topics(1), topics(1))
        found, _ = detect(served, kafka, client, (first, *outputs), poll_max)
        assert found == expected
        alerts[client] = read_alerts(command_line, kafka, outputs[0])
        again, _ = detect(served, kafka, client, (second, topics(1), topics(1)))
        assert again == expected
    by_key = [
        {
            key: [each for each in events if each["key"] == key]
            for key in {each["key"] for each in events}
        }
        for events in alerts.values()
    ]
    assert by_key[0] == by_key[1]
    events = [each["event"] for each in alerts["confluent"]]
    assert {"open", "close"} <= set(events)


def told(alert: dict[str, Any], incidents: list[str]) -> tuple[Any, ...]:
    """Return what an alert says whatever its topic is called; its incident as a number."""
    incident = alert["incident_id"]
    if incident is not None and incident not in incidents:
        incidents.append(incident)
    names = ("key", "event", "opened_ms", "event_time_ms", "score", "reason", "rules_digest")
    said = [alert[name] for name in names]
    return (*said, alert["sentence"], incident and incidents.index(incident))


def test_with_business_rules_and_incidents_live_is_offline_for_both_clients(
    kafka: str,
    served: Served,
    signal: Samples,
    topics: Callable[..., str],
    command_line: CommandLine,
) -> None:
    rules = {"features": {served.detector.features.names[0]: {"ignore": True}}}
    changed = open_bundle(
        served.bundle.path, changes={"alerting": {**rules, "incident_within_ms": 10_000}}
    )
    some = part_of(signal, 20_000)
    assert isinstance(changed.detector, SampleDetector)
    expected: list[tuple[Any, ...]] = []
    incidents: list[str] = []
    run_offline(changed.detector, some, lambda each: expected.append(told(asdict(each), incidents)))
    without: list[object] = []
    assert isinstance(served.detector, SampleDetector)
    run_offline(served.detector, some, without.append)
    assert 0 < len(expected) < len(without)
    assert 1 < len(incidents) < sum(each[1] == "open" for each in expected)
    topic = topics(1, **KEEP)
    send(kafka, topic, some, chunk_samples=1, content_type="float32")
    for client in ("kafka-python", "confluent"):
        outputs = (topics(1), topics(1))
        detect(changed, kafka, client, (topic, *outputs), 3_000)
        seen: list[str] = []
        found = [told(each, seen) for each in read_alerts(command_line, kafka, outputs[0])]
        assert found == expected


def part_of(samples: Samples, length_ms: float) -> Samples:
    """Return the first samples of all series."""
    is_first = samples.times_ms < samples.times_ms.min() + length_ms  # (n_samples,)
    return replace(
        samples,
        series=samples.series[is_first],
        times_ms=samples.times_ms[is_first],
        values=samples.values[is_first],
        labels=None,
    )


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_with_faults_every_record_is_counted_once(
    client: str,
    kafka: str,
    served: Served,
    signal: Samples,
    topics: Callable[..., str],
) -> None:
    faults = Faults(
        drop=0.02, delay=0.03, duplicate=0.02, shuffle=0.02, nan=0.001, seed=3, delay_ms=900
    )
    topic = topics(4, **KEEP)
    sent = send(kafka, topic, signal, faults, chunk_samples=36, content_type="float32")
    assert sent.n_records == sent.n_made - sent.counts.n_dropped + sent.counts.n_duplicated
    _, metrics = detect(served, kafka, client, (topic, topics(1), topics(1)))

    def count(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(f"stream_detector_{name}_total", labels) or 0

    outcomes = get_args(Outcome)
    by_outcome = {outcome: count("records", outcome=outcome) for outcome in outcomes}
    assert sum(by_outcome.values()) == sent.n_records
    assert by_outcome["late"] > 0
    assert by_outcome["duplicate"] > 0
    assert by_outcome["dead_letter"] == 0
    assert count("missing_values") > 0
    n_samples = sum(count("samples", outcome=each) for each in ("used", "late", "duplicate"))
    assert n_samples > 0.97 * len(signal)
    assert np.isfinite(n_samples)
