"""Processor time a record inside Spark, against `detect` and a function that calls Keras.

    python benchmarks/spark.py --records 200000 --rounds 2

All read the same topic of a real Kafka and write alerts: Spark in local mode, one Java process with
two tasks, in two micro-batches. Time is that of all processes of Spark: Java, driver and workers.
It is counted from the end of the first micro-batch, or poll, to that of the last, so starting is
left out for all alike, and each contender runs once before it is measured. The broker is left out.

`samples` has records of one sample of two features, of 1,000 keys in four partitions.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    N_PARTITIONS,
    RARELY,
    ROOT,
    delete_topics,
    fill,
    make_topics,
    normal_beats,
    processor_s,
    running_broker,
    spread,
    tell,
    train_bundle,
)

sys.path.append(str(ROOT / "tests" / "support"))
# Workers of Spark inherit it.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT / "benchmarks"), str(ROOT), os.environ.get("PYTHONPATH", "")]
)

from halving_bundle import make_bundle_of_samples
from local_spark import open_session
from spark_inputs import detect, send
from spark_peers import KERAS_SCHEMA, KerasUdf, PandasState

from stream_detector.assembly import open_bundle
from stream_detector.bundle import read_bundle
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.records import OutputRecord, RecordBatch, SeriesColumns
from stream_detector.core.state.snapshot import dump
from stream_detector.integrations.spark.streams import (
    PACKED_SCHEMA,
    STATE_STORE,
    STATE_STORE_KEY,
    pack,
    score_stream,
)
from stream_detector.integrations.spark.workers import (
    OUTPUT_SCHEMA,
    RECORD_COLUMNS,
    share_bundle,
)
from stream_detector.settings import DetectSettings

N_KEYS, N_BATCHES = 1_000, 2
START_MS = 1_767_225_600_000
SESSION = {
    STATE_STORE_KEY: STATE_STORE,
    "spark.master": "local[2]",
    "spark.driver.extraJavaOptions": "-Xss4m",
    "spark.sql.codegen.wholeStage": "true",
    "spark.sql.codegen.factoryMode": "FALLBACK",
    "spark.sql.shuffle.partitions": str(N_PARTITIONS),
}
"""Spark as it is by default, where the tests' sessions save the time of its compilers."""

