"""What the doctor says of a topic: each mismatch by its check, and nothing where all is well."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from detectors import make_sample_detector, make_window_detector

from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.detector import WindowDetector
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import OutputRecord
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.relative import Relative
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.windowing.peaks import PeakRules
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.doctor import Examination, Finding, Reading, Report, make_report, read_recent
from stream_detector.doctor.reading import N_RECORDS_MAX
from stream_detector.ports import SystemClock

NOW_MS = 1_767_225_600_000
N_STEPS = 20


class PollClock(SystemClock):
    """A clock that advances a second each time it is read."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 1.0
        return self.now_s


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker(now_ms=lambda: NOW_MS)
    broker.create_topic("telemetry", 2)
    return broker


def of_samples(n_features: int = 1, **changes: Any) -> SampleDetector:
    """Return a detector of windows of 20 samples, one a second; anomalous above an error of 1."""
    rules: dict[str, Any] = {
        "n_steps": N_STEPS,
        "n_features": n_features,
        "stride": N_STEPS,
        "sample_interval_ms": 1_000,
        "gap_ms_max": 20_000,
        "allowed_lateness_ms": 0,
        "missing": "interpolate",
        "missing_share_max": 0.25,
        "key_ttl_ms": 36_000_000,
    }
    alerting = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    return make_sample_detector(WindowRules(**(rules | changes)), alerting)


def samples(
    times_s: Iterable[float], values: list[Any] | None = None, key: str = "pump"
) -> list[OutputRecord]:
    """Return records of one sample each."""
    text = orjson.dumps({"values": [values or [0.0]]})
    return [
        OutputRecord("telemetry", key.encode(), text, (), NOW_MS + round(1_000 * each))
        for each in times_s
    ]


def examine(
    broker: MemoryBroker,
    detector: WindowDetector | SampleDetector | None = None,
    scaling: str = "none",
    now_ms: int = NOW_MS + 60_000,
    relative: Relative | None = None,
) -> Report:
    """Return the report on the topic, which is read for ten polls."""
    detector = detector or of_samples()
    if isinstance(detector, WindowDetector):
        n_features = detector.shape[1]
    else:
        n_features = detector.windows.n_features
    one = np.ones(n_features, np.float32)
    scaler = Scaler(scaling, 0 * one, one, relative=relative)
    examination, reading = Examination(detector, scaler), Reading()
    client = broker.connect(topics=["telemetry"])
    for batch in read_recent(client, PollClock(), 10.0, reading):
        examination.add(batch)
    return make_report(examination, reading, now_ms)


def finding(report: Report, check: str) -> Finding:
    (found,) = [each for each in report.findings if each.check == check]
    return found


def unwell(report: Report) -> dict[str, str]:
    """Return the status of each check that is not ok, each of which says what to do."""
    found = [each for each in report.findings if each.status != "ok"]
    assert all(each.what_to_do for each in found)
    return {each.check: each.status for each in found}


def test_a_topic_that_fits_has_no_findings(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(range(60)))
    report = examine(broker)
    assert unwell(report) == {}
    assert [each.check for each in report.findings] == [
        *("records", "format", "features", "keys", "partitioning", "clock", "rate", "duplicates"),
        *("gaps", "missing values", "warm-up", "value range", "scored"),
    ]
    assert (report.would_score, report.n_records, report.n_windows) == (True, 60, 3)
    assert (report.n_keys, report.n_keys_scored, report.n_anomalous) == (1, 1, 0)
    assert finding(report, "records").found == "60 read of about 60 kept, 2 partitions"
    assert finding(report, "rate").found == "received samples about 1000 ms apart, expected 1000"
    assert finding(report, "clock").found == "the newest time is 1.0 s ago"
    assert finding(report, "keys").found == "1 key, such as pump"
    assert finding(report, "scored").found == (
        "3 windows scored, 100% of the complete ones; 1 of 1 keys; 0% of the windows anomalous"
    )


def test_an_empty_topic(broker: MemoryBroker) -> None:
    report = examine(broker)
    assert (unwell(report), report.would_score) == ({"records": "problem"}, False)


