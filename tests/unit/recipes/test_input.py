"""The table `[input]`: what it takes, what fits together, and what a run may change."""

from pathlib import Path
from typing import Any

import pytest

from stream_detector.core.codec.mapping import InputMapping
from stream_detector.errors import ConfigError
from stream_detector.recipes import input as input_module
from stream_detector.recipes import load_recipe, override_input, parse_recipe, shipped_recipe
from stream_detector.recipes.input import InputSection, input_problems
from stream_detector.recipes.presets import PRESETS

TELEMETRY = load_recipe(shipped_recipe("telemetry.toml"))
NAMES = ("t", "p")


def recipe_with(table: dict[str, Any], **more: Any) -> Any:
    values = TELEMETRY.model_dump(exclude_defaults=True) | more
    return parse_recipe(values | {"input": table}, "test")


def mapping_of(table: dict[str, Any]) -> InputMapping:
    mapping = InputSection.model_validate(table).mapping(NAMES)
    assert mapping is not None
    return mapping


def test_without_a_table_there_is_no_mapping() -> None:
    assert TELEMETRY.input.mapping(NAMES) is None
    assert not TELEMETRY.input.is_given


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_fits_the_table(preset: str) -> None:
    table = recipe_with({"preset": preset}).input
    assert table.resolved() == PRESETS[preset]  # type: ignore[index]
    assert table.mapping(NAMES) is not None


def test_own_keys_win_over_those_of_the_preset() -> None:
    mapping = mapping_of({"preset": "telegraf-json", "key": "tags.site", "time_unit": "ms"})
    assert mapping.key is not None
    assert (mapping.key.text, mapping.time_unit) == ("tags.site", "ms")
    assert mapping.features[0].text == "fields.t"
    tags = {"preset": "telegraf-json", "feature_name": "tag", "feature_value": "value"}
    assert mapping_of(tags).tags is not None
    assert mapping_of({"preset": "otlp-json", "values": "data"}).tags is None


def test_features_elsewhere_leave_the_others_where_they_are() -> None:
    mapping = mapping_of({"values": "data", "features": {"p": "more.q"}})
    assert [each.text for each in mapping.features] == ["data.t", "more.q"]
    assert mapping.values is None
    assert mapping_of({"values": "a|b"}).features[1].path == (("a", "p"), ("b", "p"))


