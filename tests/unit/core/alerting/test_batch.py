"""Alerts of keys through batches: what normal windows change, though they are not looked at."""

import pytest
from present import present
from sample_streams import INTERVAL_MS, START_MS, Sent, Stream, record_of, steps_of

VALUES = {"x": (1, 9.0, 0.3), ".": (1, 0.1, 0.2)}
CLOSE_MS = 1
ALERTING = (3, 2, 1_000, CLOSE_MS, 30, 5_000, 3, 1_000)
"""An alert opens at two anomalous ones of three windows, closes with a normal one and cools down
for three samples."""

STREAM = Stream(
    n_steps=1, stride=1, lateness_ms=0, ttl_ms=10_000, alerting=ALERTING, missing="hold"
)


def sent_as(samples: str, key: bytes = b"k") -> list[Sent]:
    """Return a record a sample: x is anomalous, a point is not, a comma is a gap."""
    sent, at_ms = [], START_MS
    for each in samples:
        if each == ",":
            at_ms += 5 * INTERVAL_MS
            continue
        sent.append(record_of(0, key, "json", [at_ms], [VALUES[each]]))
        at_ms += INTERVAL_MS
    return sent


@pytest.mark.parametrize(
    ("samples", "events"),
    [
        ("x.x", ["open"]),
        ("x..x", []),  # the second one is too far from the first
        ("x.....x", []),
        ("x.,x.", []),  # a gap counts as a window that is not anomalous
        ("xx.xx", ["open", "close"]),  # it cools down
        ("xx..xx", ["open", "close", "open"]),
        ("xx.,xx.", ["open", "close", "open", "close"]),
    ],
)
def test_normal_windows_between_two_others_count_wherever_a_batch_ends(
    samples: str, events: list[str]
) -> None:
    sent = sent_as(samples)
    for sizes in ([], [1] * len(sent), [2] * len(sent)):
        for model_rows_max in (1, 2, 100):
            steps = steps_of(sent, STREAM, sizes, model_rows_max)
            found = [alert.event for _, step in steps for _, alert, _ in step.alerts]
            assert found == events, (sizes, model_rows_max)


def test_an_alert_that_closes_at_a_gap_counts_it() -> None:
    # The last sample makes sure of the one after the gap.
    [(_, step)] = steps_of(sent_as("xx,x."), STREAM, [], 100)
    found = [
        (alert.event, alert.event_time_ms - START_MS, present(alert.explanation).n_gaps)
        for _, alert, _ in step.alerts
    ]
    assert found == [("open", INTERVAL_MS, 0), ("close", 7 * INTERVAL_MS, 1)]
