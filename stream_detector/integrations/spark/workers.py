"""What runs in a Spark worker: a bundle is opened once a process, columns become records.

The driver checks the bundle and says where workers find it (`share_bundle`). Each worker process
opens it at its first task and keeps it (`SharedBundle.open`). Between Spark and the detector there
are Arrow's columns only: no object a record but the bytes of its key and value, and no pandas::

    Spark's rows -> columns of Arrow -> RecordBatch -> detector -> records to write -> rows
"""

import atexit
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import SparkFiles
from pyspark.sql import SparkSession

from stream_detector.assembly import (
    Served,
    make_schemas,
    open_bundle,
    require_content_type,
    with_details,
)
from stream_detector.bundle import read_content
from stream_detector.core.records import Headers, OutputRecord, RecordBatch, SeriesColumns
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.errors import BundleMismatchError
from stream_detector.files import AnyPath
from stream_detector.ports import SchemaSource
from stream_detector.service.outputs import OutputWriter
from stream_detector.settings import DetectSettings

ON_WORKERS = "local:"
"""Begins the path of a bundle that is on every worker already, as in Spark's own options."""

OPEN_MAX = 4
"""Most bundles that a worker process keeps open."""

RECORD_COLUMNS = ("key", "value", "topic", "partition", "offset", "timestamp", "headers")
"""Columns of Spark's Kafka source that are read, `headers` with its option `includeHeaders`."""

OUTPUT_SCHEMA = (
    "topic string, key binary, value binary, headers array<struct<key: string, value: binary>>"
)
"""Columns of Spark's Kafka sink."""

_HEADER = pa.struct([("key", pa.string()), ("value", pa.binary())])
_OUTPUT = pa.schema(
    [
        ("topic", pa.string()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(_HEADER)),
    ]
)


@dataclass(frozen=True, slots=True)
class SharedBundle:
    """A bundle that the driver has checked and that workers can open.

    Parameters
    ----------
    place
        Name of the archive that Spark ships, or the path that every worker has.
    is_shipped
        Which of both it is.
    version
        Version of the bundle, which the one that a worker finds must have.
    settings
        How it is opened, and how what it finds is written.
    """

    place: str
    is_shipped: bool
    version: str
    settings: DetectSettings

    def open(self) -> "OpenBundle":
        """Return the bundle, opened by this worker process or from its memory.

        Raises
        ------
        BundleError
            If it is missing, changed or fails its self-test, or is not the one that the driver
            checked.
        """
        for number, each in enumerate(_OPEN):
            if each.shared == self:
                _OPEN.append(_OPEN.pop(number))
                return each
        folder = SparkFiles.get(self.place) if self.is_shipped else self.place
        found = OpenBundle(self, _open(folder, self.settings))
        version = found.served.bundle.reference.version
        if version != self.version:
            message = (
                f"bundle {folder} of a Spark worker: expected version {self.version}, which the "
                f"driver checked, received {version}: put the same bundle on every machine, or "
                f"give a path without {ON_WORKERS}, which Spark ships"
            )
            raise BundleMismatchError(message)
        _OPEN.append(found)
        del _OPEN[:-OPEN_MAX]
        return found


class OpenBundle:
    """A bundle in a worker process: records in, records to write out.

    Parameters
    ----------
    shared
        What it was opened from.
    served
        Its detector.
    """

    def __init__(self, shared: SharedBundle, served: Served) -> None:
        self.shared = shared
        self.served = served
        self.detector = with_details(served.detector, shared.settings)

    @cached_property
    def schemas(self) -> SchemaSource:
        """Where schemas of records come from; tables have none, so they ask no registry."""
        schemas = make_schemas(self.shared.settings, self.detector)
        schemas.register_alerts()
        return schemas

    @cached_property
    def _writer(self) -> OutputWriter:
        """What writes the outputs of steps."""
        return OutputWriter(self.shared.settings, self.detector, self.schemas)

    @property
    def made_by(self) -> str:
        """What snapshots of the state name: another bundle or other rules make another state."""
        digest = self.detector.rules_digest
        version = self.detector.bundle.version
        return version if digest is None else f"{version} {digest}"

    def step(
        self, state: DetectorState, batch: RecordBatch
    ) -> tuple[DetectorState, list[OutputRecord]]:
        """Judge records, and return the next state and what to write: scores, alerts, dead letters.

        Parameters
        ----------
        state
            Of the partitions of the batch.
        batch
            Those of a partition in the order of their offsets.
        """
        batch = self.schemas.attach(batch)
        step = self.detector.step(state, batch, self.shared.settings.content_type)
        now_ms = time.time_ns() // 1_000_000
        found = [each.record for each in self._writer.outputs(batch, step, now_ms)]
        return step.state, found


_OPEN: list[OpenBundle] = []
"""Bundles that this process has opened, the one that was used last at the end."""


def share_bundle(
    spark: SparkSession, bundle: AnyPath, settings: DetectSettings
) -> tuple[SharedBundle, Served]:
    """Check a bundle and let the workers of a session have it.

    Parameters
    ----------
    spark
        Ships the bundle to its workers, as an archive.
    bundle
        The bundle's folder here; `local:` before the path ships nothing: it is there on the driver
        and on every worker.
    settings
        How it is opened, and how what it finds is written.

    Returns
    -------
    What to give to functions that Spark ships, and the bundle as it was opened here.

    Raises
    ------
    BundleError
        If it is missing, changed, made for something else, or fails its self-test.
    ConfigError
        If the settings do not fit the bundle.
    """
    text = str(bundle)
    is_shipped = not text.startswith(ON_WORKERS)
    path = text.removeprefix(ON_WORKERS)
    served = _open(path, settings)
    version = served.bundle.reference.version
    place = _ship(spark, served) if is_shipped else path
    return SharedBundle(place, is_shipped, version, settings), served


