"""What the page keeps is bounded, whatever comes, and is right at the bounds."""

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from alerts import make_alert

import stream_detector.web.alert_board as boards
from stream_detector.core.alerting.alert import Alert
from stream_detector.core.records import BundleReference, RecordMetadata
from stream_detector.core.scoring.explanation import Explanation, ImageExplanation
from stream_detector.core.timestamps import AHEAD_MS_MAX
from stream_detector.web import lanes
from stream_detector.web.alert_board import AlertBoard
from stream_detector.web.lanes import BIN_MS, N_BINS, Lanes

NOW_MS = 1_767_225_600_000


def alert(number: int, event: Any = "open", event_number: int = 1, **changes: Any) -> Alert:
    """Return an event of an alert."""
    nothing = Explanation(0, 0, (), (), (), 0.0, 0)
    metadata = RecordMetadata("telemetry", 0, number, 0, b"pump", ())
    made = make_alert(metadata, (0, 0), (2.0, 1.0, "high"), BundleReference("b", "v"), nothing)
    facts = {"alert_id": f"{number:032x}", "detected_at_ms": NOW_MS, **changes}
    return replace(made, event=event, event_number=event_number, **facts)


def open_ids(board: AlertBoard, now_ms: int = NOW_MS) -> list[int]:
    return [int(each["id"], 16) for each in board.picture(now_ms)["open"]]


def test_open_alerts_stand_worst_first_and_those_without_a_score_last() -> None:
    board = AlertBoard(closes=True)
    for number, score in enumerate((2.0, None, 7.5, 2.0)):
        board.add(alert(number, anomaly_score=score, event_time_ms=number))
    assert open_ids(board) == [2, 3, 0, 1]


def test_repeated_and_late_events_change_nothing() -> None:
    board = AlertBoard(closes=True)
    events = [alert(1), alert(1, "update", 2), alert(1, "close", 3)]
    for event in (*events[:2], *events[:2]):
        board.add(event)
    assert open_ids(board) == [1]
    for event in (events[2], *events):
        board.add(event)
    assert open_ids(board) == []
    picture = board.picture(NOW_MS)
    assert picture["n_alerts"] == 1
    assert [each["event"] for each in picture["events"]] == ["close", "update", "open"]


def test_an_alert_that_continues_others_is_one_that_is_open_since_the_first() -> None:
    board = AlertBoard(closes=True)
    for number in range(3):
        former = alert(number - 1).alert_id if number else None
        more: dict[str, Any] = {"continues_alert_id": former}
        board.add(alert(number, opened_ms=NOW_MS + number, **more))
        board.add(alert(number, "update", 2, opened_ms=NOW_MS + number, **more))
        (row,) = board.picture(NOW_MS)["open"]
        assert (row["since_ms"], row["opened_ms"]) == (NOW_MS, NOW_MS + number)
        board.add(alert(number, "close", 3, reason="continued", **more))
    assert board.picture(NOW_MS)["n_alerts"] == 1


def test_beyond_the_most_open_alerts_those_longest_without_an_event_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(boards, "OPEN_MAX", 3)
    board = AlertBoard(closes=True)
    for number in range(3):
        board.add(alert(number))
    board.add(alert(0, "update", 2))
    assert board.picture(NOW_MS)["n_left_out"] == 0
    board.add(alert(3))
    assert sorted(open_ids(board)) == [0, 2, 3]
    assert board.picture(NOW_MS)["n_left_out"] == 1


def test_alerts_about_whole_windows_are_open_for_some_time() -> None:
    board = AlertBoard(closes=False)
    board.add(alert(1))
    assert open_ids(board, NOW_MS + boards.WINDOW_SHOWN_MS) == [1]
    assert open_ids(board, NOW_MS + boards.WINDOW_SHOWN_MS + 1) == []


def test_what_is_sent_each_second_is_short() -> None:
    board = AlertBoard(closes=True)
    image = ImageExplanation(28, 28, 1, 0, 1, 0, 1, 1.0, "A" * 6_144, 1.0)
    explanation = replace(
        alert(0).explanation or Explanation(0, 0, (), (), (), 0.0, 0), image=image
    )
    for number in range(boards.SHOWN_MAX + 1):
        board.add(alert(number, explanation=explanation, anomaly_score=float(number)))
    picture = board.picture(NOW_MS)
    assert (picture["n_open"], len(picture["open"])) == (101, 100)
    assert [each["score"] for each in (picture["open"][0], picture["open"][-1])] == [100, 1]
    assert len(picture["events"]) == boards.EVENTS_SHOWN_MAX
    assert len(orjson.dumps(picture)) < 200 * (len(picture["open"]) + len(picture["events"])) * 4
    assert board.of_key("pump")[0]["heat_map"] == "A" * 6_144


def test_an_alert_that_is_kept_is_not_found_again_under_another_id() -> None:
    board = AlertBoard(closes=True)

    def at(number: int, start_ms: int, end_ms: int, event: Any = "open") -> Alert:
        span = {"span_start_ms": start_ms, "span_end_ms": end_ms, "opened_ms": start_ms}
        return alert(number, event, **span)

    board.add(at(1, 10, 20))
    board.add(replace(at(1, 10, 20, "close"), event_number=2))
    found = [at(2, 20, 25, "close"), at(3, 21, 25, "close"), at(4, 1, 9, "close"), at(5, 5, 6)]
    shown = board.of_key("pump", map(boards.shown_alert, found))
    assert [int(each["id"], 16) for each in shown] == [4, 1, 3]
    board.add(at(6, 22, 23))  # is open, and has no end
    shown = board.of_key("pump", map(boards.shown_alert, found))
    assert [int(each["id"], 16) for each in shown] == [4, 1, 6]
    shown = board.of_key("pump", map(boards.shown_alert, [at(7, 30, 40, "close")]))
    assert [int(each["id"], 16) for each in shown] == [1, 6]


