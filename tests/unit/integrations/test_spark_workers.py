"""What runs in a Spark worker, without Spark: alerts and dead letters are those of `detect`."""

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from avro_forms import FLAT, framed
from fake_registry import fake_registry
from input_forms import NAMES, PARTITIONS, samples_of, write_bundle
from sample_streams import START_MS
from spark_inputs import CASES, N_PARTITIONS, Case, lines_of

from stream_detector.assembly import make_schemas, open_bundle, with_details
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.records import OutputRecord
from stream_detector.errors import BundleMismatchError, StateError
from stream_detector.ports import SystemClock
from stream_detector.service import Service
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics

pa = pytest.importorskip("pyarrow")
sql = pytest.importorskip("pyspark.sql", reason="make test installs Spark")

from pyspark.sql.streaming import TwsTester  # noqa: E402

from stream_detector.integrations.spark import streams, workers  # noqa: E402
from stream_detector.integrations.spark.workers import RECORD_COLUMNS  # noqa: E402

TYPES = {
    "key": pa.binary(),
    "value": pa.binary(),
    "topic": pa.string(),
    "partition": pa.int32(),
    "offset": pa.int64(),
    "timestamp": pa.timestamp("us", "America/New_York"),
    "headers": pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())])),
}
SETTINGS: dict[str, Any] = {"input_topic": "telemetry", "stop_when_idle_s": 0.1}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def bundle_of(name: str) -> Path:
        path: Path = tmp_path_factory.mktemp("bundles") / "bundle"
        CASES[name].make_bundle(path)
        return path

    return bundle_of


def filled_broker(case: Case) -> MemoryBroker:
    broker = MemoryBroker(now_ms=lambda: START_MS)
    broker.create_topic("telemetry", N_PARTITIONS)
    broker.create_topic("alerts")
    broker.create_topic("dead-letters")
    for record in case.records("telemetry"):
        broker.append(record)
    return broker


def detected(broker: MemoryBroker, bundle: Path, settings: DetectSettings) -> list[OutputRecord]:
    """Return what `detect` writes."""
    client = broker.connect(topics=["telemetry"], group="g")
    served = open_bundle(bundle, changes=settings.changes)
    detector = with_details(served.detector, settings)
    schemas = make_schemas(settings, detector)
    Service(client, detector, settings, Metrics(), SystemClock(), schemas).run()
    return [
        OutputRecord(topic, each.metadata.key, each.value, each.metadata.headers)
        for topic in ("alerts", "dead-letters")
        for each in broker.records(topic)
    ]


def batches_of(broker: MemoryBroker, sizes: list[int]) -> Iterator[Any]:
    """Yield the records of a topic as Spark's source gives them, in batches of these sizes."""
    rows = [
        {
            "key": each.metadata.key,
            "value": each.value,
            "topic": each.metadata.topic,
            "partition": each.metadata.partition,
            "offset": each.metadata.offset,
            "timestamp": each.metadata.timestamp_ms * 1_000,
            "headers": [{"key": n, "value": v} for n, v in each.metadata.headers] or None,
        }
        for each in broker.records("telemetry")
    ]
    start = 0
    while start < len(rows):
        for size in sizes:
            some = rows[start : start + size]
            start += size
            columns = {
                name: pa.array([r[name] for r in some], kind) for name, kind in TYPES.items()
            }
            yield pa.RecordBatch.from_pydict(columns)


def shared(bundle: Path, **changes: Any) -> Any:
    settings = DetectSettings(**SETTINGS, **changes)
    version = open_bundle(bundle, changes=settings.changes).bundle.reference.version
    return workers.SharedBundle(str(bundle), is_shipped=False, version=version, settings=settings)


def outputs_of(rows: list[Any]) -> list[OutputRecord]:
    """Return rows of Spark as records."""
    return [
        OutputRecord(
            each["topic"],
            each["key"],
            each["value"],
            [(header["key"], header["value"]) for header in each["headers"]],
        )
        for each in rows
    ]


def streamed(broker: MemoryBroker, bundle: Any, sizes: list[int], seed: int) -> list[OutputRecord]:
    """Return what the operator with state writes, one micro-batch for each group of batches."""
    draw = random.Random(seed)
    tester = TwsTester(streams.PartitionProcessor(bundle))
    found: list[Any] = []
    batches = list(batches_of(broker, sizes))
    while batches:
        n_together = draw.randint(1, 3)
        packed = [
            row for each in streams.pack(iter(batches[:n_together])) for row in each.to_pylist()
        ]
        del batches[:n_together]
        draw.shuffle(packed)  # a shuffle gives no order
        for place in sorted({(row["topic"], row["partition"]) for row in packed}):
            rows = [sql.Row(**row) for row in packed if (row["topic"], row["partition"]) == place]
            found += [row.asDict(True) for row in tester.test(place, rows)]
    return outputs_of(found)


