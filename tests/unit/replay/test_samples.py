"""Records of samples: form, headers, times, pace and faults."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest

from stream_detector.clients.memory import MemoryBroker, StoredRecord
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.codec.samples import encode_samples
from stream_detector.core.records import Samples
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.replay import (
    FaultCounts,
    Faults,
    SampleReplayOptions,
    SampleReplaySummary,
    replay_samples,
)

TOPIC = "telemetry"
BASE_MS = 1_767_225_600_000


class SteppedClock:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.n_sleeps = 0

    def now_ms(self) -> int:
        return int(self.time_s * 1000)

    def monotonic_s(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.n_sleeps += 1
        self.time_s += seconds


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker(now_ms=lambda: 42)
    made.create_topic(TOPIC, 1)
    return made


def make_samples(n_series: int = 3, n_samples: int = 40, n_features: int = 2) -> Samples:
    """Return series side by side, a sample each 10 ms, every seventh of them labelled 1."""
    rng = np.random.default_rng(5)
    n_all = n_series * n_samples
    return Samples(
        keys=tuple(f"pump-{number}" for number in range(n_series)),
        series=np.repeat(np.arange(n_series), n_samples),
        times_ms=BASE_MS + np.tile(10.0 * np.arange(n_samples), n_series),
        values=rng.normal(size=(n_all, n_features)).astype(np.float32),
        labels=(np.arange(n_all) % 7 == 0).astype(np.int8),
    )


def send(
    broker: MemoryBroker,
    samples: Samples | Iterator[Samples],
    clock: SteppedClock | None = None,
    **options: object,
) -> SampleReplaySummary:
    given = {"sample_interval_ms": 10.0, "chunk_samples": 4} | options
    return replay_samples(
        samples,
        broker.connect(),
        TOPIC,
        options=SampleReplayOptions(**given),  # type: ignore[arg-type]
        clock=clock or SteppedClock(),
    )


def values_of(record: StoredRecord, n_features: int = 2) -> np.ndarray:
    value = record.value or b""
    if dict(record.metadata.headers)["content-type"] == CONTENT_TYPES["float32"]:
        return np.frombuffer(value, dtype="<f4").reshape(-1, n_features)
    return np.array(orjson.loads(value)["values"], dtype=np.float64).astype(np.float32)


@pytest.mark.parametrize("content_type", ["json", "float32"])
def test_a_record_carries_key_time_type_label_and_values(
    broker: MemoryBroker, content_type: str
) -> None:
    samples = make_samples()
    summary = send(broker, samples, content_type=content_type)

    records = broker.records(TOPIC)
    assert summary.n_records == summary.n_made == len(records) == 30
    seen: Counter[str] = Counter()
    for record in records:
        key = (record.metadata.key or b"").decode()
        rows = np.flatnonzero(samples.series == samples.keys.index(key))[seen[key] :][:4]
        seen[key] += 4
        assert record.metadata.timestamp_ms == samples.times_ms[rows[0]]
        np.testing.assert_array_equal(values_of(record), samples.values[rows])
        assert samples.labels is not None
        label = b"1" if samples.labels[rows].any() else b"0"
        assert list(record.metadata.headers) == [
            ("content-type", CONTENT_TYPES[content_type]),
            ("label", label),
        ]
    times_ms = [record.metadata.timestamp_ms for record in records]
    assert times_ms == sorted(times_ms)


def test_json_says_the_first_time_and_null_for_what_is_missing(broker: MemoryBroker) -> None:
    samples = Samples(
        keys=("a",),
        series=np.zeros(2, np.intp),
        times_ms=np.array([BASE_MS + 0.4, BASE_MS + 10.4]),
        values=np.array([[0.5, np.nan], [1.5, 2.5]], dtype=np.float32),
    )
    send(broker, samples)
    (record,) = broker.records(TOPIC)
    assert record.value == (b'{"values":[[0.5,null],[1.5,2.5]],"timestamp_ms":%d.4}' % BASE_MS)
    assert record.metadata.timestamp_ms == BASE_MS
    assert [name for name, _ in record.metadata.headers] == ["content-type"]


def test_float32_says_the_first_time_in_a_header_where_it_has_a_fraction(
    broker: MemoryBroker,
) -> None:
    samples = Samples(
        keys=("a",),
        series=np.zeros(2, np.intp),
        times_ms=np.array([BASE_MS, BASE_MS + 1_000 / 360]),
        values=np.ones((2, 1), dtype=np.float32),
    )
    send(broker, samples, content_type="float32", chunk_samples=1, sample_interval_ms=None)
    whole, fraction = broker.records(TOPIC)
    assert [name for name, _ in whole.metadata.headers] == ["content-type"]
    assert dict(fraction.metadata.headers)["timestamp-ms"] == b"1767225600002.7778"
    assert [whole.metadata.timestamp_ms, fraction.metadata.timestamp_ms] == [BASE_MS, BASE_MS + 3]


def test_one_feature_is_an_array_of_one_a_sample() -> None:
    value = encode_samples(np.array([[0.5], [1.0]], dtype=np.float32), "json", 7)
    assert value == b'{"values":[[0.5],[1.0]],"timestamp_ms":7}'


def test_each_sample_can_have_a_time_of_its_own(broker: MemoryBroker) -> None:
    samples = Samples(
        keys=("a",),
        series=np.zeros(4, np.intp),
        times_ms=BASE_MS + np.array([0.0, 3.6, 3.6, 9_000.0]),
        values=np.ones((4, 1), dtype=np.float32),
    )
    send(broker, samples, times="each", chunk_samples=3, sample_interval_ms=None)
    first, second = (orjson.loads(record.value or b"") for record in broker.records(TOPIC))
    assert first["timestamps_ms"] == [BASE_MS, BASE_MS + 3.6, BASE_MS + 3.6]
    assert second["timestamps_ms"] == [BASE_MS + 9_000]
    assert "timestamp_ms" not in first
    assert broker.records(TOPIC)[1].metadata.timestamp_ms == BASE_MS + 9_000


def test_a_start_shifts_every_time(broker: MemoryBroker) -> None:
    samples = make_samples()
    send(broker, samples, start_ms=5_000)
    times_ms = [record.metadata.timestamp_ms for record in broker.records(TOPIC)]
    assert times_ms == [5_000 + 40 * (number // 3) for number in range(30)]
    assert samples.times_ms.min() == BASE_MS  # its own are left alone


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 0.36), (0.5, 0.72), (60.0, 0.006)])
def test_event_time_passes_at_the_speed_asked_for(
    broker: MemoryBroker, speed: float, seconds: float
) -> None:
    clock = SteppedClock()
    summary = send(broker, make_samples(), clock, speed=speed)
    assert summary.seconds == pytest.approx(seconds, abs=0.011)
    assert clock.n_sleeps <= 9


def test_a_record_is_sent_when_it_is_due(broker: MemoryBroker) -> None:
    clock = SteppedClock()
    sent: list[tuple[float, int, int | None]] = []
    samples = make_samples(n_series=1, n_samples=8)
    samples.times_ms[4:] += 60_000  # a gap of a minute
    replay_samples(
        samples,
        broker.connect(),
        TOPIC,
        options=SampleReplayOptions(sample_interval_ms=10, chunk_samples=2, speed=10),
        clock=clock,
        on_progress=lambda n_sent, n_records: sent.append((clock.time_s, n_sent, n_records)),
    )
    # The ticks are 10 ms: two records 20 ms of event time apart are one tick at ten times speed.
    assert [(n_sent, n_records) for _, n_sent, n_records in sent][-1] == (4, 4)
    assert sent[0] == (0.0, 1, 4)
    assert [round(time_s, 3) for time_s, n_sent, _ in sent if n_sent == 3] == [6.004]


def test_a_rate_is_records_a_second(broker: MemoryBroker) -> None:
    assert send(broker, make_samples(), rate=10).seconds == pytest.approx(2.9, abs=0.02)


def test_nothing_to_send_is_no_error(broker: MemoryBroker) -> None:
    summary = send(broker, make_samples(n_samples=0), speed=1.0, faults=Faults(1, 1, 1, 1, 1))
    assert summary == SampleReplaySummary(0, 0.0, 0, FaultCounts())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0.0}, "rate: expected records a second above 0, received 0.0"),
        ({"speed": float("nan")}, "speed: expected event time a second above 0"),
        ({"rate": 1.0, "speed": 1.0}, "at most one of them, received both"),
        ({"content_type": "xml"}, "expected json or values or float32, received 'xml'"),
        ({"times": "last"}, "times: expected first or each"),
        ({"times": "each", "content_type": "float32"}, "float32 records have no place for each"),
        ({"chunk_samples": 2}, "sample_interval_ms: expected the time between samples"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SampleReplayOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("start_ms", [0, TIMESTAMP_MS_MAX])
def test_times_from_1970_to_the_year_9999_can_be_sent(broker: MemoryBroker, start_ms: int) -> None:
    send(broker, make_samples(n_samples=1), start_ms=start_ms)
    assert {each.metadata.timestamp_ms for each in broker.records(TOPIC)} == {start_ms}


@pytest.mark.parametrize("start_ms", [-1, TIMESTAMP_MS_MAX + 1])
def test_times_before_1970_or_after_the_year_9999_are_refused(
    broker: MemoryBroker, start_ms: int
) -> None:
    with pytest.raises(ValueError, match="give start_ms to shift them"):
        send(broker, make_samples(n_samples=1), start_ms=start_ms)
    assert broker.records(TOPIC) == []


def test_values_that_no_record_can_carry_are_refused(broker: MemoryBroker) -> None:
    samples = make_samples()
    samples.values[3, 1] = np.inf
    with pytest.raises(ValueError, match="received an infinity"):
        send(broker, samples)
    assert broker.records(TOPIC) == []


def sent_with(faults: Faults) -> tuple[SampleReplaySummary, list[StoredRecord]]:
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    samples = make_samples(n_series=4, n_samples=400)
    summary = send(broker, samples, faults=faults, content_type="float32")
    return summary, broker.records(TOPIC)


def names_of(records: list[StoredRecord]) -> list[tuple[bytes | None, int]]:
    return [(record.metadata.key, record.metadata.timestamp_ms) for record in records]


def test_without_faults_every_record_is_sent_once() -> None:
    summary, records = sent_with(Faults(seed=3))
    assert summary.counts == FaultCounts()
    assert summary.n_records == summary.n_made == len(records) == 400


def test_faults_add_up() -> None:
    faults = Faults(drop=0.1, delay=0.1, duplicate=0.2, shuffle=0.1, nan=0.05, seed=1)
    summary, records = sent_with(faults)
    counts = summary.counts
    assert summary.n_records == summary.n_made - counts.n_dropped + counts.n_duplicated
    assert summary.n_records == len(records)
    for count, share in (
        (counts.n_dropped, 0.1),
        (counts.n_delayed, 0.1),
        (counts.n_duplicated, 0.2),
        (counts.n_shuffled, 0.1),
        (counts.n_missing, 0.05 * 8),
    ):
        assert 0.4 * share * 400 < count < 2 * share * 400


def test_the_same_faults_affect_the_same_records() -> None:
    faults = Faults(drop=0.1, delay=0.1, duplicate=0.1, shuffle=0.1, nan=0.1)
    one, other = sent_with(faults), sent_with(faults)
    assert one == other
    assert one[1] != sent_with(Faults(0.1, 0.1, 0.1, 0.1, 0.1, seed=1))[1]


def test_one_kind_of_fault_leaves_the_others_where_they_are() -> None:
    dropped = set(names_of(sent_with(Faults())[1])) - set(names_of(sent_with(Faults(drop=0.1))[1]))
    _, records = sent_with(Faults(drop=0.1, duplicate=0.5, shuffle=0.5, delay=0.5, nan=0.5))
    assert len(dropped) == 400 - len(set(names_of(records)))
    assert not dropped & set(names_of(records))


def test_a_dropped_record_is_not_sent() -> None:
    summary, records = sent_with(Faults(drop=0.25))
    assert len(records) == 400 - summary.counts.n_dropped
    assert sent_with(Faults(drop=1.0))[0].n_records == 0


def test_a_duplicate_comes_right_after_its_first() -> None:
    summary, records = sent_with(Faults(duplicate=0.25))
    names = names_of(records)
    repeats = [one for one, other in pairwise(names) if one == other]
    assert len(repeats) == summary.counts.n_duplicated == len(names) - len(set(names))


def test_a_delayed_record_is_sent_after_all_within_its_delay() -> None:
    summary, records = sent_with(Faults(delay=0.1, delay_ms=120))
    plain = names_of(sent_with(Faults())[1])
    names = names_of(records)
    assert sorted(names) == sorted(plain)
    newest = np.maximum.accumulate([time_ms for _, time_ms in names])
    is_late = [newest[place] > time_ms for place, (_, time_ms) in enumerate(names)]
    # Of the four records of the very last time none can be seen to be late.
    assert 0 <= summary.counts.n_delayed - sum(is_late) <= 4
    for place, (_, time_ms) in enumerate(names):
        if is_late[place]:
            on_time = [each for each, late in zip(names, is_late, strict=True) if not late]
            before = {each for each in names[:place] if each in on_time}
            assert {each for each in on_time if each[1] <= time_ms + 120} == before


def test_shuffled_records_swap_with_a_neighbour_of_their_series() -> None:
    n_moved = 0
    for share in (0.2, 1.0):
        summary, records = sent_with(Faults(shuffle=share))
        n_moved = 0
        for key in {record.metadata.key for record in records}:
            times_ms = [each.metadata.timestamp_ms for each in records if each.metadata.key == key]
            moved = np.flatnonzero(np.array(times_ms) != np.array(sorted(times_ms)))
            assert all(abs(np.array(times_ms)[moved] - np.array(sorted(times_ms))[moved]) == 40)
            n_moved += len(moved)
        assert n_moved == summary.counts.n_shuffled
    assert n_moved > 380  # all but the first or last of some series


def test_two_records_alone_can_swap_places(broker: MemoryBroker) -> None:
    for seed in range(8):  # in half of the series the first record stays where it is
        send(broker, make_samples(n_series=1, n_samples=8), faults=Faults(shuffle=1.0, seed=seed))
    times_ms = [each.metadata.timestamp_ms for each in broker.records(TOPIC)]
    assert {*zip(times_ms[::2], times_ms[1::2], strict=True)} == {
        (BASE_MS, BASE_MS + 40),
        (BASE_MS + 40, BASE_MS),
    }


def test_a_delay_of_no_time_is_behind_what_is_due_at_the_same_time(broker: MemoryBroker) -> None:
    send(broker, make_samples(), faults=Faults(delay=0.5, delay_ms=0))
    times_ms = [each.metadata.timestamp_ms for each in broker.records(TOPIC)]
    assert times_ms == sorted(times_ms)


def test_lost_values_are_missing_and_counted() -> None:
    summary, records = sent_with(Faults(nan=0.1))
    n_missing = sum(int(np.isnan(values_of(record)).sum()) for record in records)
    assert n_missing == summary.counts.n_missing > 0


@pytest.mark.parametrize(
    "wrong",
    [
        *({"drop": 1.1}, {"nan": -0.1}, {"delay": float("nan")}, {"seed": -1}),
        *({"delay_ms": -1}, {"delay_ms": float("inf")}),
    ],
)
def test_impossible_faults_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"faults: {next(iter(wrong))}: expected"):
        Faults(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("more_ms", "is_logged"), [(0, False), (1, True)])
def test_times_that_a_topic_would_not_keep_are_logged(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture, more_ms: int, is_logged: bool
) -> None:
    clock = SteppedClock()
    clock.time_s = (BASE_MS + 7 * 86_400_000 + more_ms) / 1000
    send(broker, make_samples(), clock)
    assert ("retention.ms" in caplog.text) == is_logged


@pytest.mark.parametrize("n_rows", [1, 2, 7, 50, 1_000])
@pytest.mark.parametrize(
    "options",
    [
        {"chunk_samples": 1},
        {"chunk_samples": 1, "speed": 0.5, "start_ms": 5_000},
        {"chunk_samples": 1, "rate": 40.0, "content_type": "float32"},
        {"chunk_samples": 3},
        {"chunk_samples": 1, "faults": Faults(0.1, 0.1, 0.1, 0.1, 0.1, delay_ms=30)},
    ],
)
def test_samples_in_parts_are_the_same_records(n_rows: int, options: dict[str, Any]) -> None:
    whole = make_samples()
    order = np.argsort(whole.times_ms, kind="stable")
    parts = []
    for start in range(0, len(whole), n_rows):
        rows = order[start : start + n_rows]
        columns = whole.series[rows], whole.times_ms[rows], whole.values[rows]
        labels = None if whole.labels is None else whole.labels[rows]
        parts.append(Samples(whole.keys, *columns, labels))
    assert len({*whole.times_ms.tolist()}) < len(whole)  # so that parts end within a time
    sent, summaries = [], []
    for samples in (whole, iter(parts)):
        broker = MemoryBroker(now_ms=lambda: 42)
        broker.create_topic(TOPIC, 1)
        summaries.append(send(broker, samples, **options))
        sent.append([(each.metadata, each.value) for each in broker.records(TOPIC)])
    assert sent[0] == sent[1]
    assert summaries[0] == summaries[1]
