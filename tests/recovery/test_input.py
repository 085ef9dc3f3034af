"""Keys in the values of records: a restart restores their state, and alerts are the same."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from delivery_service import GROUP, published, service_on
from input_forms import FORMS, PARTITIONS, records_of, write_bundle

from stream_detector.assembly import open_bundle
from stream_detector.clients.memory import MemoryBroker
from stream_detector.core.detector import Detector
from stream_detector.core.state.restore_plan import CommitMetadata

BAD = b'{"device":"pump-1","temperature":1}'


def broker_with(name: str) -> MemoryBroker:
    """Return a broker with the records of a form, of which every tenth is followed by a bad one."""
    broker = MemoryBroker(now_ms=lambda: 0)
    broker.create_topic("telemetry", PARTITIONS)
    broker.create_topic("alerts")
    broker.create_topic("dead-letters")
    [form] = [form for form in FORMS if form.name == name]
    records = []
    for number, record in enumerate(records_of(form, "telemetry")):
        records.append(record)
        if number % 10 == 9:
            records.append(record._replace(value=BAD, key=b"own"))
    producer = broker.connect()
    producer.produce(records)
    producer.flush(1_000)
    return broker


def run(broker: MemoryBroker, detector: Detector, delivery: str, *, is_interrupted: bool) -> int:
    """Run services until all is read, each for one batch if interrupted; return how many ran."""
    n_records, n_runs, n_read = len(broker.records("telemetry")), 0, 0
    while n_read < n_records:
        service = service_on(broker, "samples", delivery, detector=detector, poll_records_max=5)
        if is_interrupted:
            service.add_observer(lambda *_, service=service: service.stop())
        n_runs, n_read = n_runs + 1, n_read + service.run().n_records
    return n_runs


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("name", ["key in the value", "one tag a record", "readings", "otlp-json"])
def test_a_restart_after_each_batch_changes_nothing(
    name: str, delivery: str, tmp_path: Path
) -> None:
    table = next(form.table for form in FORMS if form.name == name)
    detector = open_bundle(write_bundle(tmp_path / "b", table)).detector
    whole, parts = broker_with(name), broker_with(name)
    assert run(whole, detector, delivery, is_interrupted=False) == 1
    assert run(parts, detector, delivery, is_interrupted=True) > 3
    assert published(parts) == published(whole)
    assert len(whole.records("alerts")) > 2
    for each in whole.records("alerts"):
        alert: dict[str, Any] = orjson.loads(each.value or b"")
        assert each.metadata.key == alert["key"].encode()
        assert alert["key"].startswith("pump-")
        source = whole.logs["telemetry"][alert["source"]["partition"]].records
        assert alert["key"].encode() in (source[alert["source"]["offset"]].value or b"")
    dead = whole.records("dead-letters")
    assert {(each.metadata.key, each.value) for each in dead} == {(b"own", BAD)}
    assert len(dead) == len(whole.records("telemetry")) - sum(
        each.value != BAD for each in whole.records("telemetry")
    )


def test_what_another_input_left_behind_is_not_continued(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", {"preset": "flat", "key": "device", "time": "timestamp_ms"})
    broker = broker_with("key in the value")
    run(broker, open_bundle(path).detector, "at_least_once", is_interrupted=False)
    changed = open_bundle(path, changes={"input": {"key": "device|machine"}}).detector
    service_on(broker, "samples", "at_least_once", detector=changed).run()
    versions = {
        CommitMetadata.decode(saved.metadata, "").bundle_version
        for saved in broker.committed[GROUP].values()
    }
    assert versions == {changed.bundle.version}
