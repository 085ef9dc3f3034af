"""Streams of Kafka in Spark: alerts and dead letters are those of `detect`, byte for byte.

One Spark session and one broker for all tests. What does not need Spark is tested without it, in
tests/unit/integrations.
"""

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from doc_pages import read_blocks
from local_spark import LocalSparkError, open_session, options_of
from spark_inputs import CASES, N_PARTITIONS, Lines, detect, lines_in, send, send_aborted

from stream_detector.clients import connect
from stream_detector.core.records import TopicPartition
from stream_detector.errors import ConfigError
from stream_detector.settings import ConnectionSettings, DetectSettings

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    # Spark says so itself, and so does docs/how-to/spark.md; no data of ours goes through pandas.
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]

KEEP = {"retention_ms": "-1"}
KILL_TIMEOUT_S = 120.0
LOOK_EVERY_S = 0.01
"""A micro-batch is much longer between its alerts and its end."""


class Judged(NamedTuple):
    """A topic, its bundle, and what `detect` found in it."""

    bundle: Path
    topic: str
    n_records: int
    lines: Lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spark")


@pytest.fixture(scope="module")
def spark(folder: Path) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(open_session(folder))
        except LocalSparkError as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield found


@pytest.fixture(scope="module")
def judge(
    kafka: str, module_topics: Any, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Judged]:
    """Return what sends the records of a case and lets `detect` judge them."""
    del data_folder

    @cache
    def judged(name: str) -> Judged:
        case = CASES[name]
        bundle = tmp_path_factory.mktemp("bundles") / "bundle"
        case.make_bundle(bundle)
        topic, *outputs = (module_topics(n, **KEEP) for n in (N_PARTITIONS, 1, 1))
        send_aborted(kafka, topic)
        n_records = send(kafka, case.records(topic))
        detect(bundle, settings_of(kafka, topic, *outputs, **case.settings), n_records)
        return Judged(bundle, topic, n_records, lines_in(kafka, *outputs))

    return judged


def settings_of(
    servers: str, source: str, alerts: str, letters: str, **more: Any
) -> DetectSettings:
    return DetectSettings(
        bootstrap_servers=servers,
        client="confluent",
        input_topic=source,
        alerts_topic=alerts,
        dead_letter_topic=letters,
        **more,
    )


def read_stream(spark: Any, kafka: str, topic: str, n_most: int) -> Any:
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", kafka)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("includeHeaders", "true")
        .option("kafka.isolation.level", "read_committed")
        .option("maxOffsetsPerTrigger", n_most)
        .load()
    )


class Run(NamedTuple):
    """How Spark is to judge the records of a case."""

    name: str
    n_batches: int = 2
    n_state_partitions: int = 2
    time_zone: str = "UTC"
    is_on_workers: bool = False


