"""One key over some time: read again from its topic, judged, and drawn."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson
import pytest
from console_page import Stream, ask, make_memory_page, sample_record, served, wait_for_picture
from halving_bundle import make_bundle

from stream_detector.assembly import Served, open_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.codec.windows import encode_window
from stream_detector.core.features import Features
from stream_detector.core.records import OutputRecord, TopicPartition
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.outputs import offsets
from stream_detector.ports import NoSchemas
from stream_detector.web import alert_board, charts, history
from stream_detector.web.history import History, Marks, Stretch
from stream_detector.web.key_view import KeyView, Lines

START_MS = 1_767_225_600_000


def look(served: Served, broker: MemoryBroker, key: str, stretch: Stretch) -> Lines:
    """Return the lines of a key, of a topic that nothing is remembered of."""
    view = KeyView(served, NoSchemas(), None)
    past = History("telemetry", partial(broker.connect, topics=["telemetry"]))
    wide = Stretch(stretch.start_ms - view.lead_ms, stretch.end_ms)
    return view.look(key, past.read(wide, None), stretch)


def second(number: float) -> float:
    """Return a time."""
    return START_MS + 1_000 * number


def test_signal_reconstruction_and_scores_of_a_key_are_those_of_the_detector(
    pumps: Served,
) -> None:
    Stream(broker := MemoryBroker(), pumps)
    values = [0.5, 1.0, 1.5, 1.0, 4.0, 4.0, 4.0, 4.0]
    for partition, key in enumerate(("a", "b")):
        signal = values if key == "a" else [7.0] * 8
        records = [sample_record(key, int(second(at)), each) for at, each in enumerate(signal)]
        broker.feed("telemetry", records, partition)
    lines = look(pumps, broker, "a", Stretch(second(0), second(7)))
    assert lines.times_ms.tolist() == [second(at) for at in range(8)]
    assert lines.values[:, 0].tolist() == values
    assert lines.made_ms.tolist() == lines.times_ms.tolist()
    assert lines.made[:, 0].tolist() == [each / 2 for each in values]
    assert lines.scores_ms.tolist() == [second(3), second(7)]
    assert lines.anomaly_scores.tolist() == [1.0, 4.0]
    # Of the samples of the normal window: 0.25, 0.5, 0.75, 0.5.
    assert lines.half_widths.tolist() == [np.quantile([0.25, 0.5, 0.5, 0.75], 0.99)]
    part = look(pumps, broker, "a", Stretch(second(5), second(6)))
    assert part.values[:, 0].tolist() == [4.0, 4.0]
    assert part.made[:, 0].tolist() == [2.0, 2.0]
    assert part.scores_ms.tolist() == []


def test_a_gap_is_a_gap_in_the_reconstruction(pumps: Served) -> None:
    Stream(broker := MemoryBroker(), pumps)
    broker.feed("telemetry", [sample_record("a", int(second(0)), 1, 1, 1, 1)])
    broker.feed("telemetry", [sample_record("a", int(second(400)), 1, 1, 1, 1)])
    lines = look(pumps, broker, "a", Stretch(second(0), second(500)))
    expected = [second(at) for at in (0, 1, 2, 3, 4, 399, 400, 401, 402, 403)]
    assert lines.times_ms.tolist() == lines.made_ms.tolist() == expected
    for values in (lines.values, lines.made):
        assert np.flatnonzero(np.isnan(values[:, 0])).tolist() == [4, 5]
    band = charts.columns_of(lines, [0], [])["made-0"]
    assert band["y"][4:6] == [None, None]
    assert band["low"][4:6] == band["high"][4:6] == [0.5, 0.5]


@pytest.mark.parametrize(("second_s", "n_points"), [(8, 8), (9, 10)])
def test_a_few_lost_samples_are_no_gap(pumps: Served, second_s: int, n_points: int) -> None:
    Stream(broker := MemoryBroker(), pumps)
    broker.feed("telemetry", [sample_record("a", int(second(0)), 1, 1, 1, 1)])
    broker.feed("telemetry", [sample_record("a", int(second(second_s)), 1, 1, 1, 1)])
    lines = look(pumps, broker, "a", Stretch(second(0), second(500)))
    assert len(lines.times_ms) == n_points


def test_a_key_that_is_not_there_has_no_lines(pumps: Served) -> None:
    Stream(broker := MemoryBroker(), pumps)
    lines = look(pumps, broker, "absent", Stretch(0, second(0)))
    assert [len(each) for each in lines] == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_records_that_are_whole_windows_follow_each_other(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("bundle") / "beats"
    make_bundle(path)
    beats = open_bundle(path)
    broker = MemoryBroker()
    broker.create_topic("telemetry")
    window = np.full((140, 1), 3.0, np.float32)
    value = encode_window(window, "json", 1)
    broker.feed("telemetry", [OutputRecord("", b"a", value, (), START_MS + 7)])
    lines = look(beats, broker, "a", Stretch(START_MS, START_MS + 1_000_000))
    assert lines.values[:, 0].tolist() == [3.0] * 140
    assert lines.made[:, 0].tolist() == [1.5] * 140
    assert lines.times_ms[0] == START_MS + 7
    assert lines.anomaly_scores.tolist() == [3.0]


@pytest.mark.parametrize("time_s", [-5, 0, 1, 2.5, 6, 7, 8, 100])
def test_the_first_record_at_a_time_is_found(
    time_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offsets, "CLOSE_ENOUGH", 0)
    broker = MemoryBroker()
    broker.create_topic("telemetry", 3)
    seconds = [[0, 1, 2, 2, 3, 7], [6], []]
    for partition, each in enumerate(seconds):
        records = [sample_record("a", int(second(at)), at) for at in each]
        broker.feed("telemetry", records, partition)
    client = broker.connect(topics=["telemetry"])
    client.poll(1, 0)
    ends = {TopicPartition("telemetry", at): len(each) for at, each in enumerate(seconds)}
    found = offsets.find_offsets(client, dict.fromkeys(ends, 0), ends, second(time_s))
    expected = [sum(at < time_s for at in each) for each in seconds]
    assert [found[each] for each in ends] == expected


def test_offsets_that_were_passed_are_remembered() -> None:
    marks, partition = Marks(), TopicPartition("telemetry", 0)
    assert marks.before(1) is None
    assert marks.after(1) is None
    for number in range(4):
        marks.add(1_000_000 + number * 5_000, {partition: 10 * (number + 1)})
    assert marks.before(999_999) is None
    assert marks.before(1_000_000) is None  # where reading began, not where the topic does
    assert marks.before(1_004_999) is None
    assert marks.before(1_005_000) == {partition: 10}
    assert marks.before(2_000_000) == {partition: 30}
    assert marks.after(1_004_999) == {partition: 10}
    assert marks.after(1_005_000) == {partition: 20}
    assert marks.after(1_015_000) is None
    marks.add(1_019_999, {partition: 50})  # too soon for another mark
    assert marks.before(2_000_000) == {partition: 30}


@pytest.mark.parametrize(("n_batches", "oldest"), [(3, None), (4, 10)])
def test_of_many_offsets_that_were_passed_the_oldest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, n_batches: int, oldest: int | None
) -> None:
    monkeypatch.setattr(history, "_MARKS_MAX", 3)
    marks, partition = Marks(), TopicPartition("telemetry", 0)
    for number in range(n_batches):
        marks.add(1_000_000 + number * 5_000, {partition: 10 * (number + 1)})
    assert marks.after(0) == ({} if oldest is None else {partition: oldest})
    assert marks.before(1_005_000) == {partition: 10}


@pytest.mark.parametrize(("n_records_max", "n_read"), [(4, 4), (5, 6)])
def test_a_question_reads_no_more_than_it_may(
    pumps: Served, monkeypatch: pytest.MonkeyPatch, n_records_max: int, n_read: int
) -> None:
    monkeypatch.setattr(history, "RECORDS_MAX", n_records_max)
    monkeypatch.setattr(history, "_POLL_RECORDS_MAX", 2)
    Stream(broker := MemoryBroker(), pumps)
    broker.feed("telemetry", [sample_record("a", int(second(at)), at) for at in range(20)])
    lines = look(pumps, broker, "a", Stretch(second(0), second(100)))
    assert len(lines.times_ms) == n_read


def test_a_question_is_answered_once_the_end_is_read(pumps: Served) -> None:
    Stream(broker := MemoryBroker(), pumps)
    broker.feed("telemetry", [sample_record("a", int(second(0)), 1.0)])
    past = History("telemetry", partial(broker.connect, topics=["telemetry"]))
    batches = past.read(Stretch(second(0), second(1)), None)
    assert len(next(batches)) == 1
    n_calls = broker.n_calls["poll"]
    assert list(batches) == []
    assert broker.n_calls["poll"] == n_calls


def test_an_empty_topic_is_not_waited_for() -> None:
    broker = MemoryBroker()
    broker.create_topic("telemetry", 2)
    past = History("telemetry", partial(broker.connect, topics=["telemetry"]))
    assert list(past.read(Stretch(second(0), second(1)), None)) == []
    assert broker.n_calls["poll"] == 2  # one a connection, which assigns the partitions


def ask_key(address: str, **question: Any) -> dict[str, Any]:
    status, _, body = ask(address, f"/key?{urlencode(question)}")
    assert status == 200
    answer: dict[str, Any] = orjson.loads(body)
    return answer


@pytest.fixture(scope="module")
def address(pumps: Served) -> Iterator[str]:
    """The address of a page on a topic with a fault."""
    stream = Stream(broker := MemoryBroker(), pumps)
    with served(make_memory_page(broker, pumps)) as address:
        for at in range(0, 40, 4):
            level = 3.0 if at == 16 else 0.5
            stream.send(sample_record("<b>", int(second(at)), *[level] * 4))
        wait_for_picture(address, lambda each: each["topics"][1]["n_records"] == 10)
        yield address


def test_the_page_asks_for_a_key(address: str) -> None:
    answer = ask_key(address, key="<b>")
    assert (answer["name"], answer["end_ms"]) == ("<b>", second(39))
    assert answer["start_ms"] == second(39) - 10 * 4 * 1_000
    assert answer["names"] == ["feature_0"]
    assert answer["columns"]["scores"]["y"] == [0.5] * 4 + [3.0] + [0.5] * 5
    (alert,) = answer["alerts"]
    assert alert["sentence"].startswith("feature_0: observed 3 where 1.5 was expected")
    # From the start of the fault to the close, 4 s after its last window.
    assert answer["columns"]["alerts"] == {"x0": [second(16)], "x1": [second(23)]}
    assert answer["item"] is None
    made = answer["columns"]["made-0"]
    assert made["high"][0] - made["low"][0] == pytest.approx(0.5)


def test_an_alert_that_is_open_lasts_to_the_end_of_what_is_shown(pumps: Served) -> None:
    stream = Stream(broker := MemoryBroker(), pumps)
    with served(make_memory_page(broker, pumps)) as address:
        for at, level in ((0, 0.5), (4, 3.0)):
            stream.send(sample_record("a", int(second(at)), *[level] * 4))
        wait_for_picture(address, lambda each: each["alerts"]["n_open"] == 1)
        for end_s, spans in ((3, []), (4, [(4, 7)]), (9, [(4, 9)]), (60, [(4, 60)])):
            answer = ask_key(address, key="a", end_ms=second(end_s), span_ms=4_000)
            found = zip(*answer["columns"]["alerts"].values(), strict=True)
            assert list(found) == [(second(start), second(end)) for start, end in spans]
            assert len(answer["alerts"]) == len(spans)


def test_of_whole_windows_more_than_one_is_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bundle") / "beats"
    make_bundle(path)
    beats = open_bundle(path)
    broker = MemoryBroker()
    for topic in ("alerts", "telemetry"):
        broker.create_topic(topic)
    value = encode_window(np.full((140, 1), 0.5, np.float32), "json", 1)
    records = [OutputRecord("", b"a", value, (), int(second(at))) for at in range(30)]
    broker.feed("telemetry", records)
    with served(make_memory_page(broker, beats)) as address:
        wait_for_picture(address, lambda each: each["topics"][1]["n_records"] == 30)
        answer = ask_key(address, key="a")
    assert answer["end_ms"] - answer["start_ms"] == 20_000
    assert len(answer["columns"]["scores"]["x"]) == 20


def test_alerts_that_the_page_no_longer_keeps_are_found_again(
    pumps: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_board, "EVENTS_MAX", 2)
    stream = Stream(broker := MemoryBroker(), pumps)
    starts = [second(32), second(16), second(8)]
    with served(make_memory_page(broker, pumps)) as address:
        for at, level in enumerate([0.5, 0.5, 3.0, 0.5, 3.0, 4.0, 0.5, 0.5, 2.0, 0.5, 0.5]):
            stream.send(sample_record("a", int(second(4 * at)), *[level] * 4))
        wait_for_picture(
            address,
            lambda each: (
                [each["alerts"]["n_alerts"], each["alerts"]["n_open"]] == [3, 0]
                and each["topics"][1]["n_records"] == 11
            ),
        )
        for start_s, n_shown in ((0, 3), (11, 3), (12, 2)):
            question = {"end_ms": second(43), "span_ms": 1_000 * (43 - start_s)}
            alerts = ask_key(address, key="a", **question)["alerts"]
            # The last one is known from its topic; the others are those of the records.
            assert [each["span_ms"][0] for each in alerts] == starts[:n_shown]
            assert [each["event"] for each in alerts] == ["close"] * n_shown
            assert alerts[1]["score"] == 4.0


@pytest.mark.parametrize("dark", ["0", "1"])
def test_a_figure_has_the_columns_by_their_names(address: str, dark: str) -> None:
    answer = ask_key(address, key="<b>", figure="1", dark=dark)
    text = orjson.dumps(answer["item"]).decode()
    for name in [*answer["columns"], "times"]:
        assert f'"name":"{name}"' in text
    colours = charts.DARK if dark == "1" else charts.LIGHT
    assert colours.signal in text
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("end_ms", "span_ms", "expected"),
    [
        (second(20), 4_000, (second(16), second(20))),
        ("nan", "", (second(-1), second(39))),
        ("1e400", "x", (second(-1), second(39))),
        (-1, -5, (second(-1), second(39))),
        (0, 4_000, (-4_000, 0)),
        (TIMESTAMP_MS_MAX, 4_000, (TIMESTAMP_MS_MAX - 4_000, TIMESTAMP_MS_MAX)),
        (TIMESTAMP_MS_MAX + 1, "", (second(-1), second(39))),
        (second(20), 1e18, (second(-20), second(20))),
        (second(20), 1, (second(19), second(20))),
        (second(20), 1e12, (second(20) - 7 * 86_400_000, second(20))),
    ],
)
def test_any_time_can_be_asked_for(
    address: str, end_ms: Any, span_ms: Any, expected: tuple[float, float]
) -> None:
    answer = ask_key(address, key="<b>", end_ms=end_ms, span_ms=span_ms)
    assert (answer["start_ms"], answer["end_ms"]) == expected


def test_a_topic_that_cannot_be_read_is_said(pumps: Served) -> None:
    broker = MemoryBroker()
    broker.create_topic("alerts")
    with served(make_memory_page(broker, pumps)) as address:
        status, _, body = ask(address, "/key?key=a")
        assert status == 503
        assert "telemetry" in orjson.loads(body)["problem"]


def test_the_script_of_the_charts_comes_from_its_package(address: str) -> None:
    status, headers, body = ask(address, "/bokeh.js")
    assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert b"Bokeh" in body[:2_000]
    assert len(body) > 500_000


def test_of_many_features_those_farthest_from_their_reconstruction_are_drawn() -> None:
    times = np.arange(3.0)
    values = np.zeros((3, 9))
    values[1] = [9, 1, 8, 2, 7, 3, 6, 4, 5]
    lines = Lines(times, values, times, np.zeros((3, 9)), np.ones(9), times, times)
    assert charts.chosen_features(lines) == [0, 2, 4, 6, 7, 8]
    narrow = lines._replace(half_widths=np.array([1, 0.01, *[1.0] * 7]))
    assert charts.chosen_features(narrow) == [0, 1, 2, 4, 6, 8]
    none = lines._replace(made_ms=np.empty(0), made=np.empty((0, 9)))
    assert charts.chosen_features(none) == [0, 1, 2, 3, 4, 5]


def test_features_are_named_with_their_units() -> None:
    features = Features(("t", "<b>", "p"), units=("", "°C", "bar"))
    assert charts.feature_names(features, [0, 1, 2]) == ["t", "<b> (°C)", "p (bar)"]
    assert charts.feature_names(Features(("t", "p")), [1]) == ["p"]
    (long,) = charts.feature_names(Features(("p" * 200,), units=("bar",)), [0])
    assert (len(long), long[-6:]) == (38, " (bar)")


def test_columns_have_null_for_what_is_no_number() -> None:
    times = np.array([0.0, 1.0])
    values = np.array([[math.nan], [math.inf]])
    lines = Lines(times, values, times, values, np.ones(1), times, times)
    columns = charts.columns_of(lines, [0], [])
    assert columns["signal-0"]["y"] == [None, None]
    assert columns["made-0"]["high"] == [None, None]


def test_names_that_look_like_tex_stay_plain_text() -> None:
    times = np.array([0.0, 1.0])
    lines = Lines(times, np.ones((2, 1)), times, np.ones((2, 1)), np.ones(1), times, times)
    columns = charts.columns_of(lines, [0], [])
    names = charts.feature_names(Features(("$$x$$\u202e",)), [0])
    item = charts.draw(columns, names, Stretch(0, 1), is_dark=False)
    assert '{"text":"$$x$$\\\\u202e"}' in orjson.dumps(item).decode()
    assert '"name":"PlainText"' in orjson.dumps(item).decode()
