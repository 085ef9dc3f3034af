"""A detector that looks at the rhythm, however a stream is cut into batches."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from detectors import make_sample_detector
from present import present
from restoring import begun, replayed, run
from rhythms import make_rhythm, pulses
from sample_streams import START_MS, Sent, published_by, record_of

from stream_detector.core.alerting.alert import Alert
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.state.snapshot import dump, load
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.datasets.windowing import cut_samples
from stream_detector.recipes.peaks import PeaksSection

INTERVAL_MS, N_STEPS, N_SAMPLES = 10, 20, 6_000
PEAKS = PeaksSection(band_hz=(4, 20), pause_ms=2_000).rules(N_STEPS, 1, INTERVAL_MS)
RULES = WindowRules(
    n_steps=N_STEPS,
    n_features=1,
    stride=PEAKS.n_search,
    sample_interval_ms=INTERVAL_MS,
    gap_ms_max=PEAKS.n_slack * INTERVAL_MS,
    allowed_lateness_ms=0,
    missing="interpolate",
    missing_share_max=0.25,
    key_ttl_ms=3_600_000,
    peaks=PEAKS,
)
ALERTING = AlertRules(1, 1, 60_000, 500, 0, 60_000, 100, 60_000, (("warning", 1.0),))
DETECTOR = replace(
    make_sample_detector(RULES, ALERTING, reconstruct=lambda windows: windows),
    rhythm=make_rhythm(pause_ms=2_000),
)
PLACES = [
    *range(40, 2_000, 80),
    2_010,
    2_090,
    2_170,
    *range(2_320, 2_801, 80),
    *range(3_800, 5_960, 80),
]
"""A peak each 0.8 s; one after 0.5 s and one after 1.5 s; then none for ten seconds."""


NOISY = pulses(PLACES, N_SAMPLES)
OFF = NOISY.copy()
OFF[2_820:3_790] = 0.1  # the sensor came loose
SIGNALS: dict[bytes, FloatArray] = {
    b"off": OFF,
    b"noisy": NOISY,
    b"well": pulses([*range(30, 5_960, 82)], N_SAMPLES),
}


def sent_of(n_each: int = 25) -> list[Sent]:
    """Return records of several samples, the keys in turn."""
    found = []
    for start in range(0, N_SAMPLES, n_each):
        for key, signal in SIGNALS.items():
            times = [START_MS + INTERVAL_MS * at for at in range(start, start + n_each)]
            rows = [(0, float(value)) for value in signal[start : start + n_each]]
            found.append(record_of(0, key, "json", times, rows))
    return found


def alerts_of(sizes: list[int], n_each: int = 25) -> list[Alert]:
    sent = sent_of(n_each)
    _, steps, _ = run(DETECTOR, begun(DETECTOR, sent), sent, 0, list(sizes))
    return [each.alert for _, step in steps for each in step.alerts]


def kind_of(alert: Alert) -> str:
    return present(present(alert.explanation).rhythm).kind


def test_early_late_and_missing_peaks_raise_alerts_and_a_calm_key_none() -> None:
    opened = [each for each in alerts_of([500]) if each.event == "open"]
    assert {each.key for each in opened} == {"off", "noisy"}
    assert {each.check for each in opened} == {"rhythm"}
    for key in ("off", "noisy"):
        first = [each for each in opened if each.key == key][:3]
        assert [kind_of(each) for each in first] == ["early", "late", "missing"]
        assert [each.sentence.partition(";")[0] for each in first] == [
            "a peak came 0.5 s after the one before",
            "a peak came 1.5 s after the one before",
            "no peak for at least 2 s",
        ]
        end_ms = 30_000 + INTERVAL_MS * (N_STEPS // 2)
        assert abs(first[2].opened_ms - START_MS - end_ms) <= 2 * INTERVAL_MS


def test_an_alert_stays_open_while_a_pause_lasts() -> None:
    events = [each for each in alerts_of([500]) if each.key == "off"]
    events = [each for each in events if each.opened_ms >= START_MS + 30_000]
    first = events[0].alert_id
    closed = next(each for each in events if each.event == "close" and each.alert_id == first)
    assert closed.event_time_ms >= START_MS + 38_000
    assert closed.n_anomalous >= 8_000 // (INTERVAL_MS * (PEAKS.n_search + PEAKS.n_slack))


def test_without_the_check_nothing_is_found() -> None:
    sent, plain = sent_of(), replace(DETECTOR, rhythm=None)
    _, steps, _ = run(plain, begun(plain, sent), sent, 0, [500])
    assert not any(step.alerts for _, step in steps)


@pytest.mark.parametrize(("sizes", "n_each"), [([1] * 720, 25), ([7] * 90, 25), ([64] * 9, 60)])
def test_alerts_do_not_depend_on_batches(sizes: list[int], n_each: int) -> None:
    some, other = alerts_of(sizes, n_each), alerts_of([10_000], n_each)
    assert some == other
    assert len(some) > 4


def test_live_scores_are_those_of_a_file_bit_for_bit() -> None:
    samples = Samples(
        ("off", "noisy", "well"),
        np.repeat(np.arange(3), N_SAMPLES),
        np.tile(START_MS + INTERVAL_MS * np.arange(N_SAMPLES, dtype=np.float64), 3),
        np.concatenate([*SIGNALS.values()])[:, np.newaxis],
    )
    cut = cut_samples(samples, RULES)
    offline = sorted(zip(cut.end_ms, DETECTOR.score(cut.windows, cut.intervals), strict=True))
    sent = sent_of()
    _, steps, _ = run(DETECTOR, begun(DETECTOR, sent), sent, 0, [33] * 20)
    live = sorted(
        pair
        for _, step in steps
        for pair in zip(present(step.scores.end_ms), step.scores.scores, strict=True)
    )
    assert live == offline
    assert sum(score > 1 for _, score in live) > 20
    assert DETECTOR.score(cut.windows).max() == 0


@pytest.mark.parametrize("end", [270, 360, 420, 480])
def test_what_a_restore_gives_is_what_was_lost(end: int) -> None:
    sent = sent_of()
    state, _, committed = run(DETECTOR, begun(DETECTOR, sent), sent[:end], 0, [11] * 30)
    restored = replayed(DETECTOR, sent, committed, [5] * 40)
    rest = [run(DETECTOR, each, sent, end, [17] * 40)[1] for each in (state, restored)]
    assert published_by(rest[0]) == published_by(rest[1])


@pytest.mark.parametrize("end", [270, 420])
def test_a_snapshot_continues_as_the_state_it_was_made_of(end: int) -> None:
    sent = sent_of()
    state, *_ = run(DETECTOR, begun(DETECTOR, sent), sent[:end], 0, [11] * 30)
    loaded = load([dump(state, "v1")], DETECTOR.initial_state(), "v1")
    rest = [run(DETECTOR, each, sent, end, [17] * 40) for each in (state, loaded)]
    assert published_by(rest[0][1]) == published_by(rest[1][1])
    assert rest[0][2] == rest[1][2]


def test_windows_to_train_on_are_no_pauses() -> None:
    samples = Samples(
        ("off",),
        np.zeros(N_SAMPLES, np.intp),
        START_MS + INTERVAL_MS * np.arange(N_SAMPLES, dtype=np.float64),
        OFF[:, np.newaxis],
        np.zeros(N_SAMPLES, np.int8),
    )
    cut = cut_samples(samples, RULES)
    is_pause = present(cut.intervals).is_pause
    assert is_pause.sum() > 10
    kept = cut.without_pauses()
    assert kept.windows.tobytes() == cut.windows[~is_pause].tobytes()
    assert kept.start_ms.tolist() == cut.start_ms[~is_pause].tolist()
    assert (len(kept.keys), len(present(kept.labels))) == (len(kept.windows),) * 2
    since_ms = present(kept.intervals).since_ms
    known = np.flatnonzero(since_ms < 2_000)
    apart = [later - earlier for earlier, later in pairwise(kept.start_ms.tolist())]
    assert since_ms[known[1:]].tolist() == [apart[at - 1] for at in known[1:].tolist()]