@pytest.mark.parametrize(
    ("records", "checks"),
    [
        (samples(range(0, 80, 2)), {"rate"}),
        (samples(range(0, 6_000, 60)), {"rate"}),
        (samples([60 * burst + each for burst in range(4) for each in range(10)]), {"gaps"}),
        (samples(range(60), [None]), {"missing values"}),
        (samples([1_000, *range(40, 0, -1)]), {"clock"}),
        (samples([5] * 40), {"duplicates"}),
        (samples(range(60), [0.0, 0.0]), {"features"}),
        ([each._replace(value=b"?") for each in samples(range(60))], {"format"}),
        ([each._replace(key=None) for each in samples(range(60))], {"keys"}),
        ([each._replace(timestamp_ms=1_767_225_600) for each in samples(range(60))], {"clock"}),
    ],
)
def test_each_mismatch_is_found_by_its_check(
    broker: MemoryBroker, records: list[OutputRecord], checks: set[str]
) -> None:
    broker.feed("telemetry", records)
    report = examine(broker, now_ms=NOW_MS + 10_000_000)
    assert {each for each, status in unwell(report).items() if status == "problem"} == {
        *checks,
        "scored",
    }
    assert not report.would_score


@pytest.mark.parametrize(("height", "is_found"), [(1.5, True), (0.0, False)])
def test_a_key_without_any_peak(broker: MemoryBroker, height: float, is_found: bool) -> None:
    peaks = PeakRules((0,), 1, 1, 5, 6, 20, 5, N_STEPS, 1, 0, 30, 2, 0)
    detector = of_samples(peaks=peaks, stride=30, gap_ms_max=2_000)
    for at in range(200):
        broker.feed("telemetry", samples([at], [height * (at % 14 == 7)]))
    report = examine(broker, detector, now_ms=NOW_MS + 201_000)
    assert unwell(report) == ({} if is_found else {"peaks": "problem", "scored": "problem"})
    assert finding(report, "peaks").found == (
        "every key that was searched has peaks"
        if is_found
        else "1 key, such as pump: no peak was found in 199 s of samples"
    )


def test_a_key_in_warm_up_waits_for_a_search(broker: MemoryBroker) -> None:
    peaks = PeakRules((0,), 1, 1, 5, 6, 20, 5, N_STEPS, 1, 0, 30, 2, 0)
    detector = of_samples(peaks=peaks, stride=30, gap_ms_max=2_000)
    broker.feed("telemetry", samples(range(100)))
    found = finding(examine(broker, detector, now_ms=NOW_MS + 101_000), "warm-up").found
    assert f"a search for peaks takes {peaks.n_frame}, one each 1000 ms" in found
    assert "; a search takes " in found


def test_one_key_on_two_partitions(broker: MemoryBroker) -> None:
    for partition in (0, 1):
        broker.feed("telemetry", samples(range(partition, 80, 2)), partition)
    report = examine(broker)
    assert unwell(report)["partitioning"] == "problem"
    assert finding(report, "partitioning").found == ("on several partitions: 1 key, such as pump")
    assert not report.would_score


def test_samples_that_come_too_fast_are_scored_with_a_warning(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(each / 2 for each in range(120)))
    report = examine(broker)
    assert unwell(report) == {"rate": "warning"}
    assert "about 500 ms apart" in finding(report, "rate").found
    broker.create_topic("telemetry", 2)
    broker.feed("telemetry", samples(each * 0.75 for each in range(120)))
    assert unwell(examine(broker)) == {}


def test_keys_in_warm_up_would_be_scored_if_what_came_fits(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(range(19)))
    report = examine(broker)
    assert unwell(report) == {"warm-up": "warning", "scored": "warning"}
    assert finding(report, "warm-up").found == (
        "1 key, such as pump: samples received so far: 19; a window has 20, one each 1000 ms; a "
        "window takes 19.0 s"
    )
    assert report.would_score
    broker.create_topic("telemetry", 2)
    broker.feed("telemetry", samples([0]))
    assert not examine(broker).would_score  # one sample says nothing about the interval


@pytest.mark.parametrize(
    ("n_keys", "n_each", "is_well"), [(19, 1, True), (20, 1, False), (40, 2, True)]
)
def test_keys_that_name_records_and_not_series_are_a_warning(
    broker: MemoryBroker, n_keys: int, n_each: int, is_well: bool
) -> None:
    for number in range(n_keys):
        broker.feed("telemetry", samples(range(n_each), key=f"{number}"))
    assert ("keys" not in unwell(examine(broker))) == is_well
    values = [b'{"values":[0,0,0,0]}'] * n_keys
    broker.create_topic("telemetry", 2)
    windows = [OutputRecord("telemetry", b"%d" % at, each) for at, each in enumerate(values)]
    broker.feed("telemetry", windows)
    assert unwell(examine(broker, make_window_detector())) == {}