def records_of(table: pa.Table | pa.RecordBatch) -> RecordBatch:
    """Return rows of Spark's Kafka source as a batch of records.

    Parameters
    ----------
    table
        Columns `RECORD_COLUMNS` of one topic, offsets ascending in each partition; at least a row.

    Examples
    --------
    >>> row = {"topic": "t", "partition": 3, "offset": 7, "timestamp": 1_500, "key": b"a"}
    >>> row |= {"value": b"1", "headers": [{"key": "h", "value": b"x"}]}
    >>> types = {"timestamp": pa.timestamp("us"), "key": pa.binary(), "value": pa.binary()}
    >>> table = pa.table({name: pa.array([row[name]], types.get(name)) for name in RECORD_COLUMNS})
    >>> records_of(table).metadata(0)[1:]
    (3, 7, 1, b'a', [('h', b'x')])
    """
    times_us = table["timestamp"].cast(pa.int64()).to_numpy(zero_copy_only=False)  # (n_records,)
    return RecordBatch.from_columns(
        topic=table["topic"][0].as_py(),
        values=_objects(table["value"]),
        series=SeriesColumns(
            _objects(table["key"]),
            table["partition"].to_numpy(zero_copy_only=False),
            times_us // 1_000,
        ),
        offsets=table["offset"].to_numpy(zero_copy_only=False),
        headers=_headers_of(table["headers"]),
    )


def in_order(table: pa.Table) -> pa.Table:
    """Return the rows of a topic by partition and offset; as they are, where they are so already.

    A shuffle gives no order, and what a program did to the records before may have changed it.
    """
    if _is_in_order(table):
        return table
    return table.sort_by([("partition", "ascending"), ("offset", "ascending")])


def pieces_in_order(tables: Iterable[pa.Table]) -> list[pa.Table]:
    """Return the rows of a partition, given in any pieces, in pieces that follow each other.

    They stay the pieces that they are unless they overlap: then they are one.
    """
    pieces = sorted(map(in_order, tables), key=lambda each: each["offset"][0].as_py())
    if all(
        one["offset"][-1].as_py() < other["offset"][0].as_py() for one, other in pairwise(pieces)
    ):
        return pieces
    return [in_order(pa.concat_tables(pieces))]


def by_topic(table: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows of each topic."""
    topics = pc.unique(table["topic"])
    for topic in topics:
        yield table if len(topics) == 1 else table.filter(pc.equal(table["topic"], topic))


def output_rows(outputs: Sequence[OutputRecord]) -> list[dict[str, Any]]:
    """Return records to write as rows of `OUTPUT_SCHEMA`."""
    return [
        {
            "topic": each.topic,
            "key": each.key,
            "value": each.value,
            "headers": [{"key": name, "value": value} for name, value in each.headers],
        }
        for each in outputs
    ]


def output_batch(outputs: Sequence[OutputRecord]) -> pa.RecordBatch:
    """Return records to write as columns of `OUTPUT_SCHEMA`."""
    return pa.RecordBatch.from_pylist(output_rows(outputs), schema=_OUTPUT)


def _open(path: AnyPath, settings: DetectSettings) -> Served:
    """Open a bundle as the settings say."""
    served = open_bundle(
        path,
        settings.engine,
        settings.model_rows_max,
        keys_max=settings.keys_max,
        changes=settings.changes,
    )
    require_content_type(settings.content_type, served)
    return served


def _ship(spark: SparkSession, served: Served) -> str:
    """Hand a bundle to Spark as an archive, and return its name, which no other bundle has.

    Spark serves the file from where it is for as long as the session lasts, so it is a copy: the
    bundle's folder may be replaced meanwhile. A folder would be refused but in local mode.
    """
    name = f"{served.bundle.reference.name}-{served.bundle.reference.version}.zip"
    if any(each.endswith(f"/{name}") for each in spark.sparkContext.listArchives):
        return name
    folder = tempfile.mkdtemp(prefix="stream-detector-spark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / name
    with ZipFile(path, "w") as archive:
        for file, content in read_content(served.bundle).items():
            archive.writestr(file, content)
    spark.sparkContext.addArchive(str(path))
    return name


def _is_in_order(table: pa.Table) -> bool:
    """Return whether partition and offset ascend together."""
    partitions = table["partition"].to_numpy(zero_copy_only=False)  # (n_records,)
    offsets = table["offset"].to_numpy(zero_copy_only=False)  # (n_records,)
    is_next = partitions[1:] > partitions[:-1]
    is_same = partitions[1:] == partitions[:-1]
    return bool((is_next | (is_same & (offsets[1:] > offsets[:-1]))).all())


def _objects(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """Return bytes, each once as an object of Python: None where there are none."""
    found: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    return found


def _headers_of(column: pa.ChunkedArray | pa.Array) -> list[Headers | None] | None:
    """Return the headers of records; None where no record has any."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    flat = whole.flatten()
    if not len(flat):
        return None
    pairs = [*zip(_objects(flat.field("key")), _objects(flat.field("value")), strict=True)]
    counts = pc.fill_null(pc.list_value_length(whole), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(counts)  # (n_records,)
    starts = (ends - counts).tolist()
    return [pairs[start:end] or None for start, end in zip(starts, ends.tolist(), strict=True)]
