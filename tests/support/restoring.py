"""A stream that is cut off, and its state restored from what was committed and its logs."""

from collections import defaultdict

from sample_streams import Sent, batch_of

from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.restore_plan import RestorePlan


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