@pytest.mark.parametrize("name", CASES)
def test_whatever_the_micro_batches_all_is_as_detect_writes_it(
    name: str, bundles: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, bundle = CASES[name], bundles(name)
    monkeypatch.setattr(streams, "PART_BYTES", 700)
    broker = filled_broker(case)
    expected = detected(broker, bundle, DetectSettings(**SETTINGS, **case.settings))
    found = streamed(broker, shared(bundle, **case.settings), [31, 7, 90], seed=1)
    assert lines_of(found, "dead-letters") == lines_of(expected, "dead-letters")
    assert {each.topic for each in found} >= {"alerts"}


def test_the_odd_ones_hold_what_depends_on_time(bundles: Any) -> None:
    broker = filled_broker(CASES["odd ones"])
    records = detected(broker, bundles("odd ones"), DetectSettings(**SETTINGS))
    alerts = [orjson.loads(each.value or b"") for each in records if each.topic == "alerts"]
    reasons = {each["reason"] for each in alerts}
    assert reasons >= {"recovered", "key_expired", "no_data", "feature_missing", "clock_set"}
    errors = {dict(each.headers).get("__connect.errors.exception.class.name") for each in records}
    assert b"RecordOrderError" in errors
    incidents = [each["incident_id"] for each in alerts]
    assert 1 < len(set(incidents)) < len(incidents)


def test_without_state_each_batch_stands_for_itself(bundles: Any) -> None:
    name = "beats without incidents"
    case, broker = CASES[name], filled_broker(CASES[name])
    bundle = shared(bundles(name), **case.settings)
    assert not streams.needs_state(bundle.open().detector)
    batches = [*batches_of(broker, [31, 7, 90])]
    found = [row for each in streams.BatchScorer(bundle)(iter(batches)) for row in each.to_pylist()]
    expected = detected(broker, bundles(name), DetectSettings(**SETTINGS, **case.settings))
    lines = lines_of(outputs_of(found), "dead-letters")
    assert lines == lines_of(expected, "dead-letters")


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("beats", {}, True),
        ("beats", {"alerting": {"incident_within_ms": 0}}, False),
        ("heartbeats", {"alerting": {"incident_within_ms": 0}}, True),
    ],
)
def test_state_is_needed_for_samples_and_for_incidents(
    name: str, changes: dict[str, Any], expected: bool, bundles: Any
) -> None:
    assert streams.needs_state(shared(bundles(name), **changes).open().detector) is expected


def test_a_batch_of_several_topics_is_judged_topic_by_topic(bundles: Any) -> None:
    name = "beats without incidents"
    [whole] = batches_of(filled_broker(CASES[name]), [1_000])
    topics = pa.array([f"t{number % 2}" for number in range(whole.num_rows)])
    mixed = whole.set_column(RECORD_COLUMNS.index("topic"), "topic", topics)
    scorer = streams.BatchScorer(shared(bundles(name), **CASES[name].settings))
    found = outputs_of([row for each in scorer(iter([mixed])) for row in each.to_pylist()])
    alerts = [orjson.loads(each.value or b"") for each in found if each.topic == "alerts"]
    assert {each["source"]["topic"] for each in alerts} == {"t0", "t1"}
    [packed] = streams.pack(iter([mixed]))
    rows = packed.to_pylist()
    places = [(row["topic"], row["partition"]) for row in rows]
    assert sorted(places) == [("t0", 0), ("t0", 1), ("t1", 0), ("t1", 1)]
    tables = [streams.from_bytes(row["records"]) for row in rows]
    for place, table in zip(places, tables, strict=True):
        rows = table.select(["topic", "partition"]).to_pylist()
        assert {(row["topic"], row["partition"]) for row in rows} == {place}
    assert sum(map(len, tables)) == whole.num_rows


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([[3, 5], [1, 2], [7]], [[1, 2], [3, 5], [7]]),
        ([[5, 3], [2, 1]], [[1, 2], [3, 5]]),
        ([[1, 4], [3, 5]], [[1, 3, 4, 5]]),
        ([[1, 4], [4, 5]], [[1, 4, 4, 5]]),
    ],
)
def test_pieces_of_a_partition_are_put_in_order_and_joined_where_they_overlap(
    pieces: list[list[int]], expected: list[list[int]]
) -> None:
    tables = [pa.table({"partition": [0] * len(each), "offset": each}) for each in pieces]
    found = workers.pieces_in_order(tables)
    assert [each["offset"].to_pylist() for each in found] == expected


