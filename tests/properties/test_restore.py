"""Wherever a stream is cut off, a replay from the restore offset gives the same results."""

from dataclasses import replace
from typing import Any

import numpy as np
from detectors import make_sample_detector
from hypothesis import event, given, settings
from hypothesis import strategies as st
from peak_trains import INTERVAL_MS, PEAK_RULES, START_MS, TRAINS, window_rules_of
from restoring import begun, replayed, run
from rhythms import make_rhythm
from sample_streams import (
    PLANS,
    SEVERITIES,
    SIZES,
    STREAMS,
    Sent,
    Stream,
    published_by,
    record_of,
    shrink,
    stream_of,
)

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import BundleReference
from stream_detector.core.state.sample_state import NO_DIGEST
from stream_detector.core.windowing.peaks import PeakRules
from stream_detector.errors import KeyLimitError

LONG = st.lists(PLANS, min_size=1, max_size=4).map(
    lambda plans: [each for one in plans for each in one]
)


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


PLAIN = Features.generated(2)
SCALES = tuple(
    KeyScales([key, b"other"], np.array([[0, 4], [1, 1]], "f4"), np.array([[3, 0.5], [9, 9]], "f4"))
    for key in (b"k0", b"not there")
)
"""For the key of all pulses, and for two others, so that it has the scale of the fleet."""


def pulses_of(plans: list[Any], rng: np.random.Generator) -> list[Sent]:
    """Return records of some series of pulses, those of each in their order."""
    queues: list[list[Sent]] = []
    for number, (train, n_samples, chunk) in enumerate(plans):
        values = train.values(n_samples)
        rows = [
            (1 + int(rng.random() < 0.01), *row) for row in values.tolist() if rng.random() < 0.99
        ]
        times = (START_MS + INTERVAL_MS * np.cumsum([step for step, *_ in rows])).tolist()
        queues.append(
            [
                record_of(
                    number % 2,
                    b"k%d" % (number // 2),
                    "json",
                    times[at : at + chunk],
                    rows[at : at + chunk],
                )
                for at in range(0, len(rows), chunk)
            ]
        )
    order = rng.permutation(np.repeat(np.arange(len(queues)), [len(each) for each in queues]))
    sources = [iter(each) for each in queues]
    return [next(sources[number]) for number in order.tolist()]


@settings(max_examples=50)
@given(
    # Frames are short, so that not all of a stream is needed.
    rules=PEAK_RULES.map(lambda rules: replace(rules, n_block=7, n_apart=6, n_search=8)),
    plans=st.lists(
        st.tuples(TRAINS, st.integers(800, 1500), st.integers(10, 40)), min_size=1, max_size=2
    ),
    alerting=st.tuples(st.integers(1, 2), st.sampled_from([0, 300]), st.sampled_from([200, 900])),
    sizes=SIZES,
    again=SIZES,
    cut=st.floats(0.4, 1),
    seed=st.integers(0, 1 << 32),
    features=st.sampled_from([PLAIN, *(replace(PLAIN, key_scales=each) for each in SCALES)]),
)
def test_windows_round_peaks_are_the_same_after_a_restore(
    rules: PeakRules,
    plans: list[Any],
    alerting: tuple[int, ...],
    sizes: list[int],
    again: list[int],
    cut: float,
    seed: int,
    features: Features,
) -> None:
    open_after, cooldown_ms, open_ms_max = alerting
    windows = window_rules_of(rules, 0, "interpolate", n_beside=0)
    detector = replace(
        make_sample_detector(
            replace(windows, key_ttl_ms=600.0),
            AlertRules(open_after, 2, 50, 150, cooldown_ms, open_ms_max, 3, 500, SEVERITIES),
            5,
            bundle=BundleReference("b", "v"),
            features=features,
            reconstruct=shrink,
        ),
        rhythm=make_rhythm(90, 120, 160, 1.5, INTERVAL_MS * rules.n_pause),
    )
    sent = pulses_of(plans, np.random.default_rng(seed))
    end = max(1, int(len(sent) * cut))
    state, before, committed = run(detector, begun(detector, sent), sent[:end], 0, list(sizes))
    restored = replayed(detector, sent, committed, list(again))
    for partition in {each.partition for each in sent} - set(committed):
        restored = restored.open_partition(partition, 0)
    rest = [run(detector, each, sent, end, []) for each in (state, restored)]
    event(f"windows before: {any(len(step.scores.scores) for _, step in before)}")
    event(f"windows after: {any(len(step.scores.scores) for _, step in rest[0][1])}")
    event(f"alerts: {any(step.alerts for _, step in rest[0][1])}")
    event(f"replayed: {any(restore_plan.offset > 0 for _, restore_plan in committed.values())}")
    if end < len(sent):
        assert published_by(rest[0][1]) == published_by(rest[1][1])
    of_some, of_other = (
        {partition: plan.digest for partition, (_, plan) in each[2].items()} for each in rest
    )
    assert of_some == of_other
