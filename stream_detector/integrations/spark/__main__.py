"""A stream of Kafka, scored in Spark, as a job: `python -m stream_detector.integrations.spark`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from pyspark.sql import SparkSession
from pyspark.sql.streaming import DataStreamWriter

from stream_detector.errors import ConfigError, StreamDetectorError
from stream_detector.integrations.spark.streams import STATE_STORE, STATE_STORE_KEY, score_stream
from stream_detector.recipes import changes_of_run
from stream_detector.settings import DetectSettings, load_settings

_ABOUT = """\
Score a stream of Kafka in Spark: records of a topic in, alerts and dead letters out.

The alerts are those of `stream-detector detect`, byte for byte but for the time of
their detection. After a crash Spark writes those of its last micro-batch again, with
the same ce_id. Use it where Spark is what you run; `detect` needs less.
"""

_MORE = """\
Spark needs its own Kafka source, in its own version and not part of it. With
spark-submit, where stream_detector[spark] is installed on every machine, and job.py is
the one line `from stream_detector.integrations.spark.__main__ import main; main()`:

  spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0 \\
    --conf spark.pyspark.python=/opt/venv/bin/python job.py \\
    bundles/pump --bootstrap-servers kafka:9092 --input-topic telemetry \\
    --checkpoint s3a://lake/checkpoints/pump

On one machine, without spark-submit:

  python -m stream_detector.integrations.spark bundles/pump \\
    --spark spark.master='local[4]' \\
    --spark spark.jars.packages=org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0 \\
    --bootstrap-servers localhost:9092 --checkpoint checkpoints/pump

The three topics must exist. The checkpoint holds what was read and the state of the
keys: start again with the same one, and the job continues where it stopped. Another
bundle needs another checkpoint, and starts at --starting-offsets without state.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job until its stream ends, and return the exit code.

    Parameters
    ----------
    arguments
        Those of the command line, if none are given.

    Returns
    -------
    0 where all was read that was there (`--trigger available-now`), the exit code of the error
    where the job could not start. What fails while it runs is raised as Spark raises it.
    """
    chosen = _parser().parse_args(arguments)
    try:
        settings = load_settings(
            DetectSettings,
            chosen.settings,
            bootstrap_servers=chosen.bootstrap_servers,
            input_topic=chosen.input_topic,
            alerts_topic=chosen.alerts_topic,
            dead_letter_topic=chosen.dead_letter_topic,
            content_type=chosen.content_type,
            **changes_of_run(chosen.set),
        )
        query = _write(chosen, settings).start()
    except StreamDetectorError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    query.awaitTermination()
    return 0


def _write(chosen: argparse.Namespace, settings: DetectSettings) -> DataStreamWriter:
    """Return the stream from topic to topics, not started yet."""
    kafka = {
        "kafka.bootstrap.servers": settings.bootstrap_servers,
        **{f"kafka.{name}": value for name, value in _pairs(chosen.kafka, "--kafka").items()},
    }
    source = {
        "kafka.isolation.level": "read_committed",  # as `detect` reads
        **kafka,
        "subscribe": settings.input_topic,
        "startingOffsets": chosen.starting_offsets,
        "includeHeaders": "true",
    }
    if chosen.max_offsets is not None:
        source["maxOffsetsPerTrigger"] = str(chosen.max_offsets)
    trigger = (
        {"availableNow": True}
        if chosen.trigger == "available-now"
        else {"processingTime": chosen.trigger}
    )
    found = score_stream(
        _session(_pairs(chosen.spark, "--spark"))
        .readStream.format("kafka")
        .options(**source)
        .load(),
        chosen.bundle,
        alerts_topic=settings.alerts_topic,
        dead_letter_topic=settings.dead_letter_topic,
        settings=settings,
    )
    return (
        found.writeStream.format("kafka")
        .options(**kafka, checkpointLocation=chosen.checkpoint)
        .trigger(**trigger)
    )


def _session(options: Mapping[str, str]) -> SparkSession:
    """Return the session, which keeps state where `score_stream` needs it.

    Its workers run this Python, if none is given: Spark's own default is any `python3` on the path,
    and it heeds `spark.pyspark.python` only where spark-submit starts the job.
    """
    python = options.get("spark.pyspark.python", sys.executable)
    os.environ.setdefault("PYSPARK_PYTHON", python)
    builder = SparkSession.builder.appName("stream-detector")
    for name, value in {STATE_STORE_KEY: STATE_STORE, **options}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """Return options given as NAME=VALUE."""
    pairs = [text.partition("=") for text in texts]
    for name, sign, value in pairs:
        if not name or not sign:
            message = f"{flag}: expected NAME=VALUE, received {name + sign + value!r}"
            raise ConfigError(message)
    return {name: value for name, _, value in pairs}


def _parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stream_detector.integrations.spark",
        description=_ABOUT,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "bundle",
        help="folder that `train` wrote, which Spark ships to its workers; local:/PATH where "
        "every machine has it at that path",
    )
    for name in ("bootstrap_servers", "input_topic", "alerts_topic", "dead_letter_topic"):
        field = DetectSettings.model_fields[name]
        text = f"{field.description}. Default {field.default}.".replace("%", "%%")
        add(f"--{name.replace('_', '-')}", metavar="TEXT", help=text)
    add("--checkpoint", required=True, metavar="PATH", help="where Spark keeps offsets and state")
    add(
        "--starting-offsets",
        default="earliest",
        metavar="TEXT",
        help="where to start without a checkpoint: earliest, latest or JSON as Spark takes it. "
        "Default earliest.",
    )
    add(
        "--trigger",
        default="1 second",
        metavar="TEXT",
        help="how often a micro-batch begins, as in '10 seconds', or available-now: read what is "
        "there, and end. Default '1 second'.",
    )
    add(
        "--max-offsets",
        type=int,
        metavar="N",
        help="most records of a micro-batch. Without it the first one has all that the topic "
        "holds, and a partition's part of it must fit into the memory of a worker.",
    )
    add(
        "--content-type",
        metavar="TEXT",
        help=DetectSettings.model_fields["content_type"].description,
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of the recipe's [input] or [alerting], as with `detect`; repeatable",
    )
    add("--settings", metavar="FILE", help="TOML file of settings as for `detect`; flags win")
    add(
        "--kafka",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of Kafka's Java client, for source and sink, as in security.protocol=SSL; "
        "repeatable",
    )
    add(
        "--spark",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of the Spark session; repeatable",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
