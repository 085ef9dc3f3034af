"""What is kept of samples in a file that are too many for memory."""

from pathlib import Path

import numpy as np
import pytest

from stream_detector.core.records import Samples
from stream_detector.datasets.cutting import some_samples
from stream_detector.datasets.files import sample_survey
from stream_detector.datasets.files.sample_survey import SampleSurvey, SomeSamples

N_ROWS = 24


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_survey, "_N_EACH_MIN", 3)


def samples() -> Samples:
    """Return 18 samples of one key and 6 of another, the first of each labelled."""
    series = np.tile([0, 0, 0, 1], N_ROWS // 4)
    labels = np.zeros(N_ROWS, np.int8)
    labels[[0, 3]] = 1
    times = np.arange(float(N_ROWS))
    return Samples(("a", "b"), series, times, times[:, None], labels)


def kept(n_most: int, *ends: int, n_steps: int = 1) -> list[tuple[str, float]]:
    """Return what is kept of samples that come in parts."""
    whole = samples()
    survey = SampleSurvey(Path("f.parquet"), ("x",))
    assert sum(len(part) for part in survey.follow([whole], lambda part: part)) == N_ROWS
    assert survey.counts == {"a": 18, "b": 6}
    found = SomeSamples(survey, n_most, n_steps)
    for start, end in zip((0, *ends), (*ends, N_ROWS), strict=True):
        found.add(some_samples(whole, np.arange(start, end)))
    joined = found.joined()
    assert joined.labels is None
    assert joined.values[:, 0].tolist() == joined.times_ms.tolist()
    return sorted(
        (joined.keys[at], time) for at, time in zip(joined.series, joined.times_ms, strict=True)
    )


@pytest.mark.parametrize(
    ("level", "step", "origin"),
    [(0.1, 0.0, ()), (1.7e9 + 0.1, 0.0, ()), (0.1, 0.1, ()), (1.7e9, 0.5, (1.7e9 + 0.25,))],
)
def test_only_what_varies_needs_an_origin(
    level: float, step: float, origin: tuple[float, ...]
) -> None:
    times = np.arange(float(N_ROWS))
    whole = Samples(("a",), np.zeros(N_ROWS, np.intp), times, level + step * (times[:, None] % 2))
    survey = SampleSurvey(Path("f.parquet"), ("x",))
    list(survey.follow([whole], lambda part: part))
    assert survey.better_origin() == origin


def test_all_normal_ones_are_kept_where_there_are_no_more() -> None:
    assert len(kept(24)) == 22
    assert len(kept(23)) == 9 + 5  # 11 of each key at most: every other of 18, and all 6


def test_those_of_a_key_are_evenly_spread_over_its_time_however_they_come() -> None:
    # Four of each at most: every fifth normal one of 18, and every other of 6.
    expected = [("a", each) for each in (1.0, 8.0, 14.0, 21.0)] + [
        ("b", each) for each in (7.0, 15.0, 23.0)
    ]
    assert kept(8) == expected
    for ends in ((1,), (5, 6, 17), (0, 12, 12, 23)):
        assert kept(8, *ends) == expected


def test_a_key_keeps_some_however_many_there_are() -> None:
    assert len(kept(1)) == 3 + 3


def test_those_of_a_stretch_are_kept_together() -> None:
    # Every fifth stretch of two of the 17 normal ones of one key, and every other of the other's.
    of_a, of_b = (1.0, 2.0, 14.0, 16.0), (7.0, 11.0, 23.0)
    expected = [*(("a", each) for each in of_a), *(("b", each) for each in of_b)]
    assert kept(4, n_steps=2) == expected
    for ends in ((1,), (2, 15), (0, 12, 12, 23)):
        assert kept(4, *ends, n_steps=2) == expected
