"""However a stream is cut into batches: the same counts of each series since its last score."""

from collections import defaultdict
from typing import Any

import numpy as np
from hypothesis import given
from sample_streams import PLANS, SIZES, STREAMS, Sent, Stream, steps_of, stream_of

from stream_detector.core.state.sample_state import SampleState
from stream_detector.core.windowing.diagnosis import Diagnosis
from stream_detector.core.windowing.series_health import N_INTERVALS_KEPT, SeriesHealth


def examine(sent: list[Sent], stream: Stream, sizes: list[int]) -> tuple[dict[Any, Any], Any]:
    """Return the counts of each key that has state at the end, and the diagnosis of it."""
    health, steps = SeriesHealth(2), steps_of(sent, stream, sizes, 1_000)
    for _, step in steps:
        if step.series is not None:
            health.add(step.series)
    state = steps[-1][1].state
    assert isinstance(state, SampleState)
    keyed_state = state.windows.apply_delta()
    detector = stream.detector(1)
    diagnosis = Diagnosis(health, keyed_state, detector.windows, detector.features)
    found = {}
    for slot, key in enumerate(keyed_state.keys):
        if key is not None:
            columns = {name: values[slot].tolist() for name, values in vars(health).items()}
            found[int(keyed_state.partitions[slot]), key] = repr(columns)
    unscored = diagnosis.find()
    reasons = {
        (int(keyed_state.partitions[slot]), keyed_state.keys[slot]): reason
        for slot, reason in zip(unscored.slots.tolist(), unscored.reasons.tolist(), strict=True)
    }
    return found, reasons


@given(plans=PLANS, stream=STREAMS, sizes=SIZES)
def test_any_cut_into_batches_gives_the_same_counts_and_reasons(
    plans: list[Any], stream: Stream, sizes: list[int]
) -> None:
    sent = stream_of(plans)
    whole = examine(sent, stream, [])
    assert examine(sent, stream, sizes) == whole
    assert examine(sent, stream, [1] * len(sent)) == whole


@given(plans=PLANS, stream=STREAMS, sizes=SIZES)
def test_the_counts_are_those_of_one_record_at_a_time(
    plans: list[Any], stream: Stream, sizes: list[int]
) -> None:
    stream = stream._replace(ttl_ms=10_000_000)
    sent = stream_of(plans)
    naive: dict[Any, int] = defaultdict(int)
    for start, step in steps_of(sent, stream, [1] * len(sent), 1_000):
        record = sent[start]
        # A window that lacks only the scale of its key counts as scored.
        if len(step.scores) or step.counts.windows.get("warm_up"):
            naive[record.partition, record.key] = 0
        elif step.counts.n_clock_sets:  # the series starts over with this record
            naive[record.partition, record.key] = record.n_samples
        else:
            naive[record.partition, record.key] += record.n_samples
    health, steps = SeriesHealth(2), steps_of(sent, stream, sizes, 1_000)
    for _, step in steps:
        if step.series is not None:
            health.add(step.series)
    state = steps[-1][1].state
    assert isinstance(state, SampleState)
    keyed_state = state.windows.apply_delta()
    for slot, key in enumerate(keyed_state.keys):
        expected = naive[int(keyed_state.partitions[slot]), key]
        assert health.n_samples[slot] == expected
        n_known = int((~np.isnan(health.intervals_ms[slot])).sum())
        assert n_known == min(health.n_intervals[slot], N_INTERVALS_KEPT)
