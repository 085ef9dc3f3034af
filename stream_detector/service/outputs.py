"""The scores, alerts and dead letters of a step as records: the same, whoever publishes them.

The loop of `detect` sends them itself; an engine that has a sink of its own takes them as they are.
"""

from collections.abc import Iterator
from typing import NamedTuple

from stream_detector.core.alerting.alert import RaisedAlert, encode_alert
from stream_detector.core.codec.dead_letters import encode_dead_letter
from stream_detector.core.detector import Detector
from stream_detector.core.records import OutputRecord, RecordBatch, Rejected
from stream_detector.core.results import Step
from stream_detector.core.score_records import encode_scores
from stream_detector.ports import SchemaSource
from stream_detector.settings import DetectSettings

DEAD_LETTER_ROOM = 400
"""Bytes that a batch and many small headers add at most to what `encode_dead_letter` counts."""


class Output(NamedTuple):
    """A score, an alert or a dead letter that is to be published.

    Parameters
    ----------
    record
        As it is sent.
    row
        Which record of the batch it is about.
    content
        What it says; None of a score.
    """

    record: OutputRecord
    row: int
    content: RaisedAlert | Rejected | None

    @property
    def name(self) -> str:
        """Return what it is, in words."""
        if self.content is None:
            return "score"
        return "alert" if isinstance(self.content, RaisedAlert) else "dead letter"


class OutputWriter:
    """Writes what a step found as records.

    Parameters
    ----------
    settings
        Topics, formats, and the largest dead letter.
    detector
        What steps.
    schemas
        Where the schema of alerts goes to.
    """

    def __init__(self, settings: DetectSettings, detector: Detector, schemas: SchemaSource) -> None:
        self._settings = settings
        self._detector = detector
        self._schemas = schemas

    def outputs(self, batch: RecordBatch, step: Step, now_ms: int) -> Iterator[Output]:
        """Yield the scores of a step, its alerts and then its dead letters.

        Parameters
        ----------
        batch
            The records of the step.
        step
            What they led to.
        now_ms
            The time of detection, milliseconds since 1970-01-01 UTC.
        """
        settings = self._settings
        if settings.scores_topic is not None:
            names = self._detector.features.names
            found = encode_scores(step.scores, names, settings.scores_topic, settings.scores_format)
            for row, record in zip(step.scores.indices.tolist(), found, strict=False):
                yield Output(record, row, None)
        for raised in step.alerts:
            record = encode_alert(raised.alert, settings.alerts_topic, raised.key, now_ms)
            yield Output(self._schemas.write_alert(record), raised.record, raised)
        for rejected in step.rejected:
            yield self.dead_letter(batch, rejected)

    def dead_letter(
        self, batch: RecordBatch, rejected: Rejected, n_bytes_max: float | None = None
    ) -> Output:
        """Return the dead letter of a record.

        Parameters
        ----------
        batch
            Holds the record.
        rejected
            Why it is set aside.
        n_bytes_max
            Largest `OutputRecord.n_bytes` that its topic takes, where that is known.
        """
        value, metadata = batch.values[rejected.index], batch.metadata(rejected.index)
        bytes_max = self._settings.dead_letter_bytes_max
        if n_bytes_max is not None:
            bytes_max = min(bytes_max, int(n_bytes_max) - DEAD_LETTER_ROOM)
        topic = self._settings.dead_letter_topic
        record = encode_dead_letter(rejected, value, metadata, topic, bytes_max)
        return Output(record, rejected.index, rejected)
