"""One batch of samples in; scores of the windows they complete, and alert events, out.

Pure, as `stream_detector.core.detector`, for the other record shape: a record holds samples of one
series, and the windows are cut here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.alert import RaisedAlert, with_rules_digest
from stream_detector.core.alerting.batch import AlertBatch, AlertPolicy, KeyedAlerts, ScoredSlice
from stream_detector.core.alerting.incidents import join_incidents
from stream_detector.core.alerting.no_data import NoDataPolicy, no_data_alerts
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.codec.formats import ContentType
from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.codec.samples import DecodedSamples, decode_samples
from stream_detector.core.detector import check_shape
from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyUnits
from stream_detector.core.records import BundleReference, FloatArray, RecordBatch, Rejected
from stream_detector.core.results import (
    Counts,
    Scores,
    Step,
    clock_notices,
    count_unused,
    divide_rejected,
)
from stream_detector.core.sample_counts import Judged, count_outcomes
from stream_detector.core.scoring.business_rules import BusinessRules, RowUnits
from stream_detector.core.scoring.rhythm import RhythmCheck
from stream_detector.core.scoring.scorer import (
    NO_SCORES,
    SCALED_MAX,
    WINDOWS_MAX,
    ScoreParts,
    Scorer,
    score_windows,
    value_range,
)
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.sample_state import Needed, NoDataTimes, SampleState
from stream_detector.core.state.warm_up import follow, units_of
from stream_detector.core.timestamps import describe_time
from stream_detector.core.windowing.admission import KEYS_MAX, find_refused
from stream_detector.core.windowing.imputation import impute_windows
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.core.windowing.peak_windows import cut_windows
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.series_health import SeriesFacts
from stream_detector.core.windowing.sessions import Arrivals
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState
from stream_detector.core.windowing.windows import assign_windows
from stream_detector.errors import DataError, KeyLimitError, RecordOrderError, RecordValueError


@dataclass(frozen=True, slots=True)
class SampleDetector:
    """Cuts windows from samples and judges them; see `stream_detector.core.detector.Detector`.

    Parameters
    ----------
    bundle
        Name and version, for the alerts.
    scorer
        Turns windows into scores.
    windows
        How windows are cut.
    alerting
        When alerts open, are updated and close.
    features
        Names of the features, for records that name them and for the alerts, and the scale of each
        key, to which windows are brought before they are scored.
    model_rows_max
        Most windows in one call of the scorer.
    keys_max
        Most keys with state in one partition; records of further ones are rejected.
    mapping
        Where key, time and features are in records; None where records are as
        `stream_detector.core.codec.json_format` says.
    rhythm
        What looks at when the peaks came that windows are cut round; None where nothing does. With
        it the threshold of the scorer is 1.
    rules
        Which deviations are of interest; None where all are.
    rules_digest
        Names the rules of alerts, for the alerts; None where they are the bundle's own.
    gives_details
        Whether steps say what scores are made of.
    """

    bundle: BundleReference
    scorer: Scorer
    windows: WindowRules
    alerting: AlertRules
    features: Features
    model_rows_max: int = WINDOWS_MAX
    keys_max: int = KEYS_MAX
    mapping: InputMapping | None = None
    rhythm: RhythmCheck | None = None
    rules: BusinessRules | None = None
    rules_digest: str | None = None
    gives_details: bool = False

    @property
    def keeps_state(self) -> bool:
        """True: windows and alerts go on from one record to the next."""
        return True

    def initial_state(self) -> SampleState:
        """Return the state before the first batch."""
        rules = self.windows
        no_data = None
        if rules.no_data_after_ms is not None:
            no_data = NoDataTimes(rules.no_data_after_ms, rules.key_ttl_ms)
        needed = Needed(rules.needed_ms, self.alerting.flood_window_ms, no_data)
        return SampleState(WindowState.empty(self.windows), needed)

    def replay(
        self, state: DetectorState, batch: RecordBatch, content_type: ContentType | None = None
    ) -> SampleState:
        """Cut the windows of past records without scoring them; see `Detector.replay`."""
        batch, decoded = self._decode(batch, content_type)
        state, decoded = self._admit(_of_samples(state), batch, decoded)
        if not len(decoded.indices):
            return state
        frames = assign_windows(state.windows, self.windows.frame, _arrivals(batch, decoded))
        followed = follow(state.new_keys, frames, self.features)
        return replace(state, windows=frames.state, new_keys=followed.state)

    def step(
        self, state: DetectorState, batch: RecordBatch, content_type: ContentType | None = None
    ) -> Step:
        """Judge the windows that one batch completes; see `Detector.step`."""
        threshold = self.scorer.threshold
        batch, decoded = self._decode(batch, content_type)
        state, decoded = self._admit(_of_samples(state), batch, decoded)
        rejected, skipped = divide_rejected(decoded.rejected)
        if not len(decoded.indices):
            found, counts = _no_scores(threshold), Counts(records=count_unused(rejected, skipped))
            return Step(state, found, [], rejected, counts, skipped=skipped)
        completed = cut_windows(state.windows, self.windows, _arrivals(batch, decoded))
        indices = decoded.indices  # (n_usable,)
        known = KeyedAlerts(state.alerts, state.gaps)
        followed = follow(state.new_keys, completed, self.features)
        units = None
        if self.features.key_scales is not None:
            units = units_of(followed, completed, self.features.key_scales)
        alerts = AlertBatch(self._policy, known, batch, completed, indices, units)
        parts: list[ScoreParts] = []
        scores = self._score_windows(completed, units, alerts, parts)  # (n_windows,)
        after = alerts.finish()
        is_scored = np.isfinite(scores)
        times = completed.start_ms[is_scored], completed.end_ms[is_scored]
        found = Scores(indices[completed.records[is_scored]], scores[is_scored], threshold, *times)
        if parts:
            found = found.with_details(batch.series().keys, ScoreParts.joined(parts))
        late = _late_records(completed, decoded)
        judged = Judged(scores, threshold, None if units is None else units.is_warm_up)
        unused = count_unused(rejected, skipped)
        counts = count_outcomes(unused, decoded, completed, judged)
        counts.n_suppressed = alerts.n_suppressed
        state = replace(state, windows=completed.state, alerts=after.alerts, gaps=after.gaps)
        raised = [*alerts.raised, *self._no_data(batch, completed, indices)]
        raised.sort(key=lambda each: each.record)
        raised, begun = join_incidents(raised, state.incidents, self.alerting.incident_within_ms)
        raised = with_rules_digest(raised, self.rules_digest)
        state = replace(state, new_keys=followed.state, incidents=begun)
        rejected, _ = divide_rejected([*rejected, *late])
        # A window that came in the warm-up of a new key lacks nothing but the key's scale.
        is_sound = is_scored if units is None else is_scored | units.is_warm_up  # (n_windows,)
        series = SeriesFacts(completed, is_sound, decoded.counts, decoded.values)
        notices = clock_notices(completed)
        unknown = [] if units is None else _keys_at(completed, units.is_fleet[units.rows])
        news = (unknown, followed.begun, followed.fitted)
        return Step(state, found, raised, rejected, counts, series, notices, *news, skipped)

    def _no_data(
        self, batch: RecordBatch, completed: WindowBatch, indices: NDArray[np.intp]
    ) -> list[RaisedAlert]:
        """Return the alert events about data that does not come."""
        after_ms = self.windows.no_data_after_ms
        if after_ms is None:
            return []
        severity = self.alerting.severities[0][0]
        policy = NoDataPolicy(self.bundle, severity, after_ms, self.features)
        return no_data_alerts(policy, batch, completed, indices)

    def score(
        self,
        windows: FloatArray,
        intervals: PeakIntervals | None = None,
        keys: Sequence[str] | None = None,
    ) -> NDArray[np.float64]:
        """Return the score of each window; see `Detector.score`.

        Parameters
        ----------
        windows
            As there.
        intervals
            How far the peaks are apart that the windows are cut round; None looks at no rhythm.
        keys
            Series key of each window, for business rules where each key has a scale of its own;
            None takes the fleet's.
        """
        check_shape(windows, (self.windows.n_steps, self.windows.n_features))
        change = None if self.rules is None else self.rules.changes(self.scorer.threshold, keys)
        scores = score_windows(self.scorer, windows, self.model_rows_max, change)
        if self.rhythm is None or intervals is None:
            return scores
        return self.rhythm.limits.lift(scores, intervals)

    @property
    def _policy(self) -> AlertPolicy:
        """Return by what alerts are made."""
        return AlertPolicy(
            rules=self.alerting,
            threshold=self.scorer.threshold,
            score_kind=self.scorer.score_kind,
            bundle=self.bundle,
            sample_interval_ms=self.windows.sample_interval_ms,
            features=self.features,
        )

    def _admit(
        self, state: SampleState, batch: RecordBatch, decoded: DecodedSamples
    ) -> tuple[SampleState, DecodedSamples]:
        """Return the samples without records of new keys that are too many, which are rejected."""
        if not len(decoded.indices):
            return state, decoded
        arrivals, keyed_state = _arrivals(batch, decoded), state.windows.apply_delta()
        refused = find_refused(keyed_state, arrivals, self.keys_max, self.windows)
        if not len(refused):
            return state, decoded
        message = (
            f"key: expected one of the {self.keys_max:,} keys that the partition has state of, "
            "received a new one: check what sends so many keys, or set keys_max higher"
        )
        errors = {row: KeyLimitError(message) for row in refused.tolist()}
        offsets = batch.offsets()[decoded.indices[refused]].tolist()
        refused_at = dict(zip(arrivals.partitions[refused].tolist(), offsets, strict=True))
        state = replace(state, refused_at={**state.refused_at, **refused_at})
        return state, decoded.without(errors, "keys")

    def decode(
        self, batch: RecordBatch, content_type: ContentType | None
    ) -> tuple[RecordBatch, DecodedSamples]:
        """Return the batch, with the keys of its series, and the samples that its records hold.

        Parameters
        ----------
        batch, content_type
            As in `step`.
        """
        interval_ms = self.windows.sample_interval_ms
        if self.mapping is not None:
            return decode_mapped_samples(
                batch, content_type, self.mapping, features=self.features, interval_ms=interval_ms
            )
        return batch, decode_samples(
            batch.values,
            batch.headers,
            batch.series(),
            content_type,
            features=self.features,
            interval_ms=interval_ms,
        )

    def _decode(
        self, batch: RecordBatch, content_type: ContentType | None
    ) -> tuple[RecordBatch, DecodedSamples]:
        """Return the batch, with the keys of its series, and the samples that can be scored."""
        batch, decoded = self.decode(batch, content_type)
        return batch, self._in_range(batch, decoded)

    def _in_range(self, batch: RecordBatch, decoded: DecodedSamples) -> DecodedSamples:
        """Return the samples without records of which a value is too large to be scored."""
        ends = value_range(decoded.values, nan_is_missing=True)  # (2, n_features)
        scales = self.features.key_scales
        if self.scorer.in_range(ends if scales is None else scales.bounds(ends)).all():
            return decoded
        row_of = np.repeat(np.arange(len(decoded.counts)), decoded.counts)  # (n_samples,)
        values = decoded.values
        if scales is not None:
            keys = batch.series().keys
            rows = scales.rows(keys[index] or b"" for index in decoded.indices.tolist())
            with np.errstate(over="ignore", invalid="ignore"):
                values = scales.transform(values, rows[row_of])  # (n_samples, n_features)
        is_bad = ~self.scorer.in_range(values) & ~np.isnan(decoded.values)
        errors: dict[int, DataError] = {}
        starts = np.cumsum(decoded.counts) - decoded.counts  # (n_records,)
        for sample, feature in np.argwhere(is_bad)[::-1].tolist():
            row = int(row_of[sample])
            value = float(decoded.values[sample, feature])
            place = f"values[{sample - starts[row]}][{feature}] ({self.features.names[feature]})"
            what = "infinite" if np.isinf(value) else f"{value:.3g}"
            errors[row] = RecordValueError(
                f"{place}: expected a finite number within "
                f"{SCALED_MAX:.0e} times the range trained on, received {what}"
            )
        return decoded.without(errors)

    def _score_windows(
        self,
        completed: WindowBatch,
        units: KeyUnits | None,
        alerts: AlertBatch,
        parts: list[ScoreParts],
    ) -> NDArray[np.float64]:
        """Return the score of each window, NaN where it has none.

        That is where too many of its values are missing, and where its key is in warm-up.

        Alerts advance slice by slice, so that no more windows are held than one call has. What the
        scores are made of is added to `parts`, if it is wanted.
        """
        scores = np.full(len(completed), np.nan)  # (n_windows,)
        for start in range(0, len(completed), self.model_rows_max):
            received = completed.gather(slice(start, start + self.model_rows_max))
            filled, shares = impute_windows(received, self.windows)
            rows = np.arange(start, start + len(filled))  # (n,)
            places, imputed = np.arange(len(filled)), None
            is_usable = np.ones(len(filled), dtype=np.bool_)
            if units is not None:
                is_usable &= ~units.is_warm_up[rows]
            if shares.any():
                is_usable &= ~np.isnan(filled).any(axis=(1, 2))
                imputed = np.isnan(received[is_usable])  # (n_scored, n_steps, n_features)
            if not is_usable.all():
                filled = filled[is_usable]
                places = np.cumsum(is_usable) - 1
            if units is not None:
                filled = units.transform_in_place(filled, rows[is_usable])
            found = self.scorer.score(filled) if len(filled) else NO_SCORES
            if self.rules is not None:
                of_keys = None if units is None else RowUnits.of_keys(units, rows[is_usable])
                found = self.rules.apply(found, self.scorer.threshold, of_keys)
            if self.rhythm is not None and completed.intervals is not None:
                found = self.rhythm.join(found, completed.intervals.of(rows[is_usable]))
            scores[rows[is_usable]] = found.scores
            if self.gives_details and len(found):
                parts.append(found.made_of())
            alerts.add_windows(ScoredSlice(rows, scores[rows], places, found, imputed))
        return scores


def _of_samples(state: DetectorState) -> SampleState:
    """Return the state as one of samples; TypeError for another, a caller's mistake."""
    if not isinstance(state, SampleState):
        message = (
            f"expected a state from SampleDetector.initial_state, received {type(state).__name__}"
        )
        raise TypeError(message)
    return state


