"""Open alerts of one incident are one row, across partitions."""

from typing import Any

import pytest

from stream_detector.core.alerting.alert import Alert, AlertEvent, Source
from stream_detector.core.records import BundleReference
from stream_detector.web import incident_rows
from stream_detector.web.alert_board import AlertBoard
from stream_detector.web.incident_rows import OTHERS_MAX, rows_of


def shown(key: str, score: float | None, incident: str | None, at_ms: int = 0) -> dict[str, Any]:
    return {
        "key": key,
        "score": score,
        "incident": incident,
        "event_time_ms": at_ms,
        "heat_map": "long",
    }


def table(rows: list[dict[str, Any]]) -> list[Any]:
    return [
        (each["key"], each["n_alerts"], each["n_keys"], [other["key"] for other in each["others"]])
        for each in rows
    ]


def test_an_incident_is_one_row_of_its_worst_alert() -> None:
    alerts = [
        shown("a", 2.0, "x"),
        shown("b", 5.0, "x"),
        shown("c", 3.0, None),
        shown("d", None, "y"),
        shown("b", 1.5, "x"),
    ]
    rows = rows_of(alerts, {"x": 0, "y": 1_000}, 999, 10)
    assert table(rows) == [("b", 3, 2, ["a", "b"]), ("c", 1, 1, []), ("d", 1, 1, [])]
    assert all("heat_map" not in each for row in rows for each in [row, *row["others"]])
    assert table(rows_of(alerts, {"x": 0, "y": 1_000}, 999, 2)) == table(rows)[:2]


@pytest.mark.parametrize(
    ("within_ms", "n_rows"), [(None, 3), (99, 3), (100, 2), (199, 2), (200, 1)]
)
def test_incidents_of_several_partitions_are_one_by_the_first_of_them(
    within_ms: int | None, n_rows: int
) -> None:
    alerts = [shown(key, 2.0, key) for key in "abc"]
    assert len(rows_of(alerts, {"b": 100, "a": 0, "c": 200}, within_ms, 10)) == n_rows


def test_a_row_is_bounded() -> None:
    alerts = [shown(f"k{number}", 2.0, "x") for number in range(OTHERS_MAX + 2)]
    (row,) = rows_of(alerts, {"x": 0}, 1, 10)
    assert (row["n_alerts"], len(row["others"])) == (OTHERS_MAX + 2, OTHERS_MAX)


def test_all_rows_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incident_rows, "ALL_OTHERS_MAX", 7)
    alerts = [
        shown(f"{name}{number}", 9.0 - place, name)
        for place, name in enumerate("abc")
        for number in range(5)
    ]
    rows = rows_of(alerts, dict.fromkeys("abc", 0) | {"b": 10, "c": 20}, 1, 10)
    assert [len(each["others"]) for each in rows] == [4, 3, 0]
    assert [each["n_alerts"] for each in rows] == [5, 5, 5]


def event(key: str, opened_ms: int, incident: str, kind: AlertEvent = "open") -> Alert:
    number = 1 if kind == "open" else 2
    return Alert(
        *(1, key, kind, number, key, opened_ms, opened_ms),
        source=Source("t", 0, 1),
        reconstruction_error=1.0,
        threshold=1.0,
        anomaly_score=2.0,
        severity="warning",
        bundle=BundleReference("b", "v"),
        explanation=None,
        event_time_ms=opened_ms,
        opened_ms=opened_ms,
        last_anomalous_ms=opened_ms,
        n_windows=1,
        n_anomalous=1,
        reason="anomalous",
        continues_alert_id=None,
        is_summary=False,
        n_alerts=1,
        detected_at_ms=opened_ms,
        incident_id=incident,
    )


def test_the_board_knows_when_an_incident_began_after_its_first_alert_has_closed() -> None:
    board = AlertBoard(closes=True, incident_within_ms=100)
    for each in (event("a", 1_000, "x"), event("b", 1_090, "x"), event("c", 1_180, "y")):
        board.add(each)
    board.add(event("a", 1_000, "x", "close"))
    picture = board.picture(2_000)
    assert picture["n_open"] == 2
    assert [each["n_alerts"] for each in picture["open"]] == [1, 1]  # 180 ms from x to y
    board.add(event("d", 1_080, "y"))
    (row,) = board.picture(2_000)["open"]
    assert (row["n_alerts"], row["n_keys"]) == (3, 3)