def test_a_feature_that_never_comes_is_named(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(range(60), [0.0, None]))
    features = Features(("temperature", "humid\x1bity"))
    report = examine(broker, replace(of_samples(2), features=features))
    assert r"no value at all of feature humid\x1bity" in finding(report, "missing values").found


@pytest.mark.parametrize(
    ("scaling", "value", "is_well"),
    [
        *(("min-max", 1.5, True), ("min-max", 1.51, False)),
        *(("min-max", -0.5, True), ("min-max", -0.51, False)),
        *(("standard", 6.0, True), ("standard", -6.1, False)),
        *(("robust", 20.0, True), ("robust", -20.1, False)),
        *(("none", 1e6, True),),
    ],
)
def test_values_outside_of_what_was_trained_on(
    broker: MemoryBroker, scaling: str, value: float, is_well: bool
) -> None:
    broker.feed("telemetry", samples(range(60), [value]))
    report = examine(broker, scaling=scaling)
    assert ("value range" not in unwell(report)) == is_well
    assert finding(report, "value range").found.startswith(
        f"feature feature_0: {value:g} to {value:g}"
    )


@pytest.mark.parametrize(("n_outside", "is_well"), [(3, True), (4, False)])
def test_a_twentieth_of_the_values_may_be_outside(
    broker: MemoryBroker, n_outside: int, is_well: bool
) -> None:
    broker.feed("telemetry", samples(range(60 - n_outside)))
    broker.feed("telemetry", samples(range(60 - n_outside, 60), [2.0]))
    assert ("value range" not in unwell(examine(broker, scaling="min-max"))) == is_well


def test_a_relative_feature_has_no_range(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(range(60), [1e6]))
    yes = np.ones(1, np.bool_)
    assert "value range" in unwell(examine(broker, scaling="standard"))
    report = examine(broker, scaling="standard", relative=Relative(yes, ~yes))
    assert "value range" not in unwell(report)


@pytest.mark.parametrize(
    ("height", "scale", "is_well"),
    [(5.0, None, True), (50.0, None, False), (50.0, 0.1, True), (5.0, 10.0, False)],
)
def test_round_peaks_values_of_windows_are_compared_with_what_was_trained_on(
    broker: MemoryBroker, height: float, scale: float | None, is_well: bool
) -> None:
    peaks = PeakRules((0,), 1, 1, 5, 6, 20, 5, N_STEPS, 1, 9, 30, 2, 0)
    detector = of_samples(peaks=peaks, stride=30, gap_ms_max=2_000)
    if scale is not None:
        two = np.array([[scale], [1]], np.float32)
        scales = KeyScales([b"pump", b"other"], 0 * two, two)
        detector = replace(detector, features=Features(("pressure",), (), scales))
    for at in range(200):  # around a level that is in no window
        broker.feed("telemetry", samples([at], [1_000 + height * (at % 14 == 7)]))
    report = examine(broker, detector, "standard", now_ms=NOW_MS + 201_000)
    assert ("value range" not in unwell(report)) == is_well
    assert f": 1000 to {1_000 + height:g}" in finding(report, "value range").found


def test_values_are_said_in_the_unit_of_the_signal(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(range(60), [1.7e9 + 0.5]))
    detector = replace(of_samples(), features=Features(("pressure",), (1.7e9,)))
    report = examine(broker, detector, "min-max")
    assert finding(report, "value range").found == "feature pressure: 1700000000.5 to 1700000000.5"
    assert unwell(report) == {}


def test_keys_that_training_did_not_know_are_named(broker: MemoryBroker) -> None:
    two = np.array([[100.0], [0.0]], np.float32)
    scales = KeyScales([b"pump", b"other"], two, np.array([[1], [1]], np.float32))
    detector = replace(of_samples(), features=Features(("pressure",), (), scales))
    broker.feed("telemetry", samples(range(60), [100.0]))
    report = examine(broker, detector, "standard")
    assert unwell(report) == {}  # 100 is no deviation at all from what is normal for this key
    assert finding(report, "known keys").found == "training knew all keys (2 in all)"
    broker.feed("telemetry", samples(range(60), [50.0], "pump\x1b-9"))
    report = examine(broker, detector, "standard")
    assert unwell(report) == {"known keys": "warning"}
    assert finding(report, "known keys").found == (
        r"keys not known to training: 1 key, such as pump\x1b-9; training knew 2, such as pump, "
        "other"
    )
    broker.feed("telemetry", samples(range(60, 90), [0.0]))
    assert "value range" in unwell(examine(broker, detector, "standard"))


