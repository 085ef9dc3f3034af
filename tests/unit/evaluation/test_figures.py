"""Figures of a run: events, points, windows, quantiles, and the tables made of them."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.point_metrics import vus_pr
from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import AlertSpan, evaluate_stream, labelled_events
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.evaluation.figures import (
    FloorFigures,
    StreamFigures,
    floor_figures,
    grace_ms,
    labelled_series,
    measure,
    measure_points,
    window_figures,
)
from stream_detector.evaluation.offline import PointScores, StreamRun
from stream_detector.evaluation.strangest import StrangeSpan
from stream_detector.evaluation.tables import (
    N_ALERTS_SHOWN,
    N_KEYS_SHOWN,
    false_alarm_table,
    tables,
)

RULES = WindowRules(4, 1, 2, 10.0, 40.0, 0.0, "hold", 0.5, 10_000.0)
N = 40


def samples_of(labels: NDArray[np.int8] | None, keys: tuple[str, ...] = ("a", "b")) -> Samples:
    """Return two series of `N` samples, 10 ms apart."""
    return Samples(
        keys,
        np.repeat(np.arange(len(keys)), N),
        np.tile(10.0 * np.arange(N), len(keys)),
        np.zeros((len(keys) * N, 1), np.float32),
        labels,
    )


def run_of(rows: list[int], scores: list[float], alerts: list[AlertSpan]) -> StreamRun:
    """Return a run whose windows end with the samples in some rows; the threshold is 2."""
    end_ms = np.array([10 * (row % N) for row in rows], np.int64)
    return StreamRun(
        rows=np.array(rows, np.intp),
        start_ms=end_ms - 30,
        end_ms=end_ms,
        scores=np.array(scores),
        threshold=2.0,
        alerts=alerts,
        n_missing=0,
        rejected=Counter(),
        first_rejection="",
    )


def some_labels() -> NDArray[np.int8]:
    labels = np.zeros(2 * N, np.int8)
    labels[10:14] = labels[N + 5] = 1
    return labels


def figures_of(labels: NDArray[np.int8] | None, *alerts: AlertSpan) -> StreamFigures:
    samples = samples_of(labels)
    run = run_of([3, 5, 43], [1.0, 4.0, 2.0], list(alerts))
    return measure(run, samples, labelled_events(samples), RULES)


def test_a_fault_may_be_found_until_its_last_window_ends() -> None:
    assert grace_ms(RULES) == 40.0
    late = AlertSpan("b", 90.0, 100.0)
    assert figures_of(some_labels(), late).evaluation.total.events.n_found == 1
    later = AlertSpan("b", 91.0, 100.0)
    assert figures_of(some_labels(), later).evaluation.total.events.n_found == 0


def test_scores_are_given_in_units_of_the_threshold() -> None:
    quantiles = figures_of(None).quantiles
    assert quantiles["q50"] == 1.0
    assert quantiles["max"] == 2.0
    assert list(quantiles) == ["q50", "q90", "q99", "q99.9", "max"]


def test_without_labels_alerts_are_counted_and_not_judged() -> None:
    found = figures_of(None, AlertSpan("a", 100.0, 200.0)).as_dict()
    assert found["events"] is None
    assert found["alerts"]["n_alerts"] == 1
    assert found["alerts"]["n_false"] is None
    assert found["alerts"]["false_per_day"] is None
    assert found["alerts"]["per_day"]["value"] == pytest.approx(86_400_000 / 780)
    assert found["by_key"]["a"]["events"] is None
    assert [each["opened_ms"] for each in found["alert_spans"]] == [100.0]
    assert math.isnan(found["nab_score"])
    assert (found["points"], found["windows"]) == ({}, None)


def test_an_alert_about_a_silent_key_is_neither_right_nor_wrong() -> None:
    silent = (
        AlertSpan("a", 105.0, 200.0, check="no_data"),
        AlertSpan("b", 300.0, 310.0, "", "no_data"),
    )
    missing = AlertSpan("b", 50.0, 60.0, "flow", "feature_missing")
    figures = figures_of(some_labels(), *silent, missing)
    assert figures.n_silences == 2
    assert figures.as_dict()["n_silences"] == 2
    total = figures.evaluation.total
    assert (total.alerts.n_alerts, total.alerts.n_false, total.events.n_found) == (1, 0, 1)
    assert list(figures.evaluation.by_check) == ["feature_missing"]
    rows = [row[0] for row in next(tables(figures)).rows]
    assert rows[-1] == "alerts about keys that sent nothing"


def test_the_json_has_every_figure_by_name() -> None:
    labels = some_labels()
    span = StrangeSpan("a", 0, 30, 1.5, "flow", "peak")
    figures = replace(
        figures_of(labels, AlertSpan("a", 105.0, 200.0, "", "peak")),
        strangest=[span],
        floors={"random": FloorFigures(0.25, 0.5, 1)},
    )
    found = figures.as_dict()
    assert found["events"]["n_found"] == 1
    assert found["alerts"]["n_false"] == 0
    assert found["by_check"]["peak"]["n_first"] == 1
    assert found["floors"] == {
        "random": {"vus_pr_causal": 0.25, "vus_pr_put_back": 0.5, "n_found": 1}
    }
    assert found["strangest"] == [span._asdict()]
    assert found["false_alarms"] == []
    assert 0 < found["nab_score"] < 100


def test_nab_takes_an_alert_at_the_sample_with_which_it_was_raised() -> None:
    labels = some_labels()
    first = AlertSpan("a", 90.0, 200.0, raised_ms=100.0), AlertSpan("b", 50.0, 60.0)
    assert figures_of(labels, *first).nab == 100.0
    # One that is raised after the last sample of its series counts there.
    behind = AlertSpan("b", 50.0, 60.0, raised_ms=1e9)
    assert figures_of(labels, first[0], behind).nab < 100.0


def test_metrics_of_points_are_means_over_the_series_with_events() -> None:
    labels = some_labels()
    samples = samples_of(labels, ("a", "b"))
    third = Samples(
        ("a", "b", "c"),
        np.append(samples.series, [2, 2]),
        np.append(samples.times_ms, [0.0, 10.0]),
        np.zeros((2 * N + 2, 1), np.float32),
        np.append(labels, [0, 0]).astype(np.int8),
    )
    causal = np.append(np.random.default_rng(0).random(2 * N), [9.0, 9.0])
    scores = PointScores(causal, np.full(2 * N + 2, np.nan))
    found = measure_points(scores, third, 0.5, is_adjusted=True)
    expected = [vus_pr(causal[part], labels[part]) for part in (slice(N), slice(N, 2 * N))]
    assert found["causal"].vus_pr == pytest.approx(np.mean(expected))
    assert found["causal"].point_adjusted_f1 is not None
    assert math.isnan(found["put_back"].affiliation_precision)
    assert found["put_back"].affiliation_recall == 0.0
    assert measure_points(scores, third, 0.5)["causal"].point_adjusted_f1 is None
    figures = measure(run_of([3], [1.0], []), third, labelled_events(third), RULES)
    floors = floor_figures({"x": scores}, third, figures, 20.0, 40.0)
    assert floors["x"].vus_pr_causal == found["causal"].vus_pr
    assert floors["x"].n_found == 0  # the two highest scores are no faults, and none may be false
    many = evaluate_stream([], [AlertSpan("c", 0, 5)] * 50, {"c": (0, 9)}, 0)
    allowed = replace(figures, evaluation=many)
    assert floor_figures({"x": scores}, third, allowed, 20.0, 40.0)["x"].n_found > 0


def test_a_score_at_the_threshold_predicts_nothing() -> None:
    samples = samples_of(some_labels())
    scores = PointScores(np.full(2 * N, 2.0), np.full(2 * N, 2.0))
    assert measure_points(scores, samples, 2.0)["causal"].affiliation_recall == 0.0
    assert measure_points(scores, samples, 1.9)["causal"].affiliation_recall > 0.0


def test_without_events_there_are_no_metrics_of_points() -> None:
    normal, nothing = samples_of(np.zeros(2 * N, np.int8)), samples_of(None)
    scores = PointScores(np.zeros(2 * N), np.zeros(2 * N))
    for samples in (normal, nothing):
        assert labelled_series(samples) == []
        assert measure_points(scores, samples, 1.0) == {}
        figures = measure(run_of([3], [1.0], []), samples, [], RULES)
        assert floor_figures({"x": scores}, samples, figures, 20.0, 40.0) == {}


def test_rows_of_a_series_are_in_the_order_of_time() -> None:
    samples = samples_of(some_labels(), ("a", "b"))
    order = np.argsort(-samples.times_ms, kind="stable")
    turned = Samples(
        samples.keys,
        samples.series[order],
        samples.times_ms[order],
        samples.values[order],
        some_labels()[order],
    )
    for rows, labels in labelled_series(turned):
        assert (np.diff(turned.times_ms[rows]) > 0).all()
        assert labels.tolist() == some_labels().reshape(2, N)[turned.series[rows[0]]].tolist()


def test_a_window_is_anomalous_if_any_of_its_samples_is() -> None:
    samples = samples_of(some_labels())
    # Series a: samples 10 to 13 are labelled. Series b: sample 5 is.
    rows = [9, 10, 16, 17, N + 4, N + 5, N + 8, N + 9]
    found = window_figures(run_of(rows, [1.0] * 8, []), samples, "anomaly", 10.0)
    assert found is not None
    assert (found.n_windows, found.n_anomalous) == (8, 4)
    exact = run_of([10, 16, N + 5, N + 8, 9, 17], [3.0, 3.0, 3.0, 3.0, 1.0, 1.0], [])
    found = window_figures(exact, samples, "anomaly", 10.0)
    assert found is not None
    assert found.accuracy == 1.0
    # Jitter of less than half an interval moves no sample into another window.
    moved = replace(samples, times_ms=samples.times_ms + np.tile([-4.9, 4.9], N))
    assert window_figures(exact, moved, "anomaly", 10.0) == found
    assert window_figures(exact, samples_of(None), "anomaly", 10.0) is None
    assert window_figures(run_of([], [], []), samples, "anomaly", 10.0) is None


def test_tables_say_what_is_there() -> None:
    labels = some_labels()
    samples = samples_of(labels)
    scores = PointScores(np.arange(2.0 * N), np.arange(2.0 * N))
    figures = replace(
        figures_of(labels, AlertSpan("a", 105.0, 200.0, "flow", "peak")),
        points=measure_points(scores, samples, 2.0, is_adjusted=True),
        floors={"random": FloorFigures(0.25, 0.5, 1)},
        strangest=[StrangeSpan("a", 0, 30, 1.5, "", "")],
    )
    found = {table.title: table for table in tables(figures)}
    assert list(found) == [
        "Faults and alerts",
        "By check",
        "By key",
        "Samples against their labels",
        "Floors, with 0 false alarms at most",
        "Anomaly scores of all windows",
        "The strangest spans",
    ]
    for table in found.values():
        assert all(len(row) == len(table.columns) for row in table.rows)
    rows = {row[0]: row[1:] for row in found["Faults and alerts"].rows}
    assert rows["faults found"][0] == "1 of 2"
    assert rows["delay, median"][0] == "0.005 s"
    assert rows["time on alert"][0] == "12.18%"
    points = [row[0] for row in found["Samples against their labels"].rows]
    assert points[:2] == ["VUS-PR", "affiliation precision"]
    floors = found["Floors, with 0 false alarms at most"].rows
    assert floors[0] == ("this bundle", *(each.vus_pr for each in figures.points.values()), 1)
    assert floors[1] == ("random", 0.25, 0.5, 1)
    assert found["The strangest spans"].rows[0] == (
        "a", "1970-01-01T00:00:00.000Z", "0.03 s", 1.5, None
    )  # fmt: skip


def test_false_alarms_are_listed_with_what_they_say() -> None:
    alerts = [
        AlertSpan("a", 300.0, 2_300.0, "flow", "peak", None, "flow jumped"),
        AlertSpan("b", 250.0, 260.0),
        AlertSpan("a", 105.0, 200.0),
    ]
    figures = figures_of(some_labels(), *alerts)
    assert [each.opened_ms for each in figures.false_alarms] == [250.0, 300.0]
    table = false_alarm_table(figures)
    assert table.title == "False alarms"
    assert table.rows == [
        ("b", "1970-01-01T00:00:00.250Z", "0.01 s", None, None, None),
        ("a", "1970-01-01T00:00:00.300Z", "2 s", "peak", "flow", "flow jumped"),
    ]
    unchecked = replace(figures, false_alarms=alerts[1:])
    assert "check" not in false_alarm_table(unchecked).columns
    assert len(false_alarm_table(unchecked).rows[0]) == 5
    many = replace(figures, events=None, false_alarms=alerts[:1] * (N_ALERTS_SHOWN + 1))
    table = false_alarm_table(many)
    assert table.title == f"Alerts in the order of time, the first of {N_ALERTS_SHOWN + 1}"
    assert len(table.rows) == N_ALERTS_SHOWN


def test_a_figure_that_is_not_there_is_none() -> None:
    labels = some_labels()
    samples = samples_of(labels)
    nothing = PointScores(np.full(2 * N, np.nan), np.full(2 * N, np.nan))
    points = measure_points(nothing, samples, 2.0)
    found = {table.title: table for table in tables(replace(figures_of(labels), points=points))}
    rows = {row[0]: row[1:] for row in found["Samples against their labels"].rows}
    assert rows["affiliation precision"] == (None, None)
    assert {row[0]: row[1] for row in found["Faults and alerts"].rows}["delay, median"] is None


def test_tables_without_labels_speak_of_alerts_only() -> None:
    found = {
        table.title: table for table in tables(figures_of(None, AlertSpan("a", 1.0, 9.0, "", "x")))
    }
    assert list(found) == ["Alerts", "By check", "By key", "Anomaly scores of all windows"]
    assert [row[0] for row in found["Alerts"].rows] == [
        "alerts", "alerts a day and key", "time on alert"
    ]  # fmt: skip
    assert found["By key"].columns == ("key", "alerts", "time on alert")
    assert found["By check"].rows == [("x", 1)]


@pytest.mark.parametrize("n_keys", [N_KEYS_SHOWN, N_KEYS_SHOWN + 1])
def test_of_many_keys_those_with_most_to_see_are_shown(n_keys: int) -> None:
    keys = tuple(f"k{number}" for number in range(n_keys))
    samples = samples_of(None, keys)
    alerts = [AlertSpan(keys[-1], 1.0, 2.0)]
    figures = measure(run_of([3], [1.0], alerts), samples, [], RULES)
    table = next(each for each in tables(figures) if each.title.startswith("By key"))
    assert len(table.rows) == N_KEYS_SHOWN
    assert table.rows[0][0] == keys[-1]
    assert table.title == ("By key" if n_keys == N_KEYS_SHOWN else "By key, and 1 more")
