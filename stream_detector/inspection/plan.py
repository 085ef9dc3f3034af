"""From what a file holds to the windows and alerts of a recipe, each value with its reason."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_detector.errors import DatasetError
from stream_detector.inspection.roles import Layout
from stream_detector.inspection.timing import Timing
from stream_detector.recipes.alerting import ALERT_MS_MAX

STEPS = (60, 48, 40, 30, 24, 20, 16, 12, 10, 8)
"""Window lengths, the usual one first."""

_WINDOWS_GOOD, _WINDOWS_MIN = 40, 20
"""Windows that share no sample: what calibration needs to mean something, and to work at all."""

_VALUES_GOOD, _STEPS_LEAST = 600, 16
"""Values of a window among which a short fault still shows, and steps that a window has anyway."""

_WINDOWS_BETWEEN = 10
"""Windows, end to end, in whose time people expect one false alarm at most."""

_WINDOWS_MANY = 400_000
_MISSING_SHARE, _MISSING_SHARE_MAX = 0.25, 0.6
_SECOND_MS, _HOUR_MS, _DAY_MS = 1_000.0, 3_600_000.0, 86_400_000.0
_SERIES_SHOWN = 3
_BEYOND = 1.5
"""How far beyond the longest usual silence one is a fault: few days do not show the longest."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A value of a recipe and why it was chosen."""

    value: Any
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Values of `[window]` and `[alerting]`, and what cannot be promised.

    Parameters
    ----------
    window, alerting
        Values by key.
    limits
        What the data at hand do not allow to promise, in sentences.
    days
        Days of data, over all keys.
    n_windows
        About how many windows the data make.
    """

    window: dict[str, Chosen]
    alerting: dict[str, Chosen]
    limits: tuple[str, ...]
    days: float
    n_windows: int

    @property
    def n_steps(self) -> int:
        """Return the length of a window."""
        return int(self.window["steps"].value)


def make_plan(
    layout: Layout, timing: Timing, false_alarms_per_day: float, n_steps: int | None = None
) -> Plan:
    """Choose windows and times of alerts.

    Parameters
    ----------
    layout, timing
        What the file holds.
    false_alarms_per_day
        Of a key: what a gap may be longer than so often.
    n_steps
        Length of a window where a person said it.

    Raises
    ------
    DatasetError
        If there is too little data for any window.
    """
    interval = timing.sample_interval_ms
    if interval < 1:
        message = (
            f"samples are {interval:g} ms apart (median over the keys), and the shortest interval "
            "is 1 ms: give a file with fewer samples a second, or the unit with --time-format"
        )
        raise DatasetError(message)
    n_steps, why_steps = (n_steps, "as you said") if n_steps else choose_steps(timing, layout)
    stride, n_windows = _choose_stride(timing, n_steps)
    every = duration(stride * interval)
    why_stride = f"a window is scored every {every}; about {n_windows:,} in the data"
    days = timing.span_ms / _DAY_MS
    no_data_ms, why_no_data = _choose_no_data(timing, n_steps, days * false_alarms_per_day)
    lateness_ms, why_lateness = _choose_lateness(timing, n_steps)
    gap_ms, why_gap = _choose_gap(timing, n_steps)
    missing, why_missing = _choose_missing(timing)
    window = {
        "record": Chosen("samples", "a record holds one sample or more of a key"),
        "steps": Chosen(n_steps, why_steps),
        "features": Chosen(len(layout.features), ", ".join(layout.features)),
        "sample_interval_ms": Chosen(_plain(interval), _why_interval(timing)),
        "stride": Chosen(stride, why_stride),
        "gap_ms_max": Chosen(_whole(gap_ms), why_gap),
        "allowed_lateness_ms": Chosen(_plain(lateness_ms), why_lateness),
        "missing_share_max": Chosen(missing, why_missing),
    }
    span_ms = n_steps * interval
    ttl_ms = max(_HOUR_MS, 10 * no_data_ms, 10 * span_ms)
    window["key_ttl_ms"] = Chosen(
        _plain(math.ceil(ttl_ms)),
        "a key is forgotten after this, and its next sample starts it again",
    )
    alerting = _choose_alerting(interval, n_steps)
    if no_data_ms <= ALERT_MS_MAX:
        alerting["no_data_after_ms"] = Chosen(round(no_data_ms), why_no_data)
    limits = [*_limits(timing, n_steps), *_slow(span_ms / _DAY_MS, false_alarms_per_day)]
    return Plan(window, alerting, tuple(limits), days, n_windows)


def choose_steps(timing: Timing, layout: Layout) -> tuple[int, str]:
    """Return the length of a window and why: the longest of which there are enough.

    Raises
    ------
    DatasetError
        If there are too few samples even for the shortest.
    """
    n_features = len(layout.features) - len(layout.constant)
    most = max(_VALUES_GOOD // max(n_features, 1), _STEPS_LEAST)
    wanted = [n_steps for n_steps in STEPS if n_steps <= most]
    for n_wanted in (_WINDOWS_GOOD, _WINDOWS_MIN):
        for n_steps in wanted:
            n_apart = _n_apart(timing, n_steps)
            if n_apart >= n_wanted:
                span = duration(n_steps * timing.sample_interval_ms)
                why = f"{span}; the data hold {n_apart:,} windows that share no sample"
                if n_steps < wanted[0]:
                    why += f", and too few of {wanted[0]} steps"
                if wanted[0] < STEPS[0]:
                    why += f"; in longer ones of {n_features} features a short fault hardly shows"
                return n_steps, why
    n_keys = len(layout.keys)
    message = (
        f"expected at least {STEPS[-1] * _WINDOWS_MIN} samples of keys that have more than "
        f"{STEPS[-1]}, to cut {_WINDOWS_MIN} windows of {STEPS[-1]} steps that share no sample, "
        f"received {timing.n_samples:,} of different times, of {n_keys:,} "
        f"{'key' if n_keys == 1 else 'keys'}, which make {_n_apart(timing, STEPS[-1])}: with so "
        "few, neither what is normal nor how often a false alarm comes can be told; collect more, "
        "from normal operation"
    )
    raise DatasetError(message)


def _n_apart(timing: Timing, n_steps: int) -> int:
    """Return how many windows the data hold that share no sample.

    A key with no more samples than a window makes none: the newest still waits for earlier ones.
    """
    return int((timing.n_cells[timing.n_cells > n_steps] // n_steps).sum())


def _choose_stride(timing: Timing, n_steps: int) -> tuple[int, int]:
    """Return how many samples are between the starts of two windows, and how many windows."""
    stride = max(n_steps // 12, 1)
    n_windows = int(np.maximum(timing.n_cells - n_steps, 0).sum()) // stride
    while stride > 1 and n_windows < 1_000:  # noqa: PLR2004
        n_windows, stride = n_windows * stride // (stride - 1), stride - 1
    if n_windows > _WINDOWS_MANY:
        stride = min(math.ceil(stride * n_windows / _WINDOWS_MANY), n_steps // 4)
        n_windows = int(np.maximum(timing.n_cells - n_steps, 0).sum()) // stride
    return stride, n_windows


def _why_interval(timing: Timing) -> str:
    """Return how the interval was found, with a warning where it is none."""
    interval = duration(timing.sample_interval_ms)
    share = timing.regular_share
    if share < 0.6:  # noqa: PLR2004
        return f"samples come irregularly, half of them {interval} apart or less"
    return f"samples are {interval} apart (median over the keys), {share:.1%} of them regularly"


def _choose_gap(timing: Timing, n_steps: int) -> tuple[float, str]:
    """Return the longest time without a sample within a window, and why."""
    interval = timing.sample_interval_ms
    longest = n_steps * interval
    usual = float(np.quantile(timing.gaps_ms, 0.99)) if len(timing.gaps_ms) else interval
    least = max(1.5 * interval, _MISSING_SHARE * longest)
    gap_ms = min(max(1.25 * usual, least), longest)
    n_gaps = len(timing.gaps_ms)
    seen = (
        f"{n_gaps:,} times a sample was missing, 99 % of these for at most {duration(usual)}"
        if n_gaps
        else "no sample is missing in the data"
    )
    return min(float(_plain(gap_ms)), longest), f"{seen}; after longer the window starts again"


def _choose_lateness(timing: Timing, n_steps: int) -> tuple[float, str]:
    """Return how long samples wait for earlier ones, and why."""
    latest, interval = timing.latest_ms, timing.sample_interval_ms
    if math.isnan(latest):
        return (
            interval / 2,
            "the file is in no order of time, so it does not tell; raise it if samples swap",
        )
    if latest <= interval / 2:
        why = "the rows of each key are in the order of time; raise it if samples swap"
        return interval / 2, why
    longest = n_steps * interval
    if latest > longest:
        why = f"rows are up to {duration(latest)} late, which no buffer of a window's length mends"
        return math.ceil(longest / 4), why
    steps = math.ceil(latest / interval)
    return steps * interval, f"rows are up to {duration(latest)} behind the newest of their key"


def _choose_missing(timing: Timing) -> tuple[float, str]:
    """Return the largest share of missing values in a window, and why."""
    seen = f"{timing.missing_share:.1%} of the values are missing in the data"
    share = _MISSING_SHARE
    if timing.missing_share > _MISSING_SHARE / 2:
        share = min(2 * timing.missing_share + 0.05, _MISSING_SHARE_MAX)
    return round(share, 2), f"{seen}; a window that lacks more is not scored"


def _choose_no_data(timing: Timing, n_steps: int, n_allowed: float) -> tuple[float, str]:
    """Return after how long a silent key or feature opens an alert, and why.

    It is the shortest time that gaps of the data exceed no more often than false alarms may come,
    but at least that of a window, or of two where the data are too few to show any such gap.
    """
    interval = timing.sample_interval_ms
    least = n_steps * interval * (1 if n_allowed >= 1 else 2)
    silences = np.sort(np.concatenate([timing.gaps_ms, timing.runs_ms]))
    n_longer = min(int(n_allowed), len(silences))
    longest = float(silences[len(silences) - 1 - n_longer]) if len(silences) > n_longer else 0.0
    after = max(_BEYOND * longest, least, 5 * _SECOND_MS)
    if longest:
        seen = f"times without a value of up to {duration(float(silences[-1]))} are normal here"
        if n_longer:
            seen = f"times without a value are longer than {duration(longest)} {n_longer} times"
    else:
        seen = "no value is missing in the data for more than one sample"
    return _round_up(after), f"{seen}; so a silent key or a dead feature opens an alert"


def _choose_alerting(interval: float, n_steps: int) -> dict[str, Chosen]:
    """Return when alerts are updated and close."""
    span_ms = n_steps * interval
    close = _within(span_ms / 2, 1_000, "half a window without an anomaly ends an alert")
    longest = _within(10 * span_ms, 600_000, "ten windows; then a new alert goes on with it")
    return {
        "close_after_ms": close,
        "update_interval_ms": _within(span_ms, 60_000, "an open alert is published again so often"),
        "open_ms_max": longest,
        "flood_window_ms": Chosen(longest.value, "as long as an alert may be open"),
    }


def _within(milliseconds: float, least: int, why: str) -> Chosen:
    """Return a time of alerts, and why, where the limits are not what decides."""
    if milliseconds < least:
        return Chosen(least, f"{why}; {duration(least)} at least")
    if milliseconds > ALERT_MS_MAX:
        return Chosen(ALERT_MS_MAX, f"the longest there is: {why}")
    return Chosen(round(milliseconds), why)


def _limits(timing: Timing, n_steps: int) -> list[str]:
    """Return what the data do not allow to promise."""
    limits = []
    n_apart = _n_apart(timing, n_steps)
    if n_apart < 10 * _WINDOWS_GOOD:
        limits.append(
            f"the data hold {n_apart} windows of {n_steps} steps that share no sample: expect more "
            "or fewer false alarms than stated, until there is more data to train on"
        )
    if timing.span_ms / max(len(timing.n_cells), 1) < 2 * _DAY_MS:
        usual = duration(timing.span_ms / max(len(timing.n_cells), 1))
        limits.append(
            f"each key has {usual} of data: what happens only at other times of day or week, or in "
            "other weather, will look anomalous"
        )
    if n_steps < STEPS[0]:
        limits.append(
            f"windows are {n_steps} steps long and not {STEPS[0]}: a slow drift shows less in them"
        )
    if timing.regular_share < 0.6:  # noqa: PLR2004
        limits.append(
            f"only {timing.regular_share:.0%} of the samples come at the interval: windows have "
            "holes that are interpolated, and what depends on exact times is not seen"
        )
    if timing.n_dead:
        limits.append(
            f"{timing.n_dead} times a feature had no value for long while others had: that is "
            "taken for a fault and opens an alert"
        )
    if timing.other_intervals:
        shown = ", ".join(
            f"{key} every {duration(apart)}"
            for key, apart in timing.other_intervals[:_SERIES_SHOWN]
        )
        limits.append(
            f"some keys have another interval ({shown}): they are scored less or not at all; make "
            "a recipe of their own for them"
        )
    return limits


def _slow(window_days: float, false_alarms_per_day: float) -> Iterator[str]:
    """Yield that false alarms would be many beside the length of a window, if they would."""
    fewer = 1 / (_WINDOWS_BETWEEN * window_days)
    if false_alarms_per_day > fewer:
        n_between = 1 / (false_alarms_per_day * window_days)
        yield (
            f"{false_alarms_per_day:g} false alarms a day and key are one in the time of "
            f"{n_between:.2g} windows, since samples are that slow: ask for fewer, such as "
            f"--false-alarms-per-day {_rounded_down(fewer):g}"
        )


def _rounded_down(number: float) -> float:
    """Return a positive number down to one significant digit, so that it does not come out more."""
    unit: float = 10.0 ** math.floor(math.log10(number))
    return math.floor(number / unit) * unit


def duration(milliseconds: float) -> str:
    """Return a time span as people say it.

    Examples
    --------
    >>> duration(2.7778), duration(60_000), duration(90_000), duration(172_800_000)
    ('2.778 ms', '1 min', '90 s', '2 days')
    """
    for size, unit, least in (
        (_DAY_MS, "days", 2 * _DAY_MS),
        (_HOUR_MS, "h", 2 * _HOUR_MS),
        (60_000.0, "min", 120_000.0),
        (_SECOND_MS, "s", _SECOND_MS),
    ):
        if milliseconds >= least or (milliseconds == size and unit in ("min", "h")):
            return f"{milliseconds / size:.4g} {unit}"
    return f"{milliseconds:.4g} ms"


def _round_up(milliseconds: float) -> float:
    """Return a time span above 0 rounded up to two digits."""
    digit = 10.0 ** (math.floor(math.log10(milliseconds)) - 1)
    return math.ceil(milliseconds / digit - 1e-9) * digit


def _whole(number: float) -> float | int:
    """Return the same number, as an integer where it is whole."""
    return int(number) if float(number).is_integer() else number


def _plain(number: float) -> float | int:
    """Return a whole number as an integer."""
    return int(number) if float(number).is_integer() else float(f"{number:.6g}")
