"""What every scorer promises, and that another than ours goes through the whole product."""

import csv
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from detectors import make_scorer
from halving_bundle import make_bundle
from nearest_scorer import NearestScorer

from stream_detector import assembly, cli
from stream_detector.assembly import Served, build_detector
from stream_detector.bundle import read_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.detector import Detector
from stream_detector.core.records import BundleReference, FloatArray, OutputRecord
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.scorer import Scorer, score_windows
from stream_detector.errors import RecordValueError
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics

ROOT = Path(__file__).parents[2]
BUNDLE = BundleReference("nearest", "v1")
START_MS = 1_767_225_600_000
N_STEPS, N_FEATURES = 6, 2
LEVELS = np.array([[1.0, 10.0], [2.0, 20.0]], np.float32)
STORED = np.repeat(LEVELS[:, np.newaxis], N_STEPS, axis=1)  # (2, n_steps, n_features)

SCORERS: dict[str, Callable[[], Scorer]] = {
    "reconstruction": lambda: make_scorer(
        N_FEATURES, reconstruct=lambda each: each * np.float32(0.5)
    ),
    "nearest": lambda: NearestScorer(STORED, 1.0),
}


class Clock:
    """Time that moves by a tenth of a second at each look."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return START_MS

    def monotonic_s(self) -> float:
        self.now_s += 0.1
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture(params=SCORERS)
def scorer(request: pytest.FixtureRequest) -> Scorer:
    return SCORERS[request.param]()


def windows_of(n_windows: int) -> FloatArray:
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 2, (n_windows, N_STEPS, N_FEATURES))
    windows: FloatArray = (noise + LEVELS[0]).astype(np.float32)
    return windows


def test_a_score_does_not_depend_on_the_other_windows(scorer: Scorer) -> None:
    windows = windows_of(50)
    alone = [scorer.score(windows[row : row + 1]).scores[0] for row in range(50)]
    assert scorer.score(windows).scores.tolist() == alone
    assert score_windows(scorer, windows, 7).tolist() == alone


def test_no_windows_give_no_scores(scorer: Scorer) -> None:
    found = scorer.score(np.empty((0, N_STEPS, N_FEATURES), np.float32))
    assert (found.scores.shape, found.scores.dtype) == ((0,), np.dtype(np.float64))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e13])
def test_a_value_out_of_range_is_named(scorer: Scorer, value: float) -> None:
    windows = windows_of(3)
    assert scorer.in_range(windows).all()
    windows[1, 4, 1] = value
    assert not scorer.in_range(windows)[1, 4, 1]
    assert scorer.in_range(windows).sum() == windows.size - 1
    with pytest.raises(RecordValueError, match=r"window 1: values\[4\]\[1\]"):
        score_windows(scorer, windows)


def test_what_a_score_is_called_is_one_word(scorer: Scorer) -> None:
    assert re.fullmatch("[a-z]{1,32}", scorer.score_kind)


def test_an_explanation_is_of_its_own_window(scorer: Scorer) -> None:
    windows = np.concatenate([STORED[:1], STORED[:1]])
    windows[1, :, 1] += 5
    explain = scorer.score(windows).explain
    found = explain(1, WindowContext(START_MS, 1_000)).explanation
    assert found.features[0].feature == 1
    assert found.features[0].observed == (15.0,) * N_STEPS
    assert found.worst_end_ms == START_MS + 1_000 * (N_STEPS - 1)


def recipe_of(record: str) -> Recipe:
    """Return a recipe for records of either shape; only what a detector needs of it counts."""
    name = "mitdb-dense" if record == "samples" else "ecg5000-dense"
    changes = [f"window.steps={N_STEPS}", f"window.features={N_FEATURES}"]
    changes += ["window.sample_interval_ms=1000", "data.name=csv", "data.path=pump.csv"]
    if record == "samples":
        changes += ["window.stride=1", "window.gap_ms_max=6000"]
        changes += ["alerting.close_after_ms=3000", "alerting.update_interval_ms=600000"]
    return load_recipe(ROOT / "models" / f"{name}.toml", changes)


def signal(n_samples: int) -> FloatArray:
    """Return a pump at its first level, with a burst that no stored window resembles."""
    values = np.repeat(LEVELS[:1], n_samples, axis=0)
    values[20:30, 1] -= 8
    return values


def run_service(detector: Detector, values: list[bytes]) -> MemoryBroker:
    """Detect on an in-memory broker, one record a second of one key."""
    broker = MemoryBroker(now_ms=lambda: START_MS)
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    producer = broker.connect()
    producer.produce(
        OutputRecord("telemetry", b"pump-7", value, (), START_MS + 1_000 * number)
        for number, value in enumerate(values)
    )
    producer.flush(1_000)
    settings = load_settings(
        DetectSettings, stop_when_idle_s=1.0, content_type="float32", poll_records_max=7
    )
    client = broker.connect(topics=["telemetry"], group="g")
    Service(client, detector, settings, Metrics(), Clock()).run()
    assert not broker.records("dead-letters")
    return broker


def test_another_scorer_detects_on_samples() -> None:
    scorer = NearestScorer(STORED, 1.0)
    detector = build_detector(recipe_of("samples"), scorer, BUNDLE)
    values = signal(60)
    broker = run_service(detector, [each.astype("<f4").tobytes() for each in values])
    alerts = [orjson.loads(record.value or b"") for record in broker.records("alerts")]
    assert [(each["event"], each["reason"]) for each in alerts] == [
        ("open", "anomalous"),
        ("update", "severity"),
        ("close", "recovered"),
    ]
    assert {each["alert_id"] for each in alerts} == {alerts[0]["alert_id"]}
    assert alerts[0]["bundle"] == {"name": "nearest", "version": "v1"}
    assert {each["score_kind"] for each in alerts} == {"distance"}
    no_network = ("reconstruction_error", "check", "false_alarms_per_day", "p_value")
    assert {each[name] for each in alerts for name in no_network} == {None}
    assert alerts[-1]["score"] == alerts[-1]["anomaly_score"] == 4.0  # the threshold is 1
    worst = alerts[-1]["explanation"]["features"][0]
    assert (worst["feature"], worst["share"]) == (1, 1.0)
    assert (worst["expected"], worst["observed"]) == ([10.0] * N_STEPS, [2.0] * N_STEPS)
    windows = np.lib.stride_tricks.sliding_window_view(values, N_STEPS, axis=0).transpose(0, 2, 1)
    offline = score_windows(scorer, np.ascontiguousarray(windows))
    assert alerts[-1]["anomaly_score"] == offline.max() == 4.0


def test_another_scorer_detects_on_whole_windows() -> None:
    detector = build_detector(recipe_of("window"), NearestScorer(STORED, 1.0), BUNDLE)
    odd = STORED[1].copy()
    odd[:, 0] -= 4
    values = [STORED[0], odd, STORED[1]]
    broker = run_service(detector, [each.astype("<f4").tobytes() for each in values])
    (alert,) = [orjson.loads(record.value or b"") for record in broker.records("alerts")]
    assert (alert["source"]["offset"], alert["anomaly_score"]) == (1, 2.0)
    assert alert["explanation"]["features"][0]["expected"] == [2.0] * N_STEPS


def test_another_scorer_scores_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(tmp_path / "bundle", recipe_of("samples"))
    bundle, scorer = read_bundle(tmp_path / "bundle"), NearestScorer(STORED, 1.0)
    detector = build_detector(bundle.manifest.recipe, scorer, BUNDLE)
    served = Served(bundle, detector, np.zeros_like)
    for module in {
        assembly,
        *(each for name, each in sys.modules.items() if "detector.cli" in name),
    }:
        if hasattr(module, "open_bundle"):
            monkeypatch.setattr(module, "open_bundle", lambda *_, **__: served)
    values = signal(60)
    rows = [["pump-7", START_MS + 1_000 * step, *row] for step, row in enumerate(values.tolist())]
    with (tmp_path / "pump.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["key", "timestamp_ms", "level", "pressure"], *rows])
    line = ["stream-detector", "score", str(tmp_path / "bundle"), str(tmp_path / "pump.csv")]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    written = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(written) == 60 - N_STEPS + 1
    anomalous = [row for row in written if row["is_anomalous"] == "true"]
    assert max(float(row["anomaly_score"]) for row in anomalous) == 4.0
    assert {row["is_anomalous"] for row in written} == {"true", "false"}
