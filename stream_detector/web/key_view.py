"""One key over a stretch of time: its signal, what the network makes of it, and the scores.

The records are read from their topic once more, and judged by the detector of the bundle from an
empty state. So a window whose key is far from what it was trained on has the same score here as in
`detect`, but for the first windows of a stretch, which begin where the stretch does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.assembly import Served
from stream_detector.core.alerting.alert import Alert
from stream_detector.core.codec.formats import ContentType
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import FloatArray, RecordBatch
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.scoring.scorer import Scorer, WindowScores
from stream_detector.estimator.running import reconstruct_windows
from stream_detector.ports import SchemaSource
from stream_detector.web.history import Stretch
from stream_detector.web.images import KeyImage, images_of
from stream_detector.web.input_watch import series_keys, window_starts

if TYPE_CHECKING:
    from stream_detector.core.state.detector_state import DetectorState

NORMAL_SHARE = 0.99
"""Share of the normal samples of a stretch that lie in the band."""

GAP_INTERVALS = 5
"""Without a sample for so many intervals, the line of the signal has a gap."""

POINTS_MAX = 5_000
"""Most points of a line."""

ALERTS_MAX = 100
"""Most alerts of a key that are shown, the newest."""

VALUES_MAX = 2**24
"""Most values of windows, and of samples, that are kept while a key is read; the oldest go."""


class Lines(NamedTuple):
    """What is drawn of a key; times are milliseconds since 1970-01-01 UTC, NaN is a gap.

    Parameters
    ----------
    times_ms, values
        Samples, shapes (n_samples,) and (n_samples, n_features), unit: the signal's.
    made_ms, made
        Times of the reconstruction, shape (n_made,), and its values, shape (n_made, n_features);
        empty where there is none.
    half_widths
        How far around the reconstruction normal samples lie, shape (n_features,).
    scores_ms, anomaly_scores
        End of each window and score / threshold, shape (n_windows,).
    alerts
        The last event of each alert that the detector finds, in the order of the records.
    images
        Where records are images, some of them.
    """

    times_ms: NDArray[np.float64]
    values: NDArray[np.float64]
    made_ms: NDArray[np.float64]
    made: NDArray[np.float64]
    half_widths: NDArray[np.float64]
    scores_ms: NDArray[np.float64]
    anomaly_scores: NDArray[np.float64]
    alerts: tuple[Alert, ...] = ()
    images: tuple[KeyImage, ...] = ()


@dataclass(slots=True)
class _Keeping:
    """The same scorer, which keeps the newest windows that it scored."""

    scorer: Scorer
    windows: list[FloatArray] = field(default_factory=list)

    @property
    def threshold(self) -> float:
        """Return the threshold."""
        return self.scorer.threshold

    @property
    def score_kind(self) -> str:
        """Return what a score is."""
        return self.scorer.score_kind

    def in_range(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return which values can be scored."""
        return self.scorer.in_range(values)

    def score(self, windows: FloatArray) -> WindowScores:
        """Score windows, and keep them."""
        self.windows.append(windows.copy())
        _drop_oldest(self.windows)
        return self.scorer.score(windows)


