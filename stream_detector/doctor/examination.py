"""What the records of a topic are to a detector: judged by it, and counted on the way."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.formats import ContentType
from stream_detector.core.detector import Detector, WindowDetector
from stream_detector.core.records import FloatArray, RecordBatch, Rejected
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.windowing.diagnosis import Diagnosis
from stream_detector.core.windowing.series_health import SeriesFacts, SeriesHealth
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordOrderError,
    RecordSchemaError,
    RecordShapeError,
)

if TYPE_CHECKING:
    from stream_detector.core.results import ClockFault, ClockNotice

Subject = Literal["format", "features", "values", "keys", "clock", "order"]
"""What is wrong with a rejected record."""

_ABOUT_TIME = re.compile(r"(header )?time")

STANDARD_MAX = 6.0
"""Standard deviations from the mean beyond which a value is outside of what was trained on."""

ROBUST_MAX = 20.0
"""The same in robust deviations, which an ordinary heavy tail exceeds sooner."""

BEYOND_MAX = 0.5
"""How far beyond the range trained on a value may lie, as a share of that range."""


class Place(NamedTuple):
    """A rejected record: where it is, and its error."""

    where: str
    error: str


@dataclass(slots=True)
class Values:
    """Range of the values of each feature, each of shape (n_features,).

    Parameters
    ----------
    lowest, highest
        Unit: the signal's; NaN where no value came.
    n_present, n_missing
        Values received, and missing.
    n_compared, n_outside
        Values compared with the range trained on, and outside of it. They are those received, or
        those of windows round peaks, which hold a band of the signal.
    """

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    n_present: NDArray[np.int64]
    n_missing: NDArray[np.int64]
    n_compared: NDArray[np.int64]
    n_outside: NDArray[np.int64]

    @classmethod
    def of(cls, n_features: int) -> "Values":
        """Return the range of no values."""
        nothing, none = np.full(n_features, np.nan), np.zeros(n_features, np.int64)
        return cls(nothing, nothing.copy(), *(none.copy() for _ in range(4)))


class Examination:
    """Judges batches with the real detector, and counts what they hold.

    Parameters
    ----------
    detector
        Of the bundle.
    scaler
        Of the bundle; says what range it was trained on.
    content_type
        Format of records whose headers do not name one.

    Attributes
    ----------
    n_records, n_windows, n_anomalous, n_incomplete, n_gaps
        Records; windows that were scored, those of them that are anomalous, and those that could
        not be scored; gaps.
    samples
        Samples by outcome.
    rejected, examples
        Rejected records by what is wrong with them, and the first of each.
    partitions_of
        Partitions in which each key came, the key None among them.
    values
        Range of the values of each feature.
    newest_ms
        Newest time of a sample, or of a window; -inf where there was none.
    intervals_ms
        Times between successive samples of a key, of each batch an array.
    unknown_keys
        Keys that training did not know, where each key has a scale of its own.
    scored_keys
        Keys of samples of which a window was scored, also if they started over since.
    clock_faults
        What was wrong with clocks of keys, with the first time that it was so of each key.
    diagnosis
        Why series are not scored; None where records are whole windows, or none could be used.
    """

    def __init__(
        self,
        detector: Detector,
        scaler: Scaler,
        content_type: ContentType | None = None,
    ) -> None:
        self.detector = detector
        self.scaler = scaler
        self.n_records = self.n_windows = self.n_anomalous = self.n_incomplete = self.n_gaps = 0
        self.samples: Counter[str] = Counter()
        self.rejected: Counter[Subject] = Counter()
        self.examples: dict[Subject, Place] = {}
        self.partitions_of: dict[bytes | None, set[int]] = {}
        self.values = Values.of(len(scaler.offset))
        self.newest_ms = -np.inf
        self.intervals_ms: list[NDArray[np.float64]] = []
        self.unknown_keys: dict[bytes, None] = {}
        self.scored_keys: set[bytes] = set()
        self.clock_faults: dict[ClockFault, dict[bytes, ClockNotice]] = {}
        self.diagnosis: Diagnosis | None = None
        self._content_type = content_type
        self._state = detector.initial_state()

    def add(self, batch: RecordBatch) -> None:
        """Judge one batch, the next of its partitions."""
        step = self.detector.step(self._state, batch, self._content_type)
        self._state = step.state
        self.n_records += len(batch)
        self.n_windows += len(step.scores)
        self.n_anomalous += int(step.scores.is_anomalous.sum())
        self.n_incomplete += step.counts.windows.get("missing", 0)
        self.n_gaps += step.counts.n_gaps
        self.samples.update(step.counts.samples)
        self.unknown_keys.update(dict.fromkeys([*step.unknown_keys, *step.new_keys]))
        for notice in step.clock_notices:
            self.clock_faults.setdefault(notice.fault, {}).setdefault(notice.key, notice)
        for each in step.rejected:
            self._add_rejected(batch, each)
        for key, partition in self._places(batch, step.series):
            self.partitions_of.setdefault(key, set()).add(partition)
        if step.series is not None:
            self._add_samples(step.series)
        elif isinstance(self.detector, WindowDetector):
            self._add_windows(self.detector, batch)

    @property
    def interval_ms(self) -> float:
        """Median time between successive samples of a key, NaN where there are not two."""
        found = np.concatenate([np.empty(0), *self.intervals_ms])
        return float(np.median(found)) if len(found) else np.nan

    def _places(
        self, batch: RecordBatch, facts: SeriesFacts | None
    ) -> Iterator[tuple[bytes | None, int]]:
        """Yield the key of each record, and its partition.

        Where `[input]` finds keys in the records, only those of usable records are known.
        """
        if self.detector.mapping is None:
            series = batch.series()
            yield from zip(series.keys, series.partitions.tolist(), strict=True)
        elif facts is not None:
            windows = facts.windows
            slots = np.unique(windows.in_order.sessions.slots)
            partitions = windows.state.apply_delta().partitions[slots].tolist()
            yield from zip(windows.state.keys_of(slots), partitions, strict=True)

    def _add_rejected(self, batch: RecordBatch, rejected: Rejected) -> None:
        """Count a rejected record."""
        subject = _subject_of(rejected.error)
        self.rejected[subject] += 1
        if subject not in self.examples:
            where = batch.metadata(rejected.index).place
            self.examples[subject] = Place(where, str(rejected.error))

    def _add_samples(self, facts: SeriesFacts) -> None:
        """Count what a batch of samples held."""
        windows = facts.windows
        self.scored_keys.update(windows.state.keys_of(windows.slots[facts.is_scored]))
        if self.diagnosis is None:
            health = SeriesHealth(windows.rules.n_features)
            features = self.detector.features
            self.diagnosis = Diagnosis(health, windows.state.keyed_state, windows.rules, features)
        windows.state.apply_delta()  # the diagnosis reads the state after the batch
        self.diagnosis.health.add(facts)
        distances = windows.aligned.distances_ms
        self.intervals_ms.append(distances[~np.isnan(distances)])
        sessions = windows.in_order.sessions
        self._add_values(facts.values, float(sessions.after.newest_ms.max()))
        if windows.rules.peaks is None:
            slots = sessions.slots[sessions.of_records]  # (n_records,)
            self._compare(facts.values, windows.state, np.repeat(slots, facts.counts))
            return
        seen = windows.gather(slice(None))  # (n_windows, n_steps, n_features)
        slots = np.repeat(windows.slots, seen.shape[1])  # (n_windows * n_steps,)
        self._compare(seen.reshape(-1, seen.shape[2]), windows.state, slots)

    def _add_windows(self, detector: WindowDetector, batch: RecordBatch) -> None:
        """Count what a batch of whole windows held."""
        for keyed, decoded in detector.decode(batch, self._content_type):
            indices, series = decoded.indices.tolist(), keyed.series()
            if not indices:
                continue
            if detector.mapping is not None:
                for index in indices:
                    found = self.partitions_of.setdefault(series.keys[index], set())
                    found.add(int(series.partitions[index]))
            own = series.timestamps_ms[decoded.indices].tolist()
            times = [decoded.timestamps_ms.get(*each) for each in zip(indices, own, strict=True)]
            values = decoded.windows.reshape(-1, decoded.windows.shape[2])
            self._add_values(values, float(max(times)))
            self._count_outside(values)

    def _add_values(self, values: FloatArray, newest_ms: float) -> None:
        """Count values, shape (n_samples, n_features)."""
        self.newest_ms = max(self.newest_ms, newest_ms)
        found = self.values
        is_missing = np.isnan(values)  # (n_samples, n_features)
        found.n_missing += is_missing.sum(axis=0)
        found.n_present += (~is_missing).sum(axis=0)
        wide = self.detector.features.to_unit(values.astype(np.float64))  # (n_samples, n_features)
        found.lowest = np.fmin(found.lowest, np.fmin.reduce(wide, axis=0))
        found.highest = np.fmax(found.highest, np.fmax.reduce(wide, axis=0))

    def _compare(self, values: FloatArray, state: WindowState, slots: NDArray[np.intp]) -> None:
        """Compare values of keys, shape (n, n_features), with the range trained on."""
        scales = self.detector.features.key_scales
        if scales is not None:
            unique, inverse = np.unique(slots, return_inverse=True)
            rows = scales.rows(state.keys_of(unique))[inverse]  # (n,)
            with np.errstate(over="ignore", invalid="ignore"):
                values = scales.transform(values, rows)
        self._count_outside(values)

    def _count_outside(self, values: FloatArray) -> None:
        """Count values, in the units that the scaler takes, that are outside of its range."""
        low, high = scaled_range(self.scaler.kind)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = self.scaler.linear(values)  # (n, n_features)
            is_outside = (scaled < low) | (scaled > high)
        if self.scaler.relative is not None:  # these have no range
            is_outside[:, self.scaler.relative.is_relative] = False
        self.values.n_outside += is_outside.sum(axis=0)
        self.values.n_compared += (~np.isnan(values)).sum(axis=0)


def scaled_range(kind: str) -> tuple[float, float]:
    """Return the range of `Scaler.linear` for values like those that were trained on.

    Parameters
    ----------
    kind
        Of the scaler; nothing is known of values that are not scaled.
    """
    ranges = {
        "min-max": (-BEYOND_MAX, 1 + BEYOND_MAX),
        "standard": (-STANDARD_MAX, STANDARD_MAX),
        "robust": (-ROBUST_MAX, ROBUST_MAX),
    }
    return ranges.get(kind, (-np.inf, np.inf))


def _subject_of(error: DataError) -> Subject:
    """Return what is wrong with a rejected record."""
    text = str(error)
    subject: Subject = "values"
    if isinstance(error, RecordDecodeError | RecordSchemaError):
        subject = "format"
    elif isinstance(error, RecordShapeError):
        subject = "features"
    elif isinstance(error, RecordOrderError):
        subject = "order"
    elif text.startswith("key:"):
        subject = "keys"
    elif _ABOUT_TIME.match(text):
        subject = "clock"
    return subject
