"""The detector on columns of records, as both jobs use it; nothing here knows Flink."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stream_detector.assembly import make_schemas, open_bundle, require_content_type
from stream_detector.core.detector import Detector
from stream_detector.core.records import RecordBatch, SeriesColumns
from stream_detector.core.results import Step
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.errors import ConfigError
from stream_detector.ports import SchemaSource, SystemClock
from stream_detector.service.outputs import OutputWriter
from stream_detector.settings import DetectSettings

RECORD_COLUMNS = (
    *("partition", "offset", "timestamp"),
    *("header_names", "header_values", "key", "value"),
)
"""Columns of the table `records` that functions take."""


class OutputRow(NamedTuple):
    """An alert or a dead letter, as a row of the table `outputs`.

    Parameters
    ----------
    row
        Which record of the batch it is about.
    topic, key, value
        As in `stream_detector.core.records.OutputRecord`.
    header_names, header_values
        Its headers, in order.
    timestamp_ms
        Milliseconds since 1970-01-01 UTC; None takes the time of sending.
    """

    row: int
    topic: str
    key: bytes | None
    value: bytes | None
    header_names: list[str]
    header_values: list[bytes | None]
    timestamp_ms: int | None


@dataclass(frozen=True)
class Judge:
    """Judges batches of records of the input topic.

    A job ships it to its workers as it is; each loads the bundle once.

    Parameters
    ----------
    bundle
        The bundle's folder, at the same path on every worker.
    settings
        Those of `detect`.
    """

    bundle: Path
    settings: DetectSettings

    def __getstate__(self) -> dict[str, Any]:
        return {"bundle": self.bundle, "settings": self.settings}

    @cached_property
    def detector(self) -> Detector:
        """The bundle's detector."""
        settings = self.settings
        served = open_bundle(
            self.bundle,
            settings.engine,
            settings.model_rows_max,
            keys_max=settings.keys_max,
            changes=settings.changes,
        )
        require_content_type(settings.content_type, served)
        return served.detector

    @property
    def made_by(self) -> str:
        """What snapshots of the detector's state say that they are of."""
        return f"{self.detector.bundle.version} {self.detector.rules_digest}"

    @cached_property
    def _schemas(self) -> SchemaSource:
        schemas = make_schemas(self.settings, self.detector)
        schemas.register_alerts()
        return schemas

    @cached_property
    def _writer(self) -> OutputWriter:
        return OutputWriter(self.settings, self.detector, self._schemas)

    def batch(self, records: pd.DataFrame) -> RecordBatch:
        """Return records as the detector takes them.

        Parameters
        ----------
        records
            `RECORD_COLUMNS`, of each partition in the order of the offsets.
        """
        times = records["timestamp"].dt.tz_localize(None).to_numpy("datetime64[ms]")
        return RecordBatch.from_columns(
            self.settings.input_topic,
            records["value"].tolist(),
            SeriesColumns(
                records["key"].tolist(), records["partition"].to_numpy(), times.astype(np.int64)
            ),
            records["offset"].to_numpy(),
            [
                [*zip(names, values, strict=True)]
                for names, values in zip(
                    records["header_names"], records["header_values"], strict=True
                )
            ],
        )

    def step(self, state: DetectorState, batch: RecordBatch) -> Step:
        """Judge one batch; see `stream_detector.core.detector.Detector.step`."""
        batch = self._schemas.attach(batch)
        return self.detector.step(state, batch, self.settings.content_type)

    def outputs(self, batch: RecordBatch, step: Step) -> Iterator[OutputRow]:
        """Yield the alerts of a step and then its dead letters, as `detect` publishes them."""
        for found in self._writer.outputs(batch, step, SystemClock().now_ms()):
            topic, key, value, headers, timestamp_ms, _ = found.record
            names, values = [name for name, _ in headers], [value for _, value in headers]
            yield OutputRow(found.row, topic, key, value, names, values, timestamp_ms)


def check_settings(settings: DetectSettings) -> None:
    """Refuse settings that a job in Flink would ignore.

    Raises
    ------
    ConfigError
        If a topic for scores is set, or the connection is to be secured: Flink's Kafka client has
        options of its own for that.
    """
    if settings.scores_topic is not None:
        message = "scores_topic: expected none, since the jobs in Flink publish no scores"
        raise ConfigError(message)
    if settings.security_protocol != "PLAINTEXT":
        message = (
            f"security_protocol: expected none, received {settings.security_protocol}: Flink "
            "connects with Kafka's Java client, whose options are given as --kafka NAME=VALUE, "
            "such as --kafka security.protocol=SSL"
        )
        raise ConfigError(message)
