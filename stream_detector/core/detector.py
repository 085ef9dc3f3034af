"""One batch of records in; scores, alerts and rejected records out.

Pure: `Detector.step` has no clock and does no I/O, and the same batch and state give the same
result. The loop around it (`stream_detector.service`) only orders effects. Offline scoring is the
same code on an array of windows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.alert import RaisedAlert, with_rules_digest
from stream_detector.core.alerting.incidents import join_incidents
from stream_detector.core.alerting.tracking import ScoredWindow, open_alert
from stream_detector.core.codec.decoding import Decoded
from stream_detector.core.codec.formats import ContentType
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.codec.keys import unusable_keys
from stream_detector.core.codec.mapped_windows import decode_mapped_windows
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.codec.windows import decode_windows
from stream_detector.core.features import Features
from stream_detector.core.records import BundleReference, FloatArray, RecordBatch, Rejected
from stream_detector.core.results import (
    Counts,
    ScoreDetails,
    Scores,
    Step,
    count_unused,
    divide_rejected,
)
from stream_detector.core.scoring.business_rules import BusinessRules
from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.scorer import (
    WINDOWS_MAX,
    Scorer,
    WindowScores,
    all_in_range,
    describe_bad_value,
    score_windows,
    usable_windows,
)
from stream_detector.core.state.detector_state import DetectorState, IncidentState
from stream_detector.errors import RecordValueError


class Detector(Protocol):
    """Judges records in batches, with a scorer.

    `WindowDetector` takes records that are whole windows, `SampleDetector` records of samples, from
    which it cuts the windows.
    """

    @property
    def bundle(self) -> BundleReference:
        """Name and version of what scores, for the alerts."""
        ...

    @property
    def scorer(self) -> Scorer:
        """Turns windows into scores."""
        ...

    @property
    def features(self) -> Features:
        """Names of the features."""
        ...

    @property
    def rules_digest(self) -> str | None:
        """Names the rules of alerts; None where they are the bundle's own."""
        ...

    @property
    def mapping(self) -> InputMapping | None:
        """Where key, time and features are in records; None where these are our own."""
        ...

    @property
    def keeps_state(self) -> bool:
        """Whether anything of a key is kept from one batch to the next."""
        ...

    def initial_state(self) -> DetectorState:
        """Return the state before the first batch."""
        ...

    def step(
        self, state: DetectorState, batch: RecordBatch, content_type: ContentType | None = None
    ) -> Step:
        """Judge one batch.

        Parameters
        ----------
        state
            From the step before; `initial_state` gives the first.
        batch
            The records of one poll.
        content_type
            Format of records whose headers do not name one; None takes "image" where records are
            images, else "json".

        Raises
        ------
        NonFiniteScoreError
            If the scorer gives a non-finite score for a finite window.
        ValueError
            If `content_type` is "image" and records are no images: the caller's mistake.
        """
        ...

    def replay(
        self, state: DetectorState, batch: RecordBatch, content_type: ContentType | None = None
    ) -> DetectorState:
        """Return the state after past records, without scoring any window of theirs.

        Parameters
        ----------
        state
            From the step before.
        batch
            Records before `RestorePlan.score_from_offset`, or any where
            `RestorePlan.has_active_keys` is False.
        content_type
            As in `step`.
        """
        ...

    def score(self, windows: FloatArray) -> NDArray[np.float64]:
        """Return the score of each window, bit for bit as `step` finds it.

        Parameters
        ----------
        windows
            Float32, shape (n_windows, n_steps, n_features), unit: the signal's; where each key has
            a scale of its own, as `Features.to_key_units` gives them.

        Returns
        -------
        Shape (n_windows,), float64. Empty gives empty.

        Raises
        ------
        RecordValueError
            If a window holds NaN, an infinity or a value too large, naming the first: bad data.
        NonFiniteScoreError
            As in `step`.
        ValueError
            If the windows are of another shape: the caller's mistake.
        """
        ...