def test_alerts_a_minute_are_those_of_the_last_hour() -> None:
    board = AlertBoard(closes=True)
    for number, minutes in enumerate((0, 0, 1, 59, 60, 10_000_000)):
        board.add(alert(number, detected_at_ms=NOW_MS - minutes * 60_000))
    counts = board.picture(NOW_MS)["a_minute"]
    assert (counts[-1], counts[-2], counts[0], sum(counts)) == (2, 1, 1, 4)
    for number in range(100, 1_000):
        board.add(alert(number, detected_at_ms=NOW_MS - number * 60_000))
    assert len(board._minutes) <= 2 * boards.N_MINUTES


def cells(board: Lanes, key: str) -> list[int]:
    (lane,) = [each for each in board.picture("", NOW_MS)["lanes"] if each["key"] == key]
    return list(base64.b64decode(lane["cells"]))


def lanes_of(board: Lanes, search: str) -> Any:
    return board.picture(search, NOW_MS)["lanes"]


def see(board: Lanes, keys: list[str], now_ms: int) -> None:
    board.see(keys, np.zeros(len(keys), np.int64), now_ms)


def add(board: Lanes, key: str, time_ms: int, score: float) -> None:
    board.add([key], np.array([time_ms]), np.array([score]), NOW_MS)


def test_a_cell_has_the_highest_score_and_says_whether_it_is_anomalous() -> None:
    board = Lanes()
    for time_ms, score in ((0, 1.0), (BIN_MS - 1, 0.2), (BIN_MS, 1.0001), (2 * BIN_MS, 0.0)):
        add(board, "a", NOW_MS + time_ms, score)
    assert cells(board, "a")[-4:] == [0, 100, 101, 1]
    add(board, "a", NOW_MS + 2 * BIN_MS, 1e9)
    assert cells(board, "a")[-1] == 255
    assert len(cells(board, "a")) == N_BINS


def test_lanes_end_with_the_newest_time_and_drop_what_is_older() -> None:
    board = Lanes()
    add(board, "a", NOW_MS - (N_BINS + 1) * BIN_MS, 3.0)
    add(board, "b", NOW_MS - 2 * BIN_MS, 0.5)
    assert cells(board, "a")[0] > 0
    add(board, "b", NOW_MS, 0.5)
    assert cells(board, "a") == [0] * N_BINS
    add(board, "a", NOW_MS - N_BINS * BIN_MS, 3.0)  # is too late by one cell
    assert cells(board, "a") == [0] * N_BINS
    add(board, "a", NOW_MS - (N_BINS - 1) * BIN_MS, 0.5)
    assert cells(board, "a") == [50] + [0] * (N_BINS - 1)


def test_one_wrong_clock_does_not_empty_the_lanes() -> None:
    board = Lanes()
    add(board, "a", NOW_MS, 0.5)
    add(board, "b", NOW_MS + AHEAD_MS_MAX + 1, 0.5)
    assert cells(board, "a")[-1] == 50
    assert cells(board, "b") == [0] * N_BINS
    add(board, "b", NOW_MS + AHEAD_MS_MAX, 0.5)
    assert cells(board, "b")[-1] == 50


def test_the_worst_lanes_are_shown_and_keys_are_found_by_a_part_of_their_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "SHOWN_MAX", 3)
    board = Lanes()
    see(board, ["silent"], NOW_MS)
    for number in range(5):
        add(board, f"Pump-{number}", NOW_MS, number / 4)
    picture = board.picture("", NOW_MS)
    assert [each["key"] for each in picture["lanes"]] == ["Pump-4", "Pump-3", "Pump-2"]
    assert picture["n_found"] == 6
    assert [each["key"] for each in board.picture("pUMP-0", NOW_MS)["lanes"]] == ["Pump-0"]
    assert board.picture("absent", NOW_MS)["lanes"] == []
    worst = {each["key"]: each["worst"] for key in ("silent", "0") for each in lanes_of(board, key)}
    assert worst == {"silent": None, "Pump-0": 0.0}


def test_keys_are_warm_warming_or_silent() -> None:
    board = Lanes()
    see(board, ["warming", "warm"], NOW_MS)
    add(board, "warm", NOW_MS, 0.5)
    expected = {"n_keys": 2, "n_warm": 1, "n_warming": 1, "n_silent": 0, "n_left_out": 0}
    assert board.counts(NOW_MS + lanes.SILENT_MS) == expected
    see(board, ["warm"], NOW_MS + 1)
    counts = board.counts(NOW_MS + lanes.SILENT_MS + 1)
    assert (counts["n_warm"], counts["n_warming"], counts["n_silent"]) == (1, 0, 1)


def test_of_too_many_keys_those_that_were_heard_of_last_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "KEYS_MAX", 20)
    board = Lanes()
    for number in range(20):
        see(board, [f"{number}"], NOW_MS + number)
    see(board, ["0"], NOW_MS + 100)
    assert board.counts(NOW_MS)["n_left_out"] == 0
    see(board, ["new"], NOW_MS + 101)
    kept = {each["key"] for each in board.picture("", NOW_MS)["lanes"]}
    assert kept == {"new", *(f"{number}" for number in range(20))} - {"1", "2"}
    assert board.counts(NOW_MS)["n_left_out"] == 2
    # A key that is heard of stays, however old it is, where new ones come with it.
    see(board, ["new-1", "new-2", "3"], NOW_MS + 102)
    kept = {each["key"] for each in board.picture("", NOW_MS)["lanes"]}
    assert {"new-1", "new-2", "3"} < kept
    assert len(kept) == 19
