"""A Schema Registry over HTTP: what is asked, what is kept, and which answers are which errors."""

import base64
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from avro_forms import FLAT, framed
from certificates import Certificates
from fake_registry import NOT_FOUND, FakeRegistry, fake_registry

from stream_detector.core.records import RecordBatch, RecordMetadata, series_columns
from stream_detector.errors import (
    ConfigError,
    RecordSchemaError,
    SchemaRegistryError,
    SchemaRegistryUnavailableError,
)
from stream_detector.schemas import registry as registry_module
from stream_detector.schemas import source
from stream_detector.schemas.avro import AvroSchema
from stream_detector.schemas.json_schema import JsonSchema
from stream_detector.schemas.registry import RegisteredSchema, SchemaRegistry
from stream_detector.schemas.source import UNKNOWN_S, RegistrySchemas
from stream_detector.settings import ConnectionSettings


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        yield registry


def registry_of(url: str, **settings: Any) -> SchemaRegistry:
    return SchemaRegistry(ConnectionSettings(schema_registry_url=url, **settings))


def batch_of(values: list[bytes | None], headers: Any = None) -> RecordBatch:
    metadata = [RecordMetadata("t", 0, at, 0, b"k", ()) for at in range(len(values))]
    return RecordBatch.from_columns(
        "t", values, series_columns(metadata), range(len(values)), headers
    )


class Seconds:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_schema_is_asked_for_once(fake: FakeRegistry) -> None:
    fake.add(7, FLAT.text)
    fake.answers["/schemas/guids/0001"] = (200, {"schema": "{}", "schemaType": "JSON"})
    schemas = RegistrySchemas(registry_of(fake.url + "/"), "avro")
    batch = batch_of([framed(7, b""), framed(7, b"x"), None, framed(8, b""), b"{}"])
    for _ in range(2):
        found = schemas.attach(batch).schemas
        assert isinstance(found[7], AvroSchema)
        assert str(found[8]) == (
            "expected a schema that the registry has; the registry says: 404 Schema 77 not found"
        )
    assert sorted(fake.paths) == ["/schemas/ids/7", "/schemas/ids/8"]
    assert isinstance(schemas.find("0001"), JsonSchema)
    assert batch_of([b"{}"]).schemas == {}


def test_only_formats_with_schemas_are_asked_for(fake: FakeRegistry) -> None:
    schemas = RegistrySchemas(registry_of(fake.url), "json")
    values: list[bytes | None] = [framed(7, b"{}"), framed(8, b""), framed(9, b"")]
    headers = [(), (("content-type", b"application/avro"),), (("content-type", b"text/csv"),)]
    assert schemas.attach(batch_of(values)).schemas == {}
    assert set(schemas.attach(batch_of(values, headers)).schemas) == {8}
    own = RegistrySchemas(registry_of(fake.url), "avro")
    assert set(own.attach(batch_of(values, headers)).schemas) == {7, 8}


def test_an_unknown_id_is_asked_for_again_after_a_while(fake: FakeRegistry) -> None:
    clock = Seconds()
    schemas = RegistrySchemas(registry_of(fake.url), "avro", None, clock)
    assert isinstance(schemas.find(7), RecordSchemaError)
    fake.add(7, FLAT.text)
    clock.now += UNKNOWN_S - 0.1
    assert isinstance(schemas.find(7), RecordSchemaError)
    clock.now += 0.1
    assert isinstance(schemas.find(7), AvroSchema)


def test_memory_is_bounded(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "SCHEMAS_MAX", 2)
    monkeypatch.setattr(source, "UNKNOWN_MAX", 2)
    for number in (1, 2, 3):
        fake.add(number, FLAT.text)
    schemas = RegistrySchemas(registry_of(fake.url), "json")
    for number in (1, 2, 1, 3, 1, 2, 11, 12, 11, 13, 12, 13, 11):
        schemas.find(number)
    asked = [int(path.rpartition("/")[2]) for path in fake.paths]
    assert asked == [1, 2, 3, 2, 11, 12, 13, 11]