PROBLEMS: dict[str, dict[str, Any]] = {
    "input.feature_name: expected input.feature_value beside it": {"feature_name": "tag"},
    "input.feature_value: expected input.feature_name beside it": {"feature_value": "tag"},
    "input.values: expected only without input.feature_name": {
        "values": "v",
        "feature_name": "n",
        "feature_value": "v",
    },
    "input.time_unit: expected input.time beside it": {"time_unit": "s"},
    "input.other_features: expected input.feature_name beside it": {"other_features": "skip"},
    "input.delimiter: expected only with input.format = 'csv'": {"delimiter": ";"},
    "input.key: expected a path such as payload.temp; expected a name after 'a.'": {"key": "a..b"},
    "input.time: expected a name after header:": {"time": "header: "},
    "input.preset: expected 'flat', 'telegraf-json'": {"preset": "telegraf"},
    "input.features.t: expected a path": {"features": {"t": "a["}},
    "input.keys: expected one of the keys preset, format": {"keys": "a"},
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_what_does_not_fit_is_named(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe_with(PROBLEMS[text])
    assert text in str(caught.value)


def test_images_have_key_and_time_in_headers_only() -> None:
    mnist = load_recipe(shipped_recipe("mnist-vae.toml")).model_dump(exclude_defaults=True)
    table = {"key": "header:camera", "time": "header:at", "time_unit": "s"}
    assert parse_recipe(mnist | {"input": table}, "test").input.key == "header:camera"
    for wrong in (
        {"key": "camera"},
        {"values": "x"},
        {"preset": "flat"},
        {"key": "", "values": ""},
    ):
        with pytest.raises(ConfigError, match=r"input\..*: expected only input.key and input.time"):
            parse_recipe(mnist | {"input": wrong}, "test")


def test_features_that_the_bundle_has_not_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"names of the bundle's features t, p, rec.* q"):
        mapping_of({"features": {"q": "a"}})


@pytest.mark.parametrize(
    ("time_format", "unit"), [(None, "ms"), ("s", "s"), ("ns", "ns"), ("iso", "iso8601")]
)
def test_auto_is_decided_once_by_the_training_file(time_format: str | None, unit: str) -> None:
    table = InputSection(time="ts", time_unit="auto")
    assert table.decided(time_format).time_unit == unit
    assert InputSection(time="ts", time_unit="us").decided(time_format).time_unit == "us"
    with pytest.raises(ConfigError, match=r"auto takes the unit of data\.time_format"):
        table.decided("%d.%m.%Y")
    with pytest.raises(ConfigError, match="expected s, ms, us, ns or iso8601, received 'auto'"):
        table.mapping(NAMES)


def test_a_run_changes_single_keys_and_a_preset_all_of_them() -> None:
    own = recipe_with({"preset": "flat", "key": "device", "absent": "missing"})
    assert override_input(own, {}) is own
    changed = override_input(own, {"key": "id", "absent": ""}).input
    assert changed == InputSection(preset="flat", key="id")
    replaced = override_input(own, {"preset": "debezium", "values": ""}).input
    assert replaced == InputSection(preset="debezium", values="")
    with pytest.raises(ConfigError, match=r"telemetry with the \[input\] of this run: input.keys"):
        override_input(own, {"keys": "x"})


def test_the_schema_of_a_file_is_held_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "reading.avsc"
    path.write_text('{\n  "type": "long"\n}')
    table = InputSection(avro_schema=str(path), values="")
    held = table.decided(None)
    assert held.avro_schema == '{"type":"long"}'
    mapping = held.mapping(["t"])
    assert mapping is not None
    assert mapping.format == "avro"
    path.unlink()
    assert held.with_schema_text() is held
    with pytest.raises(ConfigError, match=r"input\.avro_schema: .* No such file"):
        table.with_schema_text()
    path.write_text("record Reading {}")
    with pytest.raises(ConfigError, match=r"expected a file with an Avro schema as JSON"):
        table.with_schema_text()
    path.write_text('{"type":"long"}')
    monkeypatch.setattr(input_module, "SCHEMA_BYTES_MAX", 15)
    assert table.with_schema_text().avro_schema == '{"type":"long"}'
    monkeypatch.setattr(input_module, "SCHEMA_BYTES_MAX", 14)
    with pytest.raises(ConfigError, match="it has more than 14 bytes"):
        table.with_schema_text()


def test_the_protobuf_schema_of_a_file_is_held_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, text = tmp_path / "reading.proto", 'syntax = "proto3";\nmessage R { double t = 1; }\n'
    path.write_text(text)
    table = InputSection(protobuf_schema=str(path), values="")
    held = table.decided(None)
    assert held.protobuf_schema == text
    mapping = held.mapping(["t"])
    assert mapping is not None
    assert mapping.format == "protobuf"
    changed = override_input(recipe_with({}), {"protobuf_schema": str(path), "values": ""})
    assert changed.input == held
    path.unlink()
    assert held.with_schema_text() is held
    with pytest.raises(ConfigError, match=r"input\.protobuf_schema: .* No such file"):
        table.with_schema_text()
    for bad in (b'syntax = "proto3";', b"message \xff {"):
        path.write_bytes(bad)
        with pytest.raises(ConfigError, match=r"expected a file with a Protobuf schema, received"):
            table.with_schema_text()
    path.write_text(text)
    monkeypatch.setattr(input_module, "SCHEMA_BYTES_MAX", len(text))
    assert table.with_schema_text() == held
    monkeypatch.setattr(input_module, "SCHEMA_BYTES_MAX", len(text) - 1)
    with pytest.raises(ConfigError, match=r"input\.protobuf_schema: .* it has more than"):
        table.with_schema_text()


def test_a_schema_is_for_its_format_only() -> None:
    table = {"protobuf_schema": "a.proto", "values": ""}
    for fitting in ({}, {"format": "protobuf"}, {"preset": "sparkplug-b"}):
        assert list(input_problems({**table, **fitting}, "samples")) == []
    [problem] = input_problems(table | {"format": "avro"}, "samples")
    assert problem.startswith("input.protobuf_schema: expected only with input.format = 'protobuf'")
    [problem] = input_problems(table | {"preset": "influx-line"}, "samples")
    assert problem.endswith("received it with 'influx'")
    [problem] = input_problems(table | {"avro_schema": "a.avsc"}, "samples")
    assert (
        problem == "input.protobuf_schema: expected only without input.avro_schema, received both"
    )
    assert list(input_problems(table | {"protobuf_message": "R"}, "samples")) == []
    [problem] = input_problems({"protobuf_message": "R", "values": ""}, "samples")
    assert problem.startswith("input.protobuf_message: expected input.protobuf_schema beside it")


def test_a_schema_is_for_avro_only() -> None:
    table = {"avro_schema": "a.avsc", "values": ""}
    assert list(input_problems(table | {"format": "avro"}, "samples")) == []
    assert list(input_problems(table, "samples")) == []
    [problem] = input_problems(table | {"format": "json"}, "samples")
    assert problem.startswith("input.avro_schema: expected only with input.format = 'avro'")