@dataclass(frozen=True, slots=True)
class KeyView:
    """Looks at single keys with the detector of a bundle.

    Parameters
    ----------
    served
        The bundle.
    schemas
        Where the schemas come from that records name.
    content_type
        Format of records whose headers do not name one.
    """

    served: Served
    schemas: SchemaSource
    content_type: ContentType | None

    @property
    def interval_ms(self) -> float:
        """Return the time between two samples; 1 where it is unknown."""
        return float(self.served.bundle.manifest.recipe.window.sample_interval_ms) or 1.0

    @property
    def lead_ms(self) -> float:
        """Return how long before a stretch its records are to be read."""
        return 2 * self.interval_ms * self.served.bundle.manifest.n_steps

    def look(self, key: str, batches: Iterator[RecordBatch], stretch: Stretch) -> Lines:
        """Return what is drawn of a key.

        Parameters
        ----------
        key
            Which, as text.
        batches
            Records of any keys, among them those of the stretch.
        stretch
            What is shown.
        """
        detector = self.served.detector
        keeping = _Keeping(detector.scorer)
        if isinstance(detector, SampleDetector):
            lines = self._look_at_samples(replace(detector, scorer=keeping), key, batches)
        elif isinstance(detector, WindowDetector):
            lines = self._look_at_windows(replace(detector, scorer=keeping), key, batches)
            if detector.image is not None and keeping.windows:
                windows = np.concatenate(keeping.windows)
                times_ms = lines.scores_ms[-len(windows) :] - (len(windows[0]) - 1)
                scores = lines.anomaly_scores[-len(windows) :]
                images = images_of(detector, windows, times_ms, scores, stretch)
                lines = lines._replace(images=images)
        else:
            message = f"expected a detector of samples or windows, received {detector!r}"
            raise TypeError(message)
        return _within(lines, stretch)

    def _own(self, key: str, batches: Iterator[RecordBatch]) -> Iterator[RecordBatch]:
        """Yield the records of a key."""
        for each in batches:
            batch = self.schemas.attach(each)
            keys = series_keys(self.served.detector, batch, self.content_type)
            rows = np.flatnonzero([own == key for own in keys])
            if len(rows):
                yield batch.select(rows, {})

    def _look_at_samples(
        self, detector: SampleDetector, key: str, batches: Iterator[RecordBatch]
    ) -> Lines:
        """Return what is drawn of a key whose records hold samples."""
        features = detector.features
        state: DetectorState = detector.initial_state()
        n_features = len(features)
        times, values = [np.empty(0)], [np.empty((0, n_features))]
        starts, ends, scores = [np.empty(0)], [np.empty(0)], [np.empty(0)]
        alerts, n_dropped = dict[str, Alert](), 0
        for batch in self._own(key, batches):
            _, decoded = detector.decode(batch, self.content_type)
            times.append(decoded.times_ms)
            values.append(features.to_unit(decoded.values.astype(np.float64)))
            n_dropped += _drop_oldest(values)
            step = detector.step(state, batch, self.content_type)
            state = step.state
            alerts |= {each.alert.alert_id: each.alert for each in step.alerts}
            for oldest in list(alerts)[:-ALERTS_MAX]:
                del alerts[oldest]
            found = step.scores
            if found.start_ms is not None and found.end_ms is not None:
                starts.append(found.start_ms.astype(np.float64))
                ends.append(found.end_ms.astype(np.float64))
                scores.append(found.anomaly_scores)
        order = np.argsort(joined := np.concatenate(times)[n_dropped:], kind="stable")
        signal = joined[order], np.concatenate(values)[order]
        scored = np.concatenate(ends), np.concatenate(scores)
        lines = self._lines(key, detector.scorer, signal, np.concatenate(starts), scored)
        return lines._replace(alerts=tuple(alerts.values()))

    def _look_at_windows(
        self, detector: WindowDetector, key: str, batches: Iterator[RecordBatch]
    ) -> Lines:
        """Return what is drawn of a key whose records are whole windows, one after the other."""
        state = detector.initial_state()
        starts, scores, windows = [np.empty(0)], [np.empty(0)], []
        alerts: list[Alert] = []
        for batch in self._own(key, batches):
            step = detector.step(state, batch, self.content_type)
            alerts = [*alerts, *(each.alert for each in step.alerts)][-ALERTS_MAX:]
            times_ms = window_starts(detector, batch, self.content_type)
            starts.append(times_ms[step.scores.indices].astype(np.float64))
            scores.append(step.scores.anomaly_scores)
        start_ms = np.concatenate(starts)
        steps = self.interval_ms * np.arange(detector.shape[0])
        keeping = detector.scorer
        if isinstance(keeping, _Keeping):
            windows = keeping.windows
        nothing = np.empty((0, *detector.shape), np.float32)
        flat = np.concatenate([nothing, *windows]).reshape(-1, detector.shape[1])
        kept_ms = start_ms[len(start_ms) - len(flat) // len(steps) :]
        times = (kept_ms[:, None] + steps).ravel()
        order = np.argsort(times, kind="stable")
        values = detector.features.to_unit(flat.astype(np.float64))
        scored = start_ms + steps[-1], np.concatenate(scores)
        lines = self._lines(key, keeping, (times[order], values[order]), start_ms, scored)
        return lines._replace(alerts=tuple(alerts))

    def _lines(
        self,
        key: str,
        keeping: Scorer,
        signal: tuple[NDArray[np.float64], NDArray[np.float64]],
        start_ms: NDArray[np.float64],
        scored: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> Lines:
        """Return signal, scores, and what the network makes of the windows that were scored."""
        signal = _with_gaps(*signal, self.interval_ms, GAP_INTERVALS * self.interval_ms)
        n_features = signal[1].shape[1]
        made_ms, made = np.empty(0), np.empty((0, n_features))
        peaks = self.served.bundle.manifest.recipe.rules.peaks
        holds_signal = peaks is None or not peaks.n_base
        if isinstance(keeping, _Keeping) and keeping.windows and holds_signal:
            windows = np.concatenate(keeping.windows)
            rebuilt = reconstruct_windows(self.served, windows, [key] * len(windows))
            made_ms, made = _put_together(start_ms[-len(windows) :], rebuilt, self.interval_ms)
        widths = _half_widths(signal, (made_ms, made), scored, self.interval_ms)
        return Lines(*signal, made_ms, made, widths, *scored)


def _drop_oldest(parts: list[Any]) -> int:
    """Drop the oldest arrays while all have more than `VALUES_MAX` values; return their rows."""
    n_dropped = 0
    while len(parts) > 1 and sum(each.size for each in parts) > VALUES_MAX:
        n_dropped += len(parts.pop(0))
    return n_dropped


def _put_together(
    start_ms: NDArray[np.float64], windows: FloatArray, interval_ms: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of windows at each time that they cover, and NaN at the ends of gaps.

    Parameters
    ----------
    start_ms
        Start of each window, shape (n_windows,).
    windows
        Shape (n_windows, n_steps, n_features).
    interval_ms
        Time between two steps.
    """
    n_windows, n_steps, n_features = windows.shape
    numbers = np.rint((start_ms - start_ms.min()) / interval_ms).astype(np.int64)
    places = (numbers[:, None] + np.arange(n_steps)).ravel()  # (n_windows * n_steps,)
    found, at = np.unique(places, return_inverse=True)
    sums = np.zeros((len(found), n_features))
    np.add.at(sums, at, windows.reshape(n_windows * n_steps, n_features))
    means = sums / np.bincount(at)[:, None]
    return _with_gaps(start_ms.min() + found * interval_ms, means, interval_ms, 1.5 * interval_ms)


def _with_gaps(
    times_ms: NDArray[np.float64],
    values: NDArray[np.float64],
    interval_ms: float,
    longest_ms: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values with NaN at both ends of each gap, so that no line is drawn across it.

    Parameters
    ----------
    times_ms, values
        Shapes (n,) and (n, n_features), in the order of time.
    interval_ms
        Time between two samples.
    longest_ms
        From where on the time between two of them is a gap.
    """
    after = np.flatnonzero(np.diff(times_ms) > longest_ms) + 1
    ends = np.stack([times_ms[after - 1] + interval_ms, times_ms[after] - interval_ms], axis=1)
    places = np.repeat(after, 2)
    return np.insert(times_ms, places, ends.ravel()), np.insert(values, places, np.nan, axis=0)


def _half_widths(
    signal: tuple[NDArray[np.float64], NDArray[np.float64]],
    made: tuple[NDArray[np.float64], NDArray[np.float64]],
    scored: tuple[NDArray[np.float64], NDArray[np.float64]],
    interval_ms: float,
) -> NDArray[np.float64]:
    """Return how far from its reconstruction `NORMAL_SHARE` of the normal samples is, by feature.

    Normal are samples that the next window after them does not find anomalous.
    """
    n_features = signal[1].shape[1]
    if not len(made[0]) or not len(signal[0]):
        return np.zeros(n_features)
    nearest = np.clip(np.searchsorted(made[0], signal[0] - interval_ms / 2), 0, len(made[0]) - 1)
    is_near = np.abs(made[0][nearest] - signal[0]) <= interval_ms
    order = np.argsort(scored[0], kind="stable")
    after = np.searchsorted(scored[0][order], signal[0])
    with_last = np.append(scored[1][order], 0.0)
    is_normal = is_near & (with_last[np.minimum(after, len(order))] <= 1.0)
    errors = np.abs(signal[1] - made[1][nearest])[is_normal]
    errors = errors[np.isfinite(errors).all(axis=1)]
    if not len(errors):
        return np.zeros(n_features)
    widths: NDArray[np.float64] = np.quantile(errors, NORMAL_SHARE, axis=0)
    return widths


def _within(lines: Lines, stretch: Stretch) -> Lines:
    """Return what lies in a stretch of time, at most `POINTS_MAX` points of a line, the newest."""

    def rows(times_ms: NDArray[np.float64]) -> NDArray[np.intp]:
        inside = (times_ms >= stretch.start_ms) & (times_ms <= stretch.end_ms)
        return np.flatnonzero(inside)[-POINTS_MAX:]

    own, made, scored = rows(lines.times_ms), rows(lines.made_ms), rows(lines.scores_ms)
    return lines._replace(
        times_ms=lines.times_ms[own],
        values=lines.values[own],
        made_ms=lines.made_ms[made],
        made=lines.made[made],
        scores_ms=lines.scores_ms[scored],
        anomaly_scores=lines.anomaly_scores[scored],
    )
