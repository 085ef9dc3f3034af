"""The alerts of all keys, carried through one batch of samples record by record.

Pure. Only keys that are restless, or that become so, are looked at one by one.
"""

from dataclasses import replace
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.lifecycle import advance, expire
from stream_detector.core.alerting.tracking import AlertRules, ScoredWindow
from stream_detector.core.detector import Detector
from stream_detector.core.records import (
    Alert,
    FloatArray,
    RecordBatch,
)
from stream_detector.core.results import RaisedAlert
from stream_detector.core.scoring.explanation import WindowEvidence, explain
from stream_detector.core.scoring.explanations import Explanation
from stream_detector.core.state.sample_state import SampleState
from stream_detector.core.windowing.windows import WindowBatch


class _KeyEvent(NamedTuple):
    """A key that went idle (before what its record brings), or that started again after a gap."""

    record: int
    after_ms: float  # -inf for an idle key
    at_ms: float
    key: bytes  # not by slot: which slot a key has depends on how the stream was cut into batches
    slot: int


class Slice(NamedTuple):
    """Some windows of a cut, with what explains those that have a score.

    Parameters
    ----------
    rows
        Which windows of the cut, shape (n,), ascending.
    errors
        Their errors, shape (n,); NaN where there is none.
    places
        Where a window with a score stands in the arrays below, shape (n,).
    received, scaled, reconstructions
        Float32, shape (n_scored, n_steps, n_features).
    """

    rows: NDArray[np.intp]
    errors: NDArray[np.float64]
    places: NDArray[np.intp]
    received: FloatArray
    scaled: FloatArray
    reconstructions: FloatArray


