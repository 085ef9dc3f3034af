"""What becomes of the next sample: the table in the docstring of `rules`."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from key_samples import RULES, Record, arrivals  # tests/support

from stream_detector.core.windowing.window_batch import WindowBatch, WindowState
from stream_detector.core.windowing.windows import assign_windows

EXAMPLE = replace(RULES, stride=2, allowed_lateness_ms=20.0)
BEFORE = [0.0, 10.0, 20.0, 30.0, 40.0, 60.0, 70.0]


def follow_with(*more: Record) -> WindowBatch:
    """Return the windows of samples up to 70, without one at 50, and of some more records."""
    return assign_windows(WindowState.empty(EXAMPLE), EXAMPLE, arrivals((b"a", BEFORE), *more))


def windows_of(batch: WindowBatch) -> list[list[float]]:
    windows: list[list[float]] = batch.gather(slice(None))[:, :, 0].tolist()
    return windows


@pytest.mark.parametrize(
    ("times", "window"),
    [([80, 90, 120], [60, 70, 80, 90]), ([100, 130], [60, 70, np.nan, np.nan])],
)
def test_a_sample_follows_at_the_interval_or_leaves_missing_values(
    times: Sequence[float], window: list[float]
) -> None:
    np.testing.assert_array_equal(windows_of(follow_with((b"a", times)))[-1], window)


def test_a_longer_pause_than_gap_ms_max_is_a_gap() -> None:
    for pause, n_gaps in ((30, 0), (50, 1)):
        times = [70 + pause, 70 + pause + 30]
        assert len(follow_with((b"a", times[:1]), (b"b", [0])).gap_ms) == 0  # it still waits
        assert follow_with((b"a", times)).gap_ms.tolist() == [120.0] * n_gaps


def test_a_sample_in_time_is_put_in_order_and_a_later_one_is_rejected() -> None:
    batch = follow_with((b"a", [50]), (b"a", [45]), (b"a", [100]))
    assert batch.n_late.tolist() == [0, 0, 1, 0]
    assert [40, 50, 60, 70] in windows_of(batch)


@pytest.mark.parametrize(("stream_time_ms", "n_expired"), [(1_070, 0), (1_071, 1)])
def test_a_key_expires_with_stream_time(stream_time_ms: float, n_expired: int) -> None:
    batch = follow_with((b"b", [stream_time_ms]), (b"c", [stream_time_ms]))
    assert len(batch.expired.slots) == n_expired
    assert batch.expired.at_ms.tolist() == [1_070.0] * n_expired
