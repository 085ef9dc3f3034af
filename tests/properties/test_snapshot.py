"""A state that was dumped and loaded, whole or in parts, goes on as the one that never was."""

from collections.abc import Sequence
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from sample_streams import PLANS, SIZES, STREAMS, Sent, Stream, batch_of, published_by, stream_of

from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.restore_plan import RestorePlan
from stream_detector.core.state.sample_state import SampleState
from stream_detector.core.state.snapshot import dump, load

BOTH = (0, 1)
OWN = "v1"


def step_through(
    detector: SampleDetector,
    state: DetectorState,
    sent: Sequence[Sent],
    numbers: Sequence[int],
    partitions: Sequence[int] = BOTH,
) -> tuple[DetectorState, Step, dict[int, RestorePlan]]:
    """Step through some records of a stream, and say from where they can be restored."""
    some = [sent[number] for number in numbers]
    step = detector.step(state, batch_of(some, offsets=list(numbers)))
    end = numbers[-1] + 1
    state, plans = step.state.restore_plans(dict.fromkeys(partitions, end))
    return state, step, plans


def opened(detector: SampleDetector, partitions: Sequence[int] = BOTH) -> DetectorState:
    state: DetectorState = detector.initial_state()
    for partition in partitions:
        state = state.open_partition(partition, 0)
    return state


def cuts_of(sent: Sequence[Sent], sizes: list[int]) -> list[range]:
    """Return the records of each batch; the rest is one."""
    batches, start = [], 0
    for size in [*sizes, len(sent)]:
        if start < len(sent):
            batches.append(range(start, min(start + size, len(sent))))
        start += size
    return batches


@settings(max_examples=40)
@given(
    plans=PLANS,
    stream=STREAMS,
    sizes=SIZES,
    when=st.lists(st.booleans(), min_size=31),
    keys_max=st.sampled_from([1, 2, 100]),
)
def test_a_loaded_state_continues_bit_for_bit(
    plans: list[Any], stream: Stream, sizes: list[int], when: list[bool], keys_max: int
) -> None:
    sent, detector = stream_of(plans), stream._replace(keys_max=keys_max).detector(9)
    found = []
    for is_dumped in ([False] * len(when), when):
        state, steps, restores = opened(detector), [], []
        for numbers, is_here in zip(cuts_of(sent, list(sizes)), is_dumped, strict=False):
            state, step, plan = step_through(detector, state, sent, numbers)
            steps.append((numbers[0], step))
            restores.append(plan)
            if is_here:
                data = dump(state, OWN)
                state = load([data], detector.initial_state(), OWN)
                assert dump(state, OWN) == data
                event(describe(state))
        found.append((published_by(steps), restores, state.counts()))
    assert found[0] == found[1]


def describe(state: DetectorState) -> str:
    assert isinstance(state, SampleState)
    keyed_state, new_keys = state.windows.apply_delta(), state.new_keys
    facts = {
        "open": any(each.open for each in state.alerts.values()),
        "flood": any(each.flood for each in state.alerts.values()),
        "gaps": state.gaps,
        "waits": len(keyed_state.reorder_buffer.slots),
        "held": len(keyed_state.held.slots),
        "jump": keyed_state.jumps,
        "scales": new_keys.places,
        "warm-up": new_keys.warm_ups,
        "incident": state.incidents,
        "refused": state.refused_at,
    }
    return ", ".join(name for name, has in facts.items() if has)


@settings(max_examples=40)
@given(plans=PLANS, stream=STREAMS, share=st.floats(0.1, 0.9), in_order=st.booleans())
def test_parts_of_a_state_continue_as_the_whole(
    plans: list[Any], stream: Stream, share: float, in_order: bool
) -> None:
    sent, detector = stream_of(plans), stream.detector(9)
    middle = max(1, int(share * len(sent)))
    before, after = range(middle), range(middle, len(sent))
    state, *_ = step_through(detector, opened(detector), sent, before)
    parts = [dump(state, OWN, [partition]) for partition in BOTH]
    whole = load([dump(state, OWN)], detector.initial_state(), OWN)
    joined = load(parts if in_order else parts[::-1], detector.initial_state(), OWN)
    _, expected, expected_plans = step_through(detector, whole, sent, after)
    _, step, restores = step_through(detector, joined, sent, after)
    assert published_by([(0, step)]) == published_by([(0, expected)])
    assert restores == expected_plans
    for partition, part in zip(BOTH, parts, strict=True):
        own = [number for number in after if sent[number].partition == partition]
        alone = load([part], detector.initial_state(), OWN)
        assert dump(alone, OWN) == part
        if own:
            _, step, restores = step_through(detector, alone, sent, own, [partition])
            assert facts_of(step, own, own) == facts_of(expected, after, own)


def facts_of(step: Step, numbers: Sequence[int], own: Sequence[int]) -> list[Any]:
    """Return what a step says of some records, by their offsets."""
    pairs = zip(step.scores.indices.tolist(), step.scores.scores.tolist(), strict=True)
    found: list[Any] = [(numbers[index], score) for index, score in pairs]
    found += [(numbers[index], alert, key) for index, alert, key in step.alerts]
    found += [(numbers[each.index], each.stage, repr(each.error)) for each in step.rejected]
    return [each for each in found if each[0] in own]
