"""Records that name schemas of a real registry, on a real Kafka: scores and alerts of float32."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
import proto_forms
import pytest
from avro_forms import FLAT, FORMS, AvroForm, encode, framed, record_of
from input_forms import NAMES, PARTITIONS, float32_records, samples_of, write_bundle
from input_runs import Found, run
from local_registry import LocalRegistry

from stream_detector import alerts
from stream_detector.assembly import (
    connect_reader,
    connect_writer,
    make_schemas,
    make_service,
    open_bundle,
)
from stream_detector.core.records import Headers, OutputRecord, RecordBatch
from stream_detector.ports import Client, SchemaSource
from stream_detector.schemas.protobuf import ProtobufSchema
from stream_detector.settings import DetectSettings
from stream_detector.telemetry import Metrics

# The times of the samples are long past: with the usual retention such records are soon dropped.
KEEP = {"retention_ms": "-1"}

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CHANGED = record_of(
    "Reading",
    ("device", "string"),
    ("pressure", ["null", "double"]),
    ("ts", "long"),
    ("unit", {"type": "string", "default": "C"}),
    ("temperature", "double"),
)
"""What `FLAT` may become: a new field, one that may be null, another order."""

PROTOBUF = ProtobufSchema(proto_forms.TEXT)
JSON_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"device": {"type": "string"}, "ts": {"type": "integer"}},
}
OTHERS: tuple[tuple[str, str, Callable[..., bytes], dict[str, str]], ...] = (
    (
        "PROTOBUF",
        proto_forms.TEXT.replace('import "confluent/meta.proto";', "")
        .replace("(my.opt) = { a: [1, 2] }", "deprecated = true")
        .replace("option (confluent.message_meta).doc", "// "),
        lambda *sample: proto_forms.encode(PROTOBUF, *sample),
        {"format": "protobuf", **proto_forms.TABLE},
    ),
    (
        "JSON",
        orjson.dumps(JSON_SCHEMA).decode(),
        lambda key, time_ms, values: orjson.dumps({"device": key, "ts": time_ms, **values}),
        {"preset": "flat", "key": "device"},
    ),
)
"""Of other types of schemas: the text, what encodes a sample, and the `[input]`."""

CHANGE_EVENT = next(form for form in FORMS if form.name == "change event")

LOST = record_of("Reading", ("device", "string"), ("ts", "long"), ("temperature", "double"))


class Reader:
    """A client whose batches have schemas, as those of the service."""

    def __init__(self, client: Client, schemas: SchemaSource) -> None:
        self._client, self._schemas = client, schemas

    def poll(self, n_records_max: int, timeout_ms: int) -> RecordBatch:
        return self._schemas.attach(self._client.poll(n_records_max, timeout_ms))


def records_of(form: AvroForm, topic: str, number: int, *, in_header: bool) -> list[OutputRecord]:
    name = framed(number, b"")
    headers: Headers = [("__value_schema_id", name)] if in_header else []
    return [
        OutputRecord(
            topic,
            None,
            (b"" if in_header else name) + form.encode(each.key, each.time_ms, each.values),
            headers,
            each.time_ms,
            int(each.key[-1]) - 1,
        )
        for each in samples_of(len(NAMES))
    ]


class Runs:
    """Sends records to topics of their own, and scores them.

    Parameters
    ----------
    settings
        Where Kafka and the registry are.
    topics, registry, folder
        Where topics, schemas and bundles are made.
    """

    def __init__(
        self,
        settings: DetectSettings,
        topics: Callable[..., str],
        registry: LocalRegistry,
        folder: Path,
    ) -> None:
        self.settings, self.registry = settings, registry
        self._topics, self._folder = topics, folder
        self.expected = self.found(lambda topic: float32_records(len(NAMES), topic), {})

    def found(self, make: Callable[[str], list[OutputRecord]], table: dict[str, str]) -> Found:
        topic = self._topics(PARTITIONS, **KEEP)
        records = make(topic)
        detector = open_bundle(write_bundle(self._folder / topic, table)).detector
        with closing(connect_writer(self.settings)) as writer:
            writer.produce(records)
            writer.flush(30_000)
        with closing(connect_reader(self.settings, topic)) as reader:
            client = Reader(reader, make_schemas(self.settings, detector))
            return run(client, detector, len(records))  # type: ignore[arg-type]


@pytest.fixture(params=["kafka-python", "confluent"])
def runs(
    request: pytest.FixtureRequest,
    kafka: str,
    registry: LocalRegistry,
    topics: Callable[..., str],
    tmp_path: Path,
) -> Runs:
    settings = DetectSettings(
        bootstrap_servers=kafka, client=request.param, schema_registry_url=registry.url
    )
    return Runs(settings, topics, registry, tmp_path)


def test_each_form_has_the_scores_and_alerts_of_float32(runs: Runs) -> None:
    assert runs.expected.scores
    assert runs.expected.alerts
    for form in (FLAT, CHANGE_EVENT):
        number = runs.registry.register(f"{form.name.replace(' ', '-')}-value", form.text)
        for in_header in (False, True) if form is FLAT else (False,):

            def make(
                topic: str,
                form: AvroForm = form,
                number: int = number,
                in_header: bool = in_header,
            ) -> list[OutputRecord]:
                return records_of(form, topic, number, in_header=in_header)

            found = runs.found(make, {"format": "avro", **form.table})
            assert found.rejected == [], form.name
            assert found.scores == runs.expected.scores, form.name
            assert found.alerts == runs.expected.alerts, form.name
    for kind, text, write, table in OTHERS:
        number = runs.registry.register(f"{kind}-value", text, kind)

        def make_other(
            topic: str, write: Callable[..., bytes] = write, number: int = number
        ) -> list[OutputRecord]:
            records = records_of(FLAT, topic, number, in_header=False)
            samples = samples_of(len(NAMES))
            return [
                record._replace(value=framed(number, write(each.key, each.time_ms, each.values)))
                for record, each in zip(records, samples, strict=True)
            ]

        found = runs.found(make_other, table)
        assert found.rejected == [], kind
        assert found.scores == runs.expected.scores, kind
        assert found.alerts == runs.expected.alerts, kind


def test_a_schema_may_change_and_what_cannot_be_read_is_rejected(runs: Runs) -> None:
    first, second, lost = (
        runs.registry.register("changes-value", FLAT._replace(schema=schema).text)
        for schema in (FLAT.schema, CHANGED, LOST)
    )
    named = [
        {"device": each.key, "ts": each.time_ms, "unit": "C", **each.values}
        for each in samples_of(len(NAMES))
    ]

    def make(topic: str) -> list[OutputRecord]:
        records = records_of(FLAT, topic, first, in_header=False)
        for at in range(10, len(records)):
            value = framed(second, encode(CHANGED, named[at]))
            records[at] = records[at]._replace(value=value)
        records.append(records[0]._replace(value=framed(lost, encode(LOST, named[0]))))
        records.append(records[0]._replace(value=framed(2**31 - 1, b"?")))
        guid: Headers = [("__value_schema_id", b"\1" + bytes(16))]
        records.append(records[0]._replace(headers=guid))
        return records

    found = runs.found(make, {"format": "avro", **FLAT.table})
    assert found.scores == runs.expected.scores
    assert found.alerts == runs.expected.alerts
    assert sorted(reason[:43] for _, reason in found.rejected) == [
        "expected a schema that the registry has; th",
        "expected a schema that the registry has; th",
        "input.features.pressure: expected a number ",
    ]


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_alerts_in_avro_are_read_back(
    client: str,
    kafka: str,
    registry: LocalRegistry,
    topics: Callable[..., str],
    tmp_path: Path,
) -> None:
    url, topic = registry.url, topics(PARTITIONS, **KEEP)
    settings = DetectSettings(
        bootstrap_servers=kafka,
        client=client,  # type: ignore[arg-type]
        schema_registry_url=url,
        input_topic=topic,
        alerts_topic=topics(1),
        dead_letter_topic=topics(1),
        alerts_format="avro",
        stop_when_idle_s=1.0,
    )
    number = registry.register(f"{topic}-value", FLAT.text)
    with closing(connect_writer(settings)) as writer:
        writer.produce(records_of(FLAT, topic, number, in_header=False))
        writer.flush(30_000)
    served = open_bundle(write_bundle(tmp_path / "bundle", {"format": "avro", **FLAT.table}))
    totals = make_service(served, settings, Metrics()).run()
    assert totals.n_dead_letters == 0
    found = alerts(
        kafka,
        settings.alerts_topic,
        from_beginning=True,
        idle_s=1.0,
        client=client,
        schema_registry_url=url,
    )
    events = [(each.key, each.event, each.source.topic) for each in found]
    assert len(events) == totals.n_alerts > 2
    assert {key for key, _, _ in events} == {"pump-1", "pump-2"}
    assert {each for _, _, each in events} == {topic}
    with closing(connect_reader(settings, settings.alerts_topic)) as reader:
        batch = reader.poll(1, 10_000)
    assert (batch.values[0] or b"").startswith(b"\0")
    assert dict(batch.metadata(0).headers)["content-type"] == b"application/avro"