def test_all_windows_anomalous_is_a_warning(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(range(60), [9.0]))
    report = examine(broker)
    assert (unwell(report), report.would_score) == ({"scored": "warning"}, True)


@pytest.mark.parametrize(("n_anomalous", "is_well"), [(2, True), (3, False)])
def test_more_than_half_of_the_windows_anomalous_is_a_warning(
    broker: MemoryBroker, n_anomalous: int, is_well: bool
) -> None:
    normal_s = (4 - n_anomalous) * N_STEPS
    broker.feed("telemetry", samples(range(normal_s)))
    broker.feed("telemetry", samples(range(normal_s, 4 * N_STEPS), [9.0]))
    assert ("scored" not in unwell(examine(broker))) == is_well


@pytest.mark.parametrize(
    ("times_s", "status"), [([10, 11, 5], "warning"), ([10, 11, 5, 6], "problem")]
)
def test_half_of_the_samples_late_is_a_problem(
    broker: MemoryBroker, times_s: list[float], status: str
) -> None:
    broker.feed("telemetry", samples(times_s))
    assert finding(examine(broker), "clock").status == status


def test_a_clock_ahead_of_this_machine_is_a_warning(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(range(60)))
    newest_ms = NOW_MS + 59_000
    assert unwell(examine(broker, now_ms=newest_ms - 60_000)) == {}
    assert unwell(examine(broker, now_ms=newest_ms - 60_001)) == {"clock": "warning"}
    for later_ms, text in ((119_999, "120.0 s"), (120_000, "2.0 minutes"), (2e8, "2.3 days")):
        report = examine(broker, now_ms=newest_ms + int(later_ms))
        assert finding(report, "clock").found == f"the newest time is {text} ago"


def of_keys(times_s: Iterable[float], keys: Iterable[str]) -> list[OutputRecord]:
    return [each for time_s in times_s for key in keys for each in samples([time_s], key=key)]


DAY_S = 86_400
PUMPS = ["p1", "p2", "p3"]


def test_a_clock_that_is_set_back_is_named_and_its_keys_count_as_scored(
    broker: MemoryBroker,
) -> None:
    broker.feed("telemetry", of_keys([*range(DAY_S, DAY_S + 60), *range(35)], PUMPS))
    report = examine(broker, now_ms=NOW_MS + 1_000 * (DAY_S + 60))
    assert unwell(report) == {"clock": "warning", "warm-up": "warning"}
    clock = finding(report, "clock")
    assert clock.found == (
        "3 keys, such as p1, p2, p3: the clock was set back, received 2026-01-01T00:00:20.000Z, "
        "while the newest was 2026-01-02T00:00:59.000Z; 60 of 285 samples were late"
    )
    assert clock.what_to_do.startswith("nothing, if the clock was wrong before; else correct")
    assert "; 3 of these had windows before, and started over" in finding(report, "warm-up").found
    assert (report.n_keys, report.n_keys_scored, report.n_windows) == (3, 3, 9)
    assert "9 windows scored, 100% of the complete ones; 3 of 3 keys" in (
        finding(report, "scored").found
    )


def test_keys_in_their_first_warm_up_did_not_start_over(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(range(10)))
    report = examine(broker)
    assert "started over" not in finding(report, "warm-up").found
    assert (report.n_keys, report.n_keys_scored) == (1, 0)


def test_a_sample_far_ahead_is_named(broker: MemoryBroker) -> None:
    ahead = samples([DAY_S], key="p2")
    broker.feed("telemetry", [*of_keys(range(30), PUMPS), *ahead, *of_keys(range(30, 60), PUMPS)])
    report = examine(broker)
    assert unwell(report) == {"clock": "warning"}
    assert finding(report, "clock").found == (
        "1 key, such as p2: a sample was far ahead and not used, received "
        "2026-01-02T00:00:00.000Z, while the newest was 2026-01-01T00:00:29.000Z"
    )


def test_a_clock_that_was_set_back_says_what_to_do_where_another_is_ahead(
    broker: MemoryBroker,
) -> None:
    ahead = samples([DAY_S], key="p2")
    broker.feed("telemetry", [*of_keys(range(30), PUMPS), *ahead, *of_keys(range(30, 60), PUMPS)])
    broker.feed("telemetry", of_keys(range(-DAY_S, -DAY_S + 40), PUMPS))
    clock = finding(examine(broker), "clock")
    assert "1 key, such as p2: a sample was far ahead" in clock.found
    assert "3 keys, such as p1, p2, p3: the clock was set back" in clock.found
    assert clock.what_to_do.startswith("nothing, if the clock was wrong before")


