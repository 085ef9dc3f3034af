"""The strangest spans: which they are, and what an alert about them would name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detectors import make_sample_detector  # tests/support
from pulses import STRANGE, pulses, serve_pulses

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features
from stream_detector.core.records import Samples
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.evaluation.offline import run_offline
from stream_detector.evaluation.strangest import find_strangest

RULES = WindowRules(4, 2, 2, 10.0, 40.0, 0.0, "hold", 0.5, 10_000.0)
ALERTING = AlertRules(3, 5, 60_000, 30, 0, 600_000, 10, 600_000, (("warning", 1.0),))


def detector_of(**changes: float) -> SampleDetector:
    features = Features(("flow", "heat"))
    return make_sample_detector(replace(RULES, **changes), ALERTING, features=features)  # type: ignore[arg-type]


def samples_of(n: int = 40) -> Samples:
    """Return two series: `a` has flow 8 at sample 20, `b` heat -4 at sample 10 and 1 at 30."""
    values = np.zeros((2, n, 2), np.float32)
    for series, at, feature, value in ((0, 20, 0, 8.0), (1, 10, 1, -4.0), (1, 30, 1, 1.0)):
        values[series, at : at + 1, feature] = value
    return Samples(
        ("a", "b"),
        np.repeat([0, 1], n),
        np.tile(10.0 * np.arange(n), 2) + 1_767_225_600_000.0,
        values.reshape(-1, 2),
    )


def test_the_strangest_spans_do_not_overlap_and_name_their_feature() -> None:
    samples, detector = samples_of(), detector_of()
    run = run_offline(detector, samples)
    assert run.alerts == []  # so many windows in a row would have to be anomalous
    found = find_strangest(detector, samples, run)
    assert [(each.key, each.feature) for each in found] == [
        ("a", "flow"), ("b", "heat"), ("b", "heat")
    ]  # fmt: skip
    assert [each.anomaly_score for each in found] == [1.0, 0.5, 0.125]
    assert all(each.end_ms - each.start_ms == 30 for each in found)
    assert all(each.sentence.startswith(each.feature) for each in found)
    assert found[0].start_ms <= 1_767_225_600_200 <= found[0].end_ms


@pytest.mark.parametrize("other", [20, 22])
def test_spans_that_share_one_sample_overlap(other: int) -> None:
    """Windows end at sample 21 and begin there; the other value is in one of them alone."""
    samples, detector = samples_of(), detector_of(stride=3)
    values = np.zeros_like(samples.values)
    values[[21, other], 0] = 8.0
    samples = replace(samples, values=values)
    (found,) = find_strangest(detector, samples, run_offline(detector, samples))
    assert (found.key, found.anomaly_score) == ("a", 2.0)


def test_no_more_spans_are_named_than_asked_for() -> None:
    samples, detector = samples_of(), detector_of()
    run = run_offline(detector, samples)
    assert len(find_strangest(detector, samples, run, 2)) == 2
    assert find_strangest(detector, samples, run, 0) == []


def test_a_span_is_explained_though_samples_wait_and_some_are_missing() -> None:
    samples, detector = samples_of(), detector_of(allowed_lateness_ms=25.0)
    kept = ~np.isin(np.arange(80), [23, 53])
    samples = Samples(
        samples.keys, samples.series[kept], samples.times_ms[kept], samples.values[kept]
    )
    run = run_offline(detector, samples)
    assert [each.feature for each in find_strangest(detector, samples, run)][:2] == ["flow", "heat"]


def test_without_windows_nothing_is_strange() -> None:
    samples, detector = samples_of(3), detector_of()
    assert find_strangest(detector, samples, run_offline(detector, samples)) == []


def test_spans_round_peaks_are_explained_each_by_its_own_window(tmp_path: Path) -> None:
    samples, detector = pulses(), serve_pulses(tmp_path / "bundle").detector
    assert isinstance(detector, SampleDetector)
    values = samples.values.copy()
    # Strange, too, and just before the strangest: an alert about it may be open then.
    n = 100 * STRANGE[0]
    values[n - 60 : n - 39, 0] = samples.values[n + 40 : n + 61, 1]
    samples = replace(samples, values=values)
    run = run_offline(detector, samples)
    found = find_strangest(detector, samples, run, 3)
    assert sorted((each.start_ms, each.feature) for each in found) == [
        (1_767_225_600_000 + 1_000 * number + 300, feature)
        for number, feature in (
            (STRANGE[0] - 1, "flow"),
            (STRANGE[0], "heat"),
            (STRANGE[1], "heat"),
        )
    ]
    assert all(each.sentence.startswith(each.feature) for each in found)
