"""Settings: which source wins, every problem at once, and no secret in any text."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from stream_detector.errors import ConfigError
from stream_detector.settings import (
    ConnectionSettings,
    DetectSettings,
    load_settings,
)
from stream_detector.settings_sources import ENVIRONMENT_PREFIX

SASL = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "PLAIN",
    "sasl_username": "me",
    "sasl_password": "hunter2",
}


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DetectSettings.model_fields:
        monkeypatch.delenv(ENVIRONMENT_PREFIX + name.upper(), raising=False)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problem(**flags: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(DetectSettings, **flags)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def group(**flags: Any) -> str:
        return load_settings(DetectSettings, **flags).group_of("pumps")

    file = write(tmp_path, 'group = "file"')
    assert group() == "stream-detector-pumps"
    assert group(file=file) == "file"
    monkeypatch.setenv("STREAM_DETECTOR_GROUP", "environment")
    assert group(file=file) == "environment"
    assert group(file=file, group=None) == "environment"
    assert group(file=file, group="flag") == "flag"


def test_every_problem_is_named_at_once() -> None:
    text = problem(poll_records_max=0, client="kafka", metrics_port=70_000)
    for name in ("poll_records_max", "client", "metrics_port"):
        assert name in text


@pytest.mark.parametrize("missing", ["sasl_mechanism", "sasl_username", "sasl_password"])
def test_sasl_needs_all_of_its_fields(missing: str) -> None:
    flags = {name: value for name, value in SASL.items() if name != missing}
    assert problem(**flags) == f"settings: SASL_SSL needs {missing}"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"sasl_password": "hunter2"}, "PLAINTEXT does not use sasl_password"),
        ({"ssl_cafile": "ca.pem"}, "PLAINTEXT does not use ssl_cafile"),
        (
            {**SASL, "security_protocol": "SSL"},
            "SSL does not use sasl_mechanism, sasl_username, sasl_password",
        ),
        (
            {**SASL, "security_protocol": "SASL_PLAINTEXT", "ssl_key_password": "hunter2"},
            "SASL_PLAINTEXT does not use ssl_key_password",
        ),
        (
            {"security_protocol": "SSL", "ssl_keyfile": "own.key"},
            "ssl_keyfile needs ssl_certfile",
        ),
    ],
)
def test_security_that_would_be_left_out_is_refused(flags: dict[str, Any], words: str) -> None:
    text = problem(**flags)
    assert text.endswith(words)
    assert "hunter2" not in text


def test_two_topics_that_are_one_are_refused() -> None:
    assert "three different topics, received a, b, a" in problem(
        input_topic="a", alerts_topic="b", dead_letter_topic="a"
    )
    assert "scores_topic must be four different topics, received a, b, c, b" in problem(
        input_topic="a", alerts_topic="b", dead_letter_topic="c", scores_topic="b"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bootstrap_servers", ""),
        ("input_topic", ""),
        ("broker_timeout_s", 0),
        ("broker_timeout_s", float("nan")),
        ("broker_timeout_s", "soon"),
        ("model_rows_max", -1),
        ("metrics_port", -1),
        ("engine", "tensorrt"),
        ("content_type", "xml"),
        ("offset_reset", "none"),
    ],
)
def test_an_impossible_value_is_refused_by_name(field: str, value: object) -> None:
    assert problem(**{field: value}).startswith(f"settings: {field}: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("group = ", "cannot be read"),
        ('gruop = "x"\nengin = "onnx"', "unknown engin, gruop; known are accept_repartition"),
        ("group = 5", "group: Input should be a valid string, received 5, from the file "),
        ("sasl_password = 5", "sasl_password: Input should be a valid string, from the file "),
    ],
)
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in problem(file=write(tmp_path, text))


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    assert "absent.toml cannot be read" in problem(file=tmp_path / "absent.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "binary.toml cannot be read" in problem(file=binary)


def test_one_file_serves_every_command(tmp_path: Path) -> None:
    file = write(tmp_path, 'group = "x"\nbootstrap_servers = "kafka:9092"')
    assert load_settings(ConnectionSettings, file).bootstrap_servers == "kafka:9092"
    assert load_settings(DetectSettings, file).group == "x"


def test_a_wrong_value_says_what_was_received_and_from_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STREAM_DETECTOR_WORKERS", "two")
    assert "'two', from STREAM_DETECTOR_WORKERS" in problem()
    assert problem(workers="three").endswith("received 'three'")


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_DETECTOR_GRUOP", "x")
    with pytest.raises(ConfigError, match=r"GRUOP: .* did you mean STREAM_DETECTOR_GROUP\?"):
        load_settings(ConnectionSettings)  # of another command, too


@pytest.mark.parametrize("servers", ["a", "a:1, b-c.d:2", "[::1]:9092", "127.0.0.1:65535,b"])
def test_servers_are_hosts_with_ports(servers: str) -> None:
    assert load_settings(ConnectionSettings, bootstrap_servers=servers).bootstrap_servers == servers


@pytest.mark.parametrize("servers", ["http://a:1", "a:port", "a:1,", "a:1 b:2", "::1", "a:100000"])
def test_what_is_no_server_is_refused(servers: str) -> None:
    found = problem(bootstrap_servers=servers)
    assert found.endswith(f"with commas between several and no http://, received {servers!r}")


def test_unrelated_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_DETECTOR_DATA", "/data")
    monkeypatch.setenv("STREAM_DETECTOR_METRICS_SERVICE_PORT", "9108")  # of Kubernetes
    monkeypatch.setenv("STREAM_DETECTOR_SERVICE_PORT_METRICS", "9108")
    monkeypatch.setenv("STREAM_DETECTOR_ALERTS_PORT", "tcp://10.0.0.1:9108")
    monkeypatch.setenv("GROUP", "other")
    assert load_settings(DetectSettings).group is None


def test_the_default_group_carries_the_name_of_the_bundle() -> None:
    assert DetectSettings().group_of("pumps") == "stream-detector-pumps"
    assert DetectSettings(group="mine").group_of("pumps") == "mine"


def test_secrets_are_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_DETECTOR_SSL_KEY_PASSWORD", "hunter2")
    settings = load_settings(ConnectionSettings, None, **SASL)
    assert settings.sasl_password is not None
    assert settings.sasl_password.get_secret_value() == "hunter2"
    for text in (repr(settings), str(settings), repr(settings.model_dump())):
        assert "hunter2" not in text


@pytest.mark.parametrize(
    "flags",
    [
        {**SASL, "sasl_mechanism": "hunter2"},
        {**SASL, "sasl_password": ["hunter2"]},
        {**SASL, "sasl_username": None, "ssl_key_password": "hunter2"},
        {"ssl_key_password": 5, "sasl_password": {"hunter2": "hunter2"}},
    ],
)
def test_secrets_are_in_no_error(flags: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(DetectSettings, None, **flags)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_secrets_are_not_even_in_pydantic_s_own_error() -> None:
    with pytest.raises(ValidationError) as caught:
        ConnectionSettings(security_protocol="SASL_SSL", sasl_password=SecretStr("hunter2"))
    with pytest.raises(ValidationError) as wrong_type:
        ConnectionSettings.model_validate({"sasl_password": ["hunter2"]})
    assert "hunter2" not in str(caught.value) + str(wrong_type.value)


def test_settings_do_not_change_once_loaded() -> None:
    settings = load_settings(DetectSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.group = "other"


@pytest.mark.parametrize("name", DetectSettings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    assert DetectSettings.model_fields[name].description


def test_keys_of_the_input_of_file_and_command_line_come_together(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[input]\nkey = "device"\ntime = "ts"\n')
    settings = load_settings(DetectSettings, file, input={"time": "when"})
    assert settings.input == {"key": "device", "time": "when"}
    assert load_settings(DetectSettings).input == {}


def test_the_environment_may_give_keys_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENVIRONMENT_PREFIX}INPUT", '{"key": "device"}')
    assert load_settings(DetectSettings).input == {"key": "device"}
