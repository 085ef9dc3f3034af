"""Settings of an online run: the connection to Kafka, and detection.

Read from, strongest first: command-line flags, environment variables that
start with `STREAM_DETECTOR_`, a TOML file (`--settings FILE`), the defaults.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from stream_detector.core.codec.formats import ContentType
from stream_detector.core.windowing.admission import KEYS_MAX
from stream_detector.errors import ConfigError
from stream_detector.files import AnyPath
from stream_detector.settings_sources import (
    ENVIRONMENT_PREFIX,
    describe_problems,
    read_settings_file,
    refuse_misspelt_variables,
)

_SERVER = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+)(:\d{1,5})?")
"""A host, or an IPv6 address in brackets, and its port; 9092 where it has none."""

WORKERS_MAX = 1_024
"""Most processes that one command starts."""

_TLS_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password")

ClientName = Literal["kafka-python", "confluent"]
EngineName = Literal["onnx", "keras"]
LogFormat = Literal["text", "json"]
Delivery = Literal["at_least_once", "exactly_once"]

Port = Annotated[int, Field(ge=0, le=65535)]
PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""As large as the Kafka libraries take."""
PositiveFloat = Annotated[float, Field(gt=0)]


class ConnectionSettings(BaseSettings):
    """How to reach Kafka, the same for every command."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    bootstrap_servers: str = Field(
        default="127.0.0.1:9092", min_length=1, description="Brokers, host:port[,host:port ...]"
    )
    client: ClientName = Field(default="kafka-python", description="Kafka client library")
    broker_timeout_s: PositiveFloat = Field(
        default=60.0, description="Seconds after which to give up on a broker that does not answer"
    )
    poll_bytes_max: PositiveInt = Field(
        default=64 * 1024 * 1024,
        description="About how many bytes of decompressed records one poll takes, and with "
        "kafka-python begins to decompress",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="Security of the connection, as Kafka's security.protocol"
    )
    ssl_cafile: Path | None = Field(
        default=None, description="PEM file of the certificate authorities to trust"
    )
    ssl_certfile: Path | None = Field(
        default=None, description="PEM file of the client certificate"
    )
    ssl_keyfile: Path | None = Field(
        default=None, description="PEM file of the client's private key"
    )
    ssl_key_password: SecretStr | None = Field(
        default=None, description="Password of the private key"
    )
    ssl_check_hostname: bool = Field(
        default=True, description="Whether the broker's certificate must carry its host name"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="Login mechanism, as Kafka's sasl.mechanism"
    )
    sasl_username: str | None = Field(default=None, description="User name of the SASL login")
    sasl_password: SecretStr | None = Field(default=None, description="Password of the SASL login")
    schema_registry_url: str | None = Field(
        default=None,
        max_length=2_048,
        description="Schema Registry that has the schemas of Avro and Protobuf records: its "
        "address, or several of them with commas between",
    )
    schema_registry_username: str | None = Field(
        default=None, description="User name of the login at the Schema Registry"
    )
    schema_registry_password: SecretStr | None = Field(
        default=None, description="Password of that login"
    )
    schema_registry_cafile: Path | None = Field(
        default=None,
        description="PEM file of the certificate authorities to trust for the Schema Registry; "
        "those of the system if not given",
    )

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_servers(cls, value: str) -> str:
        """Refuse what no library could connect to."""
        if not all(_SERVER.fullmatch(each.strip()) for each in value.split(",")):
            message = "expected HOST:PORT, with commas between several and no http://"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _require_sasl_fields(self) -> "ConnectionSettings":
        """Refuse a SASL protocol that lacks its mechanism, user or password."""
        if not self.security_protocol.startswith("SASL"):
            return self
        names = ("sasl_mechanism", "sasl_username", "sasl_password")
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            message = f"{self.security_protocol} needs {', '.join(missing)}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _refuse_unused_security(self) -> "ConnectionSettings":
        """Refuse settings that the protocol would ignore: the connection would only seem secure."""
        protocol = self.security_protocol
        unused = [
            name
            for name in ConnectionSettings.model_fields
            if getattr(self, name) is not None
            and (
                (name.startswith("sasl_") and not protocol.startswith("SASL"))
                or (name in _TLS_FILES and not protocol.endswith("SSL"))
            )
        ]
        if unused:
            message = f"security_protocol = {protocol} does not use {', '.join(unused)}"
            raise ValueError(message)
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            message = "ssl_keyfile needs ssl_certfile"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_schema_registry(self) -> "ConnectionSettings":
        """Refuse addresses that are none, and what belongs to a registry that is not given."""
        urls = (self.schema_registry_url or "").split(",")
        names = [
            name
            for name in ConnectionSettings.model_fields
            if name.startswith("schema_registry_") and getattr(self, name) is not None
        ]
        if names and self.schema_registry_url is None:
            message = f"{', '.join(names)} need schema_registry_url"
            raise ValueError(message)
        if (self.schema_registry_username is None) != (self.schema_registry_password is None):
            message = "schema_registry_username and schema_registry_password need each other"
            raise ValueError(message)
        parts = [urlsplit(url.strip()) for url in urls] if names else []
        if any(each.scheme not in ("http", "https") or not each.hostname for each in parts):
            message = "schema_registry_url: expected http://host:port or https://host:port"
            raise ValueError(message)
        if any("@" in each.netloc for each in parts):
            message = (
                "schema_registry_url: expected no login in it; set schema_registry_username and "
                "schema_registry_password"
            )
            raise ValueError(message)
        if self.schema_registry_cafile and not all(each.scheme == "https" for each in parts):
            message = "schema_registry_cafile needs https in schema_registry_url"
            raise ValueError(message)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, then environment, then the file `load_settings` hands over."""
        del dotenv_settings, file_secret_settings
        assert isinstance(init_settings, InitSettingsSource)  # noqa: S101  (narrows the type)
        values = dict(init_settings.init_kwargs)
        from_file = values.pop("_file", {})
        return (
            InitSettingsSource(settings_cls, init_kwargs=values),
            env_settings,
            InitSettingsSource(settings_cls, init_kwargs=from_file),
        )


