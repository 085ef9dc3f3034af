"""How each library gets the settings, and what no client prints."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream_detector.clients import connect
from stream_detector.clients.confluent import config as confluent_config
from stream_detector.clients.confluent.client import ConfluentClient
from stream_detector.clients.kafka_python import config as kafka_python_config
from stream_detector.clients.kafka_python.client import KafkaPythonClient
from stream_detector.errors import ConfigError
from stream_detector.settings import ConnectionSettings

SECURE = ConnectionSettings(
    bootstrap_servers="one.example:9093,two.example:9093",
    security_protocol="SASL_SSL",
    ssl_cafile=Path("ca.pem"),
    ssl_certfile=Path("own.pem"),
    ssl_keyfile=Path("own.key"),
    ssl_key_password=SecretStr("key-secret"),
    ssl_check_hostname=False,
    sasl_mechanism="SCRAM-SHA-512",
    sasl_username="detector",
    sasl_password=SecretStr("user-secret"),
)


def test_security_settings_reach_kafka_python() -> None:
    config = kafka_python_config.connection_config(SECURE)

    assert config["bootstrap_servers"] == ["one.example:9093", "two.example:9093"]
    assert {name: value for name, value in config.items() if name.startswith(("s", "ssl"))} == {
        "security_protocol": "SASL_SSL",
        "ssl_check_hostname": False,
        "ssl_cafile": "ca.pem",
        "ssl_certfile": "own.pem",
        "ssl_keyfile": "own.key",
        "ssl_password": "key-secret",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "detector",
        "sasl_plain_password": "user-secret",
    }


def test_security_settings_reach_confluent() -> None:
    config = confluent_config.connection_config(SECURE)

    assert config["bootstrap.servers"] == "one.example:9093,two.example:9093"
    secure = ("security.", "ssl.", "sasl.")
    assert {name: value for name, value in config.items() if name.startswith(secure)} == {
        "security.protocol": "SASL_SSL",
        "ssl.endpoint.identification.algorithm": "none",
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "own.pem",
        "ssl.key.location": "own.key",
        "ssl.key.password": "key-secret",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "detector",
        "sasl.password": "user-secret",
    }


def test_plain_connections_carry_no_security_options() -> None:
    plain = ConnectionSettings()

    assert not [name for name in kafka_python_config.connection_config(plain) if "ssl" in name]
    assert not [
        name
        for name in confluent_config.connection_config(plain)
        if name.startswith("s") and ("ssl" in name or "sasl" in name)
    ]


def test_a_moved_leader_is_seen_within_15_seconds() -> None:
    assert kafka_python_config.connection_config(SECURE)["metadata_max_age_ms"] == 15_000
    # The option for the age of its cache does not matter: it refreshes at this interval, which is
    # 300 s by default.
    config = confluent_config.connection_config(SECURE)
    assert config["topic.metadata.refresh.interval.ms"] == 15_000


def test_times_are_whole_milliseconds() -> None:
    # kafka-python packs them into requests as integers, and a float kills its sender thread.
    config = kafka_python_config.connection_config(SECURE)
    assert all(isinstance(config[name], int) for name in config if name.endswith("_ms"))


@pytest.mark.parametrize("library", ["kafka-python", "confluent"])
def test_no_client_shows_a_secret(library: str) -> None:
    client = connect(SECURE.model_copy(update={"client": library}), topics=["t"], group="g")

    for text in (repr(client), str(client)):
        assert "secret" not in text


@pytest.mark.parametrize(("newest", "version"), [(2, (2, 3)), (3, None)])
def test_kafka_python_is_told_the_version_of_old_brokers(
    monkeypatch: pytest.MonkeyPatch, newest: int, version: tuple[int, int] | None
) -> None:
    monkeypatch.setattr(kafka_python_config, "check_connection", lambda *_: newest)
    assert kafka_python_config.detect_api_version(ConnectionSettings(), {}) == version


def test_connect_returns_the_client_that_the_settings_name() -> None:
    assert isinstance(connect(ConnectionSettings()), KafkaPythonClient)
    assert isinstance(connect(ConnectionSettings(client="confluent")), ConfluentClient)
    with pytest.raises(ValueError, match="earliest or latest"):
        connect(ConnectionSettings(), offset_reset="middle")
    with pytest.raises(ValueError, match="needs a group"):
        connect(ConnectionSettings(), instance_id="one")


def test_the_error_for_a_missing_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith(("confluent_kafka", "stream_detector.clients.confluent.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Absent("confluent_kafka"), *sys.meta_path])

    with pytest.raises(ConfigError, match=r"pip install 'stream-detector\[confluent\]'"):
        connect(ConnectionSettings(client="confluent"))


class _Absent:
    """Makes the import of one package fail."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, *rest: object) -> None:
        del rest
        if name.partition(".")[0] == self._name:
            message = f"No module named {name!r}"
            raise ModuleNotFoundError(message, name=name)


def test_kafka_python_computes_checksums_in_c() -> None:
    # Without this package it falls back to Python and produces four times slower.
    assert importlib.util.find_spec("crc32c") is not None


def test_connecting_loads_only_the_library_that_is_used() -> None:
    program = (
        "import sys; from stream_detector.clients import connect; "
        "from stream_detector.settings import ConnectionSettings; "
        "connect(ConnectionSettings(client='kafka-python')); "
        "assert 'kafka' in sys.modules; assert 'confluent_kafka' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
