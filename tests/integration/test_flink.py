"""The jobs of examples/flink on a real Kafka write what `detect` writes; `make flink` runs this."""

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import kafka as kafka_python
import numpy as np
import orjson
import pytest
from fault_stage import ends_of
from flink_jobs import FLINK_PYTHON, FlinkJob
from halving_bundle import make_bundle

from stream_detector.assembly import make_service, open_bundle
from stream_detector.clients import connect
from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.records import OutputRecord, Samples
from stream_detector.datasets import load_dataset, load_samples
from stream_detector.errors import ConfigError
from stream_detector.ports import SystemClock
from stream_detector.recipes import load_recipe
from stream_detector.replay import Faults, SampleReplayOptions, replay_samples
from stream_detector.replay.fleet import concatenate
from stream_detector.settings import ConnectionSettings, DetectSettings, load_settings
from stream_detector.telemetry import Metrics

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.skipif(not FLINK_PYTHON, reason="needs PyFlink, which `make flink` installs"),
]

ROOT = Path(__file__).resolve().parents[2]
KEEP = {"retention_ms": "-1"}  # event times are long past
START_MS = 1_767_225_600_000
INTERVAL_MS = 1000 / 360
FACTOR = (
    -0.5
)  # of a network that needs no training: a window with a mean size of a third is strange
N_REASONS = 6
"""Headers that a dead letter has more than its record."""


MakeTopic = Callable[..., str]


class Topics(NamedTuple):
    """Where records come from, and what is found of them goes to."""

    source: str
    alerts: str
    dead_letters: str

    @property
    def options(self) -> list[str]:
        names = ("--input-topic", "--alerts-topic", "--dead-letter-topic")
        return [*itertools.chain.from_iterable(zip(names, self, strict=True))]


Found = tuple[Counter[Any], Counter[Any]]
"""How often each alert was written, and each dead letter."""


def detect(bundle: Path, servers: str, topics: Topics, file: Path | None = None) -> Found:
    """Return what `detect` writes of a topic."""
    settings = load_settings(
        DetectSettings,
        file,
        bootstrap_servers=servers,
        input_topic=topics.source,
        alerts_topic=topics.alerts,
        dead_letter_topic=topics.dead_letters,
        group=topics.alerts,
        stop_when_idle_s=1.0,
    )
    served = open_bundle(bundle, changes=settings.changes)
    make_service(served, settings, Metrics()).run()
    return found_in(servers, topics)


def found_in(servers: str, topics: Topics) -> Found:
    """Return all that is committed of both outputs."""
    alerts: Counter[Any] = Counter()
    for value, key, headers, _ in committed(servers, topics.alerts):
        alert = orjson.loads(value or b"")
        del alert["detected_at_ms"]
        alerts[(json.dumps(alert), key, tuple(headers))] += 1
    letters: Counter[Any] = Counter()
    for value, key, headers, time_ms in committed(servers, topics.dead_letters):
        # Flink hands over the headers of a record in no order.
        own, reasons = sorted(headers[:-N_REASONS]), headers[-N_REASONS:]
        letters[(value, key, tuple(own), tuple(reasons), time_ms)] += 1
    return alerts, letters


def committed(servers: str, topic: str) -> Iterator[tuple[Any, Any, Any, int]]:
    """Yield value, key, headers and time of all records; fails where some stay in doubt."""
    ends = {each: end for each, end in ends_of(servers, topic).items() if end}
    reader = connect(ConnectionSettings(bootstrap_servers=servers), topics=[topic])
    deadline_s = time.monotonic() + 30
    try:
        while any(reader.positions(ends).get(each, 0) < end for each, end in ends.items()):
            batch = reader.poll(1_000, 100)
            for index, value in enumerate(batch.values):
                metadata = batch.metadata(index)
                yield value, metadata.key, metadata.headers, metadata.timestamp_ms
            assert time.monotonic() < deadline_s, f"{topic} is blocked"
    finally:
        reader.close()