RUNS = [
    Run("beats without incidents"),
    Run("images"),
    Run("heartbeats"),
    Run("pumps"),
    Run("odd ones", 5, 3, "America/New_York", is_on_workers=True),
]
"""The page's program judges the beats, and the job that is killed the odd ones once more."""


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_alerts_and_dead_letters_are_those_of_detect(
    run: Run, spark: Any, kafka: str, judge: Callable[[str], Judged], topics: Any, tmp_path: Path
) -> None:
    from stream_detector.integrations.spark.streams import (
        STATE_STORE,
        STATE_STORE_KEY,
        score_stream,
    )

    judged, (alerts, letters) = judge(run.name), (topics(1, **KEEP), topics(1, **KEEP))
    spark.conf.set(STATE_STORE_KEY, STATE_STORE)
    spark.conf.set("spark.sql.shuffle.partitions", run.n_state_partitions)
    spark.conf.set("spark.sql.session.timeZone", run.time_zone)
    found = score_stream(
        read_stream(spark, kafka, judged.topic, -(-judged.n_records // run.n_batches)),
        f"local:{judged.bundle}" if run.is_on_workers else judged.bundle,
        alerts_topic=alerts,
        dead_letter_topic=letters,
        settings=DetectSettings(**CASES[run.name].settings),
    )
    query = (
        found.writeStream.format("kafka")
        .option("kafka.bootstrap.servers", kafka)
        .option("checkpointLocation", str(tmp_path / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    assert len(query.recentProgress) >= run.n_batches
    assert lines_in(kafka, alerts, letters) == judged.lines
    assert {kind for kind, _ in judged.lines} >= {"alert"}


def test_the_program_of_the_page_does_what_the_page_says(
    spark: Any, kafka: str, judge: Callable[[str], Judged], topics: Any, tmp_path: Path
) -> None:
    del spark  # the program's own, since there is one
    judged, (alerts, letters) = judge("beats"), (topics(1, **KEEP), topics(1, **KEEP))
    [block] = [each for each in read_blocks("docs/how-to/spark.md") if each.title == "stream.py"]
    text = block.text
    for there, here in {
        '"localhost:9092"': f'"{kafka}"',
        '"telemetry"': f'"{judged.topic}"',
        '"bundles/ecg5000-dense"': f'"{judged.bundle}"',
        '="alerts"': f'="{alerts}"',
        '="dead-letters"': f'="{letters}"',
        '"checkpoints/ecg5000-dense"': f'"{tmp_path / "checkpoint"}"',
        'processingTime="1 second"': "availableNow=True",
    }.items():
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "stream.py").write_text(text)
    runpy.run_path(str(tmp_path / "stream.py"))
    assert lines_in(kafka, alerts, letters) == judged.lines


def test_killed_in_a_micro_batch_and_started_again_nothing_is_lost(
    spark: Any, kafka: str, judge: Callable[[str], Judged], topics: Any, tmp_path: Path
) -> None:
    from stream_detector.integrations.spark.__main__ import main

    del spark  # the restarted job's own
    judged, (alerts, letters) = judge("odd ones"), (topics(1, **KEEP), topics(1, **KEEP))
    checkpoint = tmp_path / "checkpoint"
    arguments = [
        *(str(judged.bundle), "--bootstrap-servers", kafka, "--checkpoint", str(checkpoint)),
        *("--input-topic", judged.topic, "--alerts-topic", alerts, "--dead-letter-topic", letters),
        *("--trigger", "available-now", "--max-offsets", str(judged.n_records // 4)),
        *("--kafka", "client.id=job"),
    ]
    while not is_in_a_micro_batch(checkpoint):
        kill_in_a_micro_batch(arguments, checkpoint, kafka, alerts, tmp_path)
    assert main(arguments) == 0
    found, expected = lines_in(kafka, alerts, letters), judged.lines
    assert {place: set(lines) for place, lines in found.items()} == {
        place: set(lines) for place, lines in expected.items()
    }
    assert sum(map(len, found.values())) > sum(map(len, expected.values()))


def kill_in_a_micro_batch(
    arguments: list[str], checkpoint: Path, kafka: str, alerts: str, folder: Path
) -> None:
    """Start the job, and kill it when alerts of a micro-batch are there that is not committed."""
    options = [f"--spark={name}={value}" for name, value in options_of(folder).items()]
    command = [sys.executable, "-m", "stream_detector.integrations.spark", *arguments, *options]
    place = TopicPartition(alerts, 0)
    log = (folder / "job.log").open("ab")
    own = {name: value for name, value in os.environ.items() if name != "PYSPARK_PYTHON"}
    job = subprocess.Popen(command, stdout=log, stderr=log, env=own, start_new_session=True)
    deadline_s, n_committed, committed = time.monotonic() + KILL_TIMEOUT_S, 0, -1
    client = connect(ConnectionSettings(bootstrap_servers=kafka, client="confluent"))
    with log, closing(client):
        while not (
            is_in_a_micro_batch(checkpoint)
            and committed >= 0
            and client.end_offsets([place])[place] > n_committed
        ):
            last = last_number(checkpoint / "commits")
            if last > committed:
                committed, n_committed = last, client.end_offsets([place])[place]
            assert job.poll() is None, (folder / "job.log").read_text()[-3_000:]
            assert time.monotonic() < deadline_s
            time.sleep(LOOK_EVERY_S)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def is_in_a_micro_batch(checkpoint: Path) -> bool:
    """Return whether a micro-batch has begun and is not committed."""
    return last_number(checkpoint / "offsets") > last_number(checkpoint / "commits")


def last_number(folder: Path) -> int:
    """Return the last micro-batch that Spark has noted in a folder, -1 where there is none."""
    return max((int(each.name) for each in folder.glob("*") if each.name.isdigit()), default=-1)


def test_what_cannot_be_scored_is_refused_before_it_starts(
    spark: Any, kafka: str, judge: Callable[[str], Judged]
) -> None:
    from stream_detector.integrations.spark.streams import (
        STATE_STORE,
        STATE_STORE_KEY,
        score_stream,
    )

    judged = judge("beats")
    names: dict[str, Any] = {"alerts_topic": "a", "dead_letter_topic": "d"}
    records = read_stream(spark, kafka, judged.topic, 10)
    with pytest.raises(ConfigError, match=r"headers are missing: .*includeHeaders"):
        score_stream(records.drop("headers"), judged.bundle, **names)
    spark.conf.set(STATE_STORE_KEY, "other.Provider")
    with pytest.raises(ConfigError, match=rf"{STATE_STORE_KEY}: .* received other.Provider"):
        score_stream(records, judged.bundle, **names)
    spark.conf.set(STATE_STORE_KEY, STATE_STORE)
    with pytest.raises(ConfigError, match="content_type: expected"):
        score_stream(records, judged.bundle, **names, settings=DetectSettings(content_type="image"))
    with pytest.raises(ConfigError, match="three different topics"):
        score_stream(records, judged.bundle, alerts_topic="a", dead_letter_topic="a")
