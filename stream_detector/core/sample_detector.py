"""One batch of samples in; scores of the windows they complete, and what alerts do, out.

Pure, as `stream_detector.core.detector`, of which this is the other of two input shapes: a record
holds samples of one series, and the windows are cut here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting import AlertRules, JudgedWindow
from stream_detector.core.codec import ContentType
from stream_detector.core.detector import (
    SCALED_MAX,
    Counts,
    Detector,
    DetectorState,
    RaisedAlert,
    Reconstruct,
    Step,
)
from stream_detector.core.explain import ScoredWindow, explain
from stream_detector.core.lifecycle import SeriesAlerts, advance, expire
from stream_detector.core.lives import Arrivals
from stream_detector.core.records import Explanation, FloatArray, RecordBatch, Rejected, Scores
from stream_detector.core.samples import DecodedSamples, decode_samples
from stream_detector.core.windows import Cut, WindowRules, WindowState, cut, fill
from stream_detector.errors import DataError, RecordOrderError, RecordValueError

_ROWS_AT_ONCE = 64
_REDUCTIONS = (np.fmin.reduce, np.fmax.reduce)  # NaN does not count


@dataclass(frozen=True, slots=True)
class SampleState(DetectorState):
    """What is remembered between batches: series, open alerts, and gaps not yet spoken of.

    Parameters
    ----------
    windows
        Cells of windows under way.
    alerts, n_gaps
        By slot of the key; only of keys for which there is something to remember.
    """

    windows: WindowState
    alerts: Mapping[int, SeriesAlerts] = field(default_factory=dict)
    n_gaps: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleDetector(Detector):
    """A bundle's facts, ready to cut and judge windows of samples.

    Parameters
    ----------
    windows
        How windows are cut.
    alerting
        When alerts open and close.
    """

    windows: WindowRules = field(kw_only=True)
    alerting: AlertRules = field(kw_only=True)

    def start(self) -> SampleState:
        """Return the state before the first batch."""
        return SampleState(WindowState.empty(self.windows))

    def forget(self, state: DetectorState, partitions: Sequence[int]) -> DetectorState:
        """Return the state without what belongs to partitions that are read elsewhere now."""
        state = _of_samples(state)
        pool = state.windows.settle()
        known = {*state.alerts, *state.n_gaps}
        gone = {slot for slot in known if pool.partitions[slot] in partitions}
        return SampleState(
            state.windows.forget(partitions),
            {slot: each for slot, each in state.alerts.items() if slot not in gone},
            {slot: each for slot, each in state.n_gaps.items() if slot not in gone},
        )

    def step(
        self,
        state: DetectorState,
        batch: RecordBatch,
        reconstruct: Reconstruct,
        content_type: ContentType = "json",
    ) -> Step:
        """Judge the windows that one batch completes; parameters as in `Detector.step`."""
        state = _of_samples(state)
        decoded = self._decode(batch, content_type)
        if not len(decoded.indices):
            counts = Counts(records={"dead_letter": len(batch)}, n_keys=state.windows.n_keys)
            return Step(state, _no_scores(self.threshold), [], _in_order(decoded.rejected), counts)
        series = batch.series()
        indices = decoded.indices
        keys: Sequence[Any] = series.keys  # none of the usable ones is None
        if len(indices) < len(batch):
            keys = [series.keys[index] for index in indices.tolist()]
        whole = cut(
            state.windows,
            self.windows,
            Arrivals(
                keys=keys,
                partitions=series.partitions[indices],
                counts=decoded.counts,
                times_ms=decoded.times_ms,
                values=decoded.values,
            ),
        )
        keeper = _AlertKeeper(self, state, batch, whole, indices)
        errors = self._score_windows(whole, reconstruct, keeper)
        keeper.expire_until(len(batch))
        is_scored = np.isfinite(errors)
        scores = Scores(
            indices[whole.records[is_scored]],
            errors[is_scored],
            self.threshold,
            whole.start_ms[is_scored],
            whole.end_ms[is_scored],
        )
        late = _late_records(whole, decoded)
        counts = _count(len(batch), decoded, whole, errors, self.threshold)
        counts.n_suppressed = keeper.n_suppressed
        return Step(
            keeper.state(), scores, keeper.raised, _in_order([*decoded.rejected, *late]), counts
        )

    def _decode(self, batch: RecordBatch, content_type: ContentType) -> DecodedSamples:
        """Return the samples of a batch that can be scored."""
        shape = (self.shape[1], self.windows.sample_interval_ms)
        decoded = decode_samples(batch.values, batch.headers, batch.series(), shape, content_type)
        with np.errstate(over="ignore", invalid="ignore"):
            if (np.abs(self.scaler.transform(_extremes(decoded.values))) <= SCALED_MAX).all():
                return decoded
            scaled = self.scaler.transform(decoded.values)  # (n_samples, n_features)
        is_bad = ~(np.abs(scaled) <= SCALED_MAX) & ~np.isnan(decoded.values)
        errors: dict[int, DataError] = {}
        row_of = np.repeat(np.arange(len(decoded.counts)), decoded.counts)
        starts = np.cumsum(decoded.counts) - decoded.counts
        for sample, feature in np.argwhere(is_bad)[::-1].tolist():
            row = int(row_of[sample])
            value = float(decoded.values[sample, feature])
            what = "infinite" if np.isinf(value) else f"{value:.3g}"
            errors[row] = RecordValueError(
                f"values[{sample - starts[row]}][{feature}]: expected a finite number within "
                f"{SCALED_MAX:.0e} times the range trained on, received {what}"
            )
        return decoded.without(errors)

    def _score_windows(
        self, whole: Cut, reconstruct: Reconstruct, keeper: "_AlertKeeper"
    ) -> NDArray[np.float64]:
        """Return the error of each window, NaN where too much of it is missing.

        Alerts go on slice by slice, so that no more windows are held than one call has.
        """
        errors = np.full(len(whole), np.nan)
        for start in range(0, len(whole), self.model_rows_max):
            part = slice(start, start + self.model_rows_max)
            received = whole.take(part)  # (n_windows, n_steps, n_features)
            filled, shares = fill(received, self.windows)
            rows = np.arange(start, start + len(filled))
            if shares.any():
                is_usable = ~np.isnan(filled).any(axis=(1, 2))
                rows, received, filled = rows[is_usable], received[is_usable], filled[is_usable]
            if not len(rows):
                continue
            scaled = self.scaler.transform(filled)
            errors[rows], reconstructions = self.errors(scaled, reconstruct)
            keeper.take_in(rows, errors[rows], (received, scaled, reconstructions))
        return errors


def for_samples(detector: Detector, windows: WindowRules, alerting: AlertRules) -> SampleDetector:
    """Return a detector of the same facts that cuts its windows from samples."""
    facts = {each.name: getattr(detector, each.name) for each in fields(detector)}
    return SampleDetector(**facts, windows=windows, alerting=alerting)


class _AlertKeeper:
    """Carries the alerts of all keys through one batch, record by record."""

    def __init__(
        self,
        detector: SampleDetector,
        state: SampleState,
        batch: RecordBatch,
        whole: Cut,
        indices: NDArray[np.intp],
    ) -> None:
        self.raised: list[RaisedAlert] = []
        self.n_suppressed = 0
        self._detector = detector
        self._batch = batch
        self._whole = whole
        self._indices = indices
        self._alerts = dict(state.alerts)
        self._n_gaps = dict(state.n_gaps)
        self._new_gaps: dict[int, list[tuple[int, int]]] = {}
        gaps = (whole.gap_slots, indices[whole.gap_records], np.floor(whole.gap_ms + 0.5))
        for slot, index, at_ms in zip(*(column.tolist() for column in gaps), strict=True):
            self._new_gaps.setdefault(slot, []).append((index, at_ms))
        expired = whole.expired
        keys = whole.state.keys_of(expired.slots)
        columns = (indices[expired.records], expired.at_ms, expired.slots)
        at, at_ms, slots = (column.tolist() for column in columns)
        # Not by slot: which slot a key has depends on how the stream was cut into batches.
        self._expired = iter(sorted(zip(at, at_ms, keys, slots, strict=True)))
        self._next_expired = next(self._expired, None)

    def take_in(
        self,
        rows: NDArray[np.intp],
        errors: NDArray[np.float64],
        arrays: tuple[FloatArray, FloatArray, FloatArray],
    ) -> None:
        """Go on with some windows: their rows in the cut, errors, and arrays that explain them."""
        whole, threshold = self._whole, self._detector.threshold
        slots = whole.slots[rows]
        is_anomalous = errors > threshold
        of_interest = is_anomalous
        if self._alerts or is_anomalous.any():
            watched = np.concatenate(
                [np.fromiter(self._alerts, np.intp, len(self._alerts)), slots[is_anomalous]]
            )
            of_interest = np.isin(slots, watched)
        for at in np.flatnonzero(of_interest).tolist():
            row, slot = int(rows[at]), int(slots[at])
            index = int(self._indices[whole.records[row]])
            self.expire_until(index)
            start_ms, end_ms = int(whole.start_ms[row]), int(whole.end_ms[row])
            window = JudgedWindow(
                origin=lambda index=index: self._batch.origin(index),  # type: ignore[misc]
                start_ms=start_ms,
                end_ms=end_ms,
                error=float(errors[at]),
                threshold=threshold,
                explain=lambda at=at, slot=slot, index=index, end_ms=end_ms, start_ms=start_ms: (  # type: ignore[misc]
                    self._explain(
                        [array[at] for array in arrays],
                        start_ms,
                        self._gaps_until(slot, (index, end_ms)),
                    )
                ),
            )
            self._advance(slot, index, window)
        self.expire_until(int(self._indices[whole.records[rows[-1]]]))

    def expire_until(self, index: int) -> None:
        """Close the alerts of keys that were idle for too long when a record came."""
        while self._next_expired is not None and self._next_expired[0] <= index:
            at, at_ms, key, slot = self._next_expired
            self._next_expired = next(self._expired, None)
            self._gaps_until(slot, (at, 0))
            self._n_gaps.pop(slot, None)
            alerts = self._alerts.pop(slot, None)
            if alerts is not None:
                events = expire(alerts, round(at_ms), self._batch.origin(at))
                self.raised += [RaisedAlert(at, alert, key) for alert in events]

    def state(self) -> SampleState:
        """Return what is remembered after the batch."""
        for slot in list(self._new_gaps):
            self._gaps_until(slot, (len(self._batch), 0))
        idle = set(self._whole.expired.idle.tolist())
        n_gaps = {slot: n for slot, n in self._n_gaps.items() if slot not in idle}
        return SampleState(self._whole.state, self._alerts, n_gaps)

    def _advance(self, slot: int, index: int, window: JudgedWindow) -> None:
        """Let one window go through the life cycle of its key's alerts."""
        detector = self._detector
        led_to = advance(self._alerts.get(slot), window, detector.alerting, detector.bundle)
        if led_to.alerts is None:
            self._alerts.pop(slot, None)
        else:
            self._alerts[slot] = led_to.alerts
        self.n_suppressed += led_to.n_suppressed
        if led_to.events:
            key = self._batch.origin(index).key or b""
            self.raised += [RaisedAlert(index, alert, key) for alert in led_to.events]
            self._gaps_until(slot, (index, window.end_ms))
            self._n_gaps.pop(slot, None)

    def _explain(self, arrays: list[FloatArray], start_ms: int, n_gaps: int) -> Explanation:
        """Return what was expected and what was seen in a window."""
        received, scaled, reconstruction = arrays
        detector = self._detector
        imputed = np.isnan(received)
        scored = ScoredWindow(
            window=received,
            scaled=scaled,
            reconstruction=reconstruction,
            start_ms=float(start_ms),
            sample_interval_ms=detector.windows.sample_interval_ms,
            imputed=imputed if imputed.any() else None,
            n_gaps=n_gaps,
        )
        return explain(scored, detector.scaler, detector.error_kind)

    def _gaps_until(self, slot: int, end: tuple[int, int]) -> int:
        """Return how often a key started again since it was last spoken of.

        Counted are gaps up to a record and, in that record, up to a time. The time alone would
        not do: a key that was forgotten may come again with an earlier one.
        """
        new = self._new_gaps.get(slot)
        if new:
            n_past = sum(gap <= end for gap in new)
            self._n_gaps[slot] = self._n_gaps.get(slot, 0) + n_past
            self._new_gaps[slot] = new[n_past:]
        return self._n_gaps.get(slot, 0)


