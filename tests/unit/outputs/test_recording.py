"""Samples of a topic, recorded."""

import json
from typing import Any

import numpy as np
import pytest

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import OutputRecord
from stream_detector.errors import BrokerError, ConfigError, DatasetError
from stream_detector.outputs.recording import Recording, record_samples
from stream_detector.recipes.input import InputSection
from stream_detector.settings import ConnectionSettings, DetectSettings

START = 1_767_225_600_000
MINUTE = 60_000
HOUR = 60 * MINUTE


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return the broker that everything connects to here."""
    made = MemoryBroker()
    made.create_topic("telemetry")
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: made.connect(**options)
    )
    return made


class FakeClock:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return START + MINUTE * 60

    def monotonic_s(self) -> float:
        self.seconds += 1.0
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def feed(broker: MemoryBroker, *records: tuple[str, float, Any]) -> None:
    broker.feed(
        "telemetry",
        [
            OutputRecord(
                topic="telemetry",
                value=json.dumps(value).encode() if isinstance(value, dict) else value,
                key=key.encode(),
                headers=(),
                timestamp_ms=round(time_ms),
            )
            for key, time_ms, value in records
        ],
    )


def record(minutes: float = 1.0) -> Recording:
    return record_samples(ConnectionSettings(), "telemetry", MINUTE * minutes, clock=FakeClock())


def test_the_newest_minutes_are_recorded_with_names_keys_and_times(broker: MemoryBroker) -> None:
    feed(
        broker,
        ("a", START, {"values": {"flow": 1, "heat": 2}}),
        ("a", START + 10_000, {"values": {"flow": 3, "heat": None}}),
        ("b", START + 69_999, {"values": {"heat": 6, "flow": 5}, "timestamp_ms": START + 60_000}),
        ("a", START + 70_000, {"values": {"flow": 7, "heat": 8}}),
    )
    found = record()
    assert found.features == ("flow", "heat")
    assert found.samples.keys == ("a", "b")
    assert found.samples.series.tolist() == [0, 1, 0]
    assert found.samples.times_ms.tolist() == [START + 10_000, START + 60_000, START + 70_000]
    np.testing.assert_array_equal(found.samples.values, [[3, np.nan], [5, 6], [7, 8]])
    assert (found.n_rejected, found.first_rejection) == (0, "")


def test_features_without_names_are_numbered(broker: MemoryBroker) -> None:
    feed(broker, ("a", START, {"values": [1, 2]}), ("a", START + 1, {"values": [[3, 4]]}))
    found = record()
    assert found.features == ("feature_0", "feature_1")
    assert found.samples.values.tolist() == [[1, 2], [3, 4]]


def test_samples_of_one_record_follow_at_the_interval(broker: MemoryBroker) -> None:
    feed(
        broker,
        *(("a", START + 400 * at, {"values": [[at], [at], [at], [at]]}) for at in range(3)),
    )
    assert np.diff(record().samples.times_ms).tolist() == [100] * 11


def test_of_repeated_times_none_counts_as_the_interval(broker: MemoryBroker) -> None:
    times_ms = [START, START, START, START + 400]
    feed(broker, *[("a", time_ms, {"values": [[1], [2], [3], [4]]}) for time_ms in times_ms])
    assert np.unique(np.diff(np.unique(record().samples.times_ms))).tolist() == [100]


def test_records_that_cannot_be_used_are_counted(broker: MemoryBroker) -> None:
    feed(broker, ("a", START, {"values": {"flow": 1}}), ("a", START, b"nothing"))
    found = record()
    assert (len(found.samples), found.n_rejected) == (1, 1)
    assert "JSON" in found.first_rejection


def test_reading_ends_when_the_time_is_over(broker: MemoryBroker) -> None:
    feed(broker, ("a", START, {"values": {"flow": 1}}))
    assert len(record(0.2).samples) == 1


@pytest.mark.parametrize(("span_ms", "is_enough"), [(MINUTE - 1, False), (MINUTE, True)])
def test_reading_ends_when_the_records_span_the_time(
    broker: MemoryBroker, span_ms: int, is_enough: bool
) -> None:
    feed(broker, *[("a", START + at_ms, {"values": {"flow": 1}}) for at_ms in (0, span_ms)])
    clock = FakeClock()
    record_samples(ConnectionSettings(), "telemetry", MINUTE, clock=clock)
    assert (clock.seconds < 60) is is_enough


def test_a_topic_without_samples_is_refused(broker: MemoryBroker) -> None:
    with pytest.raises(DatasetError, match="received none: it is empty"):
        record(0.1)
    feed(broker, ("a", START, b"\x00\x01"))
    with pytest.raises(DatasetError, match="received none in 1; not JSON"):
        record(0.1)
    feed(broker, ("a", START, {"ts": 5, "flow": 7}))
    with pytest.raises(DatasetError, match=r"has ts, flow; of others --set input\.preset=flat"):
        record(0.1)
    with pytest.raises(BrokerError, match="no such topic"):
        record_samples(ConnectionSettings(), "absent", MINUTE)


def test_of_a_large_topic_the_newest_samples_are_read(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is up at once: whoever began at the beginning would have the oldest ones."""
    monkeypatch.setattr("stream_detector.outputs.recording._READ_WHOLE", 3_999)
    feed(broker, *[("a", START + 100 * at, {"values": {"flow": at}}) for at in range(4_000)])
    found = record(0.01)
    assert found.samples.values[[0, -1], 0].tolist() == [3_993, 3_999]