class DetectSettings(ConnectionSettings):
    """Settings of one run of `stream-detector detect`."""

    input_topic: str = Field(default="telemetry", min_length=1, description="Topic to read")
    alerts_topic: str = Field(default="alerts", min_length=1, description="Topic for alerts")
    dead_letter_topic: str = Field(
        default="dead-letters",
        min_length=1,
        description="Topic for dead letters: records that cannot be used",
    )
    scores_topic: str | None = Field(
        default=None,
        min_length=1,
        description="Topic for every score, one record a window; none are published if not given",
    )
    scores_format: Literal["json", "float32"] = Field(
        default="json", description="Format of the scores that are published"
    )
    dead_letter_bytes_max: Annotated[int, Field(ge=4_096)] = Field(
        default=1_048_000,
        description="Largest dead letter, key, value and headers together; a larger one is sent "
        "without its value. Set it a little below the topic's max.message.bytes",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        description="Consumer group. If not given, stream-detector- and the bundle's name, so that "
        "detectors with different bundles do not share the records of a topic",
    )
    engine: EngineName = Field(
        default="onnx", description="What runs the network; keras needs the train extra"
    )
    content_type: ContentType | None = Field(
        default=None,
        description="Format of records that carry no content-type header; if not given, image for "
        "a bundle of images, else json",
    )
    input: dict[str, Any] = Field(
        default={},
        description="Keys of the recipe's [input] that differ in this run, as a table of the file, "
        "as JSON in the environment, or --set input.KEY=VALUE",
    )
    alerting: dict[str, Any] = Field(
        default={},
        description="Keys of the recipe's [alerting] that differ in this run, as a table of the "
        "file, as JSON in the environment, or --set alerting.KEY=VALUE",
    )
    delivery: Delivery = Field(
        default="at_least_once",
        description="Whether a failure can repeat alerts (at_least_once) or not (exactly_once)",
    )
    workers: Annotated[int, Field(ge=1, le=WORKERS_MAX)] = Field(
        default=1,
        description="Processes of the group that this command starts, and restarts if they die",
    )
    instance_id: str | None = Field(
        default=None,
        min_length=1,
        description="Name of this process within the group, the same after a restart; with "
        "exactly_once it is part of the transactional.id. A new name each time if not given",
    )
    static_membership: bool = Field(
        default=False,
        description="Keep the partitions during a short restart (static membership by instance_id)",
    )
    accept_repartition: bool = Field(
        default=False,
        description="Start without keyed state where the number of partitions has changed",
    )
    fail_when_all_rejected: bool = Field(
        default=False,
        description="End with exit code 7 once 100 records in a row, or all of a shorter run, were "
        "rejected: the bundle or the format is wrong",
    )
    alerts_format: Literal["json", "avro"] = Field(
        default="json",
        description="Format of alerts; avro registers their schema as ALERTS_TOPIC-value at the "
        "Schema Registry, and needs the registry extra",
    )
    offset_reset: Literal["earliest", "latest"] = Field(
        default="earliest", description="Where reading starts without a committed offset"
    )
    poll_records_max: PositiveInt = Field(
        default=32_768, description="Most records in one poll, which is one commit"
    )
    poll_timeout_ms: PositiveInt = Field(
        default=200, description="Longest wait for the first record of a poll"
    )
    flush_timeout_ms: PositiveInt = Field(
        default=30_000,
        description="Longest wait for the acknowledgement of alerts and dead letters",
    )
    model_rows_max: PositiveInt = Field(
        default=2_048, description="Most windows in one call of the network"
    )
    keys_max: PositiveInt = Field(
        default=KEYS_MAX,
        description="Most keys with state in one partition, for bundles of samples; records of "
        "further keys become dead letters. A key takes about 1 KB and 1.25 times its window of "
        "4-byte values",
    )
    stop_when_idle_s: PositiveFloat | None = Field(
        default=None, description="Stop after so many seconds without a record"
    )
    metrics_port: Port | None = Field(
        default=None, description="Serve Prometheus metrics and health on this port"
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address on which metrics and health are served"
    )
    log_format: LogFormat = Field(
        default="text",
        description="Form of the log lines: text, or json for one JSON object a line",
    )
    otlp: bool = Field(
        default=False,
        description="Send a span for each batch, and the metrics, to an OpenTelemetry collector, "
        "which OpenTelemetry's own OTEL_... variables name; needs the otel extra",
    )

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the topics that must exist, the input topic first."""
        scores = () if self.scores_topic is None else (self.scores_topic,)
        return (self.input_topic, self.alerts_topic, self.dead_letter_topic, *scores)

    @property
    def changes(self) -> dict[str, dict[str, Any]]:
        """Return what this run changes of a bundle's recipe, by table."""
        return {"input": self.input, "alerting": self.alerting}

    def group_of(self, bundle_name: str) -> str:
        """Return the consumer group of a detector with this bundle.

        Examples
        --------
        >>> DetectSettings().group_of("ecg5000-dense")
        'stream-detector-ecg5000-dense'
        """
        return self.group or f"stream-detector-{bundle_name}"

    @model_validator(mode="after")
    def _require_registry(self) -> "DetectSettings":
        """Refuse alerts in Avro without a registry for their schema."""
        if self.alerts_format == "avro" and self.schema_registry_url is None:
            message = "alerts_format = avro needs schema_registry_url"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _require_instance_id(self) -> "DetectSettings":
        """Refuse static membership without a name that stays."""
        if self.static_membership and self.instance_id is None:
            message = "static_membership needs instance_id"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _require_distinct_topics(self) -> "DetectSettings":
        """Refuse to feed the detector its own output."""
        names = ["input_topic", "alerts_topic", "dead_letter_topic"]
        names += ["scores_topic"] * (self.scores_topic is not None)
        if len(set(self.topics)) < len(names):
            *others, last = names
            number = {3: "three", 4: "four"}[len(names)]
            message = (
                f"{', '.join(others)} and {last} must be {number} different topics, "
                f"received {', '.join(self.topics)}"
            )
            raise ValueError(message)
        return self


