"""Why no window of a series is scored, in columns and in words.

Pure. `find_unscored` reads `SeriesHealth`, the counts of each series since its last scored window.
A series is unscored once it has had more than enough for a window, or once what came shows that no
window can be scored as long as that lasts. One that never had a complete window is in warm-up.

Of a window of 60 samples a second apart, a quarter of which may be missing:

| what comes of a series | reason |
| --- | --- |
| a sample every 2 s, or every 100 s | `interval` |
| 20 samples a second apart, then none for two minutes, and so on | `gaps` |
| the second feature is always null | `missing_values` |
| samples an hour behind the newest | `late` |
| the same time in each sample | `duplicates` |
| every other sample in another partition | `key_on_several_partitions` |
| 20 samples so far | `warm_up` |

Where windows are cut round peaks, a series that had more than enough samples for a search, none of
which found a peak, has the reason `no_peaks`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.core.windowing.arrays import Indices
from stream_detector.core.windowing.keyed_state import FREE, KeyedState
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.series_health import N_INTERVALS_KEPT, SeriesHealth

Reason = Literal[
    "key_on_several_partitions",
    "late",
    "duplicates",
    "interval",
    "missing_values",
    "gaps",
    "no_peaks",
    "warm_up",
]

REASONS: tuple[Reason, ...] = get_args(Reason)
"""All reasons, the first that holds of a series counts."""

WHAT_TO_DO: Mapping[Reason, str] = {
    "key_on_several_partitions": "let each key have one partition: produce with the same "
    "partitioner everywhere, by key",
    "late": "send in order, correct the sender's clock, or train with a larger "
    "window.allowed_lateness_ms",
    "duplicates": "give each sample a time of its own, in milliseconds",
    "interval": "send at that interval, or train with the interval that is sent as "
    "window.sample_interval_ms; a key that is spread over several partitions looks the same",
    "missing_values": "send every feature, or train without it or with a larger "
    "window.missing_share_max",
    "gaps": "send without such pauses, or train with a larger window.gap_ms_max or fewer "
    "window.steps",
    "no_peaks": "see that the signal has peaks in the features of the recipe's [peaks], or train "
    "with another peaks.band_hz, peaks.features or peaks.refractory_ms",
    "warm_up": "wait until a window is complete, see that samples come at that interval and that "
    "all of a series have one key, or train with fewer window.steps",
}
"""How to mend each, in one clause."""

N_SAMPLES_MIN = 10
"""Samples after which one can tell, of a series that was never scored, that it cannot be."""

N_GAPS_MIN = 2
"""Gaps without a scored window between them after which a series is unscored."""

N_NAMES_MAX = 5
"""Most features that a message names."""

MANY_CELLS = 1.25
"""Samples in an interval beyond which parts of a sample may lie too far apart to meet."""


@dataclass(frozen=True, slots=True)
class Unscored:
    """The series that are not scored.

    Parameters
    ----------
    slots
        Slot of each, ascending, shape (n_unscored,).
    reasons
        Index in `REASONS` of its reason, shape (n_unscored,).
    """

    slots: Indices
    reasons: Indices

    def with_reason(self, reason: Reason) -> Indices:
        """Return the slots that have a reason, shape (n,)."""
        found: Indices = self.slots[self.reasons == REASONS.index(reason)]
        return found


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Finds the series that are not scored, and says why.

    Parameters
    ----------
    health
        Counts of each series since its last scored window.
    keyed_state
        State after the last batch that was added to `health`.
    rules
        How windows are cut.
    features
        Names of the features.
    """

    health: SeriesHealth
    keyed_state: KeyedState
    rules: WindowRules
    features: Features

    def find(self) -> Unscored:
        """Return the series that are not scored, each with its reason."""
        health, rules = self.health, self.rules
        n_slots = min(health.n_slots, self.keyed_state.n_slots)
        is_known = self.keyed_state.partitions[:n_slots] != FREE  # (n_slots,)
        is_overdue = self._is_overdue()[:n_slots]  # (n_slots,)
        is_asked = (health.n_samples > 0)[:n_slots] & (
            ~health.was_scored[:n_slots] | is_overdue | (health.n_unscored > 0)[:n_slots]
        )  # (n_slots,)
        slots = np.flatnonzero(is_known & is_asked)  # (n,)
        is_slow, is_empty = self._is_slow(slots), self._is_empty(slots).any(axis=1)  # (n,)
        n_samples, n_gaps = health.n_samples[slots], health.n_gaps[slots]  # (n,)
        n_late, n_repeated = health.n_late[slots], health.n_repeated[slots]  # (n,)
        is_dropped = 2 * (n_late + n_repeated) >= n_samples  # (n,), half of what came
        has_no_peaks = self._has_no_peaks(slots, is_overdue)  # (n,)
        symptoms = (
            self._is_shared(slots),
            is_dropped & (n_late >= n_repeated),
            is_dropped,
            is_slow,
            is_empty | (health.n_unscored[slots] > 0),
            (n_gaps > 0) & ~has_no_peaks,
            has_no_peaks,
        )  # (n,) each, in the order of `REASONS`
        is_new = ~health.was_scored[slots]  # (n,)
        is_hopeless = is_dropped | is_slow | is_empty  # (n,), if it goes on so
        has_gaps_only = (n_gaps > 0) & (n_gaps == health.n_intervals[slots])  # (n,)
        is_early = is_new & (has_gaps_only | (is_hopeless & (n_samples >= N_SAMPLES_MIN)))  # (n,)
        # A window that has failed already, and nothing to make the next one better.
        has_failed = (health.n_unscored[slots] > 0) & is_hopeless  # (n,)
        is_found = is_overdue[slots] | is_early | has_failed  # (n,)
        warm_up = len(symptoms)
        reasons = np.select([is_found & each for each in symptoms], range(warm_up), warm_up)
        is_cold = is_new & (self.keyed_state.columns.span[slots] < rules.frame.n_steps)  # (n,)
        is_listed = (reasons < warm_up) | is_cold  # (n,)
        return Unscored(slots[is_listed], reasons[is_listed])

    def describe(self, slot: int, reason: Reason) -> str:
        """Return what is known of one series that is not scored, in one clause.

        Parameters
        ----------
        slot
            Slot of the series.
        reason
            Its reason.
        """
        health, rules = self.health, self.rules
        n_samples = int(health.n_samples[slot])
        if reason == "key_on_several_partitions":
            text = f"the key comes on partitions {', '.join(map(str, self._partitions_of(slot)))}"
        elif reason == "late":
            text = (
                f"{health.n_late[slot]} of {n_samples} samples came more than "
                f"{rules.allowed_lateness_ms:g} ms behind the newest of their key"
            )
        elif reason == "duplicates":
            text = (
                f"{health.n_repeated[slot]} of {n_samples} samples repeat another of the same "
                f"{rules.sample_interval_ms / 2:g} ms"
            )
        elif reason == "interval":
            apart_ms = float(typical_interval_ms(health, np.array([slot]))[0])
            text = f"received {samples_apart(apart_ms)}, expected {rules.sample_interval_ms:g}"
        elif reason == "missing_values":
            text = self._describe_missing(slot)
        elif reason == "gaps":
            text = (
                f"the series started again {health.n_gaps[slot]} times, after more than "
                f"{rules.gap_ms_max:g} ms without a sample, before "
                f"{rules.frame.n_steps} samples had come"
            )
        elif reason == "no_peaks":
            text = f"no peak was found in {health.elapsed_ms[slot] / 1000:.3g} s of samples"
        else:
            needs = "a window has" if rules.peaks is None else "a search for peaks takes"
            text = (
                f"samples received so far: {n_samples}; {needs} {rules.frame.n_steps}, one each "
                f"{rules.sample_interval_ms:g} ms"
            )
        return text

    def _is_shared(self, slots: Indices) -> NDArray[np.bool_]:
        """Return which keys are found in several partitions among those of `slots`, shape (n,)."""
        partitions = self.keyed_state.partitions[slots]  # (n,)
        if not (partitions != partitions[:1]).any():
            return np.zeros(len(slots), dtype=np.bool_)
        keys = [self.keyed_state.keys[slot] for slot in slots.tolist()]
        counts = Counter(keys)
        return np.array([counts[key] > 1 for key in keys])

    def _partitions_of(self, slot: int) -> list[int]:
        """Return the partitions in which the key of a slot has state, ascending."""
        keys = self.keyed_state.keys
        slots = [each for each, key in enumerate(keys) if key == keys[slot]]
        partitions: list[int] = np.sort(self.keyed_state.partitions[slots]).tolist()
        return partitions

    def _is_overdue(self) -> NDArray[np.bool_]:
        """Return which series have had more than enough for a window, shape (n_slots,)."""
        health, rules = self.health, self.rules
        # A window starts at the latest a stride after the last one, and is then n_steps long.
        n_enough = rules.frame.n_steps + rules.stride + 1
        n_dropped = health.n_late + health.n_repeated  # (n_slots,)
        is_overdue: NDArray[np.bool_] = (
            (health.elapsed_ms >= n_enough * rules.sample_interval_ms)
            | ((n_dropped >= n_enough) & (2 * n_dropped >= health.n_samples))
            | (health.n_gaps >= N_GAPS_MIN)
        )
        return is_overdue

    def _has_no_peaks(self, slots: Indices, is_overdue: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return in which series peaks were sought, and none was found, shape (n,)."""
        if self.rules.peaks is None:
            return np.zeros(len(slots), dtype=np.bool_)
        is_whole = self.keyed_state.columns.span[slots] >= self.rules.frame.n_steps  # (n,)
        has_no_peaks: NDArray[np.bool_] = is_overdue[slots] & is_whole
        return has_no_peaks

    def _is_slow(self, slots: Indices) -> NDArray[np.bool_]:
        """Return which series have samples too far apart for their windows, shape (n,)."""
        rules = self.rules
        # Cells from one sample to the next, as in `grid`. NaN, where there are not two, is not.
        cells = np.floor(typical_interval_ms(self.health, slots) / rules.sample_interval_ms + 0.5)
        share_max = 0.0 if rules.missing == "reject" else rules.missing_share_max
        is_slow: NDArray[np.bool_] = cells * (1 - share_max) > 1  # (n,): 1 - 1 / cells is missing
        return is_slow

    def _is_empty(self, slots: Indices) -> NDArray[np.bool_]:
        """Return which features never had a value, shape (n, n_features)."""
        health, rules = self.health, self.rules
        # Sources that send one feature each need a few intervals until all of them have sent.
        is_enough = health.elapsed_ms[slots] >= N_SAMPLES_MIN * rules.sample_interval_ms  # (n,)
        is_missing = health.n_missing[slots] == health.n_samples[slots][:, np.newaxis]
        is_empty: NDArray[np.bool_] = is_missing & is_enough[:, np.newaxis]  # (n, n_features)
        return is_empty

    def _describe_missing(self, slot: int) -> str:
        """Return how many values of a series are missing, of which features, and why if known."""
        health, rules, names = self.health, self.rules, self.features.names
        n_intervals = health.elapsed_ms[slot] / rules.sample_interval_ms
        n_cells = max(n_intervals, int(health.n_intervals[slot])) + 1
        n_values = health.n_samples[slot] - health.n_missing[slot]  # (n_features,)
        n_dropped = health.n_late[slot] + health.n_repeated[slot]
        n_used = n_values.sum() - n_dropped * rules.n_features
        share = float(np.clip(1 - n_used / (n_cells * rules.n_features), 0, 1))
        text = f"{share:.0%} of the values are missing, expected at most "
        text += "none" if rules.missing == "reject" else f"{rules.missing_share_max:.0%}"
        empty = np.flatnonzero(self._is_empty(np.array([slot]))[0]).tolist()
        if empty:
            text += f"; no value at all of feature {_listed(names[each] for each in empty)}"
        elif rules.n_features > 1:
            lacking = np.flatnonzero(n_values < (1 - rules.missing_share_max) * n_cells).tolist()
            shares = (f"{names[each]} ({1 - n_values[each] / n_cells:.0%})" for each in lacking)
            text += f"; of feature {_listed(shares)}" if lacking else ""
        if n_cells > MANY_CELLS * (n_intervals + 1):
            text += f"; {self._how_parts_meet(n_cells / (n_intervals + 1))}"
        return text

    def _how_parts_meet(self, n_each: float) -> str:
        """Return what keeps samples from being parts of one, where so many come an interval."""
        interval_ms = self.rules.sample_interval_ms
        return (
            f"{n_each:.1f} samples come in each {interval_ms:g} ms, and parts of a sample are "
            f"sure to meet only less than {interval_ms / 4:g} ms apart: give all parts of a sample "
            "the same time"
        )


def _listed(texts: Iterable[str]) -> str:
    """Return the first texts with commas between them, and how many more there are."""
    found = [*texts]
    more = f" and {len(found) - N_NAMES_MAX} more" if len(found) > N_NAMES_MAX else ""
    return f"{', '.join(found[:N_NAMES_MAX])}{more}"


def typical_interval_ms(health: SeriesHealth, slots: Indices) -> NDArray[np.float64]:
    """Return the median of the last times between samples, shape (n,); NaN where there are none.

    Parameters
    ----------
    health
        Holds the times.
    slots
        Of which series, shape (n,).
    """
    ascending = np.sort(health.intervals_ms[slots], axis=1)  # (n, N_INTERVALS_KEPT), NaN last
    n_known = np.minimum(health.n_intervals[slots], N_INTERVALS_KEPT)  # (n,)
    rows = np.arange(len(slots))
    lower = ascending[rows, np.maximum(n_known - 1, 0) // 2]  # (n,)
    upper = ascending[rows, np.minimum(n_known // 2, N_INTERVALS_KEPT - 1)]  # (n,)
    median: NDArray[np.float64] = (lower + upper) / 2  # (n,)
    return median


def samples_apart(interval_ms: float) -> str:
    """Return the words for samples so far apart, the same offline and live.

    Examples
    --------
    >>> samples_apart(2000.0)
    'samples about 2000 ms apart'
    """
    return f"samples about {interval_ms:.10g} ms apart"