class AlertBatch:
    """Carries the alerts through one batch.

    Parameters
    ----------
    detector
        Its facts.
    alerting
        When alerts open and close.
    state
        What was remembered before the batch.
    batch
        The records of the batch.
    completed
        The windows they complete.
    indices
        Which record of the batch each of the cut's records is, shape (n_records,).
    """

    def __init__(
        self,
        detector: Detector,
        alerting: AlertRules,
        state: SampleState,
        batch: RecordBatch,
        completed: WindowBatch,
        indices: NDArray[np.intp],
    ) -> None:
        self.raised: list[RaisedAlert] = []
        self.n_suppressed = 0
        self._detector = detector
        self._alerting = alerting
        self._state = state
        self._batch = batch
        self._whole = completed
        self._indices = indices
        self._alerts = dict(state.alerts)
        self._gaps = dict(state.gaps)
        self._key_events = iter(sorted(_key_events(completed, indices)))
        self._next_key_event = next(self._key_events, None)

    def add_windows(self, some: Slice) -> None:
        """Go on with some windows, later than those before."""
        completed, threshold = self._whole, self._detector.threshold
        slots = completed.slots[some.rows]
        is_anomalous = some.errors > threshold  # NaN compares False
        of_interest = is_anomalous
        if self._alerts or is_anomalous.any():
            watched = np.concatenate(
                [np.fromiter(self._alerts, np.intp, len(self._alerts)), slots[is_anomalous]]
            )
            of_interest = np.isin(slots, watched)
        for at in np.flatnonzero(of_interest).tolist():
            row = int(some.rows[at])
            index = int(self._indices[completed.records[row]])
            start_ms, end_ms = int(completed.start_ms[row]), int(completed.end_ms[row])
            self._process_until((index, end_ms))
            window = ScoredWindow(
                metadata=lambda index=index: self._batch.metadata(index),  # type: ignore[misc]
                start_ms=start_ms,
                end_ms=end_ms,
                error=float(some.errors[at]),
                threshold=threshold,
                explain=lambda at=at, start_ms=start_ms: self._explain(some, at, start_ms),  # type: ignore[misc]
            )
            self._advance(int(slots[at]), index, window)

    def finish(self) -> SampleState:
        """Return what is remembered after the batch."""
        self._process_until((len(self._batch), inf))
        idle = set(self._whole.expired.idle.tolist())
        gaps = {slot: times for slot, times in self._gaps.items() if slot not in idle}
        return replace(self._state, windows=self._whole.state, alerts=self._alerts, gaps=gaps)

    def _process_until(self, end: tuple[int, float]) -> None:
        """Let happen what came at a record, and within it up to a time, or before."""
        while self._next_key_event is not None and self._next_key_event[:2] <= end:
            key_event, self._next_key_event = self._next_key_event, next(self._key_events, None)
            if key_event.after_ms == -inf:
                self._expire(key_event)
            else:
                self._restart_after_gap(key_event)

    def _expire(self, key_event: _KeyEvent) -> None:
        """Close the alert of a key that was idle for too long."""
        index, slot = key_event.record, key_event.slot
        gaps = self._gaps.pop(slot, ())
        alerts = self._alerts.pop(slot, None)
        if alerts is not None:
            events = expire(alerts, round(key_event.at_ms), self._batch.metadata(index))
            self._raise(index, key_event.key, events, gaps)

    def _restart_after_gap(self, key_event: _KeyEvent) -> None:
        """Remember a gap, at which nothing was seen to be anomalous."""
        index, slot, at_ms = key_event.record, key_event.slot, int(key_event.at_ms)
        forgotten_ms = at_ms - self._alerting.flood_window_ms
        known = [each for each in self._gaps.get(slot, ()) if each > forgotten_ms]
        self._gaps[slot] = (*known, at_ms)
        if slot in self._alerts:
            window = ScoredWindow(
                metadata=lambda: self._batch.metadata(index),
                start_ms=at_ms,
                end_ms=at_ms,
                error=np.nan,
                threshold=self._detector.threshold,
                explain=_never,
            )
            self._advance(slot, index, window)

    def _advance(self, slot: int, index: int, window: ScoredWindow) -> None:
        """Let one window go through the life cycle of its key's alerts."""
        led_to = advance(self._alerts.get(slot), window, self._alerting, self._detector.bundle)
        if led_to.alerts is None:
            self._alerts.pop(slot, None)
        else:
            self._alerts[slot] = led_to.alerts
        self.n_suppressed += led_to.n_suppressed
        if led_to.events:
            key = self._batch.metadata(index).key or b""
            self._raise(index, key, led_to.events, self._gaps.get(slot, ()))

    def _raise(
        self, index: int, key: bytes, events: tuple[Alert, ...], gaps: tuple[int, ...]
    ) -> None:
        """Keep events for publishing, each with the gaps of late."""
        for event in events:
            since_ms = event.event_time_ms - self._alerting.flood_window_ms
            n_gaps = sum(since_ms < each <= event.event_time_ms for each in gaps)
            explanation = replace(event.explanation, n_gaps=n_gaps)
            alert = replace(event, explanation=explanation)
            self.raised.append(RaisedAlert(index, alert, key))

    def _explain(self, some: Slice, at: int, start_ms: int) -> Explanation:
        """Return what was expected and what was seen in a window."""
        place, detector = some.places[at], self._detector
        imputed = np.isnan(some.received[place])
        scored = WindowEvidence(
            window=some.received[place],
            scaled=some.scaled[place],
            reconstruction=some.reconstructions[place],
            start_ms=float(start_ms),
            sample_interval_ms=detector.sample_interval_ms,
            imputed=imputed if imputed.any() else None,
        )
        return explain(scored, detector.scaler, detector.error_kind)


def _key_events(completed: WindowBatch, indices: NDArray[np.intp]) -> list[_KeyEvent]:
    """Return what happened besides windows."""
    expired = completed.expired
    n_expired, n_gaps = len(expired.slots), len(completed.gap_slots)
    at_ms = np.floor(completed.gap_ms + 0.5)
    columns = (
        np.concatenate([indices[expired.records], indices[completed.gap_records]]).tolist(),
        [-inf] * n_expired + at_ms.tolist(),
        np.concatenate([expired.at_ms, at_ms]).tolist(),
        completed.state.keys_of(expired.slots)
        + [b""] * n_gaps,  # of gaps, no two are of one moment
        np.concatenate([expired.slots, completed.gap_slots]).tolist(),
    )
    return [_KeyEvent(*each) for each in zip(*columns, strict=True)]


def _never() -> Explanation:
    """Stand for what is asked of anomalous windows only."""
    message = "a window that is not anomalous was to be explained"
    raise AssertionError(message)
