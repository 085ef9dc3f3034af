"""Streams of Kafka in Spark: records in, alerts and dead letters out, equal to those of `detect`.

What a partition has had so far decides what its next records mean: windows under way, open alerts,
incidents. So its records are judged in one place and in the order of their offsets, with a state
that Spark keeps in its checkpoint (`stream_detector.core.state.snapshot`)::

    Kafka's source -> pack: the rows of a partition as a few rows, each a piece of Arrow's columns
                   -> group by topic and partition
                   -> put in order, step from the state of the partition, keep the next state
                   -> Kafka's sink

Packed, a thousand records cost Spark's rows and Python's objects as much as one. Records that are
whole windows, by rules without incidents, need no state, and are judged where Spark reads them.

Nothing here has a timer: keys expire by the event time of their partition, as in `detect`, and not
by a clock.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.streaming import StatefulProcessor, StatefulProcessorHandle

from stream_detector.assembly import make_schemas
from stream_detector.core.detector import Detector, WindowDetector
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.snapshot import dump, load
from stream_detector.errors import ConfigError, StateError
from stream_detector.files import AnyPath
from stream_detector.integrations.spark.workers import (
    OUTPUT_SCHEMA,
    RECORD_COLUMNS,
    OpenBundle,
    SharedBundle,
    by_topic,
    in_order,
    output_batch,
    output_rows,
    pieces_in_order,
    records_of,
    share_bundle,
)
from stream_detector.settings import DetectSettings, load_settings

STATE_STORE = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
"""What keeps the state; Spark's other one does not serve `transformWithState`."""

STATE_STORE_KEY = "spark.sql.streaming.stateStore.providerClass"

PART_BYTES = 1_048_576
"""Longest part of a snapshot in the state store: RocksDB is made for small values."""

PACKED_SCHEMA = "topic string, partition int, records binary"
_PACKED = pa.schema([("topic", pa.string()), ("partition", pa.int32()), ("records", pa.binary())])


def score_stream(
    records: DataFrame,
    bundle: AnyPath,
    *,
    alerts_topic: str,
    dead_letter_topic: str,
    settings: DetectSettings | None = None,
) -> DataFrame:
    """Return the alerts and dead letters of a stream of records.

    Parameters
    ----------
    records
        A stream of Spark's Kafka source, with the option `includeHeaders`.
    bundle
        The bundle's folder, which Spark ships to its workers; `local:` before the path ships
        nothing: it is there on the driver and on every worker.
    alerts_topic, dead_letter_topic
        Where they go; two topics.
    settings
        As for `detect`. Of use here are `engine`, `content_type`, `input`, `alerting`, `keys_max`,
        `model_rows_max`, `dead_letter_bytes_max`, `scores_topic` and `alerts_format` with their
        formats, and the Schema Registry's; Spark does what the others are about.

    Returns
    -------
    Columns `topic`, `key`, `value` and `headers`, as Spark's Kafka sink takes them. Of one key, in
    the order of its records.

    Raises
    ------
    BundleError
        If the bundle is missing, changed, made for something else, or fails its self-test.
    ConfigError
        If `records` are not of Spark's Kafka source, the session keeps state elsewhere than in
        RocksDB, or the settings do not fit the bundle.
    """
    given = (settings or DetectSettings()).model_dump()
    given |= {"alerts_topic": alerts_topic, "dead_letter_topic": dead_letter_topic}
    _require_kafka_source(records)
    spark = records.sparkSession
    asked = load_settings(DetectSettings, **given)
    shared, served = share_bundle(spark, bundle, asked)
    make_schemas(asked, served.detector)  # refuses what workers would
    rows = records.select(*RECORD_COLUMNS)
    if not needs_state(served.detector):
        return rows.mapInArrow(BatchScorer(shared), OUTPUT_SCHEMA)
    _require_state_store(spark)
    packed = rows.mapInArrow(pack, PACKED_SCHEMA)
    return packed.groupBy("topic", "partition").transformWithState(
        PartitionProcessor(shared), OUTPUT_SCHEMA, "Append", "None"
    )


def needs_state(detector: Detector) -> bool:
    """Return whether what a record leads to depends on the records before it."""
    has_incidents = isinstance(detector, WindowDetector) and detector.incident_within_ms is not None
    return detector.keeps_state or has_incidents