@dataclass(frozen=True, slots=True)
class WindowDetector:
    """Judges records that are whole windows.

    Parameters
    ----------
    bundle
        Name and version, for the alerts.
    scorer
        Turns windows into scores.
    shape
        (n_steps, n_features) of a window.
    sample_interval_ms
        Time between two samples; 0 where unknown, and then a window ends when it starts.
    severities
        (name, anomaly score from which it holds), ascending, the first from 1.
    features
        Names of the features, for the alerts.
    model_rows_max
        Most windows in one call of the scorer; a larger batch goes in slices, which stay in
        the processor's cache.
    image
        What each record's image is, with `shape` for a window; None where records are no images.
    mapping
        Where key, time and values are in records; None where these are as
        `stream_detector.core.codec.json_format` says.
    incident_within_ms
        As in `AlertRules`.
    rules
        Which deviations are of interest; None where all are.
    rules_digest
        Names the rules of alerts, for the alerts; None where they are the bundle's own.
    gives_details
        Whether steps say what scores are made of.
    """

    bundle: BundleReference
    scorer: Scorer
    shape: tuple[int, int]
    sample_interval_ms: float
    severities: Sequence[tuple[str, float]]
    features: Features
    model_rows_max: int = WINDOWS_MAX
    image: ImageShape | None = None
    mapping: InputMapping | None = None
    incident_within_ms: int | None = None
    rules: BusinessRules | None = None
    rules_digest: str | None = None
    gives_details: bool = False

    @property
    def keeps_state(self) -> bool:
        """False: every record stands for itself."""
        return False

    def initial_state(self) -> IncidentState:
        """Return the state before the first batch."""
        return IncidentState()

    def replay(
        self, state: DetectorState, batch: RecordBatch, content_type: ContentType | None = None
    ) -> DetectorState:
        """Return the same state: past records leave nothing behind."""
        del batch, content_type
        return state

    def step(
        self, state: DetectorState, batch: RecordBatch, content_type: ContentType | None = None
    ) -> Step:
        """Judge the windows of one batch; see `Detector.step`."""
        indices: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
        scores: list[NDArray[np.float64]] = [np.empty(0)]
        alerts: list[RaisedAlert] = []
        rejected: list[Rejected] = []
        details: list[ScoreDetails] = []
        for keyed, decoded in self.decode(batch, content_type):
            usable, bad = self._usable(decoded)
            rejected += [*decoded.rejected, *bad]
            if len(usable.windows):
                found = self._ruled(self.scorer.score(usable.windows))
                alerts += self._alerts(keyed, usable, found)
                indices.append(usable.indices)
                scores.append(found.scores)
                if self.gives_details:
                    details.append(self._details(keyed, usable, found))
        unusable, skipped = divide_rejected(rejected)
        merged = Scores(np.concatenate(indices), np.concatenate(scores), self.scorer.threshold)
        if details:
            merged = replace(merged, details=ScoreDetails.joined(details))
        outcomes = {"normal": len(merged) - len(alerts), "anomalous": len(alerts)}
        unused = count_unused(unusable, skipped)
        counts = Counts(records={**outcomes, **unused}, windows=outcomes)
        if alerts and isinstance(state, IncidentState):
            alerts, begun = join_incidents(alerts, state.incidents, self.incident_within_ms)
            alerts = with_rules_digest(alerts, self.rules_digest)
            state = replace(state, incidents=begun)
        return Step(state, merged, alerts, unusable, counts, skipped=skipped)

    def decode(
        self, batch: RecordBatch, content_type: ContentType | None = None
    ) -> Iterator[tuple[RecordBatch, Decoded]]:
        """Yield the windows of a batch, in slices of `model_rows_max` records.

        Parameters
        ----------
        batch
            The records of one poll.
        content_type
            As in `Detector.step`.

        Yields
        ------
        The batch, with the keys of these records, and their windows by index of the batch.
        """
        shape, keys = self.image or self.shape, list(batch.keys())
        keyed = batch if self.mapping is None else batch.with_keys(keys)
        unusable = unusable_keys(keys, is_required=False) if self.mapping is None else {}
        origin = self.features.origin
        for start in range(0, len(batch), self.model_rows_max):
            part = slice(start, start + self.model_rows_max)
            if self.mapping is not None:
                some, decoded = decode_mapped_windows(
                    batch.select(np.arange(len(batch))[part], {}),
                    content_type,
                    self.mapping,
                    shape=shape,
                    features=self.features,
                )
                keys[part] = some.keys()
                yield keyed, decoded.shifted(start)
                continue
            headers = batch.headers[part] if batch.headers is not None else None
            origin = self.features.origin
            decoded = decode_windows(
                batch.values[part], headers, shape, content_type, start, origin
            )
            yield keyed, decoded.without(unusable)

    def score(self, windows: FloatArray) -> NDArray[np.float64]:
        """Return the score of each window; see `Detector.score`."""
        check_shape(windows, self.shape)
        change = None if self.rules is None else self.rules.changes(self.scorer.threshold)
        return score_windows(self.scorer, windows, self.model_rows_max, change)

    def _ruled(self, found: WindowScores) -> WindowScores:
        """Return scores as the business rules leave them."""
        return found if self.rules is None else self.rules.apply(found, self.scorer.threshold)

    def _usable(self, decoded: Decoded) -> tuple[Decoded, list[Rejected]]:
        """Return the windows that can be scored, and the records of the others."""
        windows, indices = decoded.windows, decoded.indices
        if not len(windows) or all_in_range(self.scorer, windows):
            return decoded, []
        is_usable = usable_windows(self.scorer, windows)  # (n_windows,)
        rejected = [
            Rejected(
                int(indices[row]),
                RecordValueError(describe_bad_value(self.scorer, windows[row])),
                "check",
            )
            for row in np.flatnonzero(~is_usable)
        ]
        usable = Decoded(indices[is_usable], windows[is_usable], decoded.timestamps_ms, ())
        return usable, rejected

    def _details(self, batch: RecordBatch, decoded: Decoded, found: WindowScores) -> ScoreDetails:
        """Return whose scores they are, and what they are made of."""
        record_metadata = [batch.metadata(index) for index in decoded.indices.tolist()]
        given = decoded.timestamps_ms
        start_ms = np.array(
            [
                given.get(index, metadata.timestamp_ms)
                for index, metadata in zip(decoded.indices.tolist(), record_metadata, strict=True)
            ],
            dtype=np.int64,
        )
        end_ms = start_ms + round((self.shape[0] - 1) * self.sample_interval_ms)
        keys = [each.key for each in record_metadata]
        return ScoreDetails(keys, start_ms, end_ms, found.made_of())

    def _alerts(
        self, batch: RecordBatch, decoded: Decoded, found: WindowScores
    ) -> Iterator[RaisedAlert]:
        """Yield one alert for each anomalous window."""
        span_ms = round((self.shape[0] - 1) * self.sample_interval_ms)
        for row in np.flatnonzero(found.scores > self.scorer.threshold).tolist():
            index = int(decoded.indices[row])
            metadata = batch.metadata(index)
            start_ms = decoded.timestamps_ms.get(index, metadata.timestamp_ms)
            context = WindowContext(start_ms, self.sample_interval_ms)
            finding = found.explain(row, context).described(self.features)
            window = ScoredWindow(
                metadata=lambda metadata=metadata: metadata,  # type: ignore[misc]
                start_ms=start_ms,
                end_ms=start_ms + span_ms,
                score=float(found.scores[row]),
                threshold=self.scorer.threshold,
                score_kind=self.scorer.score_kind,
                explain=lambda finding=finding: finding,  # type: ignore[misc]
            )
            alert = open_alert(window, self.severities, self.bundle)
            yield RaisedAlert(index, alert, metadata.key)


def check_shape(windows: FloatArray, shape: tuple[int, int]) -> None:
    """Refuse windows of another shape: the caller's mistake."""
    if windows.shape[1:] != shape:
        message = f"windows: expected shape (n, {shape}), received {windows.shape}"
        raise ValueError(message)
