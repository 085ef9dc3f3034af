"""Kafka's topics as tables of Flink, and how both jobs are started and end."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from detection import Judge, check_settings
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment, Table
from pyflink.table.expressions import col, map_from_arrays, to_timestamp_ltz

from stream_detector.errors import ConfigError, StreamDetectorError
from stream_detector.settings import DetectSettings, load_settings

RECORDS = """
CREATE TABLE records (
    `partition` INT METADATA VIRTUAL,
    `offset` BIGINT METADATA VIRTUAL,
    `timestamp` TIMESTAMP_LTZ(3) METADATA VIRTUAL,
    `headers` MAP<STRING, BYTES> METADATA VIRTUAL,
    `header_names` AS MAP_KEYS(`headers`),
    `header_values` AS MAP_VALUES(`headers`),
    `key` BYTES,
    `value` BYTES
) WITH ({options})
"""

OUTPUTS = """
CREATE TABLE outputs (
    `topic` STRING METADATA,
    `headers` MAP<STRING, BYTES> METADATA,
    `timestamp` TIMESTAMP_LTZ(3) METADATA,
    `key` BYTES,
    `value` BYTES
) WITH ({options})
"""

FORMATS = {
    "connector": "kafka",
    "key.format": "raw",
    "key.fields": "key",
    "value.format": "raw",
    "value.fields-include": "EXCEPT_KEY",
}

TRANSACTION_TIMEOUT_MS = 900_000
"""Longest that brokers allow by default; Flink asks for an hour, which they refuse."""

BATCH_RECORDS = 10_000
BATCH_MS = 200
"""Most records that go to Python together, and how long a record waits for others."""


def read_command_line(description: str) -> tuple[Judge, argparse.Namespace]:
    """Return the detector and the options that the command line names.

    Parameters
    ----------
    description
        Of the program.

    Raises
    ------
    BundleError
        If the bundle cannot be used.
    ConfigError
        If a setting does not fit.
    """
    options = _parser(description).parse_args()
    names = ("bootstrap_servers", "input_topic", "alerts_topic", "dead_letter_topic", "group")
    flags = {name: getattr(options, name) for name in names}
    settings = load_settings(DetectSettings, options.settings, **flags)
    check_settings(settings)
    judge = Judge(options.bundle.resolve(), settings)
    return judge, options


def open_tables(judge: Judge, options: argparse.Namespace) -> StreamTableEnvironment:
    """Return Flink's environment, with the tables `records` and `outputs`.

    Parameters
    ----------
    judge, options
        As the command line says.
    """
    streams = StreamExecutionEnvironment.get_execution_environment(
        Configuration.from_dict(_configuration(options) | dict(options.flink))
    )
    for program in ("detection.py", "tables.py"):
        streams.add_python_file(str(Path(__file__).with_name(program)))
    tables = StreamTableEnvironment.create(streams)
    servers = ("bootstrap.servers", judge.settings.bootstrap_servers)
    kafka = {f"properties.{name}": value for name, value in (servers, *options.kafka)}
    source = FORMATS | _source_options(judge, is_bounded=options.until_now) | kafka
    sink = FORMATS | _sink_options(judge) | kafka
    tables.execute_sql(RECORDS.format(options=_sql(source)))
    tables.execute_sql(OUTPUTS.format(options=_sql(sink)))
    return tables


def write(found: Table) -> None:
    """Write alerts and dead letters until the job ends.

    Parameters
    ----------
    found
        Columns of `detection.OutputRow`, of which a row without a topic is nothing to write.
    """
    written = found.where(col("topic").is_not_null).select(
        col("topic"),
        map_from_arrays(col("header_names"), col("header_values")),
        to_timestamp_ltz(col("timestamp_ms"), 3),
        col("key"),
        col("value"),
    )
    written.execute_insert("outputs").wait()


def run(main: Callable[[], None]) -> None:
    """Run a program; an error of ours ends it with its message and exit code."""
    try:
        main()
    except StreamDetectorError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  (a program)
        sys.exit(error.exit_code)


def _parser(description: str) -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("bundle", type=Path, help="the bundle's folder, the same on every worker")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--checkpoint-ms", type=int, default=10_000, help="time between two")
    parser.add_argument("--settings", type=Path, help="TOML file with settings of detect")
    for name in ("bootstrap-servers", "input-topic", "alerts-topic", "dead-letter-topic", "group"):
        parser.add_argument(f"--{name}", help="as of detect")
    parser.add_argument("--until-now", action="store_true", help="end with the records there are")
    for name, whose in (("kafka", "Kafka's Java client"), ("flink", "Flink's configuration")):
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            type=_pair,
            metavar="NAME=VALUE",
            help=f"an option of {whose}",
        )
    return parser


def _pair(text: str) -> tuple[str, str]:
    """Return the name and the value of an option."""
    name, sign, value = text.partition("=")
    if not (name and sign):
        message = f"expected NAME=VALUE, received {text!r}"
        raise argparse.ArgumentTypeError(message)
    return name, value


def _configuration(options: argparse.Namespace) -> dict[str, str]:
    """Return Flink's configuration, unless the command line says otherwise."""
    folder = options.checkpoints.resolve()
    configuration = {
        "execution.checkpointing.dir": folder.as_uri(),
        "execution.checkpointing.interval": f"{options.checkpoint_ms} ms",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        # An error in Python would start the job again for ever.
        "restart-strategy.type": "failure-rate",
        "python.fn-execution.arrow.batch.size": str(BATCH_RECORDS),
        "python.fn-execution.bundle.size": str(BATCH_RECORDS),
        "python.fn-execution.bundle.time": str(BATCH_MS),
        "table.local-time-zone": "UTC",
    }
    checkpoint = newest_checkpoint(folder)
    if checkpoint is not None and options.until_now:
        message = (
            f"--until-now: expected a folder without checkpoints, received {checkpoint}: Flink "
            "would go on as that job was begun; leave --until-now out, or give another folder and "
            "another --group"
        )
        raise ConfigError(message)
    if checkpoint is not None:
        configuration["execution.state-recovery.path"] = checkpoint.as_uri()
    return configuration


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in a folder, None where there is none."""
    complete = [found.parent for found in folder.glob("*/chk-*/_metadata")]
    return max(complete, key=lambda each: each.stat().st_mtime_ns, default=None)


def _source_options(judge: Judge, *, is_bounded: bool) -> dict[str, str]:
    """Return the options of the input topic's table."""
    settings = judge.settings
    return {
        "topic": settings.input_topic,
        "scan.startup.mode": "group-offsets",
        "scan.bounded.mode": "latest-offset" if is_bounded else "unbounded",
        "properties.group.id": settings.group_of(judge.detector.bundle.name),
        "properties.auto.offset.reset": settings.offset_reset,
        "properties.isolation.level": "read_committed",
    }


def _sink_options(judge: Judge) -> dict[str, str]:
    """Return the options of the table of both output topics."""
    settings = judge.settings
    return {
        "topic": f"{settings.alerts_topic};{settings.dead_letter_topic}",
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": settings.group_of(judge.detector.bundle.name),
        "properties.transaction.timeout.ms": str(TRANSACTION_TIMEOUT_MS),
    }


def _sql(options: Mapping[str, str]) -> str:
    """Return the options of a table as SQL."""
    quoted = {name: value.replace("'", "''") for name, value in options.items()}
    return ", ".join(f"'{name}' = '{value}'" for name, value in quoted.items())