@pytest.mark.parametrize(("n_back", "status"), [(47, "problem"), (46, "warning")])
def test_wrong_clocks_are_a_problem_where_half_of_the_samples_are_late(
    broker: MemoryBroker, n_back: int, status: str
) -> None:
    back = [-DAY_S * each for each in range(n_back)]
    broker.feed("telemetry", samples([*range(45), DAY_S, 45, *back]))
    clock = finding(examine(broker), "clock")
    assert "a sample was far ahead" in clock.found
    assert clock.found.endswith(f"; {n_back} of {47 + n_back} samples were late")
    assert clock.status == status


def test_times_since_boot_are_a_warning(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples([1_000 - NOW_MS / 1_000 + each for each in range(60)]))
    report = examine(broker)
    assert unwell(report) == {"clock": "warning"}
    assert finding(report, "clock").found == (
        "1 key, such as pump: times are none of today, received 1059000: "
        "1970-01-01T00:17:39.000Z, which looks like milliseconds since boot"
    )


def test_whole_windows_of_1970_are_a_warning(broker: MemoryBroker) -> None:
    text = orjson.dumps({"values": [[0.0]] * 4})
    broker.feed("telemetry", [OutputRecord("telemetry", b"a", text, (), 1_767_225_600)])
    report = examine(broker, make_window_detector())
    assert unwell(report) == {"clock": "warning"}
    assert "1767225600, which looks like seconds; multiply" in finding(report, "clock").found


def test_keys_are_shown_safely(broker: MemoryBroker) -> None:
    for key in ("\x1b[31m\n", "[/red]"):
        broker.feed("telemetry", samples(range(0, 40, 2), key=key))
    report = examine(broker)
    assert all(each.found.isprintable() for each in report.findings)


@pytest.mark.parametrize("image", [None, "image"])
def test_whole_windows_and_images(broker: MemoryBroker, image: str | None) -> None:
    shape = ImageShape(2, 2, 1) if image else None
    detector = make_window_detector(
        shape=(2, 2), sample_interval_ms=0 if image else 10, image=shape
    )
    name = b"application/vnd.stream-detector.float32"
    value = np.zeros(4, np.float32).tobytes()
    records = [OutputRecord("telemetry", b"k", value, [("content-type", name)], NOW_MS)] * 5
    broker.feed("telemetry", records)
    report = examine(broker, detector)
    assert unwell(report) == {}
    assert (report.would_score, report.n_windows) == (True, 5)
    broker.feed("telemetry", [OutputRecord("telemetry", b"k", b"?", (), NOW_MS)] * 3)
    assert unwell(examine(broker, detector)) == {"format": "warning"}


def test_whole_windows_of_another_shape(broker: MemoryBroker) -> None:
    broker.feed("telemetry", [b'{"values":[1,2,3]}'] * 4)
    report = examine(broker, make_window_detector())
    assert unwell(report) == {"features": "problem", "scored": "problem"}
    assert "4 of 4 records rejected, such as telemetry[0]@0: " in finding(report, "features").found


def test_only_the_newest_records_are_read(broker: MemoryBroker) -> None:
    """What the other partition leaves is for the busy one."""
    broker.feed("telemetry", [b"?"] * (N_RECORDS_MAX + 10))
    reading = Reading()
    client = broker.connect(topics=["telemetry"])
    batches = list(read_recent(client, PollClock(), 100.0, reading))
    assert sum(map(len, batches)) == N_RECORDS_MAX
    assert int(batches[0].offsets()[0]) == 10
    assert reading == Reading(2, N_RECORDS_MAX + 10, True)
    assert not broker.committed


def test_a_reading_that_is_too_short_is_said(broker: MemoryBroker) -> None:
    broker.feed("telemetry", samples(range(10_000)))
    reading = Reading()
    client = broker.connect(topics=["telemetry"])
    n_read = sum(map(len, read_recent(client, PollClock(), 4.0, reading)))
    assert 0 < n_read < 10_000
    assert not reading.is_complete


def test_reading_stops_when_asked(broker: MemoryBroker) -> None:
    client = broker.connect(topics=["telemetry"])
    assert list(read_recent(client, SystemClock(), 1e9, Reading(), lambda: True)) == []
