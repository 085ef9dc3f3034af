"""A Schema Registry that is away while records arrive: nothing is lost, and nothing rejected."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from avro_forms import FLAT, encode, framed, record_of
from delivery_service import GROUP, change_after, published, service_on
from fake_registry import FakeRegistry, fake_registry
from input_forms import NAMES, PARTITIONS, samples_of, write_bundle

from stream_detector.assembly import make_schemas, open_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.alerting.alert_schema import alert_schema
from stream_detector.core.detector import Detector
from stream_detector.core.records import OutputRecord
from stream_detector.errors import (
    ConfigError,
    DataError,
    SchemaRegistryError,
    SchemaRegistryUnavailableError,
)
from stream_detector.outputs.alerts import parse_alerts
from stream_detector.service import Service
from stream_detector.settings import ConnectionSettings, DetectSettings

TABLE = {"format": "avro", **FLAT.table}
LATER = record_of(
    "Reading",
    ("ts", "long"),
    ("pressure", ["null", "float"]),
    ("temperature", "float"),
    ("device", "string"),
    ("unit", "string"),
)


def broker_with_records() -> MemoryBroker:
    """Return a broker with records whose schema changes in the middle, and one of no schema."""
    broker = MemoryBroker(now_ms=lambda: 0)
    broker.create_topic("telemetry", PARTITIONS)
    broker.create_topic("alerts")
    broker.create_topic("dead-letters")
    producer = broker.connect()
    records = []
    for sample in samples_of(len(NAMES)):
        value = framed(1, FLAT.encode(sample.key, sample.time_ms, sample.values))
        if sample.number >= 8:
            record = {"device": sample.key, "ts": sample.time_ms, "unit": "C", **sample.values}
            value = framed(2, encode(LATER, record))
        partition = int(sample.key[-1]) - 1
        records.append(OutputRecord("telemetry", None, value, [], sample.time_ms, partition))
    records.insert(20, records[20]._replace(value=framed(3, b"?")))
    producer.produce(records)
    producer.flush(1_000)
    return broker


def service_of(
    broker: MemoryBroker,
    detector: Detector,
    url: str,
    delivery: str = "at_least_once",
    **changes: Any,
) -> Service:
    schemas = make_schemas(DetectSettings(schema_registry_url=url), detector)
    given: dict[str, Any] = {"detector": detector, "schemas": schemas, "poll_records_max": 5}
    return service_on(broker, "samples", delivery, **given | changes)


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        registry.add(1, FLAT.text)
        registry.add(2, FLAT._replace(schema=LATER).text)
        yield registry


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return open_bundle(write_bundle(tmp_path / "bundle", TABLE)).detector


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_registry_that_is_away_for_a_while_changes_nothing(
    delivery: str, fake: FakeRegistry, detector: Detector
) -> None:
    def run(n_failures: int) -> tuple[Any, int]:
        fake.n_failures = n_failures
        broker = broker_with_records()
        totals = service_of(broker, detector, fake.url, delivery).run()
        assert totals.n_dead_letters == 1
        return published(broker), totals.n_retries

    expected, n_retries = run(0)
    assert n_retries == 0
    assert len(expected) > 3
    assert run(3) == (expected, 3)


def test_a_registry_that_stays_away_ends_the_run_and_nothing_is_committed(
    fake: FakeRegistry, detector: Detector
) -> None:
    fake.n_failures = 1_000
    broker = broker_with_records()
    with pytest.raises(SchemaRegistryUnavailableError, match=r"gave up after 6\d s") as caught:
        service_of(broker, detector, fake.url).run()
    assert caught.value.exit_code == 4
    assert broker.committed[GROUP] == {}
    assert published(broker) == {}


def test_a_refusal_ends_the_run_at_once(fake: FakeRegistry, detector: Detector) -> None:
    fake.answers["/schemas/ids/1"] = (401, b"")
    broker = broker_with_records()
    with pytest.raises(SchemaRegistryError, match="refuses with 401"):
        service_of(broker, detector, fake.url).run()
    assert published(broker) == {}
    assert len(fake.asked) == 1


def test_avro_needs_a_registry_or_a_schema(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="schema_registry_url: expected the address"):
        make_schemas(DetectSettings(), detector)
    path = tmp_path / "reading.avsc"
    path.write_text(FLAT.text)
    table = {**FLAT.table, "avro_schema": str(path)}
    own = open_bundle(write_bundle(tmp_path / "json", {}), changes={"input": table}).detector
    path.unlink()
    batch = broker_with_records().connect(topics=["telemetry"]).poll(1, 0)
    assert make_schemas(DetectSettings(), own).attach(batch) is batch


def avro_service(
    broker: MemoryBroker, detector: Detector, url: str, delivery: str, **changes: Any
) -> Service:
    settings = DetectSettings(schema_registry_url=url, alerts_format="avro")
    schemas = make_schemas(settings, detector)
    schemas.register_alerts()
    given: dict[str, Any] = {
        "detector": detector,
        "schemas": schemas,
        "poll_records_max": 5,
    } | changes
    return service_on(broker, "samples", delivery, **given)


def events(broker: MemoryBroker, url: str) -> list[Any]:
    """Return all alerts as JSON, without the time of their detection."""
    settings = ConnectionSettings(schema_registry_url=url)
    values = [each.value or b"" for each in broker.records("alerts")]
    found = [orjson.loads(text) for text, _ in parse_alerts(values, settings, fail)]
    return [{**each, "detected_at_ms": 0} for each in found]


def fail(problem: DataError) -> None:
    raise problem


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_alerts_in_avro_are_those_in_json(
    delivery: str, fake: FakeRegistry, detector: Detector
) -> None:
    plain = broker_with_records()
    service_of(plain, detector, fake.url, delivery).run()
    expected = events(plain, fake.url)
    schema = orjson.dumps(alert_schema()).decode()
    fake.add(9, schema)
    fake.answers["/subjects/alerts-value/versions"] = (200, {"id": 9})
    avro = broker_with_records()
    fake.n_failures = 2  # at the start, and the first time that a schema is needed
    totals = avro_service(avro, detector, fake.url, delivery).run()
    assert totals.n_retries == 1
    assert events(avro, fake.url) == expected
    assert len(expected) > 2
    assert all((each.value or b"").startswith(b"\0\0\0\0\t") for each in avro.records("alerts"))


def test_a_registry_that_is_away_when_alerts_are_written_is_waited_for(
    fake: FakeRegistry, tmp_path: Path
) -> None:
    table = {"avro_schema": FLAT.text, **FLAT.table}
    detector = open_bundle(write_bundle(tmp_path / "own", table)).detector
    broker = MemoryBroker(now_ms=lambda: 0)
    for topic in ("telemetry", "alerts", "dead-letters"):
        broker.create_topic(topic, PARTITIONS)
    producer = broker.connect()
    producer.produce(
        OutputRecord(
            "telemetry",
            None,
            FLAT.encode(each.key, each.time_ms, each.values),
            [],
            each.time_ms,
            int(each.key[-1]) - 1,
        )
        for each in samples_of(len(NAMES))
    )
    producer.flush(1_000)
    fake.add(9, orjson.dumps(alert_schema()).decode())
    fake.answers["/subjects/alerts-value/versions"] = (200, {"id": 9})
    fake.n_failures = 3
    totals = avro_service(broker, detector, fake.url, "at_least_once").run()
    assert totals.n_retries == 2
    assert totals.n_dead_letters == 0
    assert len(events(broker, fake.url)) == totals.n_alerts > 2


def test_a_bundle_that_takes_over_closes_alerts_in_avro(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.add(9, orjson.dumps(alert_schema()).decode())
    fake.answers["/subjects/alerts-value/versions"] = (200, {"id": 9})
    first, second = (
        open_bundle(write_bundle(tmp_path / name, {**TABLE, **more})).detector
        for name, more in (("a", {}), ("b", {"absent": "missing"}))
    )
    broker = broker_with_records()
    service = avro_service(broker, first, fake.url, "at_least_once")
    service.add_observer(lambda *_: service.stop() if service.totals.n_alerts else None)
    service.run()
    before = events(broker, fake.url)
    is_open = {each["alert_id"]: each["event"] != "close" for each in before}
    assert any(is_open.values())
    avro_service(broker, second, fake.url, "at_least_once", stop_when_idle_s=0.5).run()
    after = events(broker, fake.url)[len(before) :]
    closed = {each["alert_id"] for each in after if each["reason"] == "bundle_changed"}
    assert closed == {name for name, still_open in is_open.items() if still_open}


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("n_done", [1, 4])
def test_partitions_may_move_while_a_registry_is_away(
    n_done: int, delivery: str, fake: FakeRegistry, detector: Detector
) -> None:
    whole = broker_with_records()
    service_of(whole, detector, fake.url, delivery).run()
    broker = broker_with_records()
    service = service_of(broker, detector, fake.url, delivery)
    other = service_of(broker, detector, fake.url, delivery, instance_id="other")
    change_after(other, n_done, other.stop)
    fake.n_failures = 2
    sleeps: Iterator[Callable[[], object]] = iter([lambda: None, other.run])

    def on_sleep() -> None:
        next(sleeps, lambda: None)()

    service.context.clock.on_sleep = on_sleep  # type: ignore[attr-defined]
    service.run()
    assert other.totals.n_batches == n_done
    assert set(published(broker)) == set(published(whole))
    if delivery == "exactly_once":
        assert published(broker) == published(whole)
    assert broker.committed[GROUP] == whole.committed[GROUP]


def test_a_batch_is_held_while_a_registry_is_away(fake: FakeRegistry, detector: Detector) -> None:
    fake.n_failures = 3
    broker = broker_with_records()
    totals = service_of(broker, detector, fake.url).run()
    assert totals.n_retries == 3
    assert broker.n_calls["committed"] == 1, "a partition was restored"