def _extremes(values: FloatArray) -> FloatArray:
    """Return the least and the largest value of each feature, missing ones as zero."""
    n_features = values.shape[1]
    n_long = len(values) // _ROWS_AT_ONCE * _ROWS_AT_ONCE
    long = values[:n_long].reshape(-1, _ROWS_AT_ONCE * n_features)  # long rows make long loops
    parts = [values[n_long:], np.zeros((1, n_features), np.float32)]
    if len(long):
        parts += [reduce(long, axis=0).reshape(-1, n_features) for reduce in _REDUCTIONS]
    few = np.concatenate(parts)
    return np.stack([reduce(few, axis=0) for reduce in _REDUCTIONS])


def _of_samples(state: DetectorState) -> SampleState:
    """Return the state as one of samples."""
    if not isinstance(state, SampleState):
        message = f"expected a state from SampleDetector.start, received {type(state).__name__}"
        raise TypeError(message)
    return state


def _no_scores(threshold: float) -> Scores:
    """Return the scores of a batch that completes no window."""
    nothing = np.empty(0, np.int64)
    return Scores(np.empty(0, np.intp), np.empty(0), threshold, nothing, nothing)


def _in_order(rejected: Iterable[Rejected]) -> list[Rejected]:
    """Return rejected records in the order of the batch."""
    return sorted(rejected, key=lambda each: each.index)


