"""The alerts of all keys, carried through one batch of samples record by record.

Pure. Only active keys, and keys that become active, are looked at one by one; of an active key
without an open alert, the normal windows between two others are one step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.alert import Alert, AlertReason, RaisedAlert
from stream_detector.core.alerting.lifecycle import SeriesAlerts, advance, advance_quiet, expire
from stream_detector.core.alerting.tracking import AlertRules, ScoredWindow
from stream_detector.core.features import Features, linear_units
from stream_detector.core.key_scales import KeyUnits
from stream_detector.core.records import BundleReference, RecordBatch
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.scorer import Finding, WindowScores
from stream_detector.core.scoring.sentences import of_unknown_key
from stream_detector.core.windowing.window_batch import WindowBatch


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """By what alerts are made.

    Parameters
    ----------
    rules
        When alerts open, are updated and close.
    threshold
        Anomalous iff score > threshold.
    score_kind
        What a score is.
    bundle
        What scores.
    sample_interval_ms
        Time between two samples.
    features
        Names of the features.
    """

    rules: AlertRules
    threshold: float
    score_kind: str
    bundle: BundleReference
    sample_interval_ms: float
    features: Features


class KeyedAlerts(NamedTuple):
    """State of the active keys, by slot.

    Parameters
    ----------
    alerts
        Alerts of each key.
    gaps
        When each key restarted after a gap, within the last `flood_window_ms`.
    """

    alerts: Mapping[int, SeriesAlerts]
    gaps: Mapping[int, tuple[int, ...]]


class _KeyEvent(NamedTuple):
    """A key that expired or whose clock was set (before its record counts), or that had a gap."""

    record: int
    after_ms: float  # -inf for a key that expired or whose clock was set
    at_ms: float
    key: bytes  # not by slot: which slot a key has depends on how the stream was cut into batches
    slot: int
    reason: AlertReason | None  # None for a gap


class ScoredSlice(NamedTuple):
    """Some windows of a batch, with the scores of those that have one.

    Parameters
    ----------
    rows
        Which windows of the batch, shape (n,), ascending.
    scores
        Their scores, shape (n,); NaN where there is none.
    places
        Where a window with a score is among those in `found`, shape (n,).
    found
        Scores and explanations of the windows that have a score.
    imputed
        Which of their values were missing, shape (n_scored, n_steps, n_features); None where none
        was.
    """

    rows: NDArray[np.intp]
    scores: NDArray[np.float64]
    places: NDArray[np.intp]
    found: WindowScores
    imputed: NDArray[np.bool_] | None


class AlertBatch:
    """Carries the alerts of all keys through one batch.

    Parameters
    ----------
    policy
        By what alerts are made.
    known
        State of the active keys before the batch.
    batch
        The records of the batch.
    completed
        The windows they complete.
    indices
        Which record of the batch each of the records in `completed` is, shape (n_records,).
    units
        The units of the windows; None where all keys have the same.
    """

    def __init__(
        self,
        policy: AlertPolicy,
        known: KeyedAlerts,
        batch: RecordBatch,
        completed: WindowBatch,
        indices: NDArray[np.intp],
        units: KeyUnits | None = None,
    ) -> None:
        self.raised: list[RaisedAlert] = []
        self.n_suppressed = 0
        self._policy = policy
        self._batch = batch
        self._completed = completed
        self._indices = indices
        self._units = units
        self._alerts = dict(known.alerts)
        self._gaps = dict(known.gaps)
        self._quiet_ends_ms: dict[int, list[int]] = {}  # by slot, since its last other window
        self._key_events = iter(sorted(_key_events(completed, indices)))
        self._next_key_event = next(self._key_events, None)

    def add_windows(self, some: ScoredSlice) -> None:
        """Advance the alerts by some windows, which are later than those before."""
        completed, threshold = self._completed, self._policy.threshold
        slots = completed.slots[some.rows]  # (n,)
        is_anomalous = some.scores > threshold  # (n,); NaN compares False
        of_interest = is_anomalous
        if self._alerts or is_anomalous.any():
            watched = np.concatenate(
                [np.fromiter(self._alerts, np.intp, len(self._alerts)), slots[is_anomalous]]
            )
            of_interest = np.isin(slots, watched)
        places = np.flatnonzero(of_interest)
        rows = some.rows[places]
        columns = (
            places,
            slots[places],
            self._indices[completed.records[rows]],
            completed.start_ms[rows],
            completed.end_ms[rows],
            some.scores[places],
        )
        for at, slot, index, start_ms, end_ms, score in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            self._process_until((index, end_ms))
            alerts = self._alerts.get(slot)
            if not score > threshold and (alerts is None or alerts.is_quiet):
                if alerts is not None:
                    self._quiet_ends_ms.setdefault(slot, []).append(end_ms)
                continue
            window = ScoredWindow(
                metadata=lambda index=index: self._batch.metadata(index),  # type: ignore[misc]
                start_ms=start_ms,
                end_ms=end_ms,
                score=score,
                threshold=threshold,
                score_kind=self._policy.score_kind,
                explain=lambda at=at, start_ms=start_ms: self._explain(some, at, start_ms),  # type: ignore[misc]
                sample_interval_ms=self._policy.sample_interval_ms,
            )
            self._advance(slot, index, window)

    def finish(self) -> KeyedAlerts:
        """Return the state of the active keys after the batch."""
        self._process_until((len(self._batch), inf))
        for slot in list(self._quiet_ends_ms):
            self._advance_quiet(slot)
        idle = set(self._completed.expired.idle.tolist())
        gaps = {slot: times for slot, times in self._gaps.items() if slot not in idle}
        return KeyedAlerts(self._alerts, gaps)

    def _process_until(self, end: tuple[int, float]) -> None:
        """Process gaps, and series that end, up to this record and time."""
        while self._next_key_event is not None and self._next_key_event[:2] <= end:
            key_event, self._next_key_event = self._next_key_event, next(self._key_events, None)
            if key_event.reason is None:
                self._restart_after_gap(key_event)
            else:
                self._end(key_event, key_event.reason)

    def _end(self, key_event: _KeyEvent, reason: AlertReason) -> None:
        """Close the alert of a key whose series has ended."""
        index, slot = key_event.record, key_event.slot
        gaps = self._gaps.pop(slot, ())
        alerts = self._alerts.pop(slot, None)
        if alerts is not None:
            metadata = self._batch.metadata(index)
            events = expire(alerts, round(key_event.at_ms), metadata, reason)
            self._raise(index, key_event.key, events, gaps)

    def _restart_after_gap(self, key_event: _KeyEvent) -> None:
        """Note a gap, which counts as a window without a score."""
        index, slot, at_ms = key_event.record, key_event.slot, int(key_event.at_ms)
        since_ms = at_ms - self._policy.rules.flood_window_ms
        recent = [each for each in self._gaps.get(slot, ()) if each > since_ms]
        self._gaps[slot] = (*recent, at_ms)
        if slot in self._alerts:
            window = ScoredWindow(
                metadata=lambda: self._batch.metadata(index),
                start_ms=at_ms,
                end_ms=at_ms,
                score=np.nan,
                threshold=self._policy.threshold,
                score_kind=self._policy.score_kind,
                explain=_never,
            )
            self._advance(slot, index, window)

    def _advance(self, slot: int, index: int, window: ScoredWindow) -> None:
        """Advance the alerts of one key by one window."""
        self._advance_quiet(slot)
        led_to = advance(self._alerts.get(slot), window, self._policy.rules, self._policy.bundle)
        self._set(slot, led_to.alerts)
        self.n_suppressed += led_to.n_suppressed
        if led_to.events:
            key = self._batch.metadata(index).key or b""
            self._raise(index, key, led_to.events, self._gaps.get(slot, ()))

    def _advance_quiet(self, slot: int) -> None:
        """Advance the alerts of one key by the quiet windows since its last other one."""
        ends_ms, alerts = self._quiet_ends_ms.pop(slot, None), self._alerts.get(slot)
        if ends_ms is not None and alerts is not None:
            self._set(slot, advance_quiet(alerts, ends_ms, self._policy.rules))

    def _set(self, slot: int, alerts: SeriesAlerts | None) -> None:
        """Keep the state of one key; None where it is not active."""
        if alerts is None:
            self._alerts.pop(slot, None)
        else:
            self._alerts[slot] = alerts

    def _raise(
        self, index: int, key: bytes, events: tuple[Alert, ...], gaps: tuple[int, ...]
    ) -> None:
        """Keep events for publishing, each with the number of recent gaps."""
        for event in events:
            since_ms = event.event_time_ms - self._policy.rules.flood_window_ms
            n_gaps = sum(since_ms < each <= event.event_time_ms for each in gaps)
            assert event.explanation is not None  # noqa: S101  (a window's alert has one)
            explanation = replace(event.explanation, n_gaps=n_gaps)
            alert = replace(event, explanation=explanation)
            self.raised.append(RaisedAlert(index, alert, key))

    def _explain(self, some: ScoredSlice, at: int, start_ms: int) -> Finding:
        """Return where the score of one window comes from."""
        place = int(some.places[at])
        imputed = None if some.imputed is None else some.imputed[place]
        if imputed is not None and not imputed.any():
            imputed = None
        context = WindowContext(float(start_ms), self._policy.sample_interval_ms, imputed)
        finding, features = some.found.explain(place, context), self._policy.features
        if self._units is None:
            return finding.described(features)
        row = int(self._units.rows[some.rows[at]])
        of_key = linear_units(self._units.offset[row], self._units.scale[row])
        finding = finding.described(features, of_key)
        if not self._units.is_fleet[row]:
            return finding
        sentence = of_unknown_key(finding.explanation.sentence)
        return finding._replace(explanation=replace(finding.explanation, sentence=sentence))


def _key_events(completed: WindowBatch, indices: NDArray[np.intp]) -> list[_KeyEvent]:
    """Return the gaps of a batch, and the series that ended."""
    expired, gap_ms = completed.expired, np.floor(completed.gap_ms + 0.5)
    gaps = zip(indices[completed.gap_records], gap_ms, completed.gap_slots, strict=True)
    events = [
        # No two gaps are of one moment, so their keys do not matter.
        _KeyEvent(int(record), float(at_ms), float(at_ms), b"", int(slot), None)
        for record, at_ms, slot in gaps
    ]
    ends = zip(indices[expired.records], expired.at_ms, expired.slots, strict=True)
    ended: list[tuple[int, float, int, AlertReason]] = [
        (int(record), float(at_ms), int(slot), "key_expired") for record, at_ms, slot in ends
    ]
    ended += [
        (int(indices[each.record]), each.newest_ms, each.slot, "clock_set")
        for each in completed.clock_sets
    ]
    keys = completed.state.keys_of(np.array([slot for _, _, slot, _ in ended], dtype=np.intp))
    for (record, at_ms, slot, reason), key in zip(ended, keys, strict=True):
        events.append(_KeyEvent(record, -inf, at_ms, key, slot, reason))
    return events


def _never() -> Finding:
    """Stand for the explanation of a gap, which no alert asks for."""
    message = "a window that is not anomalous has no explanation"
    raise AssertionError(message)
