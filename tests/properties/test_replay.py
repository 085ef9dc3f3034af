"""Whatever the samples are: cut into records and sent, they come back as they were."""

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.codec.float32_format import TIME_HEADER
from stream_detector.core.records import Samples
from stream_detector.core.timestamps import follow, keep
from stream_detector.ports import SystemClock
from stream_detector.replay import (
    Faults,
    SampleReplayOptions,
    SampleReplaySummary,
    chunk,
    replay_samples,
)

TOPIC = "telemetry"
INTERVALS = st.sampled_from([1.0, 1_000 / 360, 10.0, 60_000.0])


@st.composite
def samples(draw: st.DrawFn, interval_ms: float) -> Samples:
    """Draw some series, mixed, whose clocks jitter, drift and have gaps."""
    n_series = draw(st.integers(1, 3))
    n_features = draw(st.integers(1, 3))
    series = np.array(draw(st.lists(st.integers(0, n_series - 1), max_size=30)), dtype=np.intp)
    steps = st.one_of(
        st.just(interval_ms),
        st.floats(0.9, 1.1).map(lambda factor: factor * interval_ms),
        st.floats(0, 100 * interval_ms),
    )
    times_ms = np.zeros(len(series))
    for number in range(n_series):
        rows = np.flatnonzero(series == number)
        taken = draw(st.lists(steps, min_size=len(rows), max_size=len(rows)))
        times_ms[rows] = 1.7e12 + np.cumsum(taken)
    if draw(st.booleans()):
        times_ms = np.rint(times_ms)
    shape = (len(series), n_features)
    values = draw(hnp.arrays(np.float32, shape, elements=st.floats(width=32, allow_infinity=False)))
    labels = draw(st.none() | hnp.arrays(np.int8, len(series), elements=st.integers(0, 1)))
    keys = tuple(f"série {number}" for number in range(n_series))
    return Samples(keys, series, times_ms, values, labels)


def send(given_: Samples, **options: object) -> tuple[MemoryBroker, SampleReplaySummary]:
    broker = MemoryBroker()
    broker.create_topic(TOPIC, 1)
    summary = replay_samples(
        given_,
        broker.connect(),
        TOPIC,
        options=SampleReplayOptions(**options),  # type: ignore[arg-type]
        clock=SystemClock(),
    )
    return broker, summary


@given(data=st.data(), interval_ms=INTERVALS, chunk_samples=st.integers(1, 7))
def test_records_hold_every_sample_once_and_keep_the_clock(
    data: st.DataObject, interval_ms: float, chunk_samples: int
) -> None:
    given_ = data.draw(samples(interval_ms))
    chunks = chunk(given_, interval_ms, chunk_samples)
    rows = [np.arange(*span) for span in zip(chunks.starts, chunks.stops, strict=True)]
    assert sorted(np.concatenate([*rows, np.empty(0)]).tolist()) == list(range(len(given_)))
    first_ms = [chunks.samples.times_ms[each[0]] for each in rows]
    assert first_ms == sorted(first_ms)
    for number, each in enumerate(rows):
        assert 1 <= len(each) <= chunk_samples
        assert set(chunks.samples.series[each]) == {chunks.series[number]}
        times_ms = chunks.samples.times_ms[each]
        implied_ms = follow(times_ms[:1], np.arange(len(each)), interval_ms)
        assert implied_ms.tolist() == keep(times_ms).tolist()
        assert chunks.times_ms[number] == times_ms[0]


@given(
    data=st.data(),
    interval_ms=INTERVALS,
    chunk_samples=st.integers(1, 7),
    content_type=st.sampled_from(["json", "float32"]),
)
def test_samples_that_were_sent_come_back_bit_for_bit(
    data: st.DataObject, interval_ms: float, chunk_samples: int, content_type: str
) -> None:
    given_ = data.draw(samples(interval_ms))
    broker, summary = send(
        given_,
        sample_interval_ms=interval_ms,
        chunk_samples=chunk_samples,
        content_type=content_type,
    )
    records = broker.records(TOPIC)
    assert summary.n_records == summary.n_made == len(records)
    n_features = given_.values.shape[1]
    for number, key in enumerate(given_.keys):
        of_series = [record for record in records if record.metadata.key == key.encode()]
        values, labels = [np.empty((0, n_features), np.float32)], []
        times_ms = [np.empty(0)]
        for record in of_series:
            if content_type == "json":
                document = orjson.loads(record.value or b"")
                first_ms = document["timestamp_ms"]
                read = np.array(document["values"], dtype=np.float64).astype(np.float32)
            else:
                header = dict(record.metadata.headers).get(TIME_HEADER)
                first_ms = record.metadata.timestamp_ms if header is None else float(header)
                read = np.frombuffer(record.value or b"", "<f4").reshape(-1, n_features)
            assert record.metadata.timestamp_ms == round(first_ms)
            values.append(read)
            times_ms.append(follow(np.array([first_ms]), np.arange(len(read)), interval_ms))
            labels += [dict(record.metadata.headers).get("label")]
        rows = given_.series == number
        same = np.concatenate(values)
        # Of NaN only that it is one: JSON has a single null for all of them.
        np.testing.assert_array_equal(np.isnan(same), np.isnan(given_.values[rows]))
        is_there = ~np.isnan(same)
        assert same[is_there].tobytes() == given_.values[rows][is_there].tobytes()
        assert np.concatenate(times_ms).tolist() == keep(given_.times_ms[rows]).tolist()
        if given_.labels is None:
            assert set(labels) <= {None}
        else:
            assert (b"1" in labels) == bool(given_.labels[rows].any())


@given(data=st.data(), chunk_samples=st.integers(1, 7))
def test_times_of_each_sample_come_back(data: st.DataObject, chunk_samples: int) -> None:
    given_ = data.draw(samples(10.0))
    broker, _ = send(given_, chunk_samples=chunk_samples, times="each")
    for number, key in enumerate(given_.keys):
        times_ms: list[float] = []
        for record in broker.records(TOPIC):
            if record.metadata.key == key.encode():
                times_ms += orjson.loads(record.value or b"")["timestamps_ms"]
        assert times_ms == given_.times_ms[given_.series == number].tolist()


SHARES = st.floats(0, 1)


@given(data=st.data(), faults=st.builds(Faults, *[SHARES] * 5, st.integers(0, 9)))
def test_faults_always_add_up(data: st.DataObject, faults: Faults) -> None:
    given_ = data.draw(samples(10.0))
    broker, summary = send(given_, sample_interval_ms=10.0, chunk_samples=2, faults=faults)
    counts = summary.counts
    assert summary.n_records == summary.n_made - counts.n_dropped + counts.n_duplicated
    assert len(broker.records(TOPIC)) == summary.n_records
    plain, _ = send(given_, sample_interval_ms=10.0, chunk_samples=2)
    names = [
        {(each.metadata.key, each.metadata.timestamp_ms) for each in one.records(TOPIC)}
        for one in (broker, plain)
    ]
    assert names[0] <= names[1]
