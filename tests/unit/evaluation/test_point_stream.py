"""The scores of samples that come some at a time are those of all at once, bit for bit."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectors import make_sample_detector  # tests/support
from rhythms import pulses

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features
from stream_detector.core.records import Samples
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets.cutting import some_samples
from stream_detector.evaluation import point_stream
from stream_detector.evaluation.offline import point_scores, run_offline
from stream_detector.evaluation.point_stream import PointStream, ScoredPoints
from stream_detector.recipes import load_recipe

BEATS = Path(__file__).parents[3] / "models" / "mitdb-beats.toml"
N_KEYS, NOW_MS = 4, 1_767_225_600_000.0
RULES = WindowRules(4, 1, 1, 10.0, 40.0, 0.0, "hold", 0.5, 10_000.0)
ALERTING = AlertRules(1, 1, 60_000, 30, 0, 600_000, 10, 600_000, (("warning", 1.0),))


def detector_of(**changes: Any) -> SampleDetector:
    return make_sample_detector(replace(RULES, **changes), ALERTING, features=Features(("flow",)))


def samples_of(seed: int, n_samples: int = 600) -> Samples:
    """Return samples in order of time, with jitter, repeats, gaps, jumps and missing values."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0.0, 1.0, 2.5, 10.0], n_samples, p=[0.1, 0.6, 0.2, 0.1])
    jumps = rng.choice([0.0, 45.0, 500.0, 20_000.0], n_samples, p=[0.98, 0.01, 0.006, 0.004])
    weights = np.array([0.6, 0.25, 0.14, 0.01])[rng.permutation(N_KEYS)]
    values = np.round(rng.normal(0, 1, (n_samples, 1)), 3)
    values[rng.random(n_samples) < 0.05] = np.nan
    values[(rng.random(n_samples) < 0.05) | (np.arange(n_samples) // 70 % 3 == 1)] = 1e30
    return Samples(
        tuple("dabc"),
        rng.choice(N_KEYS, n_samples, p=weights),
        (NOW_MS + np.cumsum(steps + jumps)).astype(np.float64),
        values,
    )


def parts_of(samples: Samples, n_at_once: int) -> Iterator[Samples]:
    """Yield samples with their number beside their values."""
    numbered = np.column_stack([samples.values, np.arange(len(samples))])
    samples = replace(samples, values=numbered)
    for start in range(0, len(samples), n_at_once):
        yield some_samples(samples, slice(start, start + n_at_once))


CHANGES: list[dict[str, Any]] = [
    {},
    {"stride": 3},
    {"n_steps": 9, "stride": 2, "gap_ms_max": 90.0, "missing_share_max": 0.9},
    {"allowed_lateness_ms": 25.0},
    {"allowed_lateness_ms": 300.0, "missing": "interpolate", "n_steps": 7},
    {"key_ttl_ms": 400.0, "sample_interval_ms": 4.0, "gap_ms_max": 16.0},
]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rules", CHANGES)
def test_scores_are_those_of_all_samples(
    monkeypatch: pytest.MonkeyPatch, rules: dict[str, Any], seed: int
) -> None:
    n_at_once = (3, 17, 40)[seed % 3]
    monkeypatch.setattr(point_stream, "_SAMPLES_AT_ONCE", (1, 30)[seed % 2])
    monkeypatch.setattr(point_stream, "_COVERED_AT_ONCE", (1, 50, 1_000)[seed % 3])
    samples, detector = samples_of(seed), detector_of(**rules)
    run = run_offline(detector, samples)
    expected = point_scores(run, samples, detector.windows.sample_interval_ms)
    stream = PointStream(detector)
    parts = list(stream.score(parts_of(samples, n_at_once)))
    found = joined(parts)
    rows = found.numbers.astype(np.intp)
    assert sorted(rows.tolist()) == list(range(len(samples)))
    np.testing.assert_array_equal(found.causal, expected.causal[rows])
    np.testing.assert_array_equal(found.put_back, expected.put_back[rows])
    np.testing.assert_array_equal(found.series, samples.series[rows])
    np.testing.assert_array_equal(found.times_ms, samples.times_ms[rows])
    assert (stream.rejected, stream.first_rejection) == (run.rejected, run.first_rejection)
    assert np.isfinite(expected.put_back).any()
    assert run.rejected


def joined(parts: list[ScoredPoints]) -> ScoredPoints:
    columns = zip(*(each[1:] for each in parts), strict=True)
    return ScoredPoints(parts[0].keys, *map(np.concatenate, columns))


def test_samples_wait_no_longer_than_a_window_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_stream, "_SAMPLES_AT_ONCE", 1)
    n_samples = 100
    times = NOW_MS + 10 * np.arange(float(n_samples))
    one = Samples(("a",), np.zeros(n_samples, np.intp), times, np.zeros((n_samples, 1)))
    detector = detector_of(stride=2)
    n_known, most = 0, 0
    for number, part in enumerate(PointStream(detector).score(parts_of(one, 1))):
        n_known += len(part.numbers)
        if number < n_samples:
            most = max(most, number + 1 - n_known)
            if number == 13:
                assert n_known == 2  # 130 is the newest but one: 0 and 10 are more than 110 before
    # 90 ms are needed, two intervals spare, and the newest is not counted.
    assert most <= 9 + 2 + 2 + 13
    assert n_known == n_samples


@pytest.mark.parametrize(
    # Of a key that is too long the detector knows nothing.
    ("key", "n_normal", "n_waiting"),
    [("x" * 9_000, 200, 6), ("a", 0, 6), ("a", 100, 13 + 2 + 6)],
)
def test_samples_that_cannot_be_used_do_not_wait_for_long(
    monkeypatch: pytest.MonkeyPatch, key: str, n_normal: int, n_waiting: int
) -> None:
    monkeypatch.setattr(point_stream, "_SAMPLES_AT_ONCE", 1)
    times = NOW_MS + 10 * np.arange(200.0)
    values = np.where(np.arange(200) < n_normal, 0, 1e30)[:, None]
    one = Samples((key,), np.zeros(200, np.intp), times, values)
    stream = PointStream(detector_of())
    known = [len(part.numbers) for part in stream.score(parts_of(one, 1))]
    assert sum(stream.rejected.values()) == 200 - (n_normal if key == "a" else 0)
    assert known[-1] == n_waiting
    assert sum(known) == 200


@pytest.mark.parametrize("pause", [[], ["check=[{kind='shape'},{kind='rhythm'}]"]])
def test_scores_of_windows_round_peaks_are_those_of_all_samples(
    monkeypatch: pytest.MonkeyPatch, pause: list[str]
) -> None:
    monkeypatch.setattr(point_stream, "_SAMPLES_AT_ONCE", 50)
    changes = ["window.steps=20", "window.sample_interval_ms=10", "training.trim=false"]
    changes += [*pause, *(["peaks.pause_ms=2000"] if pause else [])]
    rules = load_recipe(BEATS, changes).rules
    rng, n_samples = np.random.default_rng(0), 6_000
    places = 40 + np.cumsum(rng.integers(60, 90, n_samples // 60))
    places = places[(places < n_samples - 40) & ~((places > 3_000) & (places < 3_500))]
    beats = [pulses(places.tolist(), n_samples, seed) for seed in range(2)]
    values = np.stack(beats, axis=1).astype(np.float64)
    times = NOW_MS + 10 * np.arange(n_samples) + 900.0 * (np.arange(n_samples) > 1_500)
    samples = Samples(("a",), np.zeros(n_samples, np.intp), times, values)
    detector = make_sample_detector(rules, ALERTING, features=Features(("II", "V1")))
    expected = point_scores(run_offline(detector, samples), samples, 10.0)
    found = joined(list(PointStream(detector).score(parts_of(samples, 64))))
    rows = found.numbers.astype(np.intp)
    assert len(rows) == n_samples
    np.testing.assert_array_equal(found.causal, expected.causal[rows])
    np.testing.assert_array_equal(found.put_back, expected.put_back[rows])
    assert np.isfinite(expected.put_back).sum() > 500
