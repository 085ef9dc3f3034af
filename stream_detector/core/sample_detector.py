"""One batch of samples in; scores of the windows they complete, and what alerts do, out.

Pure, as `stream_detector.core.detector`, of which this is the other of two input shapes: a record
holds samples of one series, and the windows are cut here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.batch import AlertBatch, Slice
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.codec.samples import DecodedSamples, decode_samples
from stream_detector.core.codec.windows import ContentType
from stream_detector.core.detector import SCALED_MAX, Detector, Reconstruct
from stream_detector.core.records import FloatArray, RecordBatch, Rejected, Scores
from stream_detector.core.results import Counts, DetectorState, Step
from stream_detector.core.state.restore_plan import RestorePlan
from stream_detector.core.state.rewinding import (
    Needed,
    drop_partitions,
    finish_restore,
    open_partition,
    restore_plans,
    start_scoring,
)
from stream_detector.core.state.sample_state import RestorePoint, SampleState, of_samples
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.windows import (
    WindowBatch,
    WindowRules,
    WindowState,
    assign_windows,
    impute_windows,
)
from stream_detector.errors import DataError, RecordOrderError, RecordValueError

_ROWS_AT_ONCE = 64
_REDUCTIONS = (np.fmin.reduce, np.fmax.reduce)  # NaN does not count


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

    @property
    def has_memory(self) -> bool:
        """Whether anything is remembered from one record to another."""
        return True

    def start(self) -> SampleState:
        """Return the state before the first batch."""
        return SampleState(WindowState.empty(self.windows))

    def drop_partitions(self, state: DetectorState, partitions: Sequence[int]) -> DetectorState:
        """Return the state without what belongs to partitions that are read elsewhere now."""
        return drop_partitions(of_samples(state), partitions)

    def open_partition(
        self,
        state: DetectorState,
        partition: int,
        offset: int,
        restore_plan: RestorePlan | None = None,
    ) -> DetectorState:
        """Begin to read a partition; parameters as in `Detector.open_partition`."""
        stream_time_ms = -np.inf if restore_plan is None else restore_plan.stream_time_ms
        return open_partition(of_samples(state), partition, RestorePoint(offset, stream_time_ms))

    def replay(
        self, state: DetectorState, batch: RecordBatch, content_type: ContentType | None = None
    ) -> DetectorState:
        """Cut windows and judge none of them; parameters as in `Detector.replay`."""
        state = of_samples(state)
        decoded = self._decode(batch, content_type)
        if not len(decoded.indices):
            return state
        completed, _ = self._assign_windows(state, batch, decoded)
        return replace(state, windows=completed.state)

    def start_scoring(
        self, state: DetectorState, partition: int, restore_plan: RestorePlan
    ) -> DetectorState:
        """Pass the place from which windows are judged again, as `Detector.start_scoring` says."""
        return start_scoring(of_samples(state), partition, restore_plan)

    def finish_restore(
        self, state: DetectorState, partition: int, offset: int, restore_plan: RestorePlan
    ) -> DetectorState:
        """Go live at the end of the replay; see `Detector.finish_restore` for the parameters."""
        return finish_restore(of_samples(state), partition, offset, restore_plan, self._needed)

    def restore_plans(
        self, state: DetectorState, next_offsets: Mapping[int, int]
    ) -> tuple[DetectorState, dict[int, RestorePlan]]:
        """Say from where the state can be restored; parameters as in `Detector.restore_plans`."""
        return restore_plans(of_samples(state), next_offsets, self._needed)

    def step(
        self,
        state: DetectorState,
        batch: RecordBatch,
        reconstruct: Reconstruct,
        content_type: ContentType | None = None,
    ) -> Step:
        """Judge the windows that one batch completes; parameters as in `Detector.step`."""
        state = of_samples(state)
        decoded = self._decode(batch, content_type)
        if not len(decoded.indices):
            counts = Counts(records={"dead_letter": len(batch)}, n_keys=state.windows.n_keys)
            return Step(state, _no_scores(self.threshold), [], _in_order(decoded.rejected), counts)
        completed, indices = self._assign_windows(state, batch, decoded)
        alert_batch = AlertBatch(self, self.alerting, state, batch, completed, indices)
        errors = self._score_windows(completed, reconstruct, alert_batch)
        after = alert_batch.finish()
        is_scored = np.isfinite(errors)
        scores = Scores(
            indices[completed.records[is_scored]],
            errors[is_scored],
            self.threshold,
            completed.start_ms[is_scored],
            completed.end_ms[is_scored],
        )
        late = _late_records(completed, decoded)
        counts = _count(len(batch), decoded, completed, errors, self.threshold)
        counts.n_suppressed = alert_batch.n_suppressed
        return Step(
            after, scores, alert_batch.raised, _in_order([*decoded.rejected, *late]), counts
        )

    @property
    def _needed(self) -> Needed:
        """Return how much of a key's past is needed."""
        return Needed(self.windows.needed_ms, self.alerting.flood_window_ms)

    def _assign_windows(
        self, state: SampleState, batch: RecordBatch, decoded: DecodedSamples
    ) -> tuple[WindowBatch, NDArray[np.intp]]:
        """Return the windows that usable records complete, and which records those are."""
        series, indices = batch.series(), decoded.indices
        keys: Sequence[Any] = series.keys  # none of the usable ones is None
        if len(indices) < len(batch):
            keys = [series.keys[index] for index in indices.tolist()]
        arrivals = Arrivals(
            keys=keys,
            partitions=series.partitions[indices],
            counts=decoded.counts,
            times_ms=decoded.times_ms,
            values=decoded.values,
        )
        return assign_windows(state.windows, self.windows, arrivals), indices

    def _decode(self, batch: RecordBatch, content_type: ContentType | None) -> DecodedSamples:
        """Return the samples of a batch that can be scored."""
        shape = (self.shape[1], self.windows.sample_interval_ms)
        default = self.format_without_header(content_type)
        decoded = decode_samples(batch.values, batch.headers, batch.series(), shape, default)
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
        self, completed: WindowBatch, reconstruct: Reconstruct, alert_batch: AlertBatch
    ) -> NDArray[np.float64]:
        """Return the error of each window, NaN where too much of it is missing.

        Alerts go on slice by slice, so that no more windows are held than one call has.
        """
        errors = np.full(len(completed), np.nan)
        for start in range(0, len(completed), self.model_rows_max):
            part = slice(start, start + self.model_rows_max)
            received = completed.gather(part)  # (n_windows, n_steps, n_features)
            filled, shares = impute_windows(received, self.windows)
            rows = np.arange(start, start + len(filled))
            places = np.arange(len(filled))
            is_usable = np.ones(len(filled), dtype=np.bool_)
            if shares.any():
                is_usable[:] = ~np.isnan(filled).any(axis=(1, 2))
                received, filled = received[is_usable], filled[is_usable]
                places = np.cumsum(is_usable) - 1
            scaled = reconstructions = self.scaler.transform(filled)
            if len(filled):
                errors[rows[is_usable]], reconstructions = self.errors(scaled, reconstruct)
            alert_batch.add_windows(
                Slice(rows, errors[rows], places, received, scaled, reconstructions)
            )
        return errors