class RouteSettings(ConnectionSettings):
    """Settings of one run of `stream-detector route`; what it sends where is said by its routes."""

    alerts_topic: str = Field(default="alerts", min_length=1, description="Topic of alerts to read")
    dead_letter_topic: str = Field(
        default="dead-letters",
        min_length=1,
        description="Topic for alerts that a sink did not take",
    )
    silences_topic: str = Field(
        default="silences",
        min_length=1,
        description="Topic of silences; one that does not exist holds none",
    )
    metrics_port: Port | None = Field(
        default=None, description="Serve Prometheus metrics and health on this port"
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address on which metrics and health are served"
    )
    log_format: LogFormat = Field(
        default="text",
        description="Form of the log lines: text, or json for one JSON object a line",
    )
    stop_when_idle_s: PositiveFloat | None = Field(
        default=None,
        description="Stop after so many seconds in which there was nothing to read or send",
    )


SettingsT = TypeVar("SettingsT", bound=ConnectionSettings)


def load_settings(kind: type[SettingsT], file: AnyPath | None = None, **flags: Any) -> SettingsT:
    """Read settings from flags, environment and file, and report every problem at once.

    Parameters
    ----------
    kind
        `ConnectionSettings`, `DetectSettings` or `RouteSettings`.
    file
        A TOML file whose keys are the field names.
    flags
        Values given on the command line; None means not given.

    Raises
    ------
    ConfigError
        If the file cannot be read, a key is unknown or a value does not fit.
    """
    known = {*DetectSettings.model_fields, *RouteSettings.model_fields}
    refuse_misspelt_variables(known)
    values = read_settings_file(file, known) if file is not None else {}
    # One file may serve every command.
    from_file = {name: value for name, value in values.items() if name in kind.model_fields}
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return kind(_file=from_file, **given)  # type: ignore[call-arg]
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise ConfigError(describe_problems(problems, given, file)) from None
