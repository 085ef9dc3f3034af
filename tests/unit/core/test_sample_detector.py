"""One batch of samples in: what becomes of windows, alerts, late records, gaps and idle keys."""

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from detectors import make_sample_detector, with_network
from present import present

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.records import (
    FloatArray,
    RecordBatch,
    RecordMetadata,
    series_columns,
)
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.scorer import SCALED_MAX
from stream_detector.core.state.detector_state import DetectorState, IncidentState
from stream_detector.core.state.sample_state import SampleState
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.errors import NonFiniteScoreError, RecordOrderError, RecordValueError

NOW_MS = 1_767_225_600_000
SEVERITIES = (("warning", 1.0), ("critical", 2.0))
NORMAL, ANOMALOUS = [0, 0, 0, 0], [3, 3, 3, 3]


class Sent(NamedTuple):
    """One record; its time counts from `NOW_MS`."""

    key: bytes
    time_ms: int
    values: list[Any]
    partition: int = 0


def detector_of(**changes: Any) -> SampleDetector:
    """Return a detector of windows of 4 samples each 10 ms; anomalous above an error of 1."""
    rules = WindowRules(
        n_steps=4,
        n_features=1,
        stride=1,
        sample_interval_ms=10,
        gap_ms_max=40,
        allowed_lateness_ms=0,
        missing="hold",
        missing_share_max=0.5,
        key_ttl_ms=1_000,
    )
    alerting = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, SEVERITIES)
    return make_sample_detector(replace(rules, **changes), alerting)


def batch_of(*sent: Sent | bytes, start: int = 100) -> RecordBatch:
    records = [Sent(b"pump", 0, []) if isinstance(each, bytes) else each for each in sent]
    record_metadata = [
        RecordMetadata(
            "telemetry", each.partition, start + row, NOW_MS + each.time_ms, each.key, ()
        )
        for row, each in enumerate(records)
    ]
    return RecordBatch.from_columns(
        "telemetry",
        [
            each if isinstance(each, bytes) else orjson.dumps({"values": each.values})
            for each in sent
        ],
        series_columns(record_metadata),
        [each.offset for each in record_metadata],
    )


def zeros(windows: FloatArray) -> FloatArray:
    """Reconstruct nothing, so that the error of a window is its mean absolute value."""
    return np.zeros_like(windows)


def refuse(_: FloatArray) -> FloatArray:
    pytest.fail("the network was called")


def step_of(*sent: Sent | bytes, **changes: Any) -> Step:
    detector = detector_of(**changes)
    return detector.step(detector.initial_state(), batch_of(*sent))


def events(step: Step) -> list[tuple[int, str, str]]:
    return [(index, alert.event, alert.reason) for index, alert, _ in step.alerts]


def test_an_empty_batch_leads_to_nothing() -> None:
    detector = detector_of()
    state = detector.initial_state()
    step = with_network(detector, refuse).step(state, batch_of())
    assert step.state is state
    assert (len(step.scores), step.alerts, step.rejected) == (0, [], [])


def test_a_batch_of_only_bad_records_never_meets_the_network() -> None:
    detector = detector_of()
    first = with_network(detector, refuse).step(
        detector.initial_state(), batch_of(Sent(b"a", 0, [0]))
    )
    step = with_network(detector, refuse).step(first.state, batch_of(b"", b"?"))
    assert [each.index for each in step.rejected] == [0, 1]
    assert (step.counts.records, step.state.counts().n_keys) == ({"dead_letter": 2}, 1)


def test_a_key_in_warm_up_is_not_scored() -> None:
    detector = detector_of()
    batch = batch_of(Sent(b"a", 0, [9, 9, 9]), Sent(b"b", 0, [9]), Sent(b"b", 10, [9]))
    step = with_network(detector, refuse).step(detector.initial_state(), batch)
    assert (len(step.scores), step.alerts) == (0, [])
    assert step.counts.records == {"warm_up": 3, "dead_letter": 0}


