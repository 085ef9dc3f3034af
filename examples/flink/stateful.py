"""Judge records of any kind: what the detector knows of a partition is state of Flink.

1. A pandas function packs the records of a batch, those of each partition together: a step over
   many records takes little more than one over a few.
2. They go to the task that has the partition, in their order.
3. There the detector takes a step. What it knows of the partition is a snapshot in Flink's state,
   and the packed records since then; a new snapshot is taken once they are as large as it is.
   After a failure the snapshot is loaded and the records are judged again, without any output.

Nothing that is found depends on where a batch was cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from detection import RECORD_COLUMNS, Judge
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ListStateDescriptor, ValueStateDescriptor
from pyflink.table import DataTypes
from pyflink.table.expressions import col
from pyflink.table.udf import udf
from tables import open_tables, read_command_line, run, write

from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.snapshot import dump, load

PACKED = pa.schema(
    zip(
        RECORD_COLUMNS,
        (
            pa.int32(),
            pa.int64(),
            pa.timestamp("ms", "UTC"),
            pa.list_(pa.string()),
            pa.list_(pa.binary()),
            pa.binary(),
            pa.binary(),
        ),
        strict=True,
    )
)


def pack(records: pd.DataFrame) -> bytes:
    """Return records as bytes, in the streaming format of Arrow."""
    batch = pa.RecordBatch.from_pandas(records, PACKED, preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, PACKED) as writer:
        writer.write_batch(batch)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def unpack(packed: bytes) -> pd.DataFrame:
    """Return the records that `pack` wrote."""
    records: pd.DataFrame = pa.ipc.open_stream(packed).read_pandas()
    return records


def pack_partitions(*columns: pd.Series) -> pd.Series:
    """Return at the last record of each partition all of that partition, and nothing elsewhere.

    Parameters
    ----------
    columns
        `RECORD_COLUMNS`.
    """
    records = pd.DataFrame(dict(zip(RECORD_COLUMNS, columns, strict=True)))
    packed = pd.Series([None] * len(records), dtype=object)
    for rows in records.groupby("partition").indices.values():
        packed[rows[-1]] = pack(records.iloc[rows])
    return packed


@dataclass(slots=True)
class _Known:
    """The state of a partition in memory, and how large what Flink keeps of it is.

    Parameters
    ----------
    state
        After the last step.
    n_snapshot_bytes, n_record_bytes
        Of the snapshot, and of the records since.
    """

    state: DetectorState
    n_snapshot_bytes: int = 0
    n_record_bytes: int = 0


class Detect(KeyedProcessFunction):  # type: ignore[misc]
    """Judges the records of some partitions."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def open(self, runtime_context: RuntimeContext) -> None:
        """Load the bundle, before there is a record."""
        self._known: dict[int, _Known] = {}
        self._detector = self._judge.detector
        self._snapshot = runtime_context.get_state(ValueStateDescriptor("snapshot", bytes_type()))
        self._since = runtime_context.get_list_state(ListStateDescriptor("since", bytes_type()))

    def process_element(self, value: Row, ctx: Any) -> Iterator[Row]:
        """Judge some records of one partition, and yield alerts and dead letters."""
        del ctx
        partition, packed = value
        known = self._known.get(partition)
        if known is None:
            known = self._known[partition] = self._restore(packed)
        batch = self._judge.batch(unpack(packed))
        step = self._judge.step(known.state, batch)
        known.state = step.state
        for _, *fields in self._judge.outputs(batch, step):
            yield Row(*fields)
        self._keep(known, packed)

    def _keep(self, known: _Known, packed: bytes) -> None:
        """Give Flink the records, or a snapshot in place of as many bytes of records."""
        known.n_record_bytes += len(packed)
        if known.n_record_bytes < known.n_snapshot_bytes:
            self._since.add(packed)
            return
        snapshot = dump(known.state, self._judge.made_by)
        self._snapshot.update(snapshot)
        self._since.clear()
        known.n_snapshot_bytes, known.n_record_bytes = len(snapshot), 0

    def _restore(self, packed: bytes) -> _Known:
        """Return what Flink keeps of a partition, or its first state before some records."""
        state, snapshot = self._detector.initial_state(), self._snapshot.value()
        if snapshot is None:
            first = unpack(packed).iloc[0]
            return _Known(state.open_partition(int(first["partition"]), int(first["offset"])))
        known = _Known(load([snapshot], state, self._judge.made_by), len(snapshot))
        for each in self._since.get() or ():
            known.state = self._judge.step(known.state, self._judge.batch(unpack(each))).state
            known.n_record_bytes += len(each)
        return known


def bytes_type() -> Any:
    """Return the type of bytes; made where it is used, since Flink ships no types to workers."""
    return Types.PRIMITIVE_ARRAY(Types.BYTE())


def found_type() -> Any:
    """Return the type of an alert or a dead letter."""
    return Types.ROW_NAMED(
        ["topic", "key", "value", "header_names", "header_values", "timestamp_ms"],
        [
            Types.STRING(),
            bytes_type(),
            bytes_type(),
            Types.OBJECT_ARRAY(Types.STRING()),
            Types.OBJECT_ARRAY(bytes_type()),
            Types.LONG(),
        ],
    )


def main() -> None:
    """Run the job."""
    judge, options = read_command_line(__doc__ or "")
    tables = open_tables(judge, options)
    together = udf(pack_partitions, result_type=DataTypes.BYTES(), func_type="pandas")
    columns = [col(name) for name in RECORD_COLUMNS]
    packed = (
        tables.from_path("records")
        .select(col("partition"), together(*columns).alias("records"))
        .where(col("records").is_not_null)
    )
    found = (
        tables.to_data_stream(packed)
        .key_by(lambda row: row[0], key_type=Types.INT())
        .process(Detect(judge), output_type=found_type())
        .uid("detector")
        .name("detector")
    )
    write(tables.from_data_stream(found))


if __name__ == "__main__":
    run(main)
