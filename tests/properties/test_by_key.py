"""Windows cut key by key are those of each key alone, wherever parts end."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from drawing import one_of_each
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import Samples
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets import cutting
from stream_detector.datasets.cutting import CutWindows, cut_by_key
from stream_detector.datasets.windowing import cut_samples

START_MS = 1_767_225_600_000
RULES = WindowRules(3, 2, 2, 10.0, 40.0, 0.0, "interpolate", 0.5, 1_000.0)
ONES = np.ones((1, 2), np.float32)
FEATURES = Features(("f", "g"), (), KeyScales([b"b"], 0 * ONES, ONES), warm_up_samples=5)

# Of each key, times since the sample before and the number of its value, 0 of which is missing.
SERIES = st.lists(
    st.lists(
        one_of_each([10, 10, 10, 0, 3, 12, 20, 41, 100, 2_000], range(10)),
        min_size=1,
        max_size=25,
    ),
    min_size=1,
    max_size=4,
)
ENDS = st.lists(st.integers(0, 60), max_size=6)


def samples_of(series: list[list[tuple[int, int]]]) -> Samples:
    """Return the samples of all keys, one key after the other."""
    steps, numbers = (
        np.array([sample[at] for own in series for sample in own], np.float64) for at in (0, 1)
    )
    counts = [len(own) for own in series]
    starts = np.cumsum(counts) - counts
    times = np.cumsum(steps) - np.repeat(np.cumsum(steps)[starts], counts)
    values = np.column_stack([np.where(numbers == 0, np.nan, numbers), numbers * 3])
    return Samples(
        tuple("abcd"[: len(series)]),
        np.repeat(np.arange(len(series)), counts),
        START_MS + times,
        values.astype(np.float32),
        (numbers == 9).astype(np.int8),
    )


def select(samples: Samples, rows: NDArray[Any]) -> Samples:
    """Return some samples, with no other keys than theirs."""
    numbers, series = np.unique(samples.series[rows], return_inverse=True)
    return replace(
        samples,
        keys=tuple(samples.keys[number] for number in numbers.tolist()),
        series=series,
        times_ms=samples.times_ms[rows],
        values=samples.values[rows],
        labels=None if samples.labels is None else samples.labels[rows],
    )


def listed(found: list[CutWindows]) -> list[tuple[Any, ...]]:
    """Return the windows as values that compare bit for bit, in the units of their keys."""
    return [
        row
        for each in found
        for row in zip(
            each.keys,
            each.start_ms.tolist(),
            each.end_ms.tolist(),
            [] if each.labels is None else each.labels.tolist(),
            map(bytes, each.in_key_units(each.features or Features(("f", "g"))).windows),
            strict=True,
        )
    ]


@given(
    series=SERIES,
    ends=ENDS,
    lateness_ms=st.sampled_from([0.0, 25.0]),
    features=st.sampled_from([None, FEATURES]),
)
def test_each_key_has_the_windows_that_it_has_alone(
    series: list[list[tuple[int, int]]],
    ends: list[int],
    lateness_ms: float,
    features: Features | None,
) -> None:
    samples, rules = samples_of(series), replace(RULES, allowed_lateness_ms=lateness_ms)
    alone = [
        cut_samples(select(samples, np.flatnonzero(samples.series == number)), rules, features)
        for number in range(len(samples.keys))
    ]
    bounds = sorted({0, len(samples), *(min(end, len(samples)) for end in ends)})
    parts = [select(samples, np.arange(*ends)) for ends in pairwise(bounds)]
    found = list(cut_by_key(parts, rules, features))
    assert listed(found) == listed(alone)
    for name in ("n_missing", "n_warm_up"):
        assert sum(getattr(each, name) for each in found) == sum(
            getattr(each, name) for each in alone
        )


def test_few_keys_are_held_at_once(monkeypatch: Any) -> None:
    samples = samples_of([[(10, number % 9 + 1) for number in range(20)]] * 4)
    whole = listed(list(cut_by_key([samples], RULES)))
    monkeypatch.setattr(cutting, "_STATE_BYTES", 2 * 3 * 3 * 4)  # of two keys
    found = list(cut_by_key([samples], RULES))
    assert [sorted(set(each.keys)) for each in found] == [["a", "b"], ["c", "d"]]
    assert listed(found) == whole


def test_no_samples_have_no_windows() -> None:
    assert list(cut_by_key([], RULES)) == []
    assert list(cut_by_key([select(samples_of([[(10, 1)]]), np.arange(0))], RULES)) == []