def test_a_score_says_which_record_completed_its_window() -> None:
    step = step_of(b"?", Sent(b"a", 0, [0, 0, 0]), Sent(b"a", 30, [4, 4]))
    assert step.scores.indices.tolist() == [2, 2]
    assert step.scores.scores.tolist() == [1.0, 2.0]
    assert step.scores.is_anomalous.tolist() == [False, True]  # equal is normal
    assert present(step.scores.start_ms).tolist() == [NOW_MS, NOW_MS + 10]
    assert present(step.scores.end_ms).tolist() == [NOW_MS + 30, NOW_MS + 40]
    ((index, alert, key),) = step.alerts
    assert (index, key, alert.key, alert.source.offset) == (2, b"a", "a", 102)
    assert (alert.window_start_ms, alert.event_time_ms) == (NOW_MS + 10, NOW_MS + 40)


def test_a_record_with_late_samples_is_put_aside_with_its_place_in_the_order() -> None:
    step = step_of(Sent(b"a", 0, NORMAL), Sent(b"a", 10, NORMAL), Sent(b"a", 50, NORMAL))
    ((index, error, stage),) = [(each.index, each.error, each.stage) for each in step.rejected]
    assert (index, type(error), stage) == (1, RecordOrderError, "order")
    assert str(error) == (
        "2 of 4 samples came more than 0 ms behind the newest of their key, the first at "
        "2026-01-01T00:00:00.010Z, while the newest was at 2026-01-01T00:00:00.030Z; 2 were used: "
        "send in order, correct the sender's clock, or train with a larger "
        "window.allowed_lateness_ms"
    )
    assert step.counts.samples == {"used": 9, "late": 2, "duplicate": 1, "outlier": 0}
    assert step.counts.records == {"late": 1, "normal": 2, "dead_letter": 0}


def test_late_and_bad_records_are_in_the_order_of_the_batch() -> None:
    step = step_of(Sent(b"a", 50, [0]), Sent(b"a", 0, [0]), b"?")
    assert [(each.index, each.stage) for each in step.rejected] == [(1, "order"), (2, "decode")]


def test_a_record_that_came_twice_is_a_duplicate() -> None:
    step = step_of(Sent(b"a", 0, [1]), Sent(b"a", 0, [2]))
    assert step.counts.records == {"warm_up": 1, "duplicate": 1, "dead_letter": 0}
    assert step.rejected == []


def test_samples_that_waited_are_counted_once() -> None:
    detector = detector_of(allowed_lateness_ms=1_000)
    times = ",".join(str(NOW_MS + each) for each in (0, 1, 2))
    crowd = b'{"values":[0,0,0],"timestamps_ms":[%s]}' % times.encode()
    first = detector.step(detector.initial_state(), batch_of(crowd))
    second = detector.step(first.state, batch_of(Sent(b"pump", 40, [0])))
    assert first.counts.samples == {"used": 1, "late": 0, "duplicate": 2, "outlier": 0}
    assert second.counts.samples == {"used": 1, "late": 0, "duplicate": 0, "outlier": 0}


@pytest.mark.parametrize(
    ("value", "received"), [(1e30, "1e+30"), (-2 * SCALED_MAX, "-2e+12"), (1e300, "infinite")]
)
def test_a_value_that_cannot_be_scored_is_named(value: float, received: str) -> None:
    step = step_of(Sent(b"a", 0, NORMAL), Sent(b"a", 40, [0, value]), Sent(b"a", 40, [0]))
    ((index, error, stage),) = [(each.index, each.error, each.stage) for each in step.rejected]
    assert (index, type(error), stage) == (1, RecordValueError, "check")
    assert str(error).startswith(
        "values[1][0] (feature_0): expected a finite number within 1e+12 times"
    )
    assert str(error).endswith(f"received {received}")
    assert step.scores.indices.tolist() == [0, 2]


def test_an_alert_opens_goes_on_and_closes_over_batches() -> None:
    detector = detector_of()
    first = detector.step(detector.initial_state(), batch_of(Sent(b"a", 0, ANOMALOUS)))
    assert isinstance(first.state, SampleState)
    second = detector.step(first.state, batch_of(Sent(b"a", 40, [0] * 12), start=101))
    assert events(first) == [(0, "open", "anomalous")]
    assert events(second) == [(0, "close", "recovered")]
    opened, closed = first.alerts[0].alert, second.alerts[0].alert
    assert closed.alert_id == opened.alert_id
    assert (closed.source.offset, closed.event_time_ms) == (101, NOW_MS + 150)
    assert isinstance(second.state, SampleState)
    assert second.state.counts().n_keys == 1


