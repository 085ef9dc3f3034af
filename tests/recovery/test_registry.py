"""A Schema Registry that is away while records arrive: nothing is lost, and nothing rejected."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from avro_forms import FLAT, encode, framed, record_of
from delivery_service import GROUP, published, service_on
from fake_registry import FakeRegistry, fake_registry
from input_forms import NAMES, PARTITIONS, samples_of, write_bundle

from stream_detector.assembly import make_schemas, open_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.detector import Detector
from stream_detector.core.records import OutputRecord
from stream_detector.errors import (
    ConfigError,
    SchemaRegistryError,
    SchemaRegistryUnavailableError,
)
from stream_detector.service import Service
from stream_detector.settings import DetectSettings

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
    broker: MemoryBroker, detector: Detector, url: str, delivery: str = "at_least_once"
) -> Service:
    schemas = make_schemas(DetectSettings(schema_registry_url=url), detector)
    return service_on(
        broker, "samples", delivery, detector=detector, schemas=schemas, poll_records_max=5
    )


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
    own = open_bundle(write_bundle(tmp_path / "json", {}), input_changes=table).detector
    path.unlink()
    batch = broker_with_records().connect(topics=["telemetry"]).poll(1, 0)
    assert make_schemas(DetectSettings(), own).attach(batch) is batch