def pack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of each partition in a batch as one row, with Arrow's columns as its value.

    Parameters
    ----------
    batches
        Columns `RECORD_COLUMNS`.
    """
    for batch in batches:
        table = pa.Table.from_batches([batch])
        places = table.group_by(["topic", "partition"]).aggregate([]).to_pylist()
        rows = []
        for place in places:
            own = table
            if len(places) > 1:
                is_of_topic = pc.equal(table["topic"], place["topic"])
                is_of_partition = pc.equal(table["partition"], place["partition"])
                own = table.filter(pc.and_(is_of_topic, is_of_partition))
            rows.append({**place, "records": to_bytes(own)})
        yield pa.RecordBatch.from_pylist(rows, schema=_PACKED)


class BatchScorer:
    """Judges records that need no state, where Spark reads them.

    Parameters
    ----------
    shared
        The bundle.
    """

    def __init__(self, shared: SharedBundle) -> None:
        self._shared = shared

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield what each batch of `RECORD_COLUMNS` led to, as columns of `OUTPUT_SCHEMA`."""
        bundle = self._shared.open()
        for batch in batches:
            if not batch.num_rows:
                continue
            for table in by_topic(pa.Table.from_batches([batch])):
                records = records_of(in_order(table))
                _, outputs = bundle.step(bundle.detector.initial_state(), records)
                yield output_batch(outputs)


class PartitionProcessor(StatefulProcessor):  # type: ignore[misc]  # pyspark is not checked
    """Judges the records of one partition after the other, each from the state that Spark keeps.

    Parameters
    ----------
    shared
        The bundle.
    """

    def __init__(self, shared: SharedBundle) -> None:
        self._shared = shared
        self._parts: Any = None

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Name the state: parts of a snapshot by number."""
        self._parts = handle.getMapState("snapshot", "number int", "part binary")

    def handleInputRows(
        self,
        key: tuple[Any, ...],
        rows: Iterator[Row],
        timerValues: Any,
    ) -> Iterator[Row]:
        """Yield what the packed records of a partition led to."""
        del key, timerValues
        bundle = self._shared.open()
        pieces = pieces_in_order(from_bytes(row.records) for row in rows)
        partition, first = (pieces[0][name][0].as_py() for name in ("partition", "offset"))
        state = self._load(bundle, partition, first)
        for piece in pieces:
            state, outputs = bundle.step(state, records_of(piece))
            for each in output_rows(outputs):
                yield Row(**each)
        self._save(dump(state, bundle.made_by, [partition]))

    def close(self) -> None:
        """Do nothing: the bundle stays open for the worker's next task."""

    def _load(self, bundle: OpenBundle, partition: int, offset: int) -> DetectorState:
        """Return the state of a partition, of which this is the first record if it has none."""
        parts: list[bytes] = []
        while (part := self._parts.getValue((len(parts),))) is not None:
            parts.append(part[0])
        state = bundle.detector.initial_state()
        if not parts:
            return state.open_partition(partition, offset)
        try:
            return load([b"".join(parts)], state, bundle.made_by)
        except StateError as error:
            message = (
                f"partition {partition}: the state in Spark's checkpoint is not one of this "
                f"bundle, its rules of alerts and this program: {error}. Give the query another "
                "checkpointLocation; it starts without state at its startingOffsets"
            )
            raise StateError(message) from None

    def _save(self, snapshot: bytes) -> None:
        """Keep a snapshot in parts, in place of the one before."""
        starts = range(0, len(snapshot), PART_BYTES)
        for number, start in enumerate(starts):
            self._parts.updateValue((number,), (snapshot[start : start + PART_BYTES],))
        number = len(starts)
        while self._parts.containsKey((number,)):
            self._parts.removeKey((number,))
            number += 1


def to_bytes(table: pa.Table) -> bytes:
    """Return a table in Arrow's stream format."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def from_bytes(packed: bytes) -> pa.Table:
    """Return a table given in Arrow's stream format."""
    with pa.ipc.open_stream(packed) as reader:
        return reader.read_all()


def _require_kafka_source(records: DataFrame) -> None:
    """Refuse rows that lack a column of Spark's Kafka source."""
    missing = [name for name in RECORD_COLUMNS if name not in records.columns]
    if missing:
        message = (
            f"records: expected the columns of Spark's Kafka source, {', '.join(RECORD_COLUMNS)}; "
            f"{', '.join(missing)} are missing: read them by spark.readStream.format('kafka') with "
            "option('includeHeaders', 'true'), and select none before"
        )
        raise ConfigError(message)


def _require_state_store(spark: SparkSession) -> None:
    """Refuse a session whose state store does not serve `transformWithState`."""
    received = spark.conf.get(STATE_STORE_KEY, "")
    if received != STATE_STORE:
        message = (
            f"{STATE_STORE_KEY}: expected {STATE_STORE}, because alerts depend on records before, "
            f"received {received}: set it in the session before the stream is made"
        )
        raise ConfigError(message)
