"""Real signal in, and the same bits out as ever: scores, alerts and what is committed with offsets.

A bundle whose network halves each value stands for a trained one, since training differs between
machines.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from halving_bundle import make_bundle

from stream_detector.assembly import build_detector
from stream_detector.bundle import read_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.incidents import N_INCIDENTS
from stream_detector.core.records import BundleReference, RecordBatch
from stream_detector.core.results import Step
from stream_detector.core.scoring.reconstruction import ReconstructionScorer
from stream_detector.datasets import load_dataset, load_samples
from stream_detector.datasets.fetch import MIRROR_VARIABLE
from stream_detector.engines.onnx import load_onnx
from stream_detector.replay import ReplayOptions, SampleReplayOptions, replay, replay_samples
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

EXPECTED = Path(__file__).with_name("expected.json")
START_MS = 1_767_225_600_000
N_SAMPLES = 120_000
FIRST_NAMES = {
    "continues_alert_id": "continues",
    "observed": "seen",
    "recovered": "calm",
    "max_duration": "too_long",
    "key_expired": "idle",
}
"""Names and reasons that were renamed since the digests were written, and what they were then."""


class FixedClock:
    """Time that moves by a tenth of a second at each look."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return START_MS + 86_400_000

    def monotonic_s(self) -> float:
        self.now_s += 0.1
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def fill_ecg5000(broker: MemoryBroker) -> None:
    """Every test beat of ECG5000 as JSON."""
    data = load_dataset("ecg5000", split="official")
    client = broker.connect()
    options = ReplayOptions(
        content_type="json",
        keys=[f"series-{number % 16}" for number in range(len(data.test))],
        timestamps_ms=[START_MS + 1_000 * number for number in range(len(data.test))],
    )
    replay(data.test, client, "telemetry", options=options, clock=FixedClock())


def fill_mitdb(broker: MemoryBroker) -> None:
    """Five and a half minutes of MIT-BIH record 106, two leads, half a second to a record."""
    samples = load_samples("mitdb", series="106").test
    rows = slice(0, N_SAMPLES)
    labels = None if samples.labels is None else samples.labels[rows]
    some = replace(
        samples,
        series=samples.series[rows],
        times_ms=samples.times_ms[rows],
        values=samples.values[rows],
        labels=labels,
    )
    options = SampleReplayOptions(
        sample_interval_ms=1000 / 360,
        chunk_samples=180,
        content_type="float32",
        start_ms=START_MS,
    )
    client = broker.connect()
    replay_samples(some, client, "telemetry", options=options, clock=FixedClock())


STREAMS = {
    "ecg5000": (fill_ecg5000, "ecg5000-dense", 0.4),
    "mitdb-106": (fill_mitdb, "mitdb-dense", 0.13),
}


def digests_of(name: str, folder: Path) -> dict[str, Any]:
    """Return what detecting on one stream gives, as digests."""
    fill, recipe, threshold = STREAMS[name]
    make_bundle(folder / name, recipe)
    bundle = read_bundle(folder / name)
    n_steps, n_features = bundle.manifest.n_steps, bundle.manifest.n_features
    network = load_onnx(bundle.network_onnx, n_steps, n_features)
    scorer = bundle.scorer(network)
    assert isinstance(scorer, ReconstructionScorer)
    scorer = replace(scorer, threshold=threshold)
    reference = BundleReference("golden", "1" * 64)
    detector = build_detector(bundle.manifest.recipe, scorer, reference, 512)
    broker = MemoryBroker(now_ms=lambda: START_MS)
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    fill(broker)
    scores: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    committed: list[str] = []

    def on_step(batch: RecordBatch, step: Step) -> None:
        del batch
        scores.append(step.scores.scores)
        ((_, progress),) = broker.committed["golden"].items()
        committed.append(progress.metadata)

    settings = load_settings(
        DetectSettings, group="golden", stop_when_idle_s=1.0, poll_records_max=200
    )
    service = Service(
        broker.connect(topics=["telemetry"], group="golden"),
        detector,
        settings,
        Metrics(),
        FixedClock(),
    )
    service.add_observer(on_step)
    totals = service.run()
    alerts = [orjson.loads(record.value or b"") for record in broker.records("alerts")]
    return {
        "n_records": totals.n_records,
        "n_alerts": totals.n_alerts,
        "scores": sha256([np.concatenate(scores).tobytes()]),
        "alerts": sha256(map(alert_bytes, alerts)),
        "alert_headers": sha256(
            b"%s=%s" % (header.encode(), value or b"")
            for record in broker.records("alerts")
            for header, value in record.metadata.headers
        ),
        "committed": sha256(map(commit_bytes, committed)),
    }


def commit_bytes(text: str) -> bytes:
    """Return commit metadata with the fields that it had first."""
    fields = orjson.loads(text)
    del fields["open_alerts"]
    assert len(fields.pop("incidents", [])) <= N_INCIDENTS
    return orjson.dumps(list(fields.values()))


def alert_bytes(alert: dict[str, Any]) -> bytes:
    """Return an alert as it was written first, without the time of its detection."""
    del alert["detected_at_ms"]
    # Fields that were added since.
    assert alert.pop("feature") is alert.pop("rules_digest") is None
    assert len(alert.pop("incident_id")) == len(alert["alert_id"])
    assert (alert.pop("score"), alert.pop("score_kind")) == (alert["reconstruction_error"], "mae")
    assert alert.pop("sentence") == alert["explanation"].pop("sentence") != ""
    assert alert.pop("span_start_ms") <= alert.pop("span_end_ms") <= alert["event_time_ms"]
    assert alert["explanation"].pop("unreliable") == []
    assert alert["explanation"].pop("rhythm") is None
    assert {alert.pop(name) for name in ("check", "false_alarms_per_day", "p_value")} == {None}
    if (alert["event"], alert["reason"]) == ("close", "continued"):
        alert["reason"] = "max_duration"
    return orjson.dumps(first_names(alert))


def first_names(value: Any) -> Any:
    """Return a JSON value with the names that it had first."""
    if isinstance(value, dict):
        if "observed" in value:
            # Features carry their names since, and what is normal of them.
            assert value.pop("name")
            assert value.pop("low") is value.pop("high") is None
        return {FIRST_NAMES.get(name, name): first_names(each) for name, each in value.items()}
    if isinstance(value, list):
        return [first_names(each) for each in value]
    return FIRST_NAMES.get(value, value) if isinstance(value, str) else value


def sha256(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part + b"\n")
    return found.hexdigest()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data sets are read from their local mirror, the one beside the repository if need be."""
    sibling = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get(MIRROR_VARIABLE, sibling))
    if not folder.is_dir():
        reason = f"needs the data sets in {folder}; set {MIRROR_VARIABLE}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    monkeypatch.setenv(MIRROR_VARIABLE, str(folder))


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("name", STREAMS)
def test_the_same_signal_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    found = digests_of(name, tmp_path)
    assert found["n_alerts"] > 20
    assert found == json.loads(EXPECTED.read_text())[name]
