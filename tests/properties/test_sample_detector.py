"""However a stream of samples is cut into batches: the same scores, alerts and dead letters."""

from collections import defaultdict, deque
from dataclasses import asdict
from itertools import chain
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from reference_windows import Partition, Record
from sample_streams import (
    FLOAT32,
    INTERVAL_MS,
    NEAR,
    PLANS,
    SIZES,
    STREAMS,
    Sent,
    Stream,
    batch_of,
    published_by,
    steps_of,
    stream_of,
)

from stream_detector.core.results import Step
from stream_detector.core.state.sample_state import SampleState
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.errors import KeyLimitError


@given(plans=PLANS, stream=STREAMS, sizes=SIZES, model_rows_max=st.integers(1, 9))
def test_any_cut_into_batches_gives_the_same(
    plans: list[Any], stream: Stream, sizes: list[int], model_rows_max: int
) -> None:
    sent = stream_of(plans)
    whole = published_by(steps_of(sent, stream, [], 1_000))
    assert published_by(steps_of(sent, stream, sizes, model_rows_max)) == whole


@given(
    plans=PLANS,
    stream=STREAMS,
    sizes=SIZES,
    keys_max=st.integers(1, 3),
    ttl_ms=st.sampled_from([50, 100, 300]),
)
def test_new_keys_are_refused_wherever_the_stream_is_cut(
    plans: list[Any], stream: Stream, sizes: list[int], keys_max: int, ttl_ms: int
) -> None:
    stream = stream._replace(keys_max=keys_max, ttl_ms=ttl_ms)
    if stream.no_data_ms is not None and stream.no_data_ms >= ttl_ms:
        stream = stream._replace(no_data_ms=None)  # recipes refuse that
    sent = stream_of(plans)
    whole = steps_of(sent, stream, [], 1_000)
    published = published_by(whole)
    parts = steps_of(sent, stream, list(sizes), 1_000)
    assert published_by(parts) == published
    found = [
        start + each.index
        for start, step in parts
        for each in step.rejected
        if isinstance(each.error, KeyLimitError)
    ]
    assert found == refused_one_by_one(sent, stream)
    assert all(
        each.stage == "keys"
        for _, step in parts
        for each in step.rejected
        if isinstance(each.error, KeyLimitError)
    )


def refused_one_by_one(sent: list[Sent], stream: Stream) -> list[int]:
    """Return which usable records are of a new key for which their partition has no room."""
    seen: dict[int, dict[Any, float]] = defaultdict(dict)
    clocks: dict[int, Partition] = defaultdict(Partition)
    refused = []
    for number, each in enumerate(sent):
        if not each.n_samples or each.key is None:
            continue
        known, clock = seen[each.partition], clocks[each.partition]
        for key in [key for key, at in known.items() if clock.now_ms > at + stream.ttl_ms]:
            del known[key]
        if each.key not in known and len(known) >= stream.keys_max:
            refused.append(number)
            continue
        record = Record(each.partition, each.key, times_of(each), ())
        known[each.key] = clock.advance(record, stream.detector(1).windows)
    return refused


def times_of(sent: Sent) -> tuple[float, ...]:
    if sent.headers == FLOAT32:
        return tuple(float(sent.timestamp_ms + at * INTERVAL_MS) for at in range(sent.n_samples))
    return tuple(map(float, orjson.loads(sent.value or b"")["timestamps_ms"]))


@given(plans=PLANS, stream=STREAMS)
def test_a_step_can_be_repeated(plans: list[Any], stream: Stream) -> None:
    sent = stream_of(plans)
    detector, half = stream.detector(4), len(sent) // 2
    state = detector.step(detector.initial_state(), batch_of(sent[:half])).state
    first, second = (detector.step(state, batch_of(sent[half:])) for _ in range(2))
    assert published_by([(half, first)]) == published_by([(half, second)])