@pytest.mark.parametrize("read_whole", [0, 10_000])
@pytest.mark.parametrize(("ahead_ms", "n_samples"), [(HOUR + 1, 62), (HOUR, 1)])
def test_a_record_of_a_wrong_clock_is_not_the_newest(
    broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
    read_whole: int,
    ahead_ms: int,
    n_samples: int,
) -> None:
    monkeypatch.setattr("stream_detector.outputs.recording._READ_WHOLE", read_whole)
    seconds = [*range(1_000), HOUR // 1_000 + ahead_ms / 1_000, 1_000]
    feed(broker, *[("a", START + 1_000 * at, {"values": {"flow": at}}) for at in seconds])
    assert len(record().samples) == n_samples


def test_where_all_records_are_ahead_the_newest_of_them_counts(broker: MemoryBroker) -> None:
    times_ms = [START + 3 * HOUR + 1_000 * at for at in range(1_000)]
    feed(broker, *[("a", time_ms, {"values": {"flow": 1}}) for time_ms in times_ms])
    assert len(record().samples) == 61


def test_reading_goes_on_to_the_end_when_its_time_is_over(broker: MemoryBroker) -> None:
    feed(broker, *[("a", START + at, {"values": {"flow": at}}) for at in range(5_000)])
    assert record(0.01).samples.values[-1].tolist() == [4_999]


def test_a_feature_that_comes_late_and_seldom_is_found(broker: MemoryBroker) -> None:
    tags = ["A"] * 2_000 + ["B"] * 2
    feed(broker, *[("m", START + at, {"tag": tag, "v": 1}) for at, tag in enumerate(tags)])
    assert record_by(feature_name="tag", feature_value="v").features == ("A", "B")


def test_samples_that_come_in_parts_are_put_together(broker: MemoryBroker) -> None:
    parts = [("A", 1, 0), ("B", 5, 0), ("B", 6, 1), ("A", 2, 1), ("A", 2, 1), ("B", None, 1)]
    for tag, value, at in parts:
        feed(broker, ("m", START + at, {"tag": tag, "value": value, "ts": START + at}))
    found = record_by(feature_name="tag", feature_value="value", time="ts")
    assert found.features == ("A", "B")
    assert found.samples.times_ms.tolist() == [START, START + 1, START + 1]
    np.testing.assert_array_equal(found.samples.values, [[1, 5], [2, 6], [2, np.nan]])


def test_keys_on_several_partitions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = MemoryBroker()
    broker.create_topic("telemetry", 2)
    monkeypatch.setattr(
        "stream_detector.clients.connect", lambda _, **options: broker.connect(**options)
    )
    for partition, key in ((0, b"a"), (0, b"b"), (1, b"b"), (0, b"b"), (1, b"c")):
        value = b'{"values": {"flow": 1}}'
        broker.feed("telemetry", [OutputRecord("telemetry", key, value, (), START)], partition)
    assert record().spread_keys == ("b",)


@pytest.mark.parametrize(("n_humid", "names"), [(4, ("flow",)), (5, ("flow", "humidity"))])
def test_a_feature_of_few_records_is_left_out(
    broker: MemoryBroker, n_humid: int, names: tuple[str, ...]
) -> None:
    """Of the records one has it by mistake, or each lacks it that is to be used."""
    samples = [{"flow": at} | ({"humidity": 1} if at < n_humid else {}) for at in range(10)]
    feed(broker, *[("a", START + at, {"values": each}) for at, each in enumerate(samples)])
    assert record().features == names
    assert record_by(values="values").features == names
    assert record_by(values="values", absent="missing").features == ("flow", "humidity")


def test_what_to_do_where_records_have_some_of_the_features(broker: MemoryBroker) -> None:
    feed(broker, ("a", START, {"ts": START, "flow": 1}), ("a", START, {"ts": START, "heat": 1}))
    with pytest.raises(DatasetError, match=r"of flow, heat each, --set input\.absent=missing"):
        record_by(preset="flat")
    found = record_by(preset="flat", absent="missing")
    assert found.samples.values.tolist() == [[1, 1]]


def test_the_only_feature_can_be_no_missing_value(broker: MemoryBroker) -> None:
    feed(broker, ("a", START, {"ts": START}), ("a", START, {"ts": "late", "flow": 1}))
    with pytest.raises(DatasetError, match=r"no usable ones: input\.features\.flow") as raised:
        record_by(preset="flat")
    assert "input.absent" not in str(raised.value)


def record_by(**table: Any) -> Recording:
    settings = DetectSettings(input=table)
    return record_samples(settings, "telemetry", MINUTE, clock=FakeClock())


def flat(at: int, **more: Any) -> tuple[str, float, Any]:
    when = {"id": f"p{at % 2}", "ts": START // 1_000 + at, "unit": "C"}
    return ("own", START + 1_000 * at, {**when, "flow": at, "heat": 2.5, **more})


def test_records_of_other_programs_are_recorded_by_an_input(broker: MemoryBroker) -> None:
    feed(broker, *[flat(at) for at in range(4)], ("own", START + 5_000, {"id": "p0"}))
    found = record_by(preset="flat", key="id", time_unit="auto")
    assert found.features == ("flow", "heat")
    assert found.samples.keys == ("p0", "p1")
    assert found.samples.times_ms.tolist() == [START + 1_000 * at for at in range(4)]
    assert found.samples.values.tolist() == [[at, 2.5] for at in range(4)]
    assert found.n_rejected == 1
    assert found.table == InputSection(preset="flat", key="id", time_unit="s")


def test_features_elsewhere_and_tags_are_found(broker: MemoryBroker) -> None:
    feed(broker, *[flat(at, more={"p": at}) for at in range(2)])
    found = record_by(preset="flat", time_unit="s", features={"pressure": "more.p"})
    assert found.features == ("pressure", "flow", "heat")
    assert found.samples.values.tolist() == [[0, 0, 2.5], [1, 1, 2.5]]
    only = record_by(values="more")
    assert (only.features, only.samples.values.tolist()) == (("p",), [[0], [1]])
    tags = record_by(feature_name="unit", feature_value="flow", time="ts", time_unit="s")
    assert (tags.features, tags.samples.values.tolist()) == (("C",), [[0], [1]])


@pytest.mark.parametrize(
    ("table", "kind", "words"),
    [
        ({"values": "data"}, DatasetError, "expected features as .input. says.*the record has id"),
        ({"time": "unit", "time_unit": "ms"}, DatasetError, "received no usable ones: "),
        ({"time": "flow", "time_unit": "auto"}, ConfigError, "name s, ms, us, ns or iso8601"),
        ({"keys": "a"}, ConfigError, "input.keys: Extra inputs are not permitted"),
        ({"feature_name": "a"}, ConfigError, "expected input.feature_value beside it"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(
    broker: MemoryBroker, table: dict[str, Any], kind: type[Exception], words: str
) -> None:
    feed(broker, flat(1))
    table = {"values": ""} | table if "feature_name" not in table else table
    with pytest.raises(kind, match=words):
        record_by(**table)