def test_rows_that_are_in_order_are_not_copied() -> None:
    table = pa.table({"partition": [0, 0, 1], "offset": [7, 9, 2]})
    assert workers.in_order(table) is table
    other = pa.table({"partition": [1, 0, 0], "offset": [2, 9, 7]})
    assert workers.in_order(other) == table


def test_scores_are_written_as_detect_writes_them(bundles: Any) -> None:
    case, bundle = CASES["heartbeats"], bundles("heartbeats")
    broker = filled_broker(case)
    broker.create_topic("scores")
    settings: dict[str, Any] = {"scores_topic": "scores", "scores_format": "float32"}
    detected(broker, bundle, DetectSettings(**SETTINGS, **settings))
    expected = sorted(
        (each.metadata.key, each.value, list(each.metadata.headers))
        for each in broker.records("scores")
    )
    found = streamed(broker, shared(bundle, **settings), [200], seed=2)
    assert len(expected) > 100
    assert expected == sorted(
        (each.key, each.value, list(each.headers)) for each in found if each.topic == "scores"
    )


def test_schemas_of_records_and_alerts_come_from_a_registry(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", {"format": "avro", **FLAT.table})
    broker = MemoryBroker(now_ms=lambda: START_MS)
    broker.create_topic("telemetry", PARTITIONS)
    broker.create_topic("alerts")
    broker.create_topic("dead-letters")
    for each in samples_of(len(NAMES)):
        value = framed(1, FLAT.encode(each.key, each.time_ms, each.values))
        place = int(each.key[-1]) - 1
        broker.append(OutputRecord("telemetry", None, value, [], each.time_ms, place))
    with fake_registry() as fake:
        fake.add(1, FLAT.text)
        fake.answers["/subjects/alerts-value/versions"] = (200, {"id": 9})
        given: dict[str, Any] = {"schema_registry_url": fake.url, "alerts_format": "avro"}
        expected = detected(broker, bundle, DetectSettings(**SETTINGS, **given))
        found = streamed(broker, shared(bundle, **given), [20], seed=3)
    assert [each.value[:5] for each in found if each.value] == len(expected) * [b"\0\0\0\0\x09"]
    timeless = [
        sorted((each.key, list(each.headers), len(each.value or b"")) for each in some)
        for some in (found, expected)
    ]
    assert timeless[0] == timeless[1] != []


def test_a_worker_opens_a_bundle_once_and_keeps_a_few(
    bundles: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "OPEN_MAX", 2)
    first = shared(bundles("beats"))
    opened = first.open()
    assert shared(bundles("beats")).open() is opened
    others = [shared(bundles("beats"), dead_letter_bytes_max=4_096 + n) for n in range(2)]
    second = others[0].open()
    assert second is not opened
    assert first.open() is opened
    others[1].open()
    assert first.open() is opened
    assert others[0].open() is not second


def test_a_worker_refuses_another_bundle_than_the_driver_checked(bundles: Any) -> None:
    bundle = replace(shared(bundles("beats")), version="0" * 64)
    with pytest.raises(BundleMismatchError, match=r"expected version 0{64}.*put the same bundle"):
        bundle.open()


def test_the_state_of_another_bundle_is_refused(bundles: Any) -> None:
    broker = filled_broker(CASES["odd ones"])
    first, second = batches_of(broker, [200])
    bundle = shared(bundles("odd ones"))
    tester = TwsTester(streams.PartitionProcessor(bundle))
    rows = [sql.Row(**row) for each in streams.pack(iter([first])) for row in each.to_pylist()]
    tester.test(("telemetry", 0), rows[:1])
    changed = shared(bundles("odd ones"), alerting={"cooldown_ms": 10})
    other = TwsTester(streams.PartitionProcessor(changed))
    other.handle.map_states = tester.handle.map_states
    other.processor.init(other.handle)
    rows = [sql.Row(**row) for each in streams.pack(iter([second])) for row in each.to_pylist()]
    with pytest.raises(StateError, match=r"partition 0: .* another checkpointLocation"):
        other.test(("telemetry", 0), rows[:1])


@pytest.mark.parametrize("part_bytes", [1_000, 700])
def test_a_snapshot_leaves_no_parts_of_a_longer_one(
    part_bytes: int, bundles: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PART_BYTES", part_bytes)
    processor = streams.PartitionProcessor(shared(bundles("odd ones")))
    tester = TwsTester(processor)
    tester.handle.setGroupingKey("p")
    for n_bytes in (5 * part_bytes, 5 * part_bytes + 1, 2 * part_bytes, 2 * part_bytes - 1):
        snapshot = bytes(n_bytes - 1) + b"x"
        processor._save(snapshot)
        parts = tester.peekMapState("snapshot", "p")
        assert b"".join(parts[(number,)][0] for number in range(len(parts))) == snapshot
        assert max(len(part) for (part,) in parts.values()) <= part_bytes
