"""Metrics of scores of samples, against the values that the reference implementations gave.

The expected values were computed once: VUS-PR by `RangeAUC_volume_opt` and point-adjusted F1 by
`metric_PointF1PA` of TSB-AD 1.5, affiliation by ahstat/affiliation-metrics-py, and the score of NAB
by `nab/sweeper.py` of numenta/NAB (commit ea702d7) with a probationary period of 0.
"""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.point_metrics import (
    affiliation,
    find_runs,
    nab_score,
    point_adjusted_f1,
    vus_pr,
)

Case = tuple[NDArray[np.float64], NDArray[np.int8]]


def case(n: int, shift: int, runs: list[tuple[int, int]]) -> Case:
    at = np.arange(n)
    scores = np.abs(np.sin(at * 0.7 + shift) * np.cos(at * at * 0.001 + shift))
    labels = np.zeros(n, np.int8)
    for start, stop in runs:
        labels[start:stop] = 1
        scores[max(start + shift - 3, 0) : stop + shift] += 0.6
    return np.round(scores, 6), labels


THREE = case(600, 3, [(100, 140), (170, 172), (400, 460)])
EDGES = case(1000, 40, [(0, 20), (500, 501), (940, 1000)])
CLOSE = case(300, 0, [(10, 12), (30, 60), (75, 90), (280, 285)])
CASES = [THREE, EDGES, CLOSE]


def flags(n: int, *rows: int) -> NDArray[np.bool_]:
    mask = np.zeros(n, np.bool_)
    mask[list(rows)] = True
    return mask


def test_runs_are_half_open() -> None:
    assert find_runs(np.array([False, True, True, False, True])).tolist() == [[1, 3], [4, 5]]
    assert find_runs(np.zeros(3, np.bool_)).tolist() == []
    assert find_runs(np.zeros(0, np.bool_)).tolist() == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [(THREE, 0.8247785104844602), (EDGES, 0.32981181051191827), (CLOSE, 0.8819880728952891)],
)
def test_vus_pr_is_that_of_tsb_ad(given: Case, expected: float) -> None:
    assert vus_pr(*given) == pytest.approx(expected, abs=1e-12)


def test_vus_pr_depends_on_the_order_of_scores_only() -> None:
    scores, labels = THREE
    assert vus_pr(np.exp(5 * scores), labels) == vus_pr(scores, labels)


FIRST_HIGHEST = (np.arange(20.0)[::-1], flags(20, 3, 4).astype(np.int8))


@pytest.mark.parametrize("given", [*CASES, FIRST_HIGHEST])
def test_vus_pr_is_the_same_backwards(given: Case) -> None:
    scores, labels = given
    assert vus_pr(scores[::-1], labels[::-1]) == pytest.approx(vus_pr(scores, labels), abs=1e-12)


def test_a_sample_without_a_score_counts_as_the_lowest() -> None:
    scores, labels = THREE
    first = scores.copy()
    first[:50] = np.nan
    low = np.where(np.arange(600) < 50, -1.0, scores)
    assert vus_pr(first, labels) == vus_pr(low, labels)


def test_without_events_there_is_nothing_to_measure() -> None:
    nothing, scores = np.zeros(5, np.int8), np.arange(5.0)
    assert math.isnan(vus_pr(scores, nothing))
    assert math.isnan(vus_pr(np.empty(0), np.empty(0, np.int8)))
    assert all(map(math.isnan, affiliation(scores > 3, nothing)))
    assert math.isnan(nab_score(scores > 3, nothing))
    assert math.isnan(point_adjusted_f1(scores > 9, nothing))
    assert point_adjusted_f1(scores > 3, nothing) == 0.0


@pytest.mark.parametrize(
    ("given", "precision", "recall"),
    [
        (THREE, 0.7389940955026421, 0.9959553682666303),
        (EDGES, 0.599765283078553, 0.9635713413966954),
        (CLOSE, 0.7116917347842354, 0.9839729574700182),
    ],
)
def test_affiliation_is_that_of_its_authors(given: Case, precision: float, recall: float) -> None:
    scores, labels = given
    found = affiliation(scores > 0.9, labels)
    assert found.precision == pytest.approx(precision, abs=1e-12)
    assert found.recall == pytest.approx(recall, abs=1e-12)


def test_a_zone_without_a_prediction_has_no_recall_and_no_say_in_the_precision() -> None:
    labels = np.array([0, 1, 0, 0, 0, 0, 1, 0], np.int8)
    assert affiliation(flags(8, 1), labels) == (1.0, 0.5)
    found = affiliation(flags(8), labels)
    assert math.isnan(found.precision)
    assert found.recall == 0.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [(THREE, 0.8259109311740891), (EDGES, 0.5607476635514018), (CLOSE, 0.8188976377952756)],
)
def test_point_adjusted_f1_is_that_of_tsb_ad(given: Case, expected: float) -> None:
    scores, labels = given
    assert point_adjusted_f1(scores > 0.9, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((), 0.0),
        ((2, 12), 100.0),
        ((2,), 50.0),
        ((5,), 39.05310371511207),
        ((5, 4), 46.49481417274459),
        ((2, 12, 0), 97.25),
        ((2, 12, 6), 98.12378007684504),
        ((2, 12, 8), 97.28681068008356),
        ((2, 12, 24), 97.25000168246225),
        ((2, 12, 25), 97.25),
        ((3, 13, 20), 95.60077610442353),
    ],
)
def test_nab_score_is_that_of_its_sweeper(rows: tuple[int, ...], expected: float) -> None:
    labels = np.zeros(40, np.int8)
    labels[2:6] = labels[12:16] = 1
    assert nab_score(flags(40, *rows), labels) == pytest.approx(expected, abs=1e-12)