def test_missing_values_are_said_in_the_explanation() -> None:
    step = step_of(Sent(b"a", 0, [3, None, 3, 3]))
    ((_, alert, _),) = step.alerts
    assert present(alert.explanation).imputed_share == 0.25
    assert present(alert.explanation).features[0].observed == (3.0, None, 3.0, 3.0)
    assert alert.reconstruction_error == alert.score == 3.0
    assert (alert.score_kind, alert.check, alert.p_value) == ("mae", None, None)
    assert alert.sentence == present(alert.explanation).sentence
    assert alert.sentence == "feature_0: observed 3 where 0 was expected, for 30 ms"
    assert step.counts.n_missing_values == 1


def test_a_window_that_misses_too_much_is_not_scored() -> None:
    detector = detector_of(stride=4)
    batch = batch_of(Sent(b"a", 0, [9, None, None, None]), Sent(b"b", 0, [None] * 4))
    step = with_network(detector, refuse).step(detector.initial_state(), batch)
    assert (len(step.scores), step.alerts) == (0, [])
    assert step.counts.windows == {"normal": 0, "anomalous": 0, "missing": 2}
    assert step.counts.records == {"unscored": 2, "dead_letter": 0}


def test_a_record_between_two_windows_is_buffered_until_its_window_is_complete() -> None:
    records = [Sent(b"a", 10 * at, [0]) for at in range(13)]
    outcomes = outcomes_of(*records, stride=4)
    assert outcomes == (["warm_up"] * 3 + ["normal"]) + (["buffered"] * 3 + ["normal"]) * 2 + [
        "buffered"
    ]


def test_a_record_that_completes_no_window_because_its_samples_wait_is_buffered() -> None:
    records = [Sent(b"a", 10 * at, [0]) for at in range(6)]
    outcomes = outcomes_of(*records, allowed_lateness_ms=10)
    assert outcomes == ["warm_up"] * 5 + ["normal"]  # released once the newest is 20 ms ahead


def test_records_at_twice_the_interval_are_never_normal() -> None:
    records = [Sent(b"a", 20 * at, [0]) for at in range(9)]
    outcomes = outcomes_of(*records, stride=4, missing_share_max=0.49)
    assert "normal" not in outcomes
    assert outcomes[:3] == ["warm_up", "warm_up", "unscored"]
    assert set(outcomes[3:]) == {"buffered", "unscored"}
    assert "normal" in outcomes_of(*records, stride=4, missing_share_max=0.5)


def test_a_record_after_a_gap_that_ended_a_series_before_its_first_window_is_unscored() -> None:
    far_apart = [Sent(b"a", 41 * at, [0]) for at in range(4)]
    assert outcomes_of(*far_apart) == ["warm_up", "held", "unscored", "unscored"]
    nearer = [Sent(b"a", 40 * at, [0]) for at in range(3)]  # no gap, but three of four are missing
    assert outcomes_of(*nearer) == ["warm_up", "unscored", "unscored"]
    after_a_window = [Sent(b"a", 0, NORMAL), Sent(b"a", 71, [0]), Sent(b"a", 112, NORMAL)]
    assert outcomes_of(*after_a_window) == ["normal", "held", "normal"]


def test_a_record_that_completes_a_window_before_a_gap_is_judged() -> None:
    times_ms = [NOW_MS + each for each in (0, 10, 20, 30, 100)]
    text = orjson.dumps({"values": [[0]] * 5, "timestamps_ms": times_ms})
    batch = replace(batch_of(Sent(b"a", 0, [])), values=[text])
    detector = detector_of()
    step = detector.step(detector.initial_state(), batch)
    assert step.counts.records == {"normal": 1, "dead_letter": 0}


def outcomes_of(*sent: Sent, **changes: Any) -> list[str]:
    """Return the outcome of each record, and check that it is the same in one batch."""
    detector = detector_of(**changes)
    state: DetectorState = detector.initial_state()
    outcomes = []
    for each in sent:
        step = detector.step(state, batch_of(each))
        outcomes += [name for name, number in step.counts.records.items() if number]
        state = step.state
    together = detector.step(detector.initial_state(), batch_of(*sent)).counts.records
    assert {name: n for name, n in together.items() if n} == Counter(outcomes)
    return outcomes


