"""Record the newest samples of a topic, as one table of samples."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np

from stream_detector.assembly import connect_reader, require_topic, schemas_for
from stream_detector.core.codec.discovery import find_features, find_time_unit
from stream_detector.core.codec.json_format import parse_json
from stream_detector.core.codec.mapped_records import documents_in
from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.codec.paths import describe_leaves
from stream_detector.core.codec.samples import DecodedSamples, decode_samples
from stream_detector.core.features import Features
from stream_detector.core.records import Headers, RecordBatch, Samples, SeriesColumns
from stream_detector.core.results import divide_rejected
from stream_detector.errors import ConfigError, DataError, DatasetError
from stream_detector.ports import Clock, SystemClock
from stream_detector.recipes.input import InputSection, parse_input
from stream_detector.schemas.mapping import open_mapping
from stream_detector.settings import ConnectionSettings, DetectSettings

_POLL_RECORDS_MAX, _POLL_MS = 2_000, 200
_RECORDS_TRIED = 200
"""So many records are looked at to find out which features there are."""

OnProgress = Callable[[int, float], None]
"""Takes the number of records read so far, and the milliseconds that they span."""


class Recording(NamedTuple):
    """Samples of a topic.

    Parameters
    ----------
    samples
        In the order in which they were written, values float64.
    features
        The names of their values.
    n_rejected
        Records that could not be used.
    first_rejection
        What was wrong with the first of them; empty if there is none.
    table
        How the records were read: the `[input]` of a recipe for them, with the unit of their times.
    """

    samples: Samples
    features: tuple[str, ...]
    n_rejected: int
    first_rejection: str
    table: InputSection = InputSection()


@dataclass(slots=True)
class _Records:
    """Records that were read, as columns."""

    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers | None] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    oldest_ms: int = 2**63
    newest_ms: int = 0

    @property
    def span_ms(self) -> int:
        """Return the time from the oldest record to the newest."""
        return max(self.newest_ms - self.oldest_ms, 0)

    @property
    def batch(self) -> RecordBatch:
        """Return the records as one batch, of whose places in Kafka nothing is known."""
        n_records = len(self.values)
        series = SeriesColumns(
            self.keys,
            np.zeros(n_records, dtype=np.int64),
            np.array(self.times_ms, dtype=np.int64),
        )
        headers = self.headers if any(self.headers) else None
        return RecordBatch(
            self.values, headers, {}, _no_metadata, lambda: series, lambda: series.partitions
        )

    def add(self, batch: RecordBatch) -> None:
        """Add the records of one poll."""
        series = batch.series()
        self.values += batch.values
        self.headers += [None] * len(batch) if batch.headers is None else batch.headers
        self.keys += series.keys
        times_ms = series.timestamps_ms.tolist()
        self.times_ms += times_ms
        self.oldest_ms = min([self.oldest_ms, *times_ms])
        self.newest_ms = max([self.newest_ms, *times_ms])

    def keep_newest(self, span_ms: float) -> None:
        """Drop the records that are further behind the newest one."""
        oldest_ms = self.newest_ms - span_ms
        rows = [row for row, time_ms in enumerate(self.times_ms) if time_ms >= oldest_ms]
        if len(rows) < len(self.times_ms):
            self.values = [self.values[row] for row in rows]
            self.headers = [self.headers[row] for row in rows]
            self.keys = [self.keys[row] for row in rows]
            self.times_ms = [self.times_ms[row] for row in rows]
            self.oldest_ms = min(self.times_ms)


def record_samples(
    settings: ConnectionSettings,
    topic: str,
    span_ms: float,
    *,
    clock: Clock | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
    on_progress: OnProgress = lambda _n_records, _span_ms: None,
) -> Recording:
    """Read the newest samples of a topic, and wait for more where it holds too few.

    Parameters
    ----------
    settings
        How to reach Kafka, and in `input` where in the records things are.
    topic
        The topic; its records are samples, as `detect` reads them.
    span_ms
        The records of so long a time are wanted, by their own times. At most as long it is waited
        for them.
    clock
        Source of the time.
    is_stopping
        Asked between polls; stops where it returns True.
    on_progress
        Called after each poll.

    Raises
    ------
    BrokerError
        If the topic does not exist or no broker answers.
    DatasetError
        If no record could be read.
    ConfigError
        If `input` is wrong.
    """
    given = settings.input if isinstance(settings, DetectSettings) else {}
    table = parse_input(given).with_schema_text()
    clock = clock or SystemClock()
    start_ms, deadline_s = clock.now_ms(), clock.monotonic_s() + span_ms / 1_000
    records, n_kept = _Records(), 0
    client = connect_reader(settings, topic)
    with closing(client):
        require_topic(client, topic, settings.bootstrap_servers)
        while not is_stopping():
            batch = client.poll(_POLL_RECORDS_MAX, _POLL_MS)
            records.add(batch)
            if len(records.values) > 2 * n_kept + 100_000:  # not at every poll
                records.keep_newest(span_ms)
                n_kept = len(records.values)
            on_progress(len(records.values), records.span_ms)
            is_at_end = not len(batch) or records.newest_ms >= start_ms
            if is_at_end and records.span_ms >= span_ms:
                break
            if clock.monotonic_s() >= deadline_s:
                break
    records.keep_newest(span_ms)
    batch = records.batch
    if not table.is_given:
        return _decode(batch, topic, table, _features_of(records, topic))
    probe = open_mapping(_probe_table(table), ())
    assert probe is not None  # noqa: S101  (narrows the type)
    batch = schemas_for(settings, probe).attach(batch)
    features, table = _find_out(batch, topic, table, probe)
    return _decode(batch, topic, table, features)


def _decode(batch: RecordBatch, topic: str, table: InputSection, features: Features) -> Recording:
    """Return the samples that records hold."""
    mapping = open_mapping(table, features.names)

    def decode(interval_ms: float) -> tuple[Sequence[bytes | None], DecodedSamples]:
        how: dict[str, Any] = {"features": features, "interval_ms": interval_ms}
        if mapping is None:
            series = batch.series()
            return series.keys, decode_samples(batch.values, batch.headers, series, None, **how)
        keyed, samples = decode_mapped_samples(batch, None, mapping, **how)
        return keyed.keys(), samples

    keys, found = decode(1.0)
    if (found.counts > 1).any():  # all but the first sample of a record follow at the interval
        _, found = decode(_interval_ms(found, [keys[row] for row in found.indices.tolist()]))
    rejected, _ = divide_rejected(found.rejected)
    if not len(found.indices):
        why = str(found.rejected[0].error) if found.rejected else "it is empty"
        message = f"topic {topic}: expected records of samples, received no usable ones: {why}"
        raise DatasetError(message)
    numbers: dict[bytes | None, int] = {}
    own = [numbers.setdefault(keys[row], len(numbers)) for row in found.indices.tolist()]
    samples = Samples(
        keys=tuple((key or b"").decode("utf-8", "backslashreplace") for key in numbers),
        series=np.repeat(np.array(own, dtype=np.intp), found.counts),
        times_ms=found.times_ms,
        values=found.values,
    )
    rejection = str(rejected[0].error) if rejected else ""
    return Recording(samples, features.names, len(rejected), rejection, table)


def _no_metadata(index: int) -> NoReturn:
    """Refuse to say more of a record: nothing here asks."""
    raise NotImplementedError(index)


def _probe_table(table: InputSection) -> InputSection:
    """Return a table by which documents can be read whose features are not known."""
    without: dict[str, Any] = {"features": None, "time_unit": None}
    resolved = table.resolved()
    if "feature_name" not in resolved:
        without["values"] = resolved.get("values", "values")
    return table.model_copy(update=without)


def _find_out(
    batch: RecordBatch, topic: str, table: InputSection, probe: InputMapping
) -> tuple[Features, InputSection]:
    """Return the features that the first records have, and the table with the unit of their times.

    Raises
    ------
    DatasetError
        If none of them has any.
    ConfigError
        If the unit is to be found and cannot be.
    """
    resolved = table.resolved()
    first = batch.select(np.arange(len(batch))[:_RECORDS_TRIED], {})
    documents = documents_in(first, probe)
    if resolved.get("time_unit") == "auto":
        unit = find_time_unit(documents, probe)
        if unit is None:
            message = (
                f"topic {topic}: input.time_unit: expected times whose unit can be told, received "
                f"none at {resolved.get('time')!r}; name s, ms, us, ns or iso8601"
            )
            raise ConfigError(message)
        table = table.model_copy(update={"time_unit": unit})
    features = find_features(documents, probe, list(resolved.get("features", {})))
    if features is None:
        shown = describe_leaves(documents[0]) if documents else "no record could be read"
        message = (
            f"topic {topic}: expected features as [input] says, received none among the first "
            f"{min(len(batch), _RECORDS_TRIED)} records; {shown}"
        )
        raise DatasetError(message)
    return features, table


def _features_of(records: _Records, topic: str) -> Features:
    """Return the features that the first records have."""
    names: dict[str, None] = {}
    n_values = 0
    for value in records.values[:_RECORDS_TRIED]:
        sample = _first_sample(value)
        if isinstance(sample, Mapping):
            names |= dict.fromkeys(sample)
        elif isinstance(sample, Sequence):
            n_values = max(n_values, len(sample))
    if names:
        return Features(tuple(names))
    if n_values:
        return Features.generated(n_values)
    message = (
        f"topic {topic}: expected JSON records of samples, such as "
        '{"values": {"temperature": 65.1}}, received none among the first '
        f"{min(len(records.values), _RECORDS_TRIED)}; send some, or write the samples to a file"
    )
    raise DatasetError(message)


def _first_sample(value: bytes | None) -> Any:
    """Return the first sample of a JSON record, None where it holds none."""
    try:
        values = parse_json(value or b"")["values"]
        if isinstance(values, Mapping):
            return values
        first = values[0]
    except (DataError, ValueError, TypeError, LookupError):
        return None
    return first if isinstance(first, Mapping | list) else values


def _interval_ms(found: DecodedSamples, keys: Sequence[bytes | None]) -> float:
    """Return the usual time from one sample to the next, from the first times of records."""
    firsts = found.times_ms[np.cumsum(found.counts) - found.counts]  # (n_records,)
    apart = [np.empty(0)]
    _, numbers = np.unique(np.array([key or b"" for key in keys]), return_inverse=True)
    for number in range(int(numbers.max()) + 1):
        rows = np.flatnonzero(numbers == number)
        rows = rows[np.argsort(firsts[rows], kind="stable")]
        apart.append(np.diff(firsts[rows]) / found.counts[rows[:-1]])
    every = np.concatenate(apart)
    later = every[every > 0]
    return float(np.median(later)) if len(later) else 1.0
