"""Cells of samples: the worked example of `grid`, and the row that it leaves in `keyed_state`."""

from dataclasses import replace

import numpy as np
from key_samples import RULES, arrivals  # tests/support

from stream_detector.core.windowing.grid import Aligned, align, lay_out_segments
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.reordering import InOrder, reorder_samples
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.core.windowing.windows import assign_windows

STRIDE_2 = replace(RULES, stride=2)
TIMES = [0.0, 12.0, 19.0, 41.0, 100.0, 110.0]
NAN = np.nan


def aligned_samples() -> tuple[KeyedState, InOrder, Aligned]:
    keyed_state = KeyedState(n_steps=4, n_features=1)
    records = arrivals((b"a", TIMES))
    slots, _ = keyed_state.find(records.keys, records.partitions)
    in_order = reorder_samples(keyed_state, slots, records, STRIDE_2)
    return keyed_state, in_order, align(in_order, STRIDE_2)


def test_the_worked_example_of_cells() -> None:
    _, _, aligned = aligned_samples()
    assert aligned.segments.tolist() == [0, 0, 0, 0, 1, 1]
    assert aligned.cells.tolist() == [0, 1, 2, 4, 0, 1]
    assert aligned.is_start.tolist() == [True, False, True, True, True, False]
    assert aligned.spans.tolist() == [1, 2, 3, 4, 1, 2]
    assert (aligned.firsts.tolist(), aligned.lasts.tolist()) == ([0, 4], [3, 5])
    assert aligned.gaps.tolist() == [4]


def test_the_worked_example_of_segments_side_by_side() -> None:
    keyed_state, in_order, aligned = aligned_samples()
    buffer = lay_out_segments(keyed_state, in_order, aligned, n_steps=4)
    assert buffer.segments.tolist() == [0]
    assert (buffer.begins.tolist(), buffer.lengths.tolist()) == ([0], [5])
    np.testing.assert_array_equal(buffer.values[:5, 0], [0, 12, 19, NAN, 41])
    window = buffer.gather(np.array([0]), 4)
    np.testing.assert_array_equal(window, [[[0], [12], [19], [NAN]]])


def test_the_worked_example_of_keyed_state() -> None:
    batch = assign_windows(WindowState.empty(STRIDE_2), STRIDE_2, arrivals((b"a", TIMES)))
    keyed_state = batch.state.apply_delta()
    np.testing.assert_array_equal(keyed_state.rows[0, :, 0], [100, 110, NAN, NAN])
    assert np.unpackbits(keyed_state.starts[0], count=4).tolist() == [1, 0, 0, 0]
    columns = keyed_state.columns.take(np.array([0]))
    assert (columns.last_cell.tolist(), columns.span.tolist()) == ([1], [2])
    assert columns.last_ms.tolist() == columns.newest_ms.tolist() == [110]