class Progress:
    """Watches how far a job has come; its alerts are in one partition."""

    def __init__(self, servers: str, topics: Topics, group: str) -> None:
        self._of = topics
        self._all, self._committed, self._group = (
            kafka_python.KafkaConsumer(bootstrap_servers=servers, **options)
            for options in (
                {"isolation_level": "read_uncommitted"},
                {"isolation_level": "read_committed"},
                {"group_id": group, "enable_auto_commit": False},
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        for each in (self._all, self._committed, self._group):
            each.close()

    def has_committed(self) -> bool:
        """Return whether an alert can be read."""
        return bool(end_of(self._committed, self._of.alerts, 0))

    def is_in_doubt(self) -> bool:
        """Return whether an output may still be aborted."""
        return any(
            end_of(self._all, topic, 0) != end_of(self._committed, topic, 0)
            for topic in self._of[1:]
        )

    def is_at_end(self) -> bool:
        """Return whether all records are judged and what is found of them can be read."""
        source = self._of.source
        for number in self._all.partitions_for_topic(source):
            at = self._group.committed(kafka_python.TopicPartition(source, number)) or 0
            if at != end_of(self._all, source, number):
                return False
        return not self.is_in_doubt()


def end_of(consumer: kafka_python.KafkaConsumer, topic: str, partition: int) -> int:
    """Return the end of a partition as a consumer sees it."""
    place = kafka_python.TopicPartition(topic, partition)
    end: int = consumer.end_offsets([place])[place]
    return end


def poison(number: int) -> dict[str, Any]:
    """Return what makes a record one that cannot be used, or that has more than most."""
    kinds: list[dict[str, Any]] = [
        {"value": b"{oops"},
        {"value": None},
        {"value": b""},
        {"value": b'{"values": [1, 2]}', "key": None},
        {"value": b"x" * 50_000, "key": b"\xff\x00"},
        {"value": np.full(140, np.nan, "<f4").tobytes()},
        {"headers": [("content-type", b"text/xml"), ("trace", b"\x00\xff"), ("none", None)]},
        {"timestamp_ms": 0, "value": b"[]"},
        {"key": "\u00fc-'1'".encode(), "value": b"null"},
    ]
    return kinds[number % len(kinds)]


def send(servers: str, records: list[OutputRecord]) -> None:
    client = connect(ConnectionSettings(bootstrap_servers=servers))
    client.produce(records)
    client.flush(30_000)
    client.close()


def beats(topic: str, n_partitions: int) -> list[OutputRecord]:
    """Return the beats of ECG5000 as records, half of them JSON; 1 % cannot be used."""
    data = load_dataset("ecg5000")
    records = []
    for row, window in enumerate([*data.train, *data.test]):
        values, form = window.ravel().astype("<f4"), ("json", "float32")[row // 2 % 2]
        record = OutputRecord(
            topic,
            b"beat-%d" % row,
            orjson.dumps({"values": values.tolist()}) if form == "json" else values.tobytes(),
            [("content-type", CONTENT_TYPES[form]), ("trace", b"%d" % row)],
            START_MS + row,
            row % n_partitions,
        )
        records.append(record._replace(**poison(row // 100)) if row % 100 == 50 else record)
    return records


def patients() -> tuple[Samples, Samples]:
    """Return most of a minute of three patients with three monitors each, and the rest of it."""
    signals = [load_samples("mitdb", series=name).train for name in ("100", "106", "119")]
    whole = concatenate(
        [
            replace(each, keys=tuple(f"{key}-{monitor}" for key in each.keys))
            for each in signals
            for monitor in range(3)
        ]
    )
    since_ms = whole.times_ms - whole.times_ms.min()  # (n_samples,)
    parts = (since_ms < 45_000, (since_ms >= 45_000) & (since_ms < 60_000))
    before, after = (
        replace(
            whole,
            series=whole.series[part],
            times_ms=whole.times_ms[part],
            values=whole.values[part],
            labels=None,
        )
        for part in parts
    )
    return before, after


def replay(servers: str, topic: str, samples: Samples) -> None:
    """Send samples, 36 to a record; some come late, twice or in another order."""
    faults = Faults(delay=0.01, duplicate=0.01, shuffle=0.05, nan=0.01)
    options = SampleReplayOptions(INTERVAL_MS, 36, content_type="float32", faults=faults)
    client = connect(ConnectionSettings(bootstrap_servers=servers))
    replay_samples(samples, client, topic, options=options, clock=SystemClock())
    client.close()


def wait_for(is_so: Callable[[], bool], job: FlinkJob) -> None:
    """Wait until something is so while a job runs."""
    deadline_s = time.monotonic() + 180
    while not is_so():
        assert job.is_running(), job.output
        assert time.monotonic() < deadline_s, job.output
        time.sleep(0.05)


@pytest.mark.parametrize("program", ["stateless.py", "stateful.py"])
def test_whole_windows_are_judged_as_detect_judges_them(
    program: str, kafka: str, bundle: Path, topics: MakeTopic, tmp_path: Path
) -> None:
    source, settings = topics(3, **KEEP), tmp_path / "settings.toml"
    within_ms = 0 if program == "stateless.py" else 50
    settings.write_text(f"[alerting]\nincident_within_ms = {within_ms}\n")
    send(kafka, beats(source, 3))
    read_by_detect = Topics(source, topics(1), topics(1, **KEEP))
    written = read_by_detect._replace(alerts=topics(2), dead_letters=topics(1, **KEEP))
    alerts, letters = detect(bundle, kafka, read_by_detect, settings)
    job = FlinkJob(
        program,
        *(bundle, "--bootstrap-servers", kafka, *written.options, "--settings", settings),
        *("--checkpoints", tmp_path / "checkpoints", "--until-now"),
        *("--flink", "parallelism.default=2"),
    )
    with job:
        assert job.finish() == 0, job.output
    assert sum(letters.values()) == 50
    assert sum(alerts.values()) > 400
    assert found_in(kafka, written) == (alerts, letters)


def test_what_a_job_cannot_do_is_refused(tmp_path: Path) -> None:
    bundle, checkpoint = tmp_path / "bundle", tmp_path / "job" / "chk-2"
    checkpoint.mkdir(parents=True)
    make_bundle(bundle)
    words = (bundle, "--checkpoints", tmp_path, "--until-now")
    with FlinkJob("stateless.py", *words) as job:  # alerts are joined to incidents by default
        assert job.finish() == ConfigError.exit_code
        assert "run stateful.py" in job.output
    (checkpoint / "_metadata").touch()
    with FlinkJob("stateful.py", *words) as job:
        assert job.finish() == ConfigError.exit_code
        assert f"--until-now: expected a folder without checkpoints, received {checkpoint}" in (
            job.output
        )


def test_after_a_kill_samples_are_judged_once(
    kafka: str, data_folder: Path, topics: MakeTopic, tmp_path: Path
) -> None:
    del data_folder
    bundle, source = tmp_path / "bundle", topics(2, **KEEP)
    changes = ["window.allowed_lateness_ms=500", "alerting.close_after_ms=1000"]
    recipe = load_recipe(ROOT / "models" / "mitdb-dense.toml", changes)
    make_bundle(bundle, recipe, factor=FACTOR)
    before, after = patients()
    read_by_detect = Topics(source, topics(1), topics(1, **KEEP))
    written = read_by_detect._replace(alerts=topics(1), dead_letters=topics(1, **KEEP))
    words: tuple[object, ...] = (
        *(bundle, "--bootstrap-servers", kafka, *written.options),
        *("--checkpoints", tmp_path / "checkpoints", "--checkpoint-ms", 4_000, "--group", "flink"),
        # So small that there are records after the last snapshot.
        *("--flink", "python.fn-execution.bundle.size=50", "--flink", "parallelism.default=2"),
    )
    replay(kafka, source, before)
    with Progress(kafka, written, "flink") as progress, ThreadPoolExecutor(1) as pool:
        with FlinkJob("stateful.py", *words) as job:
            wait_for(progress.has_committed, job)
            sending = pool.submit(replay, kafka, source, after)
            wait_for(progress.is_in_doubt, job)
            job.kill()
        assert progress.is_in_doubt()
        sending.result()
        with FlinkJob("stateful.py", *words) as job:
            wait_for(progress.is_at_end, job)
    alerts, letters = detect(bundle, kafka, read_by_detect)
    events = Counter(json.loads(value)["event"] for value, *_ in alerts)
    assert events["open"] > 20
    assert events["close"] > 20
    assert len(letters) > 20
    assert found_in(kafka, written) == (alerts, letters)