def test_a_score_of_exactly_the_threshold_is_normal() -> None:
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    for value, name in ((1.0, "normal"), (above, "anomalous")):
        step = step_of(Sent(b"a", 0, [value] * 4))
        assert step.counts.records == {name: 1, "dead_letter": 0}
        assert step.counts.windows[name] == 1
        assert len(step.alerts) == (name == "anomalous")


def test_gaps_are_said_in_the_alerts_of_the_time_after() -> None:
    detector = detector_of(stride=4)
    detector = replace(detector, alerting=replace(detector.alerting, flood_window_ms=250))
    records = [Sent(b"a", 0, NORMAL), Sent(b"a", 100, NORMAL), Sent(b"a", 200, ANOMALOUS)]
    records += [Sent(b"a", 240, [0] * 12), Sent(b"a", 360, ANOMALOUS)]
    for sizes in ([5], [1] * 5, [2, 3], [3, 2]):
        state: DetectorState = detector.initial_state()
        start, n_gaps = 0, []
        for size in sizes:
            batch = batch_of(*records[start : start + size])
            step = detector.step(state, batch)
            n_gaps += [
                (each.alert.event, present(each.alert.explanation).n_gaps) for each in step.alerts
            ]
            state, start = step.state, start + size
        assert n_gaps == [("open", 2), ("close", 1), ("open", 1)]


def test_a_gap_while_an_alert_is_open_is_said_in_its_close() -> None:
    records = [Sent(b"a", 0, ANOMALOUS), Sent(b"a", 80, [0] * 10)]
    step = step_of(*records)
    found = [(each.alert.event, present(each.alert.explanation).n_gaps) for each in step.alerts]
    assert found == [("open", 0), ("close", 1)]


@pytest.mark.parametrize(
    "records",
    [
        [Sent(b"a", 40, [None] * 12)],
        [Sent(b"a", each, [0]) for each in range(90, 400, 60)],
    ],
    ids=["nothing but missing values", "nothing but gaps"],
)
def test_an_alert_closes_though_its_key_completes_no_window(records: list[Sent]) -> None:
    step = step_of(Sent(b"a", 0, ANOMALOUS), *records)
    assert [(each.alert.event, each.alert.reason) for each in step.alerts] == [
        ("open", "anomalous"),
        ("close", "recovered"),
    ]
    assert 130 <= step.alerts[1].alert.event_time_ms - NOW_MS <= 150
    assert step.alerts[1].alert.n_windows == step.alerts[1].alert.n_anomalous


@pytest.mark.parametrize("sizes", [[4, 1], [1, 1, 1, 1, 1]])
def test_what_was_before_a_key_was_idle_is_not_said_of_it(sizes: list[int]) -> None:
    detector = detector_of()
    records = [Sent(b"a", 0, [0]), Sent(b"a", 100, [0, 0]), Sent(b"b", 5_000, [0])]
    records += [Sent(b"c", 5_000, [0]), Sent(b"a", 5_000, ANOMALOUS)]
    state: DetectorState = detector.initial_state()
    start, step = 0, None
    for size in sizes:
        step = detector.step(state, batch_of(*records[start : start + size]))
        state, start = step.state, start + size
    assert step is not None
    assert [present(each.alert.explanation).n_gaps for each in step.alerts] == [0]


def test_an_idle_key_closes_its_alert_in_its_own_name() -> None:
    others = [Sent(b"b", 1_030, [0]), Sent(b"c", 1_030, [0]), Sent(b"b", 1_031, [0])]
    step = step_of(Sent(b"a", 0, ANOMALOUS), *others)
    assert events(step) == [(0, "open", "anomalous"), (3, "close", "key_expired")]
    index, alert, key = step.alerts[1]
    assert (index, key, alert.key) == (3, b"a", "a")
    assert (alert.source.offset, alert.event_time_ms) == (103, NOW_MS + 1_030)
    assert alert.alert_id == step.alerts[0].alert.alert_id
    assert (step.counts.n_idle_keys, step.state.counts().n_keys) == (1, 2)
    assert isinstance(step.state, SampleState)
    assert not step.state.alerts


