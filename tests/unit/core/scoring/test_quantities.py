"""Numbers and durations as people read them."""

import pytest

from stream_detector.core.scoring.quantities import duration_text, number_text


@pytest.mark.parametrize(
    ("value", "beside", "text"),
    [
        (71.2345, 13.0, "71.2"),
        (71.2345, 14.99, "71.2"),
        (71.2345, 15.0, "71"),
        (71.2345, 0.0, "71.2"),
        (71.2345, float("inf"), "71.2"),
        (55.0, 13.0, "55"),
        (0.0, 13.0, "0"),
        (0.0, 0.0, "0"),
        (-0.0004, 13.0, "-0.0004"),
        (1.2e-5, 13.0, "0"),
        (1.4e-5, 13.0, "1e-05"),
        (1e-6, 1.0, "1e-06"),
        (96.0, 250.0, "100"),
        (96.0, 5_200.0, "100"),
        (-86.0, 5_200.0, "-90"),
        (1.0, 5_200.0, "1"),
        (0.94, 5_200.0, "0.9"),
        (1e12, 1e9, "1e+12"),
        (3.3e-8, 1.5e-8, "0.000000033"),
        (3.3e-9, 1.5e-9, "3.3e-09"),
        (1_700_000_000.25, 0.5, "1700000000.25"),
        (123_456.0, 200_000.0, "120000"),
        (0.5, -0.25, "0.5"),
        (4.2e-12, 1e-12, "4.2e-12"),
        (1.5e30, 1e28, "1.5e+30"),
        (float("inf"), 1.0, "inf"),
        (float("nan"), 1.0, "nan"),
        (-3.0, 0.0, "-3"),
    ],
)
def test_a_number_has_the_digits_that_matter(value: float, beside: float, text: str) -> None:
    assert number_text(value, beside) == text


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (1, "1 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (1_500, "1.5 s"),
        (119_000, "119 s"),
        (120_000, "2 min"),
        (302_000, "5 min"),
        (306_000, "5.1 min"),
        (7_199_000, "120 min"),
        (7_200_000, "2 h"),
        (360_000_000, "100 h"),
    ],
)
def test_a_duration_is_in_the_unit_people_read(duration_ms: float, text: str) -> None:
    assert duration_text(duration_ms) == text
