"""What comes on the input topic, judged by the detector itself, for the page alone.

The same core as in `detect` runs over the tail of the topic, in no group and without publishing. So
the page has the score of every window, and not only of those that were alerts.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.alerting.alert import text_of
from stream_detector.core.codec.formats import ContentType
from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.detector import Detector, WindowDetector
from stream_detector.core.records import RecordBatch
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.ports import Clock, SchemaSource
from stream_detector.text import shorten
from stream_detector.web.history import Marks
from stream_detector.web.lanes import Lanes

EXAMPLE_CHARACTERS_MAX = 256


@dataclass(slots=True)
class InputWatch:
    """Judges batches of the input topic, and keeps what the page shows of them.

    Parameters
    ----------
    detector
        The detector of the bundle.
    schemas
        Where the schemas come from that records name.
    content_type
        Format of records whose headers do not name one.
    clock
        Says when a key was heard of.
    """

    detector: Detector
    schemas: SchemaSource
    content_type: ContentType | None
    clock: Clock
    lanes: Lanes = field(default_factory=Lanes)
    marks: Marks = field(default_factory=Marks)
    _state: DetectorState = field(init=False)
    _rejected: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._state = self.detector.initial_state()

    def take(self, batch: RecordBatch) -> None:
        """Judge one batch."""
        batch = self.schemas.attach(batch)
        step = self.detector.step(self._state, batch, self.content_type)
        self._state = step.state
        keys, now_ms = series_keys(self.detector, batch, self.content_type), self.clock.now_ms()
        with self._lock:
            for each in step.rejected:
                name = type(each.error).__name__
                self._rejected[name] += 1
                self._examples.setdefault(name, shorten(str(each.error), EXAMPLE_CHARACTERS_MAX))
        is_usable = np.ones(len(batch), np.bool_)
        is_usable[[each.index for each in (*step.rejected, *step.skipped)]] = False
        usable = np.flatnonzero(is_usable)
        self.lanes.see(
            [keys[row] for row in usable.tolist()], batch.series().partitions[usable], now_ms
        )
        indices, ends_ms = step.scores.indices, step.scores.end_ms
        if ends_ms is None:
            ends_ms = window_starts(self.detector, batch, self.content_type)[indices]
        if len(ends_ms):
            self.marks.add(int(ends_ms.max()), batch.next_offsets)
        scored = [keys[row] for row in indices.tolist()]
        self.lanes.add(scored, np.asarray(ends_ms), step.scores.anomaly_scores, now_ms)

    def picture(self) -> dict[str, Any]:
        """Return keys by their state, and rejected records by reason, as values that JSON has."""
        with self._lock:
            rejected = [
                {"reason": name, "n_records": n_records, "example": self._examples[name]}
                for name, n_records in self._rejected.most_common()
            ]
        return {**self.lanes.counts(self.clock.now_ms()), "rejected": rejected}


def series_keys(
    detector: Detector, batch: RecordBatch, content_type: ContentType | None
) -> list[str]:
    """Return the series key of each record as text, also where it is in the value."""
    keys = batch.keys()
    if isinstance(detector, SampleDetector) and detector.mapping is not None:
        keyed, _ = decode_mapped_samples(
            batch,
            content_type,
            detector.mapping,
            features=detector.features,
            interval_ms=detector.windows.sample_interval_ms,
        )
        keys = keyed.keys()
    elif isinstance(detector, WindowDetector) and detector.mapping is not None:
        for keyed, _ in detector.decode(batch, content_type):
            keys = keyed.keys()
    return [text_of(key) for key in keys]


def window_starts(
    detector: Detector, batch: RecordBatch, content_type: ContentType | None
) -> NDArray[np.int64]:
    """Return when the window of each record starts, where records are whole windows.

    Returns
    -------
    Shape (n_records,): the time in the value, else that of the record.
    """
    times_ms = batch.series().timestamps_ms.copy()
    if isinstance(detector, WindowDetector):
        for _, decoded in detector.decode(batch, content_type):
            for index, time_ms in decoded.timestamps_ms.items():
                times_ms[index] = time_ms
    return times_ms
