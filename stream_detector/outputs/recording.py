"""Record the newest samples of a topic, as one table of samples."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np

from stream_detector.assembly import connect_reader, make_schemas, require_topic, schemas_for
from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.codec.samples import DecodedSamples, decode_samples
from stream_detector.core.features import Features
from stream_detector.core.records import Headers, RecordBatch, Samples, SeriesColumns
from stream_detector.core.results import divide_rejected
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.windowing.parts import merge_parts
from stream_detector.errors import DatasetError
from stream_detector.outputs.offsets import Offsets, find_newest, newest_time
from stream_detector.outputs.topic_features import (
    find_json_features,
    find_mapped_features,
    probe_table,
)
from stream_detector.ports import Client, Clock, SystemClock
from stream_detector.recipes.input import InputSection, parse_input
from stream_detector.schemas.mapping import open_mapping
from stream_detector.settings import ConnectionSettings, DetectSettings

_POLL_RECORDS_MAX, _POLL_MS = 2_000, 200
_READ_WHOLE = 50_000
"""A topic that holds fewer records is read from its beginning: that takes less time than to find
out where the newest ones begin."""

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
    spread_keys
        Keys whose records are on several partitions: no detector can put them together.
    table
        How the records were read: the `[input]` of a recipe for them, with the unit of their times.
    """

    samples: Samples
    features: tuple[str, ...]
    n_rejected: int
    first_rejection: str
    spread_keys: tuple[str, ...] = ()
    table: InputSection = InputSection()

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the features that a detector of these records needs: others are in none of them.

        Empty where records have features by name and may have more.
        """
        is_by_name = self.table.is_given and "feature_name" not in self.table.resolved()
        is_numbered = self.features == Features.generated(len(self.features)).names
        return () if is_by_name and not is_numbered else self.features


@dataclass(slots=True)
class _Records:
    """Records that were read, as columns; `now_ms` is the time now, see `newest_time`."""

    now_ms: int
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers | None] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    oldest_ms: float = 2**63
    newest_ms: float = 0

    @property
    def span_ms(self) -> float:
        """Return the time from the oldest record to the newest."""
        return max(self.newest_ms - self.oldest_ms, 0)

    @property
    def batch(self) -> RecordBatch:
        """Return the records as one batch, of whose places in Kafka nothing is known."""
        series = SeriesColumns(
            self.keys,
            np.array(self.partitions, dtype=np.int64),
            np.array(self.times_ms, dtype=np.int64),
        )
        headers = self.headers if any(self.headers) else None
        return RecordBatch(
            self.values, headers, {}, _no_metadata, lambda: series, lambda: series.partitions
        )

    def add(self, batch: RecordBatch) -> None:
        """Add the records of one poll."""
        series, known = batch.series(), [self.newest_ms] if self.values else []
        self.values += batch.values
        self.headers += [None] * len(batch) if batch.headers is None else batch.headers
        self.keys += series.keys
        self.partitions += series.partitions.tolist()
        times_ms = series.timestamps_ms.tolist()
        self.times_ms += times_ms
        self.oldest_ms = min([self.oldest_ms, *times_ms])
        self.newest_ms = newest_time([*known, *times_ms], self.now_ms)

    def keep_newest(self, span_ms: float) -> None:
        """Drop the records that are further behind the newest one."""
        oldest_ms = self.newest_ms - span_ms
        rows = [row for row, time_ms in enumerate(self.times_ms) if time_ms >= oldest_ms]
        if len(rows) < len(self.times_ms):
            self.values = [self.values[row] for row in rows]
            self.headers = [self.headers[row] for row in rows]
            self.keys = [self.keys[row] for row in rows]
            self.times_ms = [self.times_ms[row] for row in rows]
            self.partitions = [self.partitions[row] for row in rows]
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
    batch = _read(settings, topic, span_ms, clock, is_stopping, on_progress)
    if not table.is_given:
        return _decode(batch, topic, table, find_json_features(batch.values, topic))
    probe = open_mapping(probe_table(table), ())
    assert probe is not None  # noqa: S101  (narrows the type)
    batch = schemas_for(settings, probe).attach(batch)
    features, table = find_mapped_features(batch, topic, table, probe)
    return _decode(batch, topic, table, features)


def record_samples_for(
    detector: SampleDetector,
    settings: DetectSettings,
    span_ms: float,
    *,
    clock: Clock | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
    on_progress: OnProgress = lambda _n_records, _span_ms: None,
) -> Recording:
    """Read the newest samples of the input topic as a detector reads them.

    Parameters
    ----------
    detector
        Says which features there are, and where in the records things are.
    settings
        How to reach Kafka, the topic, and the format of records that do not name theirs.
    span_ms, clock, is_stopping, on_progress
        As in `record_samples`, with the same errors.
    """
    topic = settings.input_topic
    batch = _read(settings, topic, span_ms, clock, is_stopping, on_progress)
    batch = make_schemas(settings, detector).attach(batch)
    batch, found = detector.decode(batch, settings.content_type)
    return _recording(batch, found, topic, detector.features, InputSection())


def _read(
    settings: ConnectionSettings,
    topic: str,
    span_ms: float,
    clock: Clock | None,
    is_stopping: Callable[[], bool],
    on_progress: OnProgress,
) -> RecordBatch:
    """Return the newest records of a topic as one batch; see `record_samples`."""
    clock = clock or SystemClock()
    deadline_s = clock.monotonic_s() + span_ms / 1_000
    records, n_kept = _Records(clock.now_ms()), 0
    starts = _find_starts(settings, topic, span_ms, records.now_ms)
    with closing(connect_reader(settings, topic)) as client:
        client.poll(1, 0)  # the first poll assigns the partitions
        ends = client.end_offsets(starts)
        for each, offset in starts.items():
            client.seek(each, offset)
        while not is_stopping():
            batch = client.poll(_POLL_RECORDS_MAX, _POLL_MS)
            records.add(batch)
            if len(records.values) > 2 * n_kept + 100_000:  # not at every poll
                records.keep_newest(span_ms)
                n_kept = len(records.values)
            on_progress(len(records.values), records.span_ms)
            is_over = records.span_ms >= span_ms or clock.monotonic_s() >= deadline_s
            if is_over and _is_past(client, ends):
                break
    records.keep_newest(span_ms)
    if not records.values:
        message = (
            f"topic {topic}: expected records of samples, received none: it is empty, and nothing "
            "came while it was read; send some, or give a file"
        )
        raise DatasetError(message)
    return records.batch


def _find_starts(
    settings: ConnectionSettings, topic: str, span_ms: float, now_ms: float
) -> Offsets:
    """Return the offsets at which reading begins: of many records, where the newest ones do."""
    with closing(connect_reader(settings, topic)) as client:
        require_topic(client, topic, settings.bootstrap_servers)
        client.poll(1, 0)  # the first poll assigns the partitions
        first = client.beginning_offsets(client.assignment())
        end = client.end_offsets(first)
        if sum(end[each] - first[each] for each in first) <= _READ_WHOLE:
            return first
        return find_newest(client, first, end, span_ms, now_ms)


def _is_past(client: Client, ends: Offsets) -> bool:
    """Return whether reading has come to some offsets."""
    positions = client.positions(ends)
    return all(positions.get(each, 0) >= end for each, end in ends.items())


def _decode(batch: RecordBatch, topic: str, table: InputSection, features: Features) -> Recording:
    """Return the samples that records hold."""
    mapping = open_mapping(table, features.names)

    def decode(interval_ms: float) -> tuple[RecordBatch, DecodedSamples]:
        how: dict[str, Any] = {"features": features, "interval_ms": interval_ms}
        if mapping is None:
            series = batch.series()
            return batch, decode_samples(batch.values, batch.headers, series, None, **how)
        return decode_mapped_samples(batch, None, mapping, **how)

    keyed, found = decode(1.0)
    if (found.counts > 1).any():  # all but the first sample of a record follow at the interval
        keys = keyed.keys()
        _, found = decode(_interval_ms(found, [keys[row] for row in found.indices.tolist()]))
    return _recording(keyed, found, topic, features, table)


def _recording(
    batch: RecordBatch,
    found: DecodedSamples,
    topic: str,
    features: Features,
    table: InputSection,
) -> Recording:
    """Return the samples that were found in records; see `Recording`."""
    keys = batch.keys()
    rejected, _ = divide_rejected(found.rejected)
    if not len(found.indices):
        why = str(found.rejected[0].error) if found.rejected else "they hold none"
        message = f"topic {topic}: expected records of samples, received no usable ones: {why}"
        if why.startswith("input.features.") and len(features.names) > 1:
            message += (
                f"; where records have some of {', '.join(features.names[:5])} each, --set "
                "input.absent=missing takes what they lack as missing values"
            )
        raise DatasetError(message)
    numbers: dict[bytes | None, int] = {}
    own = [numbers.setdefault(keys[row], len(numbers)) for row in found.indices.tolist()]
    names = tuple((key or b"").decode("utf-8", "backslashreplace") for key in numbers)
    values: Any = found.values
    if features.origin:
        values = features.to_unit(values.astype(np.float64))
    samples = Samples(
        keys=names,
        series=np.repeat(np.array(own, dtype=np.intp), found.counts),
        times_ms=found.times_ms,
        values=values,
    )
    places = np.unique([own, batch.series().partitions[found.indices]], axis=1)[0]  # (n_places,)
    spread = tuple(names[key] for key in np.flatnonzero(np.bincount(places) > 1).tolist())
    rejection = str(rejected[0].error) if rejected else ""
    joined = _join_parts(samples)
    return Recording(joined, features.names, len(rejected), rejection, spread, table)


def _join_parts(samples: Samples) -> Samples:
    """Put samples of one key and time together that each bring some of the values."""
    order = np.lexsort((samples.times_ms, samples.series))  # (n_samples,)
    places = np.stack([samples.series[order], samples.times_ms[order]])  # (2, n_samples)
    is_first = np.append(True, (np.diff(places, axis=1) != 0).any(axis=0))
    firsts = np.flatnonzero(is_first)  # (n_cells,)
    merged = merge_parts(samples.values[order], firsts, np.ones(len(order), dtype=np.bool_))
    values = samples.values.copy()
    values[order[firsts]] = merged.values
    # A repeat of what is there is kept, so that it is seen.
    is_repeat = ~merged.is_new & ~np.isnan(samples.values[order]).all(axis=1)
    rows = np.sort(order[is_first | is_repeat])
    return Samples(samples.keys, samples.series[rows], samples.times_ms[rows], values[rows])


def _no_metadata(index: int) -> NoReturn:
    """Refuse to say more of a record: nothing here asks."""
    raise NotImplementedError(index)


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
