"""Wherever a stream is cut off: read again from the rewind offset, and nothing is different."""

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from sample_streams import (
    PLANS,
    SIZES,
    STREAMS,
    Sent,
    Stream,
    batch_of,
    shrink,
    stream_of,
    told,
)

from stream_detector.core.rewind import Rewind
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.step import DetectorState, Step

LONG = st.lists(PLANS, min_size=1, max_size=4).map(
    lambda plans: [each for one in plans for each in one]
)


def begun(detector: SampleDetector, sent: list[Sent]) -> DetectorState:
    state: DetectorState = detector.start()
    for partition in {each.partition for each in sent}:
        state = detector.begin(state, partition, 0)
    return state


def run(
    detector: SampleDetector, state: DetectorState, sent: list[Sent], start: int, sizes: list[int]
) -> tuple[DetectorState, list[tuple[int, Step]], dict[int, tuple[int, Rewind]]]:
    """Step and commit batch by batch; return the state, the steps and what was last committed."""
    steps, committed = [], {}
    while start < len(sent):
        some = sent[start : start + (sizes.pop() if sizes else 3)]
        step = detector.step(state, batch_of(some, start), shrink)
        steps.append((start, step))
        start += len(some)
        ends = {each.partition: start for each in some}
        state, rewinds = detector.rewinds(step.state, ends)
        committed |= {partition: (start, rewind) for partition, rewind in rewinds.items()}
    return state, steps, committed


def read_again(
    detector: SampleDetector,
    sent: list[Sent],
    committed: dict[int, tuple[int, Rewind]],
    sizes: list[int],
) -> DetectorState:
    """Restore each partition from its log and from what was committed with its offset."""
    state: DetectorState = detector.start()
    for partition, (offset, rewind) in committed.items():
        state = detector.begin(state, partition, rewind.offset, rewind)
        at = rewind.offset
        while at < offset:
            is_judged = rewind.is_restless and at >= rewind.judge_offset
            if at == rewind.judge_offset:
                state = detector.reach(state, partition, rewind)
            barriers = [each for each in (rewind.judge_offset, offset) if each > at]
            end = min(at + (sizes.pop() if sizes else 4), *barriers)
            rows = [row for row in range(at, end) if sent[row].partition == partition]
            batch = batch_of([sent[row] for row in rows], offsets=rows)
            if is_judged:
                state = detector.step(state, batch, shrink).state if rows else state
            elif rows:
                state = detector.recall(state, batch)
            at = end
        state = detector.resume(state, partition, offset, rewind)
    return state


@settings(max_examples=300)
@given(
    plans=LONG,
    stream=STREAMS,
    sizes=SIZES,
    again=SIZES,
    assign_windows=st.floats(0.1, 1),
    data=st.data(),
)
def test_a_state_read_again_goes_on_as_the_one_that_was_lost(
    plans: list[Any],
    stream: Stream,
    sizes: list[int],
    again: list[int],
    assign_windows: float,
    data: st.DataObject,
) -> None:
    sent = stream_of(plans)
    detector = stream.detector(5)
    end = max(1, int(len(sent) * assign_windows))
    state, _, committed = run(detector, begun(detector, sent), sent[:end], 0, list(sizes))
    restored = read_again(detector, sent, committed, list(again))
    missing = {each.partition for each in sent} - set(committed)
    for partition in missing:
        restored = detector.begin(restored, partition, 0)
    lives = [state, restored]
    event(f"rewound: {any(rewind.offset > 0 for _, rewind in committed.values())}")
    event(f"restless: {any(rewind.is_restless for _, rewind in committed.values())}")
    rest = [run(detector, each, sent, end, data.draw(SIZES, label="sizes after")) for each in lives]
    assert told(rest[0][1]) == told(rest[1][1]) if end < len(sent) else True
    digests = [
        {partition: rewind.digest for partition, (_, rewind) in each[2].items()} for each in rest
    ]
    assert digests[0] == digests[1]