def _arrivals(batch: RecordBatch, decoded: DecodedSamples) -> Arrivals:
    """Return the usable records of a batch."""
    series, indices = batch.series(), decoded.indices
    keys: Sequence[Any] = series.keys  # none of the usable ones is None
    if len(indices) < len(batch):
        keys = [series.keys[index] for index in indices.tolist()]
    return Arrivals(
        keys=keys,
        partitions=series.partitions[indices],
        counts=decoded.counts,
        times_ms=decoded.times_ms,
        values=decoded.values,
    )


def _no_scores(threshold: float) -> Scores:
    """Return the scores of a batch that completes no window."""
    nothing = np.empty(0, np.int64)
    return Scores(np.empty(0, np.intp), np.empty(0), threshold, nothing, nothing)


def _late_records(completed: WindowBatch, decoded: DecodedSamples) -> Iterator[Rejected]:
    """Yield the records with samples that came too late."""
    for first in completed.late:
        row = first.record
        n_late, n_samples = int(completed.n_late[row]), int(decoded.counts[row])
        message = (
            f"{n_late} of {n_samples} samples came more than "
            f"{completed.rules.allowed_lateness_ms:g} ms behind the newest of their key, the first "
            f"at {describe_time(first.time_ms)}, while the newest was at "
            f"{describe_time(first.newest_ms)}; {n_samples - n_late} were used: send in order, "
            "correct the sender's clock, or train with a larger window.allowed_lateness_ms"
        )
        yield Rejected(int(decoded.indices[row]), RecordOrderError(message), "order")


def _keys_at(completed: WindowBatch, is_meant: NDArray[np.bool_]) -> list[bytes]:
    """Return the keys of some windows, shape (n_windows,), each once."""
    return completed.state.keys_of(np.unique(completed.slots[is_meant]))