NO_INCIDENTS = {"alerting": {"incident_within_ms": 0}}


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--only", help="contenders whose names hold this text")
    parser.add_argument("--bundle", type=Path, help="trained; made if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running_broker() as servers:
        bench = Bench(Path(name), servers, options.records)
        windows = options.bundle or train_bundle(Path(name), *RARELY)
        samples = Path(name) / "samples"
        make_bundle_of_samples(samples, 20, 2)
        bench.fill_topics()
        with open_session(Path(name) / "spark", **SESSION) as spark:
            contenders = bench.contenders(spark, windows, samples)
            for text, run in contenders.items():
                if options.only is None or options.only in text:
                    run()
                    found = spread([run() for _ in range(options.rounds)])
                    print(f"{text}: {tell(found, 1)} us of processor time a record", flush=True)
        print(f"state: {state_bytes(samples):,.0f} bytes a key")


class Bench:
    """Topics on a broker, and what reads them.

    Parameters
    ----------
    folder
        For bundles and checkpoints.
    servers
        The broker.
    n_records
        Of each topic.
    """

    def __init__(self, folder: Path, servers: str, n_records: int) -> None:
        self._folder, self._servers, self._n_records = folder, servers, n_records
        self._n_runs = 0

    def fill_topics(self) -> None:
        """Write the records."""
        make_topics(self._servers, "windows", "samples")
        fill(self._servers, "windows", [each.tobytes() for each in normal_beats()], self._n_records)
        send(self._servers, samples_of("samples", self._n_records))

    def contenders(
        self, spark: Any, windows: Path, samples: Path
    ) -> dict[str, Callable[[], float]]:
        """Return what is measured, by name."""
        bundle = read_bundle(windows)
        udf = KerasUdf(str(bundle.network_keras), bundle.scorer(np.zeros_like).threshold)

        def keras(records: Any, topics: list[str]) -> Any:
            del topics
            return records.select("value", "offset").mapInArrow(udf, KERAS_SCHEMA)

        def ours(path: Path, **changes: Any) -> Callable[[Any, list[str]], Any]:
            def scored(records: Any, topics: list[str]) -> Any:
                settings = DetectSettings(content_type="float32", **changes)
                names = {"alerts_topic": topics[0], "dead_letter_topic": topics[1]}
                return score_stream(records, path, **names, settings=settings)

            return scored

        def in_pandas(records: Any, topics: list[str]) -> Any:
            settings = DetectSettings(
                content_type="float32", alerts_topic=topics[0], dead_letter_topic=topics[1]
            )
            shared, _ = share_bundle(spark, samples, settings)
            packed = records.select(*RECORD_COLUMNS).mapInArrow(pack, PACKED_SCHEMA)
            return packed.groupBy("topic", "partition").applyInPandasWithState(
                PandasState(shared), OUTPUT_SCHEMA, "snapshot binary", "append", "NoTimeout"
            )

        return {
            "windows, detect (confluent)": lambda: self._detect("windows", windows),
            "windows, Spark without incidents": lambda: self._spark(
                spark, "windows", ours(windows, **NO_INCIDENTS)
            ),
            "windows, Spark": lambda: self._spark(spark, "windows", ours(windows)),
            "windows, Spark, function with Keras": lambda: self._spark(
                spark, "windows", keras, is_written=False
            ),
            "samples, detect (confluent)": lambda: self._detect("samples", samples),
            "samples, Spark": lambda: self._spark(spark, "samples", ours(samples)),
            "samples, Spark, applyInPandasWithState": lambda: self._spark(
                spark, "samples", in_pandas
            ),
        }

    def _detect(self, topic: str, bundle: Path) -> float:
        """Return the microseconds a record that `detect` takes."""
        outputs = self._outputs()
        settings = DetectSettings(
            bootstrap_servers=self._servers,
            client="confluent",
            content_type="float32",
            input_topic=topic,
            alerts_topic=outputs[0],
            dead_letter_topic=outputs[1],
            group=outputs[0],
        )
        marks: list[tuple[int, float]] = []
        detect(
            bundle,
            settings,
            self._n_records,
            lambda n_read: marks.append((n_read, time.process_time())),
        )
        delete_topics(self._servers, *outputs)
        return us_a_record(marks)

    def _spark(
        self,
        spark: Any,
        topic: str,
        scored: Callable[[Any, list[str]], Any],
        *,
        is_written: bool = True,
    ) -> float:
        """Return the microseconds a record that Spark takes."""
        outputs = self._outputs()
        records = (
            spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", self._servers)
            .option("subscribe", topic)
            .option("startingOffsets", "earliest")
            .option("includeHeaders", "true")
            .option("maxOffsetsPerTrigger", self._n_records // N_BATCHES)
            .load()
        )
        writer = scored(records, outputs).writeStream.trigger(availableNow=True)
        writer = writer.option("checkpointLocation", str(self._folder / outputs[0]))
        if is_written:
            writer = writer.format("kafka").option("kafka.bootstrap.servers", self._servers)
        else:
            writer = writer.format("noop")
        query, marks = writer.start(), list[tuple[int, float]]()
        is_over = False
        while not is_over:
            is_over, done = not query.isActive, query.recentProgress
            if len(done) > len(marks):
                marks.append((sum(each["numInputRows"] for each in done), processor_s()))
            time.sleep(0.01)
        query.awaitTermination()
        delete_topics(self._servers, *outputs)
        return us_a_record(marks)

    def _outputs(self) -> list[str]:
        """Return two fresh topics."""
        self._n_runs += 1
        names = [f"{kind}-{self._n_runs}" for kind in ("alerts", "dead-letters")]
        make_topics(self._servers, *names)
        return names


def samples_of(topic: str, n_records: int) -> Iterator[OutputRecord]:
    """Yield one sample of two features a record, of each key in turn."""
    values = np.random.default_rng(1).normal(0, 0.5, (n_records, 2)).astype("<f4")
    headers = [("content-type", CONTENT_TYPES["float32"])]
    for number in range(n_records):
        second, key = divmod(number, N_KEYS)
        name, value = b"pump-%04d" % key, values[number].tobytes()
        time_ms, partition = START_MS + 1_000 * second, key % N_PARTITIONS
        yield OutputRecord(topic, name, value, headers, time_ms, partition)


def state_bytes(bundle: Path) -> float:
    """Return the bytes of a snapshot for each key after half a window more than one."""
    detector = open_bundle(bundle).detector
    n_rows = 30
    rows = [*samples_of("samples", n_rows * N_KEYS)]
    series = SeriesColumns(
        [each.key for each in rows],
        np.zeros(len(rows), np.int64),
        np.array([each.timestamp_ms for each in rows]),
    )
    values = [each.value for each in rows]
    batch = RecordBatch.from_columns("samples", values, series, np.arange(len(rows)))
    state = detector.initial_state().open_partition(0, 0)
    state = detector.step(state, batch, "float32").state
    return len(dump(state, detector.bundle.version)) / N_KEYS


def us_a_record(marks: Sequence[tuple[int, float]]) -> float:
    """Return microseconds a record between the first and the last mark: records and seconds."""
    (n_first, first_s), (n_last, last_s) = marks[0], marks[-1]
    return (last_s - first_s) / (n_last - n_first) * 1e6


if __name__ == "__main__":
    main()
