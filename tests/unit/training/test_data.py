"""Hold-out blocks: no sample in both parts, spread over the whole time, each series apart."""

from typing import Any

import numpy as np
import pytest

from stream_detector.training.data import hold_out_blocks


def cut(n_samples: int, n_steps: int, stride: int = 1) -> tuple[Any, Any]:
    starts = np.arange(0, n_samples - n_steps + 1, stride, dtype=np.float64)
    return starts, starts + n_steps - 1


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
@pytest.mark.parametrize(("n_samples", "n_steps", "stride"), [(5000, 20, 3), (500, 20, 1)])
def test_no_sample_is_in_both_parts(
    n_samples: int, n_steps: int, stride: int, share: float
) -> None:
    starts, ends = cut(n_samples, n_steps, stride)
    rest, held_out = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, share)
    samples = [
        {
            sample
            for row in np.flatnonzero(part)
            for sample in range(int(starts[row]), int(ends[row]) + 1)
        }
        for part in (rest, held_out)
    ]
    assert not samples[0] & samples[1]
    assert samples[0]
    assert len(samples[1]) == pytest.approx(share * n_samples, rel=0.35)


def test_held_out_blocks_are_spread_over_the_whole_time() -> None:
    starts, ends = cut(20_000, 50)
    _, held_out = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, 0.2)
    quarters = np.array_split(held_out, 4)
    assert [quarter.mean() for quarter in quarters] == pytest.approx([0.19] * 4, abs=0.1)


def test_each_series_has_blocks_of_its_own() -> None:
    starts, ends = cut(2_000, 20)
    one = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, 0.2)
    order = np.random.default_rng(0).permutation(2 * len(starts))
    series = np.repeat([4, 9], len(starts))[order]
    both = hold_out_blocks(
        series,
        np.concatenate([starts, starts + 1e12])[order],
        np.concatenate([ends, ends + 1e12])[order],
        0.2,
    )
    for part, alone in zip(both, one, strict=True):
        np.testing.assert_array_equal(part, np.concatenate([alone, alone])[order])


def test_too_short_a_series_has_nothing_to_hold_out() -> None:
    starts, ends = cut(30, 20)
    rest, held_out = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, 0.2)
    assert not held_out.any()
    assert len(rest) == len(held_out) == len(starts)