UNUSABLE: dict[str, tuple[Any, str]] = {
    "no Avro": ({"schema": "{"}, "expected an Avro schema"),
    "another kind": ({"schema": "x", "schemaType": "THRIFT"}, "received THRIFT"),
    "it holds itself": (
        {"schema": '{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"]}]}'},
        "expected no type that holds itself",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_schema_that_cannot_be_used_is_a_dead_letter(fake: FakeRegistry, case: str) -> None:
    answer, reason = UNUSABLE[case]
    fake.answers["/schemas/ids/7"] = (200, answer)
    schemas = RegistrySchemas(registry_of(fake.url), "json")
    found = schemas.find(7)
    assert isinstance(found, RecordSchemaError)
    assert reason in str(found)
    assert schemas.find(7) is found


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_registry_that_cannot_serve_yet_is_retriable(fake: FakeRegistry, status: int) -> None:
    fake.answers["*"] = (status, NOT_FOUND)
    schemas = RegistrySchemas(registry_of(fake.url), "json")
    with pytest.raises(SchemaRegistryUnavailableError, match=f"answers {status}"):
        schemas.find(7)
    fake.add(7, FLAT.text)
    assert isinstance(schemas.find(7), AvroSchema)


def test_no_answer_is_retriable_and_the_next_address_is_asked(fake: FakeRegistry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(SchemaRegistryUnavailableError, match="does not answer: http://127"):
        registry_of(closed).find(7)
    fake.add(7, FLAT.text)
    assert registry_of(f"{closed}, {fake.url}").find(7) == RegisteredSchema("AVRO", FLAT.text, [])


REFUSALS: dict[str, tuple[int, Any, str]] = {
    "login": (401, {"error_code": 40101, "message": "who?"}, "schema_registry_username"),
    "rights": (403, b"no", "schema_registry_username"),
    "no registry": (404, b"<html>", "see schema_registry_url"),
    "a bad request": (400, {"error_code": 400, "message": "?"}, "see schema_registry_url"),
    "no such path": (404, {"error_code": 404, "message": "no path"}, "see schema_registry_url"),
    "another path": (404, {"error_code": 0, "message": "no path"}, "see schema_registry_url"),
    "elsewhere": (302, "http://127.0.0.1:1/", "refuses with 302"),
    "no JSON": (200, b"<html>", "expected JSON"),
    "no object": (200, [1], r"expected an object, received \[1\]"),
    "no schema": (200, {"id": 7}, "expected the text schema, received None"),
    "bad references": (200, {"schema": "x", "references": [{}]}, "expected references"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_an_error_that_no_retry_mends(fake: FakeRegistry, case: str) -> None:
    status, content, reason = REFUSALS[case]
    fake.answers["*"] = (status, content)
    with pytest.raises(SchemaRegistryError, match=reason) as caught:
        registry_of(fake.url).find(7)
    assert not caught.value.retriable
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("status", [400, 404, 405, 422])
def test_what_a_registry_makes_of_an_odd_id_ends_no_run(fake: FakeRegistry, status: int) -> None:
    fake.answers["*"] = (status, {"error_code": 0, "message": "no resource"})
    fake.answers["/schemas/types"] = (200, ["AVRO", "JSON"])
    found = RegistrySchemas(registry_of(fake.url), "json").find("no-guid")
    assert isinstance(found, RecordSchemaError)
    assert str(found).endswith(f"the registry says: {status} no resource")


def test_an_answer_is_read_up_to_a_bound(
    fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add(7, FLAT.text)
    n_bytes = len(orjson.dumps(fake.answers["/schemas/ids/7"][1]))
    monkeypatch.setattr(registry_module, "ANSWER_BYTES_MAX", n_bytes)
    registry_of(fake.url).find(7)
    monkeypatch.setattr(registry_module, "ANSWER_BYTES_MAX", n_bytes - 1)
    with pytest.raises(SchemaRegistryError, match="received more"):
        registry_of(fake.url).find(7)


def test_the_login_is_sent_and_never_shown(fake: FakeRegistry) -> None:
    fake.answers["*"] = (401, b"no")
    registry = registry_of(
        fake.url, schema_registry_username="ann", schema_registry_password="s3cret"
    )
    with pytest.raises(SchemaRegistryError) as caught:
        registry.find(7)
    expected = base64.b64encode(b"ann:s3cret").decode()
    assert fake.asked[0][2]["authorization"] == f"Basic {expected}"
    for text in (str(caught.value), repr(registry), repr(vars(caught.value))):
        assert "s3cret" not in text
        assert expected not in text


def test_schemas_that_one_uses_come_with_it(fake: FakeRegistry) -> None:
    unit = '{"type":"enum","name":"Unit","symbols":["C","F"]}'
    pair = '{"type":"record","name":"Pair","fields":[{"name":"u","type":"Unit"}]}'
    text = '{"type":"record","name":"R","fields":[{"name":"p","type":"Pair"}]}'
    of_unit = {"name": "Unit", "subject": "unit/a", "version": 3}
    of_pair = {"name": "Pair", "subject": "pair", "version": 1}
    fake.add(7, text, references=[of_unit, of_pair])
    fake.answers["/subjects/unit%2Fa/versions/3"] = (200, {"schema": unit})
    fake.answers["/subjects/pair/versions/1"] = (200, {"schema": pair, "references": [of_unit]})
    found = RegistrySchemas(registry_of(fake.url), "json").find(7)
    assert isinstance(found, AvroSchema)
    assert found.read_document(b"\2") == {"p": {"u": "F"}}
    fake.add(8, text, references=[{**of_pair, "version": 2}])
    missing = RegistrySchemas(registry_of(fake.url), "json").find(8)
    assert isinstance(missing, RecordSchemaError)
    assert "it uses pair in version 2: the registry says" in str(missing)


def test_schemas_that_use_each_other_end(fake: FakeRegistry) -> None:
    own = {"name": "R", "subject": "r", "version": 1}
    fake.add(7, FLAT.text, references=[own])
    fake.answers["/subjects/r/versions/1"] = (200, {"schema": FLAT.text, "references": [own]})
    found = registry_of(fake.url).find(7)
    assert found == "it uses more than 64 other schemas"


@pytest.mark.parametrize("is_chain", [True, False])
def test_a_schema_may_use_64_others(fake: FakeRegistry, is_chain: bool) -> None:
    """Each uses the one after it, or the first uses all."""
    for number in range(65):
        used = [number + 1] * (number < 64) if is_chain else []
        references = [{"name": f"R{at}", "subject": f"{at}", "version": 1} for at in used]
        answer = {"schema": FLAT.text, "references": references}
        fake.answers[f"/subjects/{number}/versions/1"] = (200, answer)
    for n_used in (64, 65):
        first = [65 - n_used] if is_chain else range(n_used)
        references = [{"name": f"R{at}", "subject": f"{at}", "version": 1} for at in first]
        fake.add(7, FLAT.text, references=references)
        found = registry_of(fake.url).find(7)
        if n_used == 64:
            assert isinstance(found, RegisteredSchema)
            assert len(found.references) == 64
        else:
            assert found == "it uses more than 64 other schemas"


def test_a_schema_is_registered(fake: FakeRegistry) -> None:
    fake.answers["/subjects/my%20alerts-value/versions"] = (200, {"id": 12})
    assert registry_of(fake.url).register("my alerts-value", FLAT.text) == 12
    method, _, headers, body = fake.asked[0]
    assert method == "POST"
    assert "schemaregistry" in headers["content-type"]
    assert orjson.loads(body) == {"schema": FLAT.text, "schemaType": "AVRO"}
    fake.answers["*"] = (409, {"error_code": 409, "message": "not compatible"})
    with pytest.raises(SchemaRegistryError, match="refuses with 409 not compatible"):
        registry_of(fake.url).register("other", FLAT.text)
    fake.answers["/schemas/types"] = (200, ["AVRO"])
    with pytest.raises(SchemaRegistryError, match="the registry says: 409 not compatible"):
        registry_of(fake.url).register("other", FLAT.text)


def test_a_registry_by_tls_must_have_a_certificate_that_is_trusted(
    certificates: Certificates,
) -> None:
    with fake_registry(certificates.broker_store) as fake:
        fake.add(7, FLAT.text)
        trusted = registry_of(fake.url, schema_registry_cafile=certificates.authority)
        assert isinstance(trusted.find(7), RegisteredSchema)
        others = (
            registry_of(fake.url, schema_registry_cafile=certificates.other_authority),
            registry_of(
                fake.url.replace("127.0.0.1", "localhost"),
                schema_registry_cafile=certificates.authority,
            ),
            registry_of(fake.url),
        )
        for each in others:
            with pytest.raises(SchemaRegistryError, match="is not trusted") as caught:
                each.find(7)
            assert not caught.value.retriable
        with pytest.raises(SchemaRegistryUnavailableError):
            registry_of(fake.url.replace("https", "http")).find(7)


def test_settings_of_a_registry(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="schema_registry_url"):
        SchemaRegistry(ConnectionSettings())
    url = "https://registry:8081"
    bad = tmp_path / "ca.pem"
    bad.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"schema_registry_cafile .* cannot be read"):
        registry_of(url, schema_registry_cafile=bad)
    with pytest.raises(ConfigError, match="cannot be read"):
        registry_of(url, schema_registry_cafile=tmp_path / "none.pem")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"schema_registry_username": "a"}, "need schema_registry_url"),
        (
            {"schema_registry_url": "http://a", "schema_registry_username": "a"},
            "need each other",
        ),
        ({"schema_registry_url": "file:///etc/passwd"}, "expected http"),
        ({"schema_registry_url": "registry:8081"}, "expected http"),
        ({"schema_registry_url": "http://a,"}, "expected http"),
        ({"schema_registry_url": "http://u:p@a"}, "expected no login in it"),
        (
            {"schema_registry_url": "http://a", "schema_registry_cafile": "ca.pem"},
            "needs https",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ConnectionSettings(**given)
