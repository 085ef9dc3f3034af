"""Whatever the records are: no error, exact counts, whole dead letters, neighbours untouched."""

import json
import struct
from typing import Any

import pytest
from fuzz_checks import N_RULES, check_samples, check_windows
from fuzz_records import (
    EDGES_MS,
    HEADERS,
    INTERVAL_MS,
    KEYS,
    START_MS,
    Sent,
    pack,
    sample_seeds,
    unpack,
    window_seeds,
)
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = (
    st.sampled_from([0.1, 0.2, 9.0, None, 1e30, 1e400, "1", True])
    | st.floats(-3, 3, width=32)
    | st.floats()
    | st.integers()
)
TIMES_MS = (
    st.integers(0, 40).map(lambda step: START_MS + step * INTERVAL_MS)
    | st.sampled_from(EDGES_MS)
    | st.integers(-(2**63), 2**63 - 1)
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "values": st.lists(st.lists(NUMBERS, min_size=1, max_size=3), max_size=4)
        | st.lists(NUMBERS, min_size=4, max_size=4)
    },
    optional={
        "timestamp_ms": TIMES_MS | st.floats() | st.none(),
        "timestamps_ms": st.lists(TIMES_MS, max_size=4).map(sorted),
    },
)
VALUES = (
    st.builds(lambda document: json.dumps(document).encode(), DOCUMENTS)
    | st.lists(st.floats(width=32), max_size=6).map(lambda v: struct.pack(f"<{len(v)}f", *v))
    | st.binary(max_size=40)
    | st.none()
)
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 1),
        TIMES_MS,
        st.sampled_from(KEYS) | st.binary(max_size=3),
        st.sampled_from(HEADERS),
        VALUES,
    ),
    max_size=30,
).map(lambda rows: [Sent(row[0], offset, *row[1:]) for offset, row in enumerate(rows)])
RULES = st.integers(0, N_RULES - 1)

check = pytest.mark.parametrize("check", [check_windows, check_samples])


@check
@given(number=RULES, sent=RECORDS)
def test_any_records_leave_their_neighbours_alone(check: Any, number: int, sent: Any) -> None:
    check(number, sent)


@check
@given(data=st.binary(max_size=400))
def test_any_bytes_are_records(check: Any, data: bytes) -> None:
    check(*unpack(data))


ERRORS = {"RecordDecodeError", "RecordShapeError", "RecordValueError"}
OF_WINDOWS = {"normal", "anomalous", "dead_letter", *ERRORS}
OF_SAMPLES = {
    *(*OF_WINDOWS, "RecordOrderError", "warm_up", "buffered", "late", "duplicate", "unscored"),
    *(
        "continued",
        "flood",
        "severity",
        "periodic",
        "recovered",
        "max_duration",
        "key_expired",
        "clock_set",
        "held",
    ),
}


@pytest.mark.parametrize(
    ("check", "seeds", "expected"),
    [(check_windows, window_seeds, OF_WINDOWS), (check_samples, sample_seeds, OF_SAMPLES)],
)
def test_what_the_fuzzer_begins_with_reaches_every_outcome(
    check: Any, seeds: Any, expected: set[str]
) -> None:
    reached: set[str] = set()
    for data in seeds():
        number, sent = unpack(data)
        assert len(sent) >= 60
        reached |= check(number, sent)
    assert reached == expected


def test_records_come_back_from_their_bytes() -> None:
    data = (
        b"\1\0\0\0" + pack(0, 6, -3, b"abcd") + pack(6, 0, 5, None) + pack(1, 0, 0, b"", unit=128)
    )
    number, sent = unpack(data)
    assert number == 1
    assert sent == [
        Sent(0, 0, START_MS - 3 * INTERVAL_MS, b"a", HEADERS[6], b"abcd"),
        Sent(0, 1, START_MS + 5 * INTERVAL_MS, None, None, None),
        Sent(0, 2, -1, b"b", None, b""),
    ]
