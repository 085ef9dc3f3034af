"""Which column holds labels, by its name and by what is in it."""

import numpy as np
import pytest

from stream_detector.inspection.labels import find_label, looks_like_label
from stream_detector.inspection.table import RawColumn


def numbers(name: str, *runs: tuple[float, int]) -> RawColumn:
    """Return a column of numbers, each as often as is said."""
    values, counts = zip(*runs, strict=True)
    return RawColumn(name, np.repeat(np.array(values, np.float64), counts))


@pytest.mark.parametrize(("n_ones", "is_label"), [(20, True), (21, False)])
def test_a_class_is_a_label_where_one_of_its_two_values_is_rare(
    n_ones: int, is_label: bool
) -> None:
    assert looks_like_label(numbers("class", (0, 100 - n_ones), (1, n_ones))) is is_label


@pytest.mark.parametrize(("n_kinds", "is_label"), [(50, True), (51, False)])
def test_a_label_has_few_different_values(n_kinds: int, is_label: bool) -> None:
    assert looks_like_label(RawColumn("fault_code", np.arange(float(n_kinds)))) is is_label
    texts = ["ok", *[f"fault {number}" for number in range(n_kinds - 1)]]
    state = RawColumn("machine_state", None, texts)
    assert (find_label([state], None, is_said=False) is not None) is is_label


@pytest.mark.parametrize(("n_faults", "is_label"), [(50, True), (51, False)])
def test_a_label_marks_at_most_half_of_the_rows(n_faults: int, is_label: bool) -> None:
    column = numbers("anomaly", (0, 100 - n_faults), (1, n_faults))
    assert (find_label([column], None, is_said=False) is not None) is is_label


@pytest.mark.parametrize(("n_missing", "normal"), [(50, "1"), (51, "normal")])
def test_rows_without_a_number_are_normal_where_most_have_none(n_missing: int, normal: str) -> None:
    column = numbers("fault_code", (np.nan, n_missing), (1, 30), (2, 70 - n_missing))
    found = find_label([column], None, is_said=True)
    assert found is not None
    assert found.normal_label == normal


def test_a_fault_far_down_is_found() -> None:
    found = find_label([numbers("fault_code", (np.nan, 10_000), (7, 1))], None, is_said=False)
    assert found is not None
    assert np.flatnonzero(~found.is_normal).tolist() == [10_000]
