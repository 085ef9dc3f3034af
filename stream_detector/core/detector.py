"""One batch of records in, scores, alerts and rejected records out.

Pure: `Detector.step` has no clock and does no I/O, and the same batch gives
the same result. The loop around it (`stream_detector.service`) only orders
effects. Offline scoring is the same code on an array of windows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.tracking import open_alert, severity_of
from stream_detector.core.codec.formats import Decoded
from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.codec.windows import ContentType, decode_windows
from stream_detector.core.records import (
    BundleReference,
    FloatArray,
    RecordBatch,
    Rejected,
    Scores,
)
from stream_detector.core.results import Counts, DetectorState, RaisedAlert, Step
from stream_detector.core.scoring.explanation import WindowEvidence, explain
from stream_detector.core.scoring.image_explanation import explain_image
from stream_detector.core.scoring.reconstruction import ErrorKind, window_errors
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.state.restore_plan import RestorePlan
from stream_detector.errors import NonFiniteScoreError, RecordValueError

SCALED_MAX = 1e12
"""Largest scaled value that is scored. Beyond it the sums inside a network can overflow float32,
and one absurd record would stop the service with a non-finite score."""

_NOTHING = np.empty(0)

_Anomalous = dict[int, tuple[FloatArray, FloatArray, FloatArray]]
"""Window, scaled window and reconstruction of the anomalous records, by their index."""


Reconstruct = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Detector:
    """A bundle's facts, ready to judge windows.

    Parameters
    ----------
    bundle
        Name and version, for the alerts.
    shape
        (n_steps, n_features) of a window.
    sample_interval_ms
        Time between two samples; 0 where unknown, and then a window ends when it starts.
    scaler
        Brings windows to the range the network knows.
    error_kind
        How far a reconstruction is from its window.
    threshold
        Anomalous iff error > threshold; above zero.
    severities
        (name, anomaly score from which it holds), ascending, the first from 1.
    model_rows_max
        Most windows in one call of the network; a larger batch goes in slices, which stay in
        the processor's cache.
    image
        What each record's image is, with `shape` for a window; None where records are no images.
    """

    bundle: BundleReference
    shape: tuple[int, int]
    sample_interval_ms: float
    scaler: Scaler
    error_kind: ErrorKind
    threshold: float
    severities: Sequence[tuple[str, float]]
    model_rows_max: int = 2048
    image: ImageShape | None = None

    @property
    def has_memory(self) -> bool:
        """Whether anything is remembered from one record to another."""
        return False

    def start(self) -> DetectorState:
        """Return the state before the first batch."""
        return DetectorState()

    def drop_partitions(self, state: DetectorState, partitions: Sequence[int]) -> DetectorState:
        """Return the state without what belongs to partitions that are read elsewhere now."""
        del partitions
        return state

    def open_partition(
        self,
        state: DetectorState,
        partition: int,
        offset: int,
        restore_plan: RestorePlan | None = None,
    ) -> DetectorState:
        """Begin to read a partition of which nothing is remembered.

        Parameters
        ----------
        state
            From the step before, or `start`.
        partition
            Which one.
        offset
            Where reading begins.
        restore_plan
            What is to be restored; None begins with nothing.
        """
        del partition, offset, restore_plan
        return state

    def replay(
        self, state: DetectorState, batch: RecordBatch, content_type: ContentType | None = None
    ) -> DetectorState:
        """Remember what records of the past leave behind; no window of theirs is judged.

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
        del batch, content_type
        return state

    def start_scoring(
        self, state: DetectorState, partition: int, restore_plan: RestorePlan
    ) -> DetectorState:
        """Take down that reading the past has come to `RestorePlan.score_from_offset`.

        Windows under way are forgotten where from here on `step` reads the past.
        """
        del partition, restore_plan
        return state

    def finish_restore(
        self, state: DetectorState, partition: int, offset: int, restore_plan: RestorePlan
    ) -> DetectorState:
        """Go live in a partition whose past was read again.

        Parameters
        ----------
        state
            After the last record of the past.
        partition
            Which one.
        offset
            The next record, which is the first that was not committed.
        restore_plan
            What was committed with it.

        Raises
        ------
        StateError
            If what is remembered now is not what was remembered then.
        """
        del partition, offset, restore_plan
        return state

    def restore_plans(
        self, state: DetectorState, next_offsets: Mapping[int, int]
    ) -> tuple[DetectorState, dict[int, RestorePlan]]:
        """Say from where in each partition the state can be restored.

        Parameters
        ----------
        state
            After a batch. No earlier state may be stepped from after this call.
        next_offsets
            Of each partition of the batch, the offset after its last record.

        Returns
        -------
        The state for the next step, and what to commit with each offset.
        """
        return state, {each: RestorePlan.nothing(offset) for each, offset in next_offsets.items()}

    def step(
        self,
        state: DetectorState,
        batch: RecordBatch,
        reconstruct: Reconstruct,
        content_type: ContentType | None = None,
    ) -> Step:
        """Judge one batch.

        Parameters
        ----------
        state
            From the step before; `start` gives the first.
        batch
            The records of one poll.
        reconstruct
            Scaled windows in, reconstructions out; see `stream_detector.ports.Reconstructor`.
        content_type
            Format of records whose headers do not name one; None takes "image" where records are
            images, else "json".

        Raises
        ------
        NonFiniteScoreError
            If the network gives a non-finite result for a finite window.
        ValueError
            If `content_type` is "image" and records are no images: the caller's mistake.
        """
        indices: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
        errors: list[NDArray[np.float64]] = [_NOTHING]
        rejected: list[Rejected] = []
        times: dict[int, int] = {}
        anomalous: _Anomalous = {}
        default = self.format_without_header(content_type)
        for start in range(0, len(batch), self.model_rows_max):
            part = slice(start, start + self.model_rows_max)
            headers = batch.headers[part] if batch.headers is not None else None
            decoded = decode_windows(
                batch.values[part], headers, self.shape, default, start, self.image
            )
            slice_indices, slice_errors, unusable = self._score_decoded(
                decoded, reconstruct, anomalous
            )
            indices.append(slice_indices)
            errors.append(slice_errors)
            times.update(decoded.timestamps_ms)
            rejected += sorted([*decoded.rejected, *unusable], key=lambda each: each.index)
        scores = Scores(np.concatenate(indices), np.concatenate(errors), self.threshold)
        alerts = self._alerts(batch, scores, times, anomalous)
        n_normal = len(scores) - len(alerts)
        outcomes = {"normal": n_normal, "anomalous": len(alerts)}
        counts = Counts(records={**outcomes, "dead_letter": len(rejected)}, windows=outcomes)
        return Step(state, scores, alerts, rejected, counts)

    def format_without_header(self, content_type: ContentType | None) -> ContentType:
        """Return the format of records whose headers name none; parameter and errors as `step`."""
        if content_type == "image" and self.image is None:
            message = "content_type: expected json or float32 for this bundle, received 'image'"
            raise ValueError(message)
        return content_type or ("json" if self.image is None else "image")

    def score(self, windows: FloatArray, reconstruct: Reconstruct) -> NDArray[np.float64]:
        """Return the reconstruction error of each window, as the stream would.

        Parameters
        ----------
        windows
            Float32, shape (n_windows, n_steps, n_features), unit: the signal's.
        reconstruct
            As in `step`.

        Returns
        -------
        Shape (n_windows,), float64, bit for bit what `step` finds for the same windows. Empty
        gives empty.

        Raises
        ------
        RecordValueError
            If a window holds NaN, an infinity or a value too large, naming the first: bad data.
        NonFiniteScoreError
            As in `step`.
        ValueError
            If the windows are of another shape: the caller's mistake.
        """
        if windows.shape[1:] != self.shape:
            message = f"windows: expected shape (n, {self.shape}), received {windows.shape}"
            raise ValueError(message)
        errors = [_NOTHING]
        for start in range(0, len(windows), self.model_rows_max):
            part = windows[start : start + self.model_rows_max]
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = self.scaler.transform(part)
            if not _is_scorable(scaled):
                row = int(np.flatnonzero(~_scorable_windows(scaled))[0])
                message = f"window {start + row}: {_explain_value(part[row], scaled[row])}"
                raise RecordValueError(message)
            errors.append(self.errors(scaled, reconstruct)[0])
        return np.concatenate(errors)

    def _score_decoded(
        self,
        decoded: Decoded,
        reconstruct: Reconstruct,
        anomalous: _Anomalous,
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], list[Rejected]]:
        """Return the indices and errors of the windows that can be scored, and the others.

        What explains the anomalous ones is added to `anomalous`.
        """
        indices, windows = decoded.indices, decoded.windows
        if not len(windows):
            return indices, _NOTHING, []
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = self.scaler.transform(windows)  # (n_windows, n_steps, n_features)
        rejected: list[Rejected] = []
        if not _is_scorable(scaled):
            is_scorable = _scorable_windows(scaled)  # (n_windows,)
            for row in np.flatnonzero(~is_scorable):
                error = RecordValueError(_explain_value(windows[row], scaled[row]))
                rejected.append(Rejected(int(indices[row]), error, "check"))
            indices, scaled = indices[is_scorable], scaled[is_scorable]
            windows = windows[is_scorable]
        errors, reconstructions = self.errors(scaled, reconstruct)
        rows = np.flatnonzero(errors > self.threshold)  # (n_anomalous,)
        # Copies, so that the whole slice is not kept for a few windows of it.
        parts = zip(windows[rows], scaled[rows], reconstructions[rows], strict=True)
        anomalous.update(zip(indices[rows].tolist(), parts, strict=True))
        return indices, errors, rejected

    def errors(
        self, scaled: FloatArray, reconstruct: Reconstruct
    ) -> tuple[NDArray[np.float64], FloatArray]:
        """Return errors and reconstructions of scaled windows.

        Parameters
        ----------
        scaled
            Float32, shape (n_windows, n_steps, n_features), finite.
        reconstruct
            As in `step`.

        Returns
        -------
        Errors, float64, shape (n_windows,), and reconstructions of the shape of `scaled`.

        Raises
        ------
        NonFiniteScoreError
            If an error is not a number.
        """
        reconstructions = reconstruct(scaled)  # (n_windows, n_steps, n_features)
        errors = window_errors(scaled, reconstructions, self.error_kind)
        if not np.isfinite(errors).all():
            message = (
                f"bundle {self.bundle.name} {self.bundle.version} gave a non-finite error for "
                f"{int((~np.isfinite(errors)).sum())} of {len(errors)} finite windows; it cannot "
                "be trusted: train it again and check its input range"
            )
            raise NonFiniteScoreError(message)
        return errors, reconstructions

    def _alerts(
        self, batch: RecordBatch, scores: Scores, times: dict[int, int], anomalous: _Anomalous
    ) -> list[RaisedAlert]:
        """Return one alert for each anomalous window."""
        alerts = []
        span_ms = (self.shape[0] - 1) * self.sample_interval_ms
        for row in np.flatnonzero(scores.is_anomalous):
            index = int(scores.indices[row])
            error = float(scores.reconstruction_errors[row])
            metadata = batch.metadata(index)
            start_ms = times.get(index, metadata.timestamp_ms)
            severity = severity_of(error / self.threshold, self.severities)
            scored = WindowEvidence(*anomalous[index], start_ms, self.sample_interval_ms)
            explanation = (
                explain(scored, self.scaler, self.error_kind)
                if self.image is None
                else explain_image(scored, self.image, self.error_kind)
            )
            alert = open_alert(
                metadata,
                (start_ms, start_ms + round(span_ms)),
                (error, self.threshold, severity),
                self.bundle,
                explanation,
            )
            alerts.append(RaisedAlert(index, alert, metadata.key))
        return alerts


def _is_scorable(scaled: FloatArray) -> bool:
    """Return whether all values are finite and within `SCALED_MAX`; NaN compares False."""
    return bool(scaled.max() <= SCALED_MAX and scaled.min() >= -SCALED_MAX)


def _scorable_windows(scaled: FloatArray) -> NDArray[np.bool_]:
    """Return which windows are finite and within `SCALED_MAX`, shape (n_windows,)."""
    is_scorable: NDArray[np.bool_] = np.abs(scaled).max(axis=(1, 2)) <= SCALED_MAX
    return is_scorable


def _explain_value(window: FloatArray, scaled: FloatArray) -> str:
    """Name the first value of a window that cannot be scored."""
    step, feature = np.argwhere(~(np.abs(scaled) <= SCALED_MAX))[0]
    value = float(window[step, feature])
    place = f"values[{step}]" if window.shape[1] == 1 else f"values[{step}][{feature}]"
    if not np.isfinite(value):
        return f"{place}: expected a finite number in the range of float32, received {value}"
    return f"{place}: received {value:.3g}, over {SCALED_MAX:.0e} times the range trained on"