def for_samples(detector: Detector, windows: WindowRules, alerting: AlertRules) -> SampleDetector:
    """Return a detector of the same facts that cuts its windows from samples."""
    facts = {each.name: getattr(detector, each.name) for each in fields(detector)}
    return SampleDetector(**facts, windows=windows, alerting=alerting)


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


def _no_scores(threshold: float) -> Scores:
    """Return the scores of a batch that completes no window."""
    nothing = np.empty(0, np.int64)
    return Scores(np.empty(0, np.intp), np.empty(0), threshold, nothing, nothing)


def _in_order(rejected: Iterable[Rejected]) -> list[Rejected]:
    """Return rejected records in the order of the batch."""
    return sorted(rejected, key=lambda each: each.index)


def _late_records(completed: WindowBatch, decoded: DecodedSamples) -> Iterator[Rejected]:
    """Yield the records of which some samples came too late."""
    for row in np.flatnonzero(completed.n_late).tolist():
        n_late, n_samples = int(completed.n_late[row]), int(decoded.counts[row])
        message = (
            f"{n_late} of {n_samples} samples came more than "
            f"{completed.rules.allowed_lateness_ms:g} ms behind the newest of their key, "
            f"{n_samples - n_late} were used: send in order, or "
            "train with a larger window.allowed_lateness_ms"
        )
        yield Rejected(int(decoded.indices[row]), RecordOrderError(message), "order")


def _count(
    n_records: int,
    decoded: DecodedSamples,
    completed: WindowBatch,
    errors: NDArray[np.float64],
    threshold: float,
) -> Counts:
    """Return how many records, samples and windows had which outcome."""
    outcome = np.full(len(decoded.indices), "normal", dtype="U11")
    is_scored = np.isfinite(errors)
    outcome[completed.records[~is_scored]] = "missing"
    outcome[completed.records[is_scored]] = "normal"
    outcome[completed.records[errors > threshold]] = "anomalous"
    outcome[~completed.is_warm] = "warm_up"
    outcome[completed.n_repeated == decoded.counts] = "duplicate"
    outcome[completed.n_late > 0] = "late"
    names, numbers = np.unique(outcome, return_counts=True)
    records = dict(zip(names.tolist(), numbers.tolist(), strict=True))
    records["dead_letter"] = n_records - len(decoded.indices)
    n_anomalous = int((errors > threshold).sum())
    n_scored = int(is_scored.sum())
    n_late, n_repeated = int(completed.n_late.sum()), int(completed.n_repeated.sum())
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
        n_gaps=len(completed.gap_slots),
        n_idle_keys=len(completed.expired.slots),
        n_keys=completed.state.n_keys,
    )
