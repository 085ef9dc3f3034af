"""The offline run: scores and alerts are those of a stream, each sample gets its scores."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from detectors import make_sample_detector  # tests/support

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch, RecordMetadata, Samples, series_columns
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets.windowing import cut_with_rows, join_windows
from stream_detector.evaluation.offline import newest_windows, point_scores, run_offline, spans_of

NOW_MS = 1_767_225_600_000.0
RULES = WindowRules(4, 1, 1, 10.0, 40.0, 0.0, "hold", 0.5, 10_000.0)
ALERTING = AlertRules(1, 1, 60_000, 30, 0, 600_000, 10, 600_000, (("warning", 1.0),))


def detector_of(alerting: AlertRules = ALERTING, **changes: Any) -> SampleDetector:
    rules = replace(RULES, **changes)
    features = Features(("flow", "heat")[: rules.n_features])
    return make_sample_detector(rules, alerting, features=features)


def samples_of(*values: list[float], jitter: bool = False) -> Samples:
    """Return series `a`, `b` and so on, of one value a sample, mixed in time."""
    rng = np.random.default_rng(0)
    n_series, n_samples = len(values), max(map(len, values))
    rows = [(n, s) for s in range(n_samples) for n in range(n_series) if s < len(values[n])]
    times = np.array([NOW_MS + 10 * s + n for n, s in rows])
    if jitter:
        times = np.round(times + rng.uniform(-2, 2, len(times)), 3)
    return Samples(
        keys=tuple("abc"[:n_series]),
        series=np.array([n for n, _ in rows], np.intp),
        times_ms=times,
        values=np.array([[values[n][s]] for n, s in rows], np.float32),
    )


def test_the_newest_window_ends_with_the_sample_however_long_samples_wait() -> None:
    samples = samples_of([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 0.0, 0.0])
    for lateness_ms, expected in ((0.0, [-1, -1, -1, 0, 0, 1]), (15.0, [-1, -1, -1, 0, 0, 0])):
        detector = detector_of(stride=2, allowed_lateness_ms=lateness_ms)
        run = run_offline(detector, samples)
        newest = newest_windows(run, samples, 10.0)
        # With lateness the last window is only complete once a later sample comes.
        assert newest[samples.series == 0].tolist() == expected
        assert newest[samples.series == 1].tolist() == [-1, -1, -1]


def test_samples_without_any_window_have_no_newest_one() -> None:
    samples = samples_of([0.0, 1.0])
    assert newest_windows(run_offline(detector_of(), samples), samples, 10.0).tolist() == [-1, -1]


def test_alerts_are_told_as_they_come() -> None:
    samples = samples_of([0.0] * 8 + [9.0] * 4 + [0.0] * 12)
    told: list[Any] = []
    run = run_offline(detector_of(), samples, told.append)
    assert [each.event for each in told] == ["open", "close"]
    assert [each.opened_ms for each in run.alerts] == [told[0].opened_ms]


def live(detector: SampleDetector, samples: Samples, n_at_once: int) -> list[Any]:
    """Return scores and alerts of a stream of these samples, in batches of another size."""
    state: Any = detector.initial_state()
    scores, alerts = [], []
    order = np.argsort(samples.times_ms, kind="stable").tolist()
    for start in range(0, len(order), n_at_once):
        rows = order[start : start + n_at_once]
        found = [
            RecordMetadata(
                "live", 0, start + at, -1, samples.keys[samples.series[row]].encode(), ()
            )
            for at, row in enumerate(rows)
        ]
        values = [
            orjson.dumps(
                {
                    "values": [None if np.isnan(x) else float(x) for x in samples.values[row]],
                    "timestamp_ms": float(samples.times_ms[row]),
                }
            )
            for row in rows
        ]
        batch = RecordBatch.from_columns(
            "live", values, series_columns(found), range(start, start + len(rows))
        )
        step = detector.step(state, batch)
        scores += step.scores.scores.tolist()
        alerts += [(each.alert.event, each.alert.event_time_ms) for each in step.alerts]
        state = step.state
    return [scores, alerts]


def test_scores_and_alerts_are_those_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_detector.evaluation.offline.SAMPLES_AT_ONCE", 13)
    rng = np.random.default_rng(1)
    signal = [[float(x) for x in rng.normal(0, 0.8, 60)] for _ in range(3)]
    signal[0][30:34] = [9.0] * 4
    samples, detector = samples_of(*signal, jitter=True), detector_of(stride=2)
    run = run_offline(detector, samples)
    scores, alerts = live(detector, samples, 7)
    assert run.scores.tolist() == scores
    assert len(scores) > 50
    opened = [time for event, time in alerts if event == "open"]
    closed = [time for event, time in alerts if event == "close"]
    assert sorted(span.opened_ms for span in run.alerts) == sorted(opened)
    assert set(closed) <= {span.closed_ms for span in run.alerts}
    assert run.threshold == 1.0


def test_an_alert_has_its_feature_and_the_time_at_which_it_was_raised() -> None:
    values = [0.0] * 6 + [9.0] + [0.0] * 20
    run = run_offline(detector_of(allowed_lateness_ms=20.0), samples_of(values))
    assert len(run.alerts) == 1
    alert = run.alerts[0]
    assert (alert.key, alert.feature, alert.check) == ("a", "flow", "")
    # A sample is used once its key is more than the allowed lateness ahead of it.
    assert alert.opened_ms == NOW_MS + 60
    assert alert.raised_ms == NOW_MS + 90
    assert alert.closed_ms == NOW_MS + 90 + 30


def test_an_open_alert_ends_with_its_series() -> None:
    run = run_offline(detector_of(), samples_of([0.0] * 6 + [9.0, 9.0], [0.0] * 30))
    assert [alert.closed_ms for alert in run.alerts] == [NOW_MS + 70]


def test_an_alert_that_continues_another_is_part_of_it() -> None:
    alerting = replace(ALERTING, open_ms_max=100)
    run = run_offline(detector_of(alerting), samples_of([0.0] * 6 + [9.0] * 60 + [0.0] * 30))
    assert len(run.alerts) == 1
    assert run.alerts[0].closed_ms - run.alerts[0].opened_ms > 600


def test_an_alert_about_missing_data_names_its_reason_as_check() -> None:
    values = [0.0] * 40
    both = samples_of(values, values)
    gone = (both.series == 1) & (both.times_ms > NOW_MS + 100)
    kept = Samples(both.keys, both.series[~gone], both.times_ms[~gone], both.values[~gone])
    run = run_offline(detector_of(no_data_after_ms=50.0), kept)
    assert [(alert.key, alert.check) for alert in run.alerts] == [("b", "no_data")]


def test_rejected_samples_are_counted_with_the_reason_of_the_first() -> None:
    samples = samples_of([0.0, 1e30] + [0.0] * 5)
    run = run_offline(detector_of(), samples)
    assert run.rejected == {"RecordValueError": 1}
    assert "received 1e+30" in run.first_rejection
    assert run_offline(detector_of(), samples_of([0.0])).first_rejection == ""


def test_no_samples_give_nothing() -> None:
    nothing = Samples(("a",), np.empty(0, np.intp), np.empty(0), np.empty((0, 1), np.float32))
    run = run_offline(detector_of(), nothing)
    assert (len(run.scores), len(run.alerts)) == (0, 0)
    assert spans_of(nothing) == {}
    assert len(point_scores(run, nothing, 10.0).causal) == 0


def test_a_causal_score_is_that_of_the_newest_finished_window() -> None:
    samples = samples_of([0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 8.0, 0.0], [2.0] * 5)
    run = run_offline(detector_of(stride=2), samples)
    causal = point_scores(run, samples, 10.0).causal
    nan = np.nan
    np.testing.assert_array_equal(
        causal[samples.series == 0], [nan, nan, nan, 1.0, 1.0, 1.0, 1.0, 2.0]
    )
    np.testing.assert_array_equal(causal[samples.series == 1], [nan, nan, nan, 2.0, 2.0])


@pytest.mark.parametrize("jitter", [False, True])
def test_a_put_back_score_is_the_mean_of_the_windows_over_a_sample(jitter: bool) -> None:
    rng = np.random.default_rng(2)
    signal = [[float(x) for x in rng.normal(0, 0.5, 40)] for _ in range(2)]
    samples, detector = samples_of(*signal, jitter=jitter), detector_of(stride=3)
    gap = (
        (samples.series == 0)
        & (samples.times_ms > NOW_MS + 100)
        & (samples.times_ms < NOW_MS + 200)
    )
    samples = Samples(
        samples.keys, samples.series[~gap], samples.times_ms[~gap], samples.values[~gap]
    )
    run = run_offline(detector, samples)
    windows, rows = cut_with_rows(samples, detector.windows)
    assert windows.end_ms.tolist() == run.end_ms.tolist()
    errors = np.repeat(run.scores[:, np.newaxis, np.newaxis], 4, axis=1)
    expected = join_windows(errors, rows, len(samples))[:, 0]
    np.testing.assert_allclose(point_scores(run, samples, 10.0).put_back, expected, rtol=1e-12)
    assert np.isnan(expected).any()


def test_a_window_may_be_one_sample() -> None:
    samples, detector = samples_of([2.0, 0.0, 0.0]), detector_of(n_steps=1)
    run = run_offline(detector, samples)
    assert (point_scores(run, samples, 10.0).causal > 0).tolist() == [True, False, False]


def test_put_back_scores_keep_small_values_beside_large_ones() -> None:
    samples = samples_of([1e9] * 4 + [0.0] * 8 + [1e-3] * 8)
    run = run_offline(detector_of(), samples)
    assert point_scores(run, samples, 10.0).put_back[-1] == np.float32(1e-3)


def test_the_order_of_the_samples_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    samples = samples_of(*([float(x) for x in rng.normal(0, 2, 30)] for _ in range(2)))
    order = np.argsort(samples.series, kind="stable")
    sorted_ = Samples(
        samples.keys, samples.series[order], samples.times_ms[order], samples.values[order]
    )
    detector = detector_of()
    first, second = run_offline(detector, samples), run_offline(detector, sorted_)
    assert first.alerts == second.alerts
    one, two = point_scores(first, samples, 10.0), point_scores(second, sorted_, 10.0)
    np.testing.assert_array_equal(one.causal[order], two.causal)
    np.testing.assert_array_equal(one.put_back[order], two.put_back)


def test_spans_have_the_first_and_the_last_time_of_each_series() -> None:
    assert spans_of(samples_of([0.0] * 3, [0.0])) == {
        "a": (NOW_MS, NOW_MS + 20),
        "b": (NOW_MS + 1, NOW_MS + 1),
    }
