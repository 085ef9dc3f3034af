"""Wherever a stream is cut off, a replay from the restore offset gives the same results."""

from collections import defaultdict
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
    published_by,
    stream_of,
)

from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.restore_plan import RestorePlan
from stream_detector.core.state.sample_state import NO_DIGEST
from stream_detector.errors import KeyLimitError

LONG = st.lists(PLANS, min_size=1, max_size=4).map(
    lambda plans: [each for one in plans for each in one]
)


def begun(detector: SampleDetector, sent: list[Sent]) -> DetectorState:
    state: DetectorState = detector.initial_state()
    for partition in {each.partition for each in sent}:
        state = state.open_partition(partition, 0)
    return state


def run(
    detector: SampleDetector, state: DetectorState, sent: list[Sent], start: int, sizes: list[int]
) -> tuple[DetectorState, list[tuple[int, Step]], dict[int, tuple[int, RestorePlan]]]:
    """Step and commit batch by batch; return the state, the steps and what was last committed."""
    steps: list[tuple[int, Step]] = []
    is_first = start == 0  # so that every alert was opened here
    committed: dict[int, tuple[int, RestorePlan]] = {}
    opened: dict[int, set[str]] = defaultdict(set)
    while start < len(sent):
        some = sent[start : start + (sizes.pop() if sizes else 3)]
        step = detector.step(state, batch_of(some, start))
        steps.append((start, step))
        start += len(some)
        ends = {each.partition: start for each in some}
        state, restore_plans = step.state.restore_plans(ends)
        for _, alert, _ in step.alerts:
            opened[alert.source.partition].add(alert.alert_id)
            if alert.event == "close":
                opened[alert.source.partition].remove(alert.alert_id)
        if is_first:
            found = {each: plan.n_open_alerts for each, plan in restore_plans.items()}
            assert found == {each: len(opened[each]) for each in found}
        committed |= {
            partition: (start, restore_plan) for partition, restore_plan in restore_plans.items()
        }
    return state, steps, committed


def replayed(
    detector: SampleDetector,
    sent: list[Sent],
    committed: dict[int, tuple[int, RestorePlan]],
    sizes: list[int],
) -> DetectorState:
    """Restore each partition from its log and from what was committed with its offset."""
    state: DetectorState = detector.initial_state()
    for partition, (offset, restore_plan) in committed.items():
        state = state.open_partition(partition, restore_plan.offset, restore_plan)
        at = restore_plan.offset
        while at < offset:
            is_judged = restore_plan.has_active_keys and at >= restore_plan.score_from_offset
            if at == restore_plan.score_from_offset:
                state = state.start_scoring(partition, restore_plan)
            barriers = [each for each in (restore_plan.score_from_offset, offset) if each > at]
            end = min(at + (sizes.pop() if sizes else 4), *barriers)
            rows = [row for row in range(at, end) if sent[row].partition == partition]
            batch = batch_of([sent[row] for row in rows], offsets=rows)
            if is_judged:
                state = detector.step(state, batch).state if rows else state
            elif rows:
                state = detector.replay(state, batch)
            at = end
        state = state.finish_restore(partition, offset, restore_plan)
    return state


@given(
    plans=LONG,
    stream=STREAMS,
    sizes=SIZES,
    again=SIZES,
    cut=st.floats(0.1, 1),
    keys_max=st.integers(1, 3),
)
def test_where_new_keys_were_refused_a_restore_is_exact_or_says_that_it_is_not(
    plans: list[Any],
    stream: Stream,
    sizes: list[int],
    again: list[int],
    cut: float,
    keys_max: int,
) -> None:
    sent = stream_of(plans)
    detector = stream._replace(keys_max=keys_max).detector(5)
    end = max(1, int(len(sent) * cut))
    state, steps, committed = run(detector, begun(detector, sent), sent[:end], 0, list(sizes))
    restored = replayed(detector, sent, committed, list(again))  # raises where it is not exact
    refused = [
        (sent[start + each.index].partition, start + each.index)
        for start, step in steps
        for each in step.rejected
        if isinstance(each.error, KeyLimitError)
    ]
    for partition, (_, restore_plan) in committed.items():
        is_replayed = any(at >= restore_plan.offset for of, at in refused if of == partition)
        assert (restore_plan.digest == NO_DIGEST) is is_replayed
    event(f"refused: {bool(refused)}")
    if all(restore_plan.digest for _, restore_plan in committed.values()):
        missing = {each.partition for each in sent} - set(committed)
        for partition in missing:
            restored = restored.open_partition(partition, 0)
        rest = [run(detector, each, sent, end, []) for each in (state, restored)]
        if end < len(sent):
            assert published_by(rest[0][1]) == published_by(rest[1][1])


@settings(max_examples=300)
@given(
    plans=LONG,
    stream=STREAMS,
    sizes=SIZES,
    again=SIZES,
    cut=st.floats(0.1, 1),
    data=st.data(),
)
def test_a_restored_state_gives_what_the_lost_one_would_have_given(
    plans: list[Any],
    stream: Stream,
    sizes: list[int],
    again: list[int],
    cut: float,
    data: st.DataObject,
) -> None:
    sent = stream_of(plans)
    detector = stream.detector(5)
    end = max(1, int(len(sent) * cut))
    state, _, committed = run(detector, begun(detector, sent), sent[:end], 0, list(sizes))
    restored = replayed(detector, sent, committed, list(again))
    missing = {each.partition for each in sent} - set(committed)
    for partition in missing:
        restored = restored.open_partition(partition, 0)
    states = [state, restored]
    event(f"replayed: {any(restore_plan.offset > 0 for _, restore_plan in committed.values())}")
    event(f"active: {any(restore_plan.has_active_keys for _, restore_plan in committed.values())}")
    rest = [
        run(detector, each, sent, end, data.draw(SIZES, label="sizes after")) for each in states
    ]
    assert published_by(rest[0][1]) == published_by(rest[1][1]) if end < len(sent) else True
    digests = [
        {partition: restore_plan.digest for partition, (_, restore_plan) in each[2].items()}
        for each in rest
    ]
    assert digests[0] == digests[1]