def _late_records(whole: Cut, decoded: DecodedSamples) -> Iterator[Rejected]:
    """Yield the records of which some samples came too late."""
    for row in np.flatnonzero(whole.n_late).tolist():
        n_late, n_samples = int(whole.n_late[row]), int(decoded.counts[row])
        message = (
            f"{n_late} of {n_samples} samples came more than {whole.rules.lateness_ms_max:g} ms "
            f"behind the newest of their key, {n_samples - n_late} were used: send in order, or "
            "train with a larger window.lateness_ms_max"
        )
        yield Rejected(int(decoded.indices[row]), RecordOrderError(message), "order")


def _count(
    n_records: int,
    decoded: DecodedSamples,
    whole: Cut,
    errors: NDArray[np.float64],
    threshold: float,
) -> Counts:
    """Return how many records, samples and windows had which outcome."""
    outcome = np.full(len(decoded.indices), "normal", dtype="U11")
    is_scored = np.isfinite(errors)
    outcome[whole.records[~is_scored]] = "missing"
    outcome[whole.records[is_scored]] = "normal"
    outcome[whole.records[errors > threshold]] = "anomalous"
    outcome[~whole.is_warm] = "warm_up"
    outcome[whole.n_repeated == decoded.counts] = "duplicate"
    outcome[whole.n_late > 0] = "late"
    names, numbers = np.unique(outcome, return_counts=True)
    records = dict(zip(names.tolist(), numbers.tolist(), strict=True))
    records["dead_letter"] = n_records - len(decoded.indices)
    n_anomalous = int((errors > threshold).sum())
    n_scored = int(is_scored.sum())
    n_late, n_repeated = int(whole.n_late.sum()), int(whole.n_repeated.sum())
    return Counts(
        records=records,
        windows={
            "normal": n_scored - n_anomalous,
            "anomalous": n_anomalous,
            "missing": len(errors) - n_scored,
        },
        samples={
            "used": int(decoded.counts.sum()) - n_late - n_repeated,
            "late": n_late,
            "duplicate": n_repeated,
        },
        n_missing_values=int(np.isnan(decoded.values).sum()),
        n_gaps=len(whole.gap_slots),
        n_idle_keys=len(whole.expired.slots),
        n_keys=whole.state.n_keys,
    )
