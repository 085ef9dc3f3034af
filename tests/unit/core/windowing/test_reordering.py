"""Samples in the order of their times: the worked example of the module, record by record."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from key_samples import RULES, arrivals  # tests/support

from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.reordering import InOrder, reorder_samples

LATE_RULES = replace(RULES, allowed_lateness_ms=20.0)
RECORDS: Sequence[Sequence[float]] = ([0, 10, 30], [20], [50], [51], [25])


def reorder(*records: Sequence[float], rules: object = LATE_RULES) -> InOrder:
    keyed_state = KeyedState(n_steps=4, n_features=1)
    batch = arrivals(*((b"a", times) for times in records))
    slots, _ = keyed_state.find(batch.keys, batch.partitions)
    return reorder_samples(keyed_state, slots, batch, rules)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n_records", "released", "waiting"),
    [
        (1, [0], [10, 30]),
        (2, [0], [10, 20, 30]),
        (3, [0, 10, 20], [30, 50]),
        (4, [0, 10, 20, 30], [50]),
        (5, [0, 10, 20, 30], [50]),
    ],
)
def test_the_worked_example(n_records: int, released: list[float], waiting: list[float]) -> None:
    in_order = reorder(*RECORDS[:n_records])
    assert in_order.times_ms.tolist() == released
    assert in_order.values[in_order.rows].ravel().tolist() == released
    assert in_order.reorder_buffer is not None
    assert in_order.reorder_buffer.times_ms.tolist() == waiting
    assert in_order.reorder_buffer.values.ravel().tolist() == waiting


def test_each_sample_is_released_by_the_record_that_leaves_nothing_to_wait_for() -> None:
    in_order = reorder(*RECORDS)
    assert in_order.records.tolist() == [0, 2, 2, 3]
    assert in_order.n_repeated.tolist() == [0, 0, 0, 1, 0]
    assert in_order.followed.n_late.tolist() == [0, 0, 0, 0, 1]


def test_without_lateness_nothing_waits() -> None:
    in_order = reorder(*RECORDS, rules=RULES)
    assert in_order.times_ms.tolist() == [0, 10, 30, 50]
    assert in_order.records.tolist() == [0, 0, 0, 2]
    assert in_order.followed.n_late.tolist() == [0, 1, 0, 0, 1]
    assert in_order.n_repeated.tolist() == [0, 0, 0, 1, 0]
    assert in_order.reorder_buffer is None