def test_alerts_that_end_at_one_record_end_in_the_order_of_their_keys() -> None:
    detector = detector_of()
    records = [Sent(b"x", 0, [0]), Sent(b"y", 0, [0])]
    records += [Sent(b"z", 2_000, [0]), Sent(b"w", 2_000, [0])]
    records += [Sent(b"p", 2_000, ANOMALOUS), Sent(b"q", 2_000, ANOMALOUS)]
    state = detector.step(detector.initial_state(), batch_of(*records[:4])).state
    state = detector.step(state, batch_of(*records[4:])).state  # in slots used before
    step = detector.step(state, batch_of(Sent(b"z", 9_000, [0]), Sent(b"w", 9_000, [0])))
    assert [each.key for each in step.alerts] == [b"p", b"q"]


def test_what_belongs_to_a_partition_goes_with_it() -> None:
    detector = detector_of()
    batch = batch_of(Sent(b"a", 0, ANOMALOUS, 0), Sent(b"a", 0, ANOMALOUS, 1))
    step = detector.step(detector.initial_state(), batch)
    state = step.state.drop_partitions([1])
    assert isinstance(state, SampleState)
    assert (len(state.alerts), state.windows.n_keys) == (1, 1)
    later = batch_of(Sent(b"a", 40, NORMAL, 0), Sent(b"a", 40, ANOMALOUS, 1))
    after = detector.step(state, later)
    assert events(after) == [(1, "open", "anomalous")]
    assert after.scores.indices.tolist() == [0, 0, 0, 0, 1]


def test_a_state_that_was_overtaken_is_refused() -> None:
    detector = detector_of()
    first = detector.step(detector.initial_state(), batch_of(Sent(b"a", 0, [0])))
    second = detector.step(first.state, batch_of(Sent(b"a", 10, [0])))
    detector.step(second.state, batch_of(Sent(b"a", 20, [0])))
    with pytest.raises(ValueError, match="this state was overtaken"):
        detector.step(first.state, batch_of(Sent(b"a", 10, [0])))


def test_the_state_of_another_detector_is_refused() -> None:
    with pytest.raises(TypeError, match=r"SampleDetector\.initial_state, received IncidentState"):
        detector_of().step(IncidentState(), batch_of())


def test_a_network_that_gives_nan_stops_the_service() -> None:
    detector = detector_of()
    with pytest.raises(NonFiniteScoreError, match="cannot be trusted"):
        with_network(detector, lambda each: each * np.float32("nan")).step(
            detector.initial_state(), batch_of(Sent(b"a", 0, NORMAL))
        )


def test_a_chunk_longer_than_the_window_and_many_slices_make_one_story() -> None:
    long = Sent(b"a", 0, [*[3] * 50, *[0] * 50])
    detector = detector_of()
    whole = detector.step(detector.initial_state(), batch_of(long))
    assert len(whole.scores) == 97
    assert [each.alert.event for each in whole.alerts] == ["open", "close"]
    sliced = replace(detector, model_rows_max=5)
    assert sliced.step(sliced.initial_state(), batch_of(long)).alerts == whole.alerts


def test_ten_thousand_keys_in_one_poll() -> None:
    sent = [Sent(b"%d" % key, 0, ANOMALOUS if key == 7_777 else NORMAL) for key in range(10_000)]
    step = step_of(*sent)
    assert (len(step.scores), step.state.counts().n_keys) == (10_000, 10_000)
    assert [(index, key) for index, _, key in step.alerts] == [(7_777, b"7777")]


@pytest.mark.parametrize("lateness_ms", [0, 1])
def test_one_row_a_tag_is_scored_as_whole_samples(lateness_ms: float) -> None:
    changes = {"n_features": 2, "allowed_lateness_ms": lateness_ms}
    times = range(0, 200, 10)
    whole = [Sent(b"a", at, [[at / 100, 3.0]]) for at in times]
    tags = [Sent(b"a", at, [row]) for at in times for row in ([at / 100, None], [None, 3.0])]
    scores = [step_of(*sent, **changes).scores for sent in (whole, tags)]
    n_first = 1 - lateness_ms  # without lateness the first sample is used before its other part
    assert len(scores[0]) == len(scores[1]) > 10
    np.testing.assert_array_equal(scores[0].scores[n_first:], scores[1].scores[n_first:])
    step = step_of(*tags, **changes)
    assert step.counts.samples["duplicate"] == n_first
    assert (step.rejected, step.counts.windows["missing"]) == ([], 0)