@given(plans=PLANS, stream=STREAMS, data=st.data())
def test_a_key_s_alerts_do_not_depend_on_other_keys(
    plans: list[Any], stream: Stream, data: st.DataObject
) -> None:
    stream = stream._replace(ttl_ms=10**12, no_data_ms=None)  # others tell a silence
    # The second sample of each key is near its first, so that stream time need not decide.
    begin = [(*name, 0, 0, "json", NEAR) for name in dict.fromkeys(plan[:2] for plan in plans)]
    sent = stream_of([*begin, *plans])
    names = data.draw(st.permutations([(each.partition, each.key) for each in sent]))
    queues: dict[Any, deque[Sent]] = defaultdict(deque)
    for each in sent:
        queues[each.partition, each.key].append(each)
    other = [queues[name].popleft() for name in names]
    assert alerts_by_key(other, stream) == alerts_by_key(sent, stream)


def alerts_by_key(sent: list[Sent], stream: Stream) -> dict[Any, list[Any]]:
    """Return the alert events of each key, without what says where in the topic they come from."""
    found = defaultdict(list)
    for start, step in steps_of(sent, stream, [5, 5, 5], 1_000):
        for index, alert, key in step.alerts:
            assert key == sent[start + index].key  # no key is idle
            event = asdict(alert)
            is_continued = event.pop("continues_alert_id") is not None
            del event["source"], event["alert_id"], event["incident_id"]
            found[sent[start + index].partition, key].append((event, is_continued))
    return found


@given(plans=PLANS, stream=STREAMS, sizes=SIZES)
def test_nothing_goes_uncounted(plans: list[Any], stream: Stream, sizes: list[int]) -> None:
    sent = stream_of(plans)
    steps = steps_of(sent, stream, list(sizes), 1_000)
    n_counted = sum(sum(step.counts.samples.values()) for _, step in steps)
    n_held = len(keyed_state_of(steps[-1][1]).held.slots)
    assert n_counted + n_held == sum(each.n_samples for each in sent)
    for start, step in steps:
        batch = sent[start : start + sizes.pop(0)] if sizes else sent[start:]
        counts = step.counts
        numbers = chain(counts.records.values(), counts.windows.values(), counts.samples.values())
        assert all(number >= 0 for number in numbers)
        assert sum(counts.records.values()) == len(batch)
        assert counts.records["dead_letter"] == sum(each.n_samples == 0 for each in batch)
        late = counts.records.get("late", 0)
        assert len(step.rejected) == counts.records["dead_letter"] + late
        assert len({each.index for each in step.rejected}) == len(step.rejected)
        scored = counts.windows.get("normal", 0) + counts.windows.get("anomalous", 0)
        assert len(step.scores) == scored
        judged = counts.records.get("normal", 0) + counts.records.get("anomalous", 0)
        assert judged <= len(set(step.scores.indices.tolist()))


def keyed_state_of(step: Step) -> KeyedState:
    assert isinstance(step.state, SampleState)
    return step.state.windows.apply_delta()


@given(plans=PLANS, stream=STREAMS, sizes=SIZES)
def test_what_a_key_left_goes_with_its_partition(
    plans: list[Any], stream: Stream, sizes: list[int]
) -> None:
    sent = stream_of(plans)
    start, step = steps_of(sent, stream, sizes, 1_000)[-1]
    del start
    detector = stream.detector(1_000)
    state = step.state.drop_partitions([1])
    again = detector.step(state, batch_of(sent))
    fresh = detector.step(detector.initial_state(), batch_of(sent))
    of_1 = [(each.index, repr(each.error)) for each in again.rejected if in_1(sent, each.index)]
    assert of_1 == [
        (each.index, repr(each.error)) for each in fresh.rejected if in_1(sent, each.index)
    ]
    alerts = [each for each in again.alerts if in_1(sent, each.record)]
    assert alerts == [each for each in fresh.alerts if in_1(sent, each.record)]


def in_1(sent: list[Sent], index: int) -> bool:
    return sent[index].partition == 1
