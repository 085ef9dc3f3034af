"""ECG5000's beats one after the other, as samples: the verdicts of the tutorial's whole windows."""

from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from detectors import PUMPS, make_scorer
from numpy.typing import NDArray
from present import present

from stream_detector.assembly import build_detector
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import FloatArray, RecordBatch
from stream_detector.core.results import Step
from stream_detector.core.scoring.scaling import fit_scaler
from stream_detector.datasets import Dataset, load_samples
from stream_detector.datasets.cutting import some_samples
from stream_detector.recipes import load_recipe
from stream_detector.replay import ReplayOptions, SampleReplayOptions, replay, replay_samples
from stream_detector.service import Service
from stream_detector.settings import DetectSettings, load_settings
from stream_detector.telemetry import Metrics
from stream_detector.training import load_windows

pytestmark = pytest.mark.usefixtures("mirror")

MODELS = Path(__file__).parents[3] / "models"
WHOLE, RAW = (load_recipe(MODELS / f"{name}.toml") for name in ("ecg5000-dense", "ecg5000-raw"))
N_BEATS = 400
BEAT_MS = 700


class Clock:
    """A tenth of a second goes by at each look."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return 1_767_225_600_000

    def monotonic_s(self) -> float:
        self.now_s += 0.1
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Found(NamedTuple):
    """Scores of the beats, and the events of alerts."""

    scores: NDArray[np.float64]
    events: list[dict[str, Any]]


def middle_of(windows: FloatArray) -> FloatArray:
    """Stand for a network: each value is the mean of those beside it."""
    return (np.roll(windows, 2, axis=1) + np.roll(windows, -2, axis=1)) / np.float32(2)


@pytest.fixture(scope="module")
def beats() -> Dataset:
    return load_windows(WHOLE)


def run(beats: Dataset, chunk: int | None, threshold: float) -> Found:
    """Detect on the first test beats as whole windows, or as so many samples a record."""
    recipe = WHOLE if chunk is None else RAW
    scaler = fit_scaler("min-max", beats.train)
    scorer = make_scorer(reconstruct=middle_of, scaler=scaler, threshold=threshold)
    detector = build_detector(recipe, scorer, PUMPS, 64)
    broker = MemoryBroker(now_ms=lambda: 0)
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic)
    client, clock = broker.connect(), Clock()
    if chunk is None:
        options = ReplayOptions(content_type="float32")
        replay(beats.test[:N_BEATS], client, "telemetry", options=options, clock=clock)
    else:
        samples = load_samples("ecg5000-raw", series="tutorial").test
        samples = some_samples(samples, np.arange(N_BEATS * 140))
        sending = SampleReplayOptions(5.0, chunk, content_type="float32")
        replay_samples(samples, client, "telemetry", options=sending, clock=clock)
    steps: list[Step] = []

    def on_step(batch: RecordBatch, step: Step) -> None:
        del batch
        steps.append(step)

    settings = load_settings(DetectSettings, stop_when_idle_s=1.0, poll_records_max=100)
    reader = broker.connect(topics=["telemetry"], group="g")
    service = Service(reader, detector, settings, Metrics(), clock)
    service.add_observer(on_step)
    service.run()
    assert not broker.records("dead-letters")
    events = [orjson.loads(present(value)) for _, value in broker.records("alerts")]
    return Found(np.concatenate([step.scores.scores for step in steps]), events)


def test_training_sees_the_windows_and_labels_of_the_tutorial(beats: Dataset) -> None:
    raw = load_windows(RAW)
    assert raw.fingerprint == beats.fingerprint
    assert raw.origin == beats.origin == ()
    same = ("network", "scaling", "training", "threshold", "scorer", "evaluation", "published")
    for section in same:
        assert getattr(RAW, section) == getattr(WHOLE, section)


@pytest.mark.parametrize("chunk", [36, 997])
def test_samples_give_the_verdicts_of_whole_windows(beats: Dataset, chunk: int) -> None:
    scaler = fit_scaler("min-max", beats.train)
    scorer = make_scorer(reconstruct=middle_of, scaler=scaler)
    errors = scorer.score(beats.test[:N_BEATS]).scores
    threshold = float(np.sort(errors)[N_BEATS // 2])  # one beat is exactly there
    whole, raw = (run(beats, each, threshold) for each in (None, chunk))
    np.testing.assert_array_equal(whole.scores, errors)
    np.testing.assert_array_equal(raw.scores, errors)
    is_anomalous = errors > threshold
    assert is_anomalous.sum() == N_BEATS // 2 - 1
    assert len(whole.events) == N_BEATS // 2 - 1
    assert {event["event"] for event in whole.events} == {"open"}
    check_alerts_are_runs(raw.events, is_anomalous, errors)


def check_alerts_are_runs(
    events: list[dict[str, Any]], is_anomalous: NDArray[np.bool_], errors: NDArray[np.float64]
) -> None:
    """An alert opens with the first anomalous beat and closes with the first normal one after."""
    start_ms = int(load_samples("ecg5000-raw", series="tutorial").test.times_ms[0])
    assert start_ms % BEAT_MS == 0
    runs = [
        list(run) for is_bad, run in groupby(range(N_BEATS), is_anomalous.__getitem__) if is_bad
    ]
    opens = [event for event in events if event["event"] == "open"]
    closes = [event for event in events if event["event"] == "close"]
    assert [event["window_start_ms"] for event in opens] == [
        start_ms + BEAT_MS * run[0] for run in runs
    ]
    over = [run for run in runs if run[-1] + 1 < N_BEATS]
    assert len(closes) == len(over)
    for event, run in zip(closes, over, strict=True):
        assert (event["key"], event["reason"]) == ("chf07", "recovered")
        assert event["n_anomalous"] == len(run)
        assert event["event_time_ms"] == start_ms + BEAT_MS * (run[-1] + 2) - 5
        assert event["score"] == errors[run].max()
